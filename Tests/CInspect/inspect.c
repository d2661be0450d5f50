#define _GNU_SOURCE
#include "include/inspect.h"

#include <byteswap.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { FACT_HEADER_VERIFIED = 1, FACT_CHECKSUM_ON_TRANSMIT = 4, FACT_TRUNCATED = 8 };
enum { UDP = 17, TCP = 6, ICMP = 1 };
enum { BUCKET = 8, ENDPOINTS = 64, REASONS = 19, MTU = 8500 };
enum { TCP_IDLE = 350, OTHER_IDLE = 120, CLOSED_IDLE = 10 };  // seconds

enum verdict {
    OUTER_MALFORMED, OUTER_CHECKSUM, SOURCE_NOT_ALLOWED, OUTER_TTL, GENEVE_MALFORMED, GENEVE_VERSION,
    GENEVE_CONTROL, GENEVE_CRITICAL_OPTION, GENEVE_PROTOCOL, AWS_OPTIONS, INNER_MALFORMED,
    INNER_HEADER_CHECKSUM, RULE, TOO_BIG = 17, FORWARD = 100, PARSED
};

struct key {
    uint64_t endpoint, low[2], high[2];
    uint16_t low_port, high_port;
    uint8_t protocol, version, fragment, unused;
};

struct slot {
    struct key key;
    uint64_t last_seen, idle;
    uint32_t cookie;
};

struct inspect_worker {
    uint32_t *tags;
    struct slot *slots;
    uint64_t bucket_mask, seed;
    uint64_t received, received_bytes, forwarded, forwarded_bytes, rewritten;
    uint64_t created, expired, evicted, cookie_changes, drops[REASONS], rules[3];
    struct { uint64_t used, id, forwarded, dropped; } endpoints[ENDPOINTS];
};

struct layout {
    int outer_header, outer_end, inner, inner_end, transport, payload, payload_end;
    uint64_t endpoint, source[2], destination[2];
    uint32_t cookie;
    uint16_t source_port, destination_port;
    uint8_t options, version, protocol, flow_protocol, tcp_flags;
    bool fragment, later_fragment, rewritable;
};

static inline uint16_t u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return be16toh(v); }
static inline uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static inline uint64_t u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }
static inline void set16(uint8_t *p, uint16_t v) { v = htobe16(v); memcpy(p, &v, 2); }

// ---- Checksums (RFC 1071, RFC 1624).

static uint64_t sum(const uint8_t *p, int count) {
    uint64_t total = 0;
    for (; count >= 4; p += 4, count -= 4) { uint32_t v; memcpy(&v, p, 4); total += v; }
    if (count >= 2) { uint16_t v; memcpy(&v, p, 2); total += v; p += 2; count -= 2; }
    return count ? total + *p : total;
}

static uint16_t fold(uint64_t s) {
    s = (s & 0xFFFFFFFF) + (s >> 32);
    while (s >> 16) s = (s & 0xFFFF) + (s >> 16);
    return (uint16_t)s;
}

// A sum of bytes that begin at an even or odd offset of what is summed.
static uint16_t part(const uint8_t *p, int count, bool odd) {
    uint16_t s = fold(sum(p, count));
    return odd ? bswap_16(s) : s;
}

static uint16_t update(uint16_t checksum, uint64_t removed, uint64_t added) {
    return (uint16_t)~be16toh(
        fold((uint64_t)htobe16((uint16_t)~checksum) + (uint16_t)~fold(removed) + fold(added)));
}

// ---- Parsing, from the outside in.

static enum verdict walk_options(struct layout *l, const uint8_t *p, int at, int end) {
    while (at < end) {
        if (end - at < 4) return GENEVE_MALFORMED;
        uint32_t header = u32(p + at);
        int data = at + 4, length = (int)(header & 31) * 4;
        if (end - data < length) return GENEVE_MALFORMED;
        uint32_t known = header & ~0xE0u;
        if (known == 0x01080102 && !(l->options & 1)) {
            l->endpoint = u64(p + data);
            l->options |= 1;
        } else if (known == 0x01080202 && !(l->options & 2)) {
            l->options |= 2;
        } else if (known == 0x01080301 && !(l->options & 4)) {
            l->cookie = u32(p + data);
            l->options |= 4;
        } else if ((header >> 8) - 0x010801 < 3) {
            return AWS_OPTIONS;
        } else if (header & 0x8000) {
            return GENEVE_CRITICAL_OPTION;
        }
        at = data + length;
    }
    return l->options == 7 ? PARSED : AWS_OPTIONS;
}

