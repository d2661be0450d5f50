// CVectorscan: many strings found in one pass by the library Vectorscan (or Hyperscan). Empty unless
// the package is built with the trait Vectorscan, so that a plain build needs neither the library nor
// its headers.
#ifndef CVECTORSCAN_H
#define CVECTORSCAN_H

#include <stddef.h>
#include <stdint.h>

struct sluice_strings;

// Compiles `count` strings, bytes as they are; those with a non-zero `folded` in either case of ASCII
// letters. Every one of `workers` scans in memory of its own. NULL when the library refuses.
struct sluice_strings *sluice_strings_new(const uint8_t *const *strings, const size_t *lengths,
                                          const uint8_t *folded, uint32_t count, int workers);

void sluice_strings_free(struct sluice_strings *strings);

// Bytes that it takes.
size_t sluice_strings_size(const struct sluice_strings *strings);

// Finds the strings that stand in the bytes, each once; returns how many. Their numbers are in
// sluice_strings_found. HOT: the library allocates nothing while it scans.
__attribute__((swift_attr("@_noLocks"))) uint32_t sluice_strings_scan(
    struct sluice_strings *strings, int worker, const uint8_t *bytes, size_t length);

__attribute__((swift_attr("@_noLocks"))) const uint32_t *sluice_strings_found(
    const struct sluice_strings *strings, int worker);

#endif
