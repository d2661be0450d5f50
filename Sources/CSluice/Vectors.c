// Searching and summing bytes, with AVX2 where the processor has it.
#define _GNU_SOURCE
#include "CSluice.h"

#include <stdbool.h>

#if defined(__x86_64__)
#include <immintrin.h>

// One predictable branch: a pointer chosen at load time would be a call that no check can follow.
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#define AVX2 __attribute__((target("avx2")))

// All ones where the 32 bytes at `p` equal the one in `byte`.
AVX2 static inline __m256i equal(const uint8_t *p, __m256i byte) {
    return _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p), byte);
}

// One bit for each byte.
AVX2 static inline uint32_t bits(__m256i mask) { return (uint32_t)_mm256_movemask_epi8(mask); }

// The first position in the mask where the needle stands, or -1.
static inline long confirm(const uint8_t *hay, uint32_t mask, const uint8_t *needle, long count) {
    for (; mask; mask &= mask - 1) {
        long at = __builtin_ctz(mask);
        if (memcmp(hay + at, needle, (size_t)count) == 0) return at;
    }
    return -1;
}

// Looks for the first and the last byte of the needle, 32 positions at a time; length >= 32. In the
// inner loop nothing is called, so that the vectors stay in registers.
AVX2 static long find_avx2(const uint8_t *hay, long length, const uint8_t *needle, long count) {
    const __m256i first = _mm256_set1_epi8((char)needle[0]);
    const __m256i last = _mm256_set1_epi8((char)needle[count - 1]);
    const long end = length - count - 31;
    if (end < 0) {
        // -end positions fewer: both blocks stay inside, and are laid over each other by a shift.
        uint32_t mask = bits(equal(hay, first)) & bits(equal(hay + length - 32, last)) >> -end;
        return confirm(hay, mask, needle, count);
    }
    for (long i = 0; i < end; i += 32) {
        uint32_t mask = bits(_mm256_and_si256(equal(hay + i, first), equal(hay + i + count - 1, last)));
        if (__builtin_expect(mask == 0, 1)) continue;
        long at = confirm(hay + i, mask, needle, count);
        if (at >= 0) return i + at;
    }
    // The last block ends with the hay, whatever was seen of it before.
    uint32_t mask = bits(_mm256_and_si256(equal(hay + end, first), equal(hay + length - 32, last)));
    long at = confirm(hay + end, mask, needle, count);
    return at < 0 ? -1 : end + at;
}

#else
#define HAS_AVX2 0
#define find_avx2(...) (-1)
#endif

long sluice_find(const uint8_t *hay, long length, const uint8_t *needle, long count) {
    if (count <= 0 || length < count) return -1;
    if (length >= 32 && HAS_AVX2) return find_avx2(hay, length, needle, count);
    const uint8_t *at = memmem(hay, (size_t)length, needle, (size_t)count);
    return at ? at - hay : -1;
}

// Whichever stands first.
static inline struct sluice_found nearer(long a, long b, long from) {
    if (a >= 0 && (b < 0 || a <= b)) return (struct sluice_found){from + a, 0};
    return (struct sluice_found){b < 0 ? -1 : from + b, 1};
}

#if defined(__x86_64__)
// Both needles in one pass while each has 32 positions left, then each by itself; length >= 32,
// and neither needle is longer than that.
AVX2 static struct sluice_found find_either_avx2(const uint8_t *hay, long length, const uint8_t *a,
                                                 long a_count, const uint8_t *b, long b_count) {
    const long end = length - (a_count > b_count ? a_count : b_count) - 31;
    long i = 0;
    while (i <= end) {
        const __m256i a_first = _mm256_set1_epi8((char)a[0]);
        const __m256i a_last = _mm256_set1_epi8((char)a[a_count - 1]);
        const __m256i b_first = _mm256_set1_epi8((char)b[0]);
        const __m256i b_last = _mm256_set1_epi8((char)b[b_count - 1]);
        __m256i a_mask, b_mask;
        for (;; i += 32) {
            if (i > end) goto rest;
            a_mask = _mm256_and_si256(equal(hay + i, a_first), equal(hay + i + a_count - 1, a_last));
            b_mask = _mm256_and_si256(equal(hay + i, b_first), equal(hay + i + b_count - 1, b_last));
            if (bits(_mm256_or_si256(a_mask, b_mask))) break;
        }
        uint32_t a_bits = bits(a_mask), b_bits = bits(b_mask);
        struct sluice_found found = nearer(confirm(hay + i, a_bits, a, a_count),
                                           confirm(hay + i, b_bits, b, b_count), i);
        if (found.at >= 0) return found;
        i += 32;
    }
rest:
    // As many bytes as one block has, at least.
    if (i > length - 32) i = length - 32;
    return nearer(find_avx2(hay + i, length - i, a, a_count),
                  find_avx2(hay + i, length - i, b, b_count), i);
}
#else
#define find_either_avx2(...) ((struct sluice_found){-1, 0})
#endif

struct sluice_found sluice_find_either(const uint8_t *hay, long length, const uint8_t *a,
                                       long a_count, const uint8_t *b, long b_count) {
    // From 1 to 32.
    bool fit = (unsigned long)(a_count - 1) < 32 && (unsigned long)(b_count - 1) < 32;
    if (length >= 32 && fit && HAS_AVX2)
        return find_either_avx2(hay, length, a, a_count, b, b_count);
    return nearer(sluice_find(hay, length, a, a_count), sluice_find(hay, length, b, b_count), 0);
}

// Compiled twice from one loop, which the compiler turns into vectors of either size.
#define SUM(NAME)                                                                  \
    static uint64_t NAME(const uint8_t *p, long count) {                           \
        uint64_t total = 0;                                                        \
        for (long i = 0; i < count; i += 4) {                                      \
            uint32_t word;                                                         \
            memcpy(&word, p + i, 4);                                               \
            total += word;                                                         \
        }                                                                          \
        return total;                                                              \
    }
SUM(sum_baseline)
#if defined(__x86_64__)
AVX2 SUM(sum_avx2)
#else
#define sum_avx2 sum_baseline
#endif

uint64_t sluice_sum(const uint8_t *p, long count) {
    return HAS_AVX2 ? sum_avx2(p, count) : sum_baseline(p, count);
}