static void parse_transport(struct layout *l, const uint8_t *p) {
    l->payload = l->payload_end = l->inner_end;
    int available = l->inner_end - l->transport;
    if (l->later_fragment || available < 4) return;
    if (l->protocol != UDP && l->protocol != TCP) return;
    const uint8_t *t = p + l->transport;
    l->source_port = u16(t);
    l->destination_port = u16(t + 2);
    if (l->protocol == UDP) {
        if (available < 8) return;
        int length = u16(t + 4);
        if (length < 8) return;
        if (length <= available) {
            l->payload_end = l->transport + length;
            l->rewritable = !l->fragment;
        } else if (!l->fragment) {
            return;
        }
        l->payload = l->transport + 8;
    } else {
        if (available < 20) return;
        l->tcp_flags = t[13];
        int length = (t[12] >> 4) * 4;
        if (length < 20 || length > available) return;
        l->payload = l->transport + length;
        l->rewritable = !l->fragment;
    }
}

static enum verdict parse_ipv4(struct layout *l, const uint8_t *p) {
    const uint8_t *ip = p + l->inner;
    int available = l->outer_end - l->inner;
    if (available < 20) return INNER_MALFORMED;
    int header = (ip[0] & 15) * 4, total = u16(ip + 2);
    if (header < 20 || total < header || total > available) return INNER_MALFORMED;
    uint16_t fragment = u16(ip + 6);
    l->inner_end = l->inner + total;
    l->protocol = l->flow_protocol = ip[9];
    l->fragment = fragment & 0x3FFF;
    l->later_fragment = fragment & 0x1FFF;
    l->source[1] = u32(ip + 12);
    l->destination[1] = u32(ip + 16);
    l->transport = l->inner + header;
    parse_transport(l, p);
    return PARSED;
}

static bool is_extension(uint8_t p) { return p == 0 || p == 43 || p == 44 || p == 60; }

static enum verdict parse_ipv6(struct layout *l, const uint8_t *p) {
    const uint8_t *ip = p + l->inner;
    int available = l->outer_end - l->inner;
    if (available < 40 || 40 + u16(ip + 4) > available) return INNER_MALFORMED;
    l->inner_end = l->inner + 40 + u16(ip + 4);
    uint8_t next = ip[6], named = 0;
    int at = l->inner + 40;
    for (int n = 0; is_extension(next); n++) {
        if (n == 8 || l->inner_end - at < 8) return INNER_MALFORMED;
        uint8_t following = p[at];
        if (next == 44) {
            uint16_t field = u16(p + at + 2);
            l->later_fragment = field & 0xFFF8;
            l->fragment = l->fragment || (field & 0xFFF9);
            if (!named && (field & 0xFFF9)) named = following;
            at += 8;
        } else {
            int length = (p[at + 1] + 1) * 8;
            if (l->inner_end - at < length) return INNER_MALFORMED;
            at += length;
        }
        next = following;
        if (l->later_fragment) break;
    }
    l->protocol = next;
    l->flow_protocol = l->fragment ? named : next;
    l->source[0] = u64(ip + 8);
    l->source[1] = u64(ip + 16);
    l->destination[0] = u64(ip + 24);
    l->destination[1] = u64(ip + 32);
    l->transport = at;
    parse_transport(l, p);
    return PARSED;
}

static enum verdict parse(struct layout *l, const struct inspect_frame *f) {
    const uint8_t *p = f->base;
    int count = f->length;
    if (f->facts & FACT_TRUNCATED) return TOO_BIG;
    if (count < 20) return OUTER_MALFORMED;
    int header = (p[0] & 15) * 4, total = u16(p + 2);
    if (p[0] >> 4 != 4 || header < 20 || total < header || total > count || p[9] != UDP)
        return OUTER_MALFORMED;
    if (!(f->facts & FACT_HEADER_VERIFIED) && fold(sum(p, header)) != 0xFFFF)
        return OUTER_CHECKSUM;
    if (total - header < 8) return OUTER_MALFORMED;
    int length = u16(p + header + 4);
    if (length < 8 || header + length > total || u16(p + header + 2) != 6081)
        return OUTER_MALFORMED;
    if (u32(p + 12) == u32(p + 16) || p[12] == 127) return SOURCE_NOT_ALLOWED;
    if (p[8] <= 1) return OUTER_TTL;
    l->outer_header = header;
    l->outer_end = header + length;

