// The C library's search, which Swift's Glibc module does not show.
#ifndef CMEMMEM_H
#define CMEMMEM_H

#include <stddef.h>

const void *bench_memmem(const void *hay, size_t length, const void *needle, size_t count);

#endif
