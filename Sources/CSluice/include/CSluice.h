// CSluice: the system headers that Swift cannot import by itself, and thin wrappers.
//
// This header defines no feature macro: with _GNU_SOURCE its fd_set would differ from the one in
// Swift's own Glibc module, and the two refuse each other. What needs _GNU_SOURCE is in the .c files.
//
// Functions that a worker calls per burst are marked SLUICE_HOT: the mark tells the Swift
// compiler's @_noLocks check that they neither lock nor allocate in user space. Each carries the
// reason. That list is the audit surface of the hot path.
#ifndef CSLUICE_H
#define CSLUICE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SLUICE_HOT __attribute__((swift_attr("@_noLocks")))

// ---- Time ---------------------------------------------------------------------------------

// Monotonic nanoseconds. HOT: one vDSO read per burst.
SLUICE_HOT uint64_t sluice_monotonic_ns(void);

// ---- Bursts -------------------------------------------------------------------------------

// struct mmsghdr, which only _GNU_SOURCE declares.
struct sluice_message {
    struct msghdr header;
    unsigned int length;
};

// HOT: one system call for a whole burst; never blocks. Returns the count or -errno.
SLUICE_HOT int sluice_recvmmsg(int fd, struct sluice_message *messages, unsigned count);

// HOT: one system call for a whole burst; never blocks. Returns the count or -errno.
SLUICE_HOT int sluice_sendmmsg(int fd, struct sluice_message *messages, unsigned count);

// HOT: called only when there is nothing to do. Waits for either descriptor; returns the events
// of `fd` (POLLIN, POLLERR) or -errno. An event on `wake` is consumed.
SLUICE_HOT int sluice_wait(int fd, int wake, int milliseconds);

// ---- Packet rings (packet(7), Documentation/networking/packet_mmap.rst) --------------------