    int geneve = header + 8;
    if (l->outer_end - geneve < 8) return GENEVE_MALFORMED;
    if (p[geneve] >> 6) return GENEVE_VERSION;
    l->inner = geneve + 8 + (p[geneve] & 63) * 4;
    if (l->inner > l->outer_end) return GENEVE_MALFORMED;
    if (p[geneve + 1] & 0x80) return GENEVE_CONTROL;
    enum verdict options = walk_options(l, p, geneve + 8, l->inner);
    if (options != PARSED) return options;
    uint16_t type = u16(p + geneve + 2);
    if (type != 0x0800 && type != 0x86DD) return GENEVE_PROTOCOL;
    if (l->inner >= l->outer_end) return INNER_MALFORMED;
    l->version = type == 0x0800 ? 4 : 6;
    if (p[l->inner] >> 4 != l->version) return GENEVE_PROTOCOL;
    return l->version == 4 ? parse_ipv4(l, p) : parse_ipv6(l, p);
}

// ---- The flow table: buckets of eight slots, a tag for each.

static struct key flow_key(const struct layout *l) {
    uint16_t source_port = l->fragment ? 0 : l->source_port;
    uint16_t destination_port = l->fragment ? 0 : l->destination_port;
    struct key k = {.endpoint = l->endpoint, .protocol = l->flow_protocol,
                    .version = l->version, .fragment = l->fragment};
    bool is_low = l->source[0] != l->destination[0]   ? l->source[0] < l->destination[0]
                  : l->source[1] != l->destination[1] ? l->source[1] < l->destination[1]
                                                      : source_port <= destination_port;
    memcpy(k.low, is_low ? l->source : l->destination, 16);
    memcpy(k.high, is_low ? l->destination : l->source, 16);
    k.low_port = is_low ? source_port : destination_port;
    k.high_port = is_low ? destination_port : source_port;
    return k;
}

static inline uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

static uint64_t hash(const struct key *k, uint64_t seed) {
    uint64_t tail, other = __builtin_bswap64(seed), h = seed;
    memcpy(&tail, &k->low_port, 8);
    h = mix(h ^ k->low[1], other ^ 0x9E3779B97F4A7C15 ^ k->high[1]);
    h = mix(h ^ k->low[0], other ^ 0xD6E8FEB86659FD93 ^ k->high[0]);
    return mix(h ^ k->endpoint, other ^ 0xA5A35625E1F5A7B1 ^ tail);
}

static struct slot *find_flow(struct inspect_worker *w, const struct layout *l, uint64_t now) {
    struct key k = flow_key(l);
    uint64_t h = hash(&k, w->seed);
    uint32_t tag = (uint32_t)(h >> 32) | 1;
    uint32_t *tags = w->tags + (h & w->bucket_mask) * BUCKET;
    struct slot *slots = w->slots + (h & w->bucket_mask) * BUCKET;
    uint64_t idle = (l->protocol == TCP ? TCP_IDLE : OTHER_IDLE) * 1000000000ull;
    for (int i = 0; i < BUCKET; i++) {
        if (tags[i] != tag || memcmp(&slots[i].key, &k, sizeof k) != 0) continue;
        struct slot *s = slots + i;
        if (now - s->last_seen > s->idle) {
            w->expired++;
            w->created++;
            s->idle = idle;
            s->cookie = l->cookie;
        }
        if (s->cookie != l->cookie) {
            w->cookie_changes++;
            s->cookie = l->cookie;
            s->idle = idle;
        }
        s->last_seen = now;
        return s;
    }
    int place = 0;
    for (int i = 0; i < BUCKET; i++) {
        if (!tags[i] || now - slots[i].last_seen > slots[i].idle) { place = i; break; }
        if (slots[i].last_seen < slots[place].last_seen) place = i;
    }
    if (tags[place]) w->evicted++;
    w->created++;
    tags[place] = tag;
    slots[place] = (struct slot){k, now, idle, l->cookie};
    return slots + place;
}

// ---- The blog policy.

