// What needs _GNU_SOURCE, NUMA or compiler intrinsics: kept out of the header that Swift sees.
#define _GNU_SOURCE
#include "CSluice.h"

#include <linux/ethtool.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

_Static_assert(sizeof(struct sluice_message) == sizeof(struct mmsghdr) &&
                   offsetof(struct sluice_message, length) == offsetof(struct mmsghdr, msg_len),
               "sluice_message is mmsghdr");

uint64_t sluice_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int sluice_recvmmsg(int fd, struct sluice_message *messages, unsigned count) {
    int n = recvmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT, NULL);
    return n >= 0 ? n : -errno;
}

int sluice_sendmmsg(int fd, struct sluice_message *messages, unsigned count) {
    int n = sendmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT);
    return n >= 0 ? n : -errno;
}

int sluice_wait(int fd, int wake, int milliseconds) {
    struct pollfd p[2] = {{fd, POLLIN, 0}, {wake, POLLIN, 0}};
    int n = poll(p, 2, milliseconds);
    if (n > 0 && (p[1].revents & POLLIN)) {
        uint64_t events;
        ssize_t ignored = read(wake, &events, sizeof events);
        (void)ignored;
    }
    return n >= 0 ? p[0].revents : -errno;
}

int sluice_packet_lost_interface(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    struct sockaddr_ll name;
    size = sizeof name;
    // The kernel sets the index to -1 when the interface goes (packet_notifier).
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.sll_ifindex == -1;
}

uint32_t sluice_packet_drops(int fd) {
    // Reading sets the kernel's own counters to zero.
    struct tpacket_stats stats = {0, 0};
    socklen_t size = sizeof stats;
    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    return stats.tp_drops;
}

int sluice_bind_packet(int fd, uint16_t protocol, int interface) {
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
    a.sll_ifindex = interface;
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

int sluice_bind_netlink(int fd, uint32_t groups) {
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = groups};
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

// The ring is the kernel's memory, allocated for the calling thread: its memory policy says where.
int sluice_make_ring(int fd, struct tpacket_req *request, int node) {
    unsigned long before[16] = {0}, wanted[16] = {0};
    const unsigned long bits = sizeof wanted * 8, word = sizeof *wanted * 8;
    int policy = MPOL_DEFAULT;
    int moved = node >= 0 && (unsigned long)node < bits && numa_available() >= 0 &&
                get_mempolicy(&policy, before, bits, NULL, 0) == 0;
    if (moved) {
        wanted[(unsigned long)node / word] = 1ul << ((unsigned long)node % word);
        moved = set_mempolicy(MPOL_PREFERRED, wanted, bits) == 0;
    }
    int result = setsockopt(fd, SOL_PACKET, PACKET_RX_RING, request, sizeof *request);
    int error = errno;
    if (moved) set_mempolicy(policy, before, bits);
    errno = error;
    return result;
}

void *sluice_map_ring(int fd, size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
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

int sluice_bind_ipv4(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(address);
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

int sluice_bind_abstract(int fd, const char *name) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path + 1, name, n);
    return bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
}

int sluice_connect_abstract(int fd, const char *name) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path + 1, name, n);
    return connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
}

int sluice_peer_pid(int fd) {
    struct ucred c;
    socklen_t n = sizeof c;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? c.pid : -1;
}

int sluice_interface_type(const char *name) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct ifreq r;
    memset(&r, 0, sizeof r);
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    int result = ioctl(fd, SIOCGIFHWADDR, &r) == 0 ? r.ifr_hwaddr.sa_family : -errno;
    close(fd);
    return result;
}

int sluice_interface_mtu(const char *name) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct ifreq r;
    memset(&r, 0, sizeof r);
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    int result = ioctl(fd, SIOCGIFMTU, &r) == 0 ? r.ifr_mtu : -errno;
    close(fd);
    return result;
}

int sluice_interface_flags(const char *name) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct ifreq r;
    memset(&r, 0, sizeof r);
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    int result = ioctl(fd, SIOCGIFFLAGS, &r) == 0 ? (int)(unsigned short)r.ifr_flags : -errno;
    close(fd);
    return result;
}

int sluice_open_tun(const char *name) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -errno;
    struct ifreq r;
    memset(&r, 0, sizeof r);
    r.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &r) != 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

