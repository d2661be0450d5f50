// The measure of the packet loop: what Sluice's hot path does, written plainly in C.
//
// Same frames, same checks, same flow table, same policy, same counters; nothing shared with the
// product. tools/instructions prints the instructions of both and their ratio.
#ifndef INSPECT_H
#define INSPECT_H

#include <stdbool.h>
#include <stdint.h>

// As PacketIO's Frame.
struct inspect_frame {
    uint8_t *base;
    int32_t length;
    int32_t room;
    uint8_t facts;
    bool is_answer;
};

struct inspect_worker;

// flows: a power of two from 8 on. NULL without memory.
struct inspect_worker *inspect_new(uint64_t flows, uint64_t seed);
void inspect_free(struct inspect_worker *w);

// Decides `count` frames and turns the answers around in place. Returns the answers.
int inspect_burst(struct inspect_worker *w, struct inspect_frame *frames, int count, uint64_t now);
// The same, under the name that callgrind counts.
int measured_inspect(struct inspect_worker *w, struct inspect_frame *frames, int count,
                     uint64_t now);

// Where callgrind dumps what it has counted so far.
void inspect_dump_mark(void);

// ---- Allocations of the whole process, counted by malloc and its kin in allocations.c.

uint64_t inspect_allocations(void);

#endif