// Replaces every "weakly typed" by "strongly typed" and repairs lengths and checksums.
static enum verdict rewrite(struct layout *l, struct inspect_frame *f, const uint8_t *first) {
    static const char old[] = "weakly typed", new[] = "strongly typed";
    enum { OLD = sizeof old - 1, NEW = sizeof new - 1 };
    uint8_t *p = f->base;
    if (l->version == 4 && fold(sum(p + l->inner, (p[l->inner] & 15) * 4)) != 0xFFFF)
        return INNER_HEADER_CHECKSUM;
    bool updates_outer = !(f->facts & FACT_CHECKSUM_ON_TRANSMIT) && u16(p + l->outer_header + 6);
    if (updates_outer) {
        uint64_t s = sum(p + 12, 8) + htobe16(UDP) + htobe16(l->outer_end - l->outer_header) +
                     sum(p + l->outer_header, l->outer_end - l->outer_header);
        if (fold(s) != 0xFFFF) return OUTER_CHECKSUM;
    }
    int count = 0;
    for (const uint8_t *at = first; at; count++) {
        at += OLD;
        at = memmem(at, (size_t)(p + l->payload_end - at), old, OLD);
    }
    int growth = count * (NEW - OLD);
    if (l->inner_end + growth - l->inner > MTU || l->inner_end + growth > f->room) return TOO_BIG;

    uint8_t copy[1 << 16];
    int from = (int)(first - p), length = l->inner_end - from;
    bool odd = (from - l->transport) & 1;
    uint64_t inner_old = part(p + from, l->payload_end - from, odd);
    uint64_t outer_old = part(p + from, l->outer_end - from, odd);
    memcpy(copy, first, (size_t)length);
    const uint8_t *source = copy, *end = copy + length, *searched = copy + l->payload_end - from;
    uint8_t *to = p + from;
    while (source < end) {
        const uint8_t *at = memmem(source, (size_t)(searched - source), old, OLD);
        size_t kept = (size_t)((at ? at : end) - source);
        memcpy(to, source, kept);
        to += kept;
        source += kept;
        if (!at) break;
        memcpy(to, new, NEW);
        to += NEW;
        source += OLD;
    }
    l->payload_end += growth;
    l->inner_end += growth;
    l->outer_end = l->inner_end;
    uint64_t inner_new = part(p + from, l->payload_end - from, odd);
    uint64_t outer_new = part(p + from, l->outer_end - from, odd);

    // What the outer checksum covers: the inner headers, then the payload.
    int headers = l->transport + 8 - l->inner;
    outer_old += fold(sum(p + l->inner, headers));
    uint8_t *udp = p + l->transport;
    uint16_t udp_length = (uint16_t)(l->payload_end - l->transport);
    inner_old += 2 * htobe16(u16(udp + 4));
    inner_new += 2 * htobe16(udp_length);
    set16(udp + 4, udp_length);
    if (u16(udp + 6)) {
        uint16_t checksum = update(u16(udp + 6), inner_old, inner_new);
        set16(udp + 6, checksum ? checksum : 0xFFFF);
    }
    uint8_t *ip = p + l->inner;
    if (l->version == 4) {
        uint16_t total = (uint16_t)(l->inner_end - l->inner);
        set16(ip + 10, update(u16(ip + 10), htobe16(u16(ip + 2)), htobe16(total)));
        set16(ip + 2, total);
    } else {
        set16(ip + 4, (uint16_t)(l->inner_end - l->inner - 40));
    }
    outer_new += fold(sum(p + l->inner, headers));
    uint8_t *outer = p + l->outer_header;
    uint16_t outer_length = (uint16_t)(l->outer_end - l->outer_header);
    outer_old += 2 * htobe16(u16(outer + 4));
    outer_new += 2 * htobe16(outer_length);
    set16(outer + 4, outer_length);
    if (updates_outer) {
        uint16_t checksum = update(u16(outer + 6), outer_old, outer_new);
        set16(outer + 6, checksum ? checksum : 0xFFFF);
    }
    set16(p + 10, update(u16(p + 10), htobe16(u16(p + 2)), htobe16(l->outer_end)));
    set16(p + 2, (uint16_t)l->outer_end);
    return FORWARD;
}