// Who owns a slot of a ring: TP_STATUS_*. HOT: one load with acquire order, so that the bytes of
// the slot are read after it; a plain load on x86-64.
SLUICE_HOT static inline uint32_t sluice_slot_status(const struct tpacket2_hdr *slot) {
    return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

// Asks for the cache lines that hold a packet's headers: they come while others are looked at.
// HOT: three instructions that cannot fault.
SLUICE_HOT static inline void sluice_prefetch_headers(const void *packet) {
    __builtin_prefetch(packet, 1);
    __builtin_prefetch((const char *)packet + 64, 0);
    __builtin_prefetch((const char *)packet + 128, 0);
}

// Gives a slot back to the kernel. HOT: one store with release order, so that the slot is not
// used after it; a plain store on x86-64.
SLUICE_HOT static inline void sluice_slot_free(struct tpacket2_hdr *slot) {
    __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

// Frames for which the ring had no slot since the last call. HOT: one system call, made a few
// times a second.
SLUICE_HOT uint32_t sluice_packet_drops(int fd);

// socket(2) with its arguments in whole registers. An int may leave anything in the upper half of
// one; a filter of system calls, such as systemd's RestrictAddressFamilies, compares all of it.
// Returns -1 and errno.
int sluice_socket(int family, int type, int protocol);

// Binds a packet socket to a protocol (host order; 0 receives nothing) and an interface (0 = all).
int sluice_bind_packet(int fd, uint16_t protocol, int interface);

// Binds a netlink socket to multicast groups (0 = none); the kernel gives it a port of its own.
int sluice_bind_netlink(int fd, uint32_t groups);

// Makes the kernel allocate a TPACKET_V2 receive ring, on the node if there is one (-1 = any).
// Returns 0 or -1 and errno.
int sluice_make_ring(int fd, struct tpacket_req *request, int node);

// The ring as memory of ours, all of it mapped now. NULL and errno when that fails.
void *sluice_map_ring(int fd, size_t size);

// What the kernel says beside a datagram. Zero / -1 when it said nothing.
struct sluice_ancillary {
    uint32_t destination;    // IP_PKTINFO ipi_addr, network byte order
    uint32_t local;          // IP_PKTINFO ipi_spec_dst, network byte order
    uint32_t interface;      // IP_PKTINFO ipi_ifindex
    uint8_t ttl;
    uint8_t tos;
};

// HOT: walks the control messages of one datagram, bounded by msg_controllen.
SLUICE_HOT static inline struct sluice_ancillary sluice_read_ancillary(struct msghdr *message) {
    struct sluice_ancillary a = {0, 0, 0, 64, 0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != IPPROTO_IP) continue;
        if (c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            a.destination = info.ipi_addr.s_addr;
            a.local = info.ipi_spec_dst.s_addr;
            a.interface = (uint32_t)info.ipi_ifindex;
        } else if (c->cmsg_type == IP_TTL) {
            int ttl;
            memcpy(&ttl, CMSG_DATA(c), sizeof ttl);
            a.ttl = (uint8_t)ttl;
        } else if (c->cmsg_type == IP_TOS) {
            a.tos = *(const uint8_t *)CMSG_DATA(c);
        }
    }
    return a;
}

// The control message that names the source address of a datagram (IP_PKTINFO, ip(7)). struct cmsghdr
// ends in an array without a length, which Swift does not import within another structure.
struct sluice_source {
    size_t length;
    int level;
    int type;
    struct in_pktinfo info;
};

// ---- Search and sum -----------------------------------------------------------------------

// First occurrence of needle in hay, or -1. HOT: pure computation within [hay, hay + length).
SLUICE_HOT long sluice_find(const uint8_t *hay, long length, const uint8_t *needle, long count);

// Where (-1 = nowhere) the first of two needles stands, and which: 0 = a, 1 = b.
struct sluice_found {
    long at;
    long which;
};

// Both needles in one pass; where both stand at one place, a. HOT: as sluice_find.
SLUICE_HOT struct sluice_found sluice_find_either(const uint8_t *hay, long length, const uint8_t *a,
                                                  long a_count, const uint8_t *b, long b_count);

// The sum of the 32-bit words (native order) in [p, p + count); count is a multiple of 4.
// HOT: pure computation within those bytes.
SLUICE_HOT uint64_t sluice_sum(const uint8_t *p, long count);

// HOT: a plain memory copy, named so that the compiler's lock check knows it.
SLUICE_HOT static inline void sluice_copy(void *to, const void *from, size_t count) {
    memcpy(to, from, count);
}

// HOT: the same where both may overlap.
SLUICE_HOT static inline void sluice_move(void *to, const void *from, size_t count) {
    memmove(to, from, count);
}

// ---- Threads and memory -------------------------------------------------------------------

int sluice_pin(int cpu);

// Fills cpus with the CPUs this process may run on; returns how many.
int sluice_allowed_cpus(int *cpus, int capacity);

void sluice_name_thread(const char *name);

// The NUMA node of a CPU, or -1 where the host has no NUMA.
int sluice_node_of_cpu(int cpu);

// Zeroed, page-aligned memory on the node (any node when node < 0), touched so that it is there
// before the first packet, on huge pages where the host gives them. NULL when there is none.
void *sluice_node_alloc(size_t size, int node);
// True when an area of this size gets huge pages: it is large enough, and the host's choice is
// "always" or "madvise".
int sluice_gets_huge_pages(size_t size);
// numa_free is munmap too, so one call serves both kinds.
void sluice_node_free(void *memory, size_t size);

// Drops every capability of the calling thread. Returns 0 or errno.
int sluice_drop_capabilities(void);

// ---- Sockets ------------------------------------------------------------------------------

// Binds to an IPv4 address and port, both in host order.
int sluice_bind_ipv4(int fd, uint32_t address, uint16_t port);

// Abstract UNIX name ("\0name"): vanishes with its owner, also after kill -9.
int sluice_bind_abstract(int fd, const char *name);
int sluice_connect_abstract(int fd, const char *name);
int sluice_peer_pid(int fd);

// A UNIX stream socket by path: a descriptor, or -errno. The listener replaces the file and gives
// it mode 0600; `inode` is told by what that file is known, for sluice_unlink_unix, which removes
// no other.
int sluice_connect_unix(const char *path);
int sluice_listen_unix(const char *path, uint64_t *inode);
void sluice_unlink_unix(const char *path, uint64_t inode);
// A UNIX datagram socket to a service manager, which never blocks: a descriptor, or -errno. A name
// that begins with '@' is abstract (sd_notify(3)).
int sluice_connect_notify(const char *name);
// The user at the other end, or -1.
int sluice_peer_uid(int fd);

// Accepts a waiting client without blocking: its descriptor, or -errno.
int sluice_accept_nonblocking(int fd);

// The hardware type of an interface (ARPHRD_*), or -errno.
int sluice_interface_type(const char *name);

// The MTU of an interface, or -errno.
int sluice_interface_mtu(const char *name);

// Interface flags (IFF_UP …), or -errno.
int sluice_interface_flags(const char *name);

// A prefix of addresses, host order, and what kind they are (RTN_LOCAL or RTN_BROADCAST).
struct sluice_prefix {
    uint32_t address;
    uint8_t length;
    uint8_t kind;
};

// The addresses in the routing table `local`: those of interfaces, and those of routes of type local
// (AnyIP). Returns how many, or -errno; E2BIG for more than `room`.
int sluice_local_prefixes(struct sluice_prefix *prefixes, int room);

// Whether a feature of an interface is on, by its name as `ethtool -k` has it: 1, 0, or -errno; ENOENT
// when the kernel has none of that name.
int sluice_interface_has_feature(const char *name, const char *feature);

// A TUN device without packet information, non-blocking: its descriptor, or -errno.
int sluice_open_tun(const char *name);

// A second descriptor for the same file, at least `lowest`, closed on exec; -1 and errno.
int sluice_duplicate(int fd, int lowest);

// Opens /dev/null for every closed descriptor of 0, 1 and 2, so that no socket becomes one.
void sluice_hold_standard_descriptors(void);

// Writes a line to standard error if that can be done without waiting; else the line is lost.
// Never fails: a log reader that died or sleeps must not hold up the appliance.
void sluice_write_error_line(const char *line, size_t length);

// Whether all that was printed has been taken: a full disk or a closed pipe refuses.
int sluice_output_is_written(void);

// An argument of the process, the program's name first; NULL past the last one. Swift reads them from
// /proc, which a chroot may lack.
const char *sluice_argument(int index);

// Whether standard error is the journal (systemd.exec(5), JOURNAL_STREAM).
int sluice_error_is_journal(void);

// The thread that calls gives way to others from now on, see nice(2).
void sluice_lower_thread_priority(int nice);

// Datagrams that the socket has dropped so far, for want of room or by its filter. HOT: one system
// call, made a few times a second.
SLUICE_HOT uint32_t sluice_socket_drops(int fd);

// Signals as a descriptor; the signals are blocked in the calling thread (and so in threads
// that it starts afterwards); SIGPIPE is ignored. Returns the descriptor or -errno.
int sluice_signal_descriptor(const int *signals, int count);
// The next signal waiting on the descriptor, or 0.
int sluice_next_signal(int fd);

// What a network card counts, as `ethtool -S` prints it: names of 32 bytes each, and values. Returns how
// many, or -errno; E2BIG for more than `room`.
int sluice_card_statistics(const char *interface, char *names, uint64_t *values, int room);

// A full fence (C11 atomic_thread_fence, memory_order_seq_cst). HOT: no call, and on x86 an MFENCE
// where compilers prefer a locked instruction, so that tools/hotpath can tell that there is none.
SLUICE_HOT static inline void sluice_full_fence(void) {
#if defined(__x86_64__)
    __asm__ volatile("mfence" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline int sluice_errno(void) { return errno; }

#endif
