// Processors, memory and its nodes, the clock, privileges.
#define _GNU_SOURCE
#include "CSluice.h"

#include <numa.h>
#include <sched.h>

uint64_t sluice_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int sluice_pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int sluice_allowed_cpus(int *cpus, int capacity) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    int n = 0;
    for (int i = 0; i < CPU_SETSIZE && n < capacity; i++)
        if (CPU_ISSET((size_t)i, &set)) cpus[n++] = i;
    return n;
}

void sluice_name_thread(const char *name) {
    pthread_setname_np(pthread_self(), name);
}

int sluice_node_of_cpu(int cpu) {
    return numa_available() < 0 ? -1 : numa_node_of_cpu(cpu);
}

enum { HUGE_PAGE = 2 << 20 };

void *sluice_node_alloc(size_t size, int node) {
    void *memory;
    if (node >= 0 && numa_available() >= 0) {
        memory = numa_alloc_onnode(size, node);
    } else {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) memory = NULL;
    }
    if (memory && size >= HUGE_PAGE) madvise(memory, size, MADV_HUGEPAGE);
    if (memory) memset(memory, 0, size);
    return memory;
}

int sluice_gets_huge_pages(size_t size) {
    if (size < HUGE_PAGE) return 0;
    char text[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && strstr(text, "[never]") == NULL;
}

void sluice_node_free(void *memory, size_t size) { munmap(memory, size); }

int sluice_drop_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_capset, &header, none) == 0 ? 0 : errno;
}