static enum verdict blog(struct inspect_worker *w, struct layout *l, struct inspect_frame *f) {
    uint8_t *p = f->base;
    if (l->protocol == UDP && (l->source_port == 3000 || l->destination_port == 3000)) {
        size_t length = (size_t)(l->payload_end - l->payload);
        if (memmem(p + l->payload, length, "drop me", 7)) {
            w->rules[0]++;
            return RULE;
        }
        const uint8_t *first = memmem(p + l->payload, length, "weakly typed", 12);
        if (!first || !l->rewritable) return FORWARD;
        enum verdict v = rewrite(l, f, first);
        if (v == FORWARD) {
            w->rules[1]++;
            w->rewritten++;
        }
        return v;
    }
    if (l->protocol == ICMP && l->version == 4 && !l->later_fragment &&
        l->inner_end - l->transport >= 8) {
        uint8_t type = p[l->transport];
        if ((type == 0 || type == 8) && u16(p + l->transport + 6) % 5 == 0) {
            w->rules[2]++;
            return RULE;
        }
    }
    return FORWARD;
}

// ---- One packet, one burst.

static void count_endpoint(struct inspect_worker *w, const struct layout *l, bool forwarded) {
    if (!(l->options & 1) || !l->transport) return;
    unsigned last = ENDPOINTS - 1, e = (unsigned)((l->endpoint * 0x9E3779B97F4A7C15) >> 58) % last;
    for (int i = 0; i < 8; i++, e = e + 1 == last ? 0 : e + 1) {
        if (!w->endpoints[e].used) {
            w->endpoints[e].used = 1;
            w->endpoints[e].id = l->endpoint;
        } else if (w->endpoints[e].id != l->endpoint) {
            continue;
        }
        if (forwarded) w->endpoints[e].forwarded++;
        else w->endpoints[e].dropped++;
        return;
    }
    if (forwarded) w->endpoints[last].forwarded++;
    else w->endpoints[last].dropped++;
}

static bool handle(struct inspect_worker *w, struct inspect_frame *f, uint64_t now) {
    struct layout l = {0};
    enum verdict v = parse(&l, f);
    if (v == PARSED) {
        struct slot *s = find_flow(w, &l, now);
        if ((l.tcp_flags & 0x12) == 2) s->idle = TCP_IDLE * 1000000000ull;
        if (l.tcp_flags & 5) s->idle = CLOSED_IDLE * 1000000000ull;
        v = blog(w, &l, f);
    }
    count_endpoint(w, &l, v == FORWARD);
    if (v != FORWARD) {
        w->drops[v]++;
        return false;
    }
    uint32_t source, destination;
    memcpy(&source, f->base + 12, 4);
    memcpy(&destination, f->base + 16, 4);
    memcpy(f->base + 12, &destination, 4);
    memcpy(f->base + 16, &source, 4);
    uint32_t checksum = u16(f->base + 10) + 0x100u;
    checksum += checksum >= 0xFFFF;
    f->base[8]--;
    f->base[10] = (uint8_t)(checksum >> 8);
    f->base[11] = (uint8_t)checksum;
    f->length = u16(f->base + 2);
    return true;
}

int inspect_burst(struct inspect_worker *w, struct inspect_frame *frames, int count, uint64_t now) {
    int answers = 0;
    for (int i = 0; i < count; i++) {
        w->received++;
        w->received_bytes += (uint64_t)frames[i].length;
        frames[i].is_answer = handle(w, frames + i, now);
        if (!frames[i].is_answer) continue;
        answers++;
        w->forwarded_bytes += (uint64_t)frames[i].length;
    }
    w->forwarded += (uint64_t)answers;
    return answers;
}

int measured_inspect(struct inspect_worker *w, struct inspect_frame *frames, int count,
                     uint64_t now) {
    return inspect_burst(w, frames, count, now);
}

struct inspect_worker *inspect_new(uint64_t flows, uint64_t seed) {
    struct inspect_worker *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->tags = calloc(flows, sizeof *w->tags);
    w->slots = calloc(flows, sizeof *w->slots);
    w->bucket_mask = flows / BUCKET - 1;
    w->seed = seed;
    if (w->tags && w->slots) return w;
    inspect_free(w);
    return NULL;
}

void inspect_free(struct inspect_worker *w) {
    free(w->tags);
    free(w->slots);
    free(w);
}

__attribute__((noinline)) void inspect_dump_mark(void) { __asm__ volatile(""); }