int sluice_signal_descriptor(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return -errno;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int sluice_next_signal(int fd) {
    struct signalfd_siginfo s;
    return read(fd, &s, sizeof s) == sizeof s ? (int)s.ssi_signo : 0;
}

int sluice_accept_nonblocking(int fd) {
    // poll first: the listening socket itself stays blocking, accept4's flag is the client's.
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN)) return -EAGAIN;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return client >= 0 ? client : -errno;
}

void sluice_hold_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0) {
            int null = open("/dev/null", O_RDWR);
            (void)null;
        }
}

void sluice_write_error_line(const char *line, size_t length) {
    // A pipe that polls writable takes PIPE_BUF bytes at once.
    struct pollfd p = {2, POLLOUT, 0};
    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT)) return;
    ssize_t ignored = write(2, line, length < 4096 ? length : 4096);
    (void)ignored;
}

uint32_t sluice_socket_drops(int fd) {
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof info;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size);
    return info[SK_MEMINFO_DROPS];
}

static int unix_address(struct sockaddr_un *a, const char *path) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof a->sun_path) return -ENAMETOOLONG;
    strcpy(a->sun_path, path);
    return 0;
}

int sluice_connect_unix(const char *path) {
    struct sockaddr_un a;
    int fd = unix_address(&a, path);
    if (fd < 0) return fd;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    // A listener whose queue is full would hold us for ever: then the answer is EAGAIN.
    struct timeval patience = {2, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    int e = errno;
    close(fd);
    return -e;
}

int sluice_connect_notify(const char *name) {
    struct sockaddr_un a;
    int fd = unix_address(&a, name);
    if (fd < 0) return fd;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    // An abstract name has no end but the address's; a path may end before its zero byte.
    if (a.sun_path[0] == '@') a.sun_path[0] = 0;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    if (connect(fd, (struct sockaddr *)&a, size) == 0) return fd;
    int e = errno;
    close(fd);
    return -e;
}

int sluice_listen_unix(const char *path) {
    struct sockaddr_un a;
    int fd = unix_address(&a, path);
    if (fd < 0) return fd;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct stat s;
    // Only a socket is replaced, never a file of someone else's.
    if (lstat(path, &s) == 0 && S_ISSOCK(s.st_mode)) unlink(path);
    mode_t mask = umask(0177);
    int failed = bind(fd, (struct sockaddr *)&a, sizeof a) != 0;
    int e = errno;
    umask(mask);
    if (!failed && listen(fd, 16) != 0) {
        failed = 1;
        e = errno;
    }
    if (!failed) return fd;
    close(fd);
    return -e;
}

int sluice_peer_uid(int fd) {
    struct ucred c;
    socklen_t n = sizeof c;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? (int)c.uid : -1;
}

int sluice_card_statistics(const char *interface, char *names, uint64_t *values, int room) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", interface);
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    r.ifr_data = (void *)&info;
    int count = ioctl(fd, SIOCETHTOOL, &r) == 0 ? (int)info.n_stats : -errno;
    struct ethtool_gstrings *strings = NULL;
    struct ethtool_stats *stats = NULL;
    if (count > room) count = -E2BIG;
    if (count > 0) {
        // The kernel writes as many as the driver has by then, whatever it is asked for: there must be
        // room for more.
        size_t most = (size_t)(room > 65536 ? room : 65536);
        strings = calloc(1, sizeof *strings + most * ETH_GSTRING_LEN);
        stats = calloc(1, sizeof *stats + most * sizeof(uint64_t));
        if (!strings || !stats) count = -ENOMEM;
    }
    if (count > 0) {
        *strings = (struct ethtool_gstrings){ETHTOOL_GSTRINGS, ETH_SS_STATS, (uint32_t)count};
        *stats = (struct ethtool_stats){ETHTOOL_GSTATS, (uint32_t)count};
        r.ifr_data = (void *)strings;
        int failed = ioctl(fd, SIOCETHTOOL, &r) != 0;
        r.ifr_data = (void *)stats;
        failed = failed || ioctl(fd, SIOCETHTOOL, &r) != 0;
        // The driver may have another number of them by now than there is memory for.
        if (failed || strings->len != (uint32_t)count || stats->n_stats != (uint32_t)count) {
            count = -EAGAIN;
        } else {
            memcpy(names, strings->data, (size_t)count * ETH_GSTRING_LEN);
            memcpy(values, stats->data, (size_t)count * sizeof(uint64_t));
        }
    }
    free(strings);
    free(stats);
    close(fd);
    return count;
}
