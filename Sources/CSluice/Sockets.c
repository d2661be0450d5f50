// Sockets that carry packets: bursts, the ring of packet(7), losses.
#define _GNU_SOURCE
#include "CSluice.h"

#include <linux/sock_diag.h>
#include <numa.h>
#include <numaif.h>
#include <sys/syscall.h>

_Static_assert(sizeof(struct sluice_message) == sizeof(struct mmsghdr) &&
                   offsetof(struct sluice_message, length) == offsetof(struct mmsghdr, msg_len),
               "sluice_message is mmsghdr");

_Static_assert(offsetof(struct sluice_source, type) == offsetof(struct cmsghdr, cmsg_type) &&
                   offsetof(struct sluice_source, info) == CMSG_LEN(0),
               "sluice_source begins with a cmsghdr");

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

uint32_t sluice_packet_drops(int fd) {
    // Reading sets the kernel's own counters to zero.
    struct tpacket_stats stats = {0, 0};
    socklen_t size = sizeof stats;
    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    return stats.tp_drops;
}

int sluice_socket(int family, int type, int protocol) {
    return (int)syscall(SYS_socket, (long)family, (long)type, (long)protocol);
}

int sluice_duplicate(int fd, int lowest) { return fcntl(fd, F_DUPFD_CLOEXEC, lowest); }

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

int sluice_bind_ipv4(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(address);
    return bind(fd, (struct sockaddr *)&a, sizeof a);
}

uint32_t sluice_socket_drops(int fd) {
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof info;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size);
    return info[SK_MEMINFO_DROPS];
}
