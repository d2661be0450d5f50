#define _GNU_SOURCE
#include "CMemmem.h"

#include <string.h>

const void *bench_memmem(const void *hay, size_t length, const void *needle, size_t count) {
    return memmem(hay, length, needle, count);
}
