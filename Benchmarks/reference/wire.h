// Bytes of outer and inner packets, and what both programs need of the system.
#pragma once
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GENEVE_PORT = 6081,
    ETHERNET = 14,    // bytes of an Ethernet header
    IPV4 = 20,        // of an IPv4 header without options
    UDP = 8,          // of a UDP header
    GENEVE = 40,      // of a Geneve header with the three options of GWLB
    MAX_BURST = 64,   // packets per system call
};

static inline unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }
static inline void put16(uint8_t *p, unsigned v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static inline void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16), put16(p + 2, v & 0xFFFF); }

// Adds big-endian words to a ones'-complement sum (RFC 1071); an odd last byte is padded.
static inline uint64_t sum_words(uint64_t sum, const uint8_t *p, long count) {
    for (; count >= 2; p += 2, count -= 2) sum += get16(p);
    return count > 0 ? sum + ((unsigned)*p << 8) : sum;
}

static inline unsigned fold(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return ~(unsigned)sum & 0xFFFF;
}

static inline void seal_ipv4(uint8_t *ip, long header) {
    put16(ip + 10, 0);
    put16(ip + 10, fold(sum_words(0, ip, header)));
}

static inline uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// One line on standard error, then exit: 64 usage, 71 an OS call failed, 77 privilege.
__attribute__((noreturn, format(printf, 2, 3)))
static inline void die(int code, const char *format, ...) {
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (code != 64) fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
    exit(code == 71 && (error == EPERM || error == EACCES) ? 77 : code);
}

static inline void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) die(71, "pin to CPU %d", cpu);
}

// "0,2" or "1": at most `room` numbers, at least one.
static inline int parse_cpus(const char *text, int *cpus, int room) {
    int count = 0;
    for (const char *at = text; count < room;) {
        char *end;
        long cpu = strtol(at, &end, 10);
        if (end == at || cpu < 0 || cpu >= CPU_SETSIZE) die(64, "not a list of CPUs: %s", text);
        cpus[count++] = (int)cpu;
        if (*end == 0) return count;
        at = end + 1;
    }
    return count;
}

static inline long parse_number(const char *option, const char *text, long least, long most) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < least || value > most)
        die(64, "--%s: expected a number from %ld to %ld, not %s", option, least, most, text);
    return value;
}
