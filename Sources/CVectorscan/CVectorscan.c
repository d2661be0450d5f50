#include "CVectorscan.h"

#ifdef SLUICE_VECTORSCAN

#include <hs/hs.h>
#include <stdlib.h>

struct worker {
    hs_scratch_t *scratch;
    uint32_t *found;
    uint32_t count;
};

struct sluice_strings {
    hs_database_t *database;
    uint32_t count;
    int workers;
    struct worker worker[];
};

void sluice_strings_free(struct sluice_strings *s) {
    if (!s) return;
    for (int i = 0; i < s->workers; i++) {
        hs_free_scratch(s->worker[i].scratch);
        free(s->worker[i].found);
    }
    hs_free_database(s->database);
    free(s);
}

struct sluice_strings *sluice_strings_new(const uint8_t *const *strings, const size_t *lengths,
                                          const uint8_t *folded, uint32_t count, int workers) {
    struct sluice_strings *s = calloc(1, sizeof *s + (size_t)workers * sizeof s->worker[0]);
    unsigned *flags = calloc(count, sizeof *flags), *ids = calloc(count, sizeof *ids);
    hs_compile_error_t *error = NULL;
    if (!s || !flags || !ids) goto failed;
    s->count = count;
    s->workers = workers;
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = i;
        flags[i] = HS_FLAG_SINGLEMATCH | (folded[i] ? HS_FLAG_CASELESS : 0);
    }
    if (hs_compile_lit_multi((const char *const *)strings, flags, ids, lengths, count, HS_MODE_BLOCK,
                             NULL, &s->database, &error) != HS_SUCCESS)
        goto failed;
    for (int i = 0; i < workers; i++) {
        s->worker[i].found = malloc(count * sizeof(uint32_t));
        if (!s->worker[i].found ||
            hs_alloc_scratch(s->database, &s->worker[i].scratch) != HS_SUCCESS)
            goto failed;
    }
    free(flags);
    free(ids);
    return s;
failed:
    hs_free_compile_error(error);
    free(flags);
    free(ids);
    sluice_strings_free(s);
    return NULL;
}

size_t sluice_strings_size(const struct sluice_strings *s) {
    size_t total = 0, size;
    if (hs_database_size(s->database, &size) == HS_SUCCESS) total += size;
    for (int i = 0; i < s->workers; i++) {
        if (hs_scratch_size(s->worker[i].scratch, &size) == HS_SUCCESS) total += size;
        total += s->count * sizeof(uint32_t);
    }
    return total;
}

static int note(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                void *context) {
    (void)from, (void)to, (void)flags;
    struct worker *w = context;
    // There is room for every string, and each is reported once.
    w->found[w->count++] = id;
    return 0;
}

uint32_t sluice_strings_scan(struct sluice_strings *s, int worker, const uint8_t *bytes,
                             size_t length) {
    struct worker *w = &s->worker[worker];
    w->count = 0;
    hs_scan(s->database, (const char *)bytes, (unsigned)length, 0, w->scratch, note, w);
    return w->count;
}

const uint32_t *sluice_strings_found(const struct sluice_strings *s, int worker) {
    return s->worker[worker].found;
}

#endif
