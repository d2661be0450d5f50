// What needs _GNU_SOURCE, NUMA or compiler intrinsics: kept out of the header that Swift sees.
#define _GNU_SOURCE
#include "CSluice.h"

#include <linux/sock_diag.h>
#include <numa.h>
#include <sched.h>
#include <sys/stat.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// Looks for the first and last byte of the needle 16 positions at a time (SSE2 is part of
// x86-64), then compares what lies between.
long sluice_find(const uint8_t *hay, long length, const uint8_t *needle, long count) {
    if (count <= 0 || length < count) return -1;
    long i = 0, last = length - count;  // last possible start
#if defined(__SSE2__)
    const __m128i first_byte = _mm_set1_epi8((char)needle[0]);
    const __m128i last_byte = _mm_set1_epi8((char)needle[count - 1]);
    for (; i + 15 <= last; i += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(hay + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(hay + i + count - 1));
        unsigned mask = (unsigned)_mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(a, first_byte), _mm_cmpeq_epi8(b, last_byte)));
        while (mask) {
            long at = i + __builtin_ctz(mask);
            if (memcmp(hay + at, needle, (size_t)count) == 0) return at;
            mask &= mask - 1;
        }
    }
#endif
    for (; i <= last; i++)
        if (hay[i] == needle[0] && memcmp(hay + i, needle, (size_t)count) == 0) return i;
    return -1;
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
    return n >= 0 ? n : -errno;
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

void *sluice_node_alloc(size_t size, int node) {
    void *memory;
    if (node >= 0 && numa_available() >= 0) {
        memory = numa_alloc_onnode(size, node);
    } else {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) memory = NULL;
    }
    if (memory) memset(memory, 0, size);
    return memory;
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
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
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
