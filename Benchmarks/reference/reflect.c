// A reference appliance in C, as small as the method allows: what each way of getting packets in
// and out of Linux costs, for Sluice to be measured against. It checks what it must to stay within
// the packet, swaps the outer addresses and sends the packet back; with --policy blog it also does
// what Sluice's built-in policy does. No flow table, no counters, no health, no drain.
//
//   --io packet  memory-mapped TPACKET_V2 receive ring, fanout by classic BPF; sendmmsg past the
//                qdisc, straight out of the ring. The caller keeps the IP stack away:
//                  nft add table netdev cut
//                  nft 'add chain netdev cut in
//                       { type filter hook ingress device IF priority 0; policy drop; }'
//   --io udp     SO_REUSEPORT sockets with IP_PKTINFO, recvmmsg; IP_HDRINCL sendmmsg
//   --io raw     raw sockets, recvmmsg; IP_HDRINCL sendmmsg
//   --io raw1    a raw socket, recvfrom and sendto: one packet per system call
//
// Several workers share packets by the outer source port. Never on a network that matters: what
// these sockets accept is answered, whoever sent it.
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <immintrin.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SLOT = 9216,           // bytes of a buffer
    HEADROOM = 64,         // in front of a packet, for an outer header
    RING_SLOT = 16384,     // bytes of a slot of the memory-mapped ring
    RING_BLOCK = 65536,
    MAX_WORKERS = 128,
    SEND_RETRIES = 16,
};

static struct {
    const char *io, *interface;
    int cpus[MAX_WORKERS], cpu_count, workers, frames;
    bool blog, busy_poll, checksum;
} options = {.cpus = {-1}, .cpu_count = 1, .workers = 1, .frames = 4096};

static volatile sig_atomic_t stopping;
static void stop(int signal) { (void)signal, stopping = 1; }

// --- the packet ----------------------------------------------------------------------------------

// The first occurrence of a needle of at least 2 bytes, or NULL: compares its first and last byte
// at 32 places at a time.
static inline const uint8_t *find(const uint8_t *hay, long length, const char *needle, long count) {
    long at = 0, places = length - count + 1;
#ifdef __AVX2__
    const __m256i first = _mm256_set1_epi8(needle[0]);
    const __m256i last = _mm256_set1_epi8(needle[count - 1]);
    for (; at + 32 <= places; at += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(hay + at));
        __m256i b = _mm256_loadu_si256((const __m256i *)(hay + at + count - 1));
        a = _mm256_and_si256(_mm256_cmpeq_epi8(a, first), _mm256_cmpeq_epi8(b, last));
        for (unsigned hits = (unsigned)_mm256_movemask_epi8(a); hits; hits &= hits - 1) {
            const uint8_t *found = hay + at + __builtin_ctz(hits);
            if (memcmp(found, needle, (size_t)count) == 0) return found;
        }
    }
#endif
    for (; at < places; at++)
        if (hay[at] == (uint8_t)needle[0] && memcmp(hay + at, needle, (size_t)count) == 0)
            return hay + at;
    return NULL;
}

struct inner {
    uint8_t *ip, *transport, *end;
    int version, protocol;
    bool is_fragment, is_later_fragment;
};

// Reads an inner packet that ends at `end`; false when it cannot be read.
static inline bool read_inner(struct inner *in, uint8_t *ip, uint8_t *end) {
    *in = (struct inner){.ip = ip, .version = end > ip ? ip[0] >> 4 : 0};
    if (in->version == 4) {
        if (end - ip < IPV4) return false;
        long header = (ip[0] & 15) * 4, total = get16(ip + 2);
        if (header < IPV4 || total < header || total > end - ip) return false;
        in->protocol = ip[9], in->transport = ip + header, in->end = ip + total;
        in->is_fragment = get16(ip + 6) & 0x3FFF, in->is_later_fragment = get16(ip + 6) & 0x1FFF;
        return true;
    }
    if (in->version != 6 || end - ip < 40 || get16(ip + 4) > end - ip - 40) return false;
    in->end = ip + 40 + get16(ip + 4);
    in->protocol = ip[6], in->transport = ip + 40;
    for (int i = 0; i < 8; i++) {
        uint8_t *at = in->transport;
        int kind = in->protocol;
        if (kind != 0 && kind != 43 && kind != 44 && kind != 60) break;
        if (in->end - at < 8) return false;
        if (kind == 44) {
            in->is_fragment |= (get16(at + 2) & 0xFFF9) != 0;
            in->is_later_fragment = get16(at + 2) & 0xFFF8;
        }
        in->protocol = at[0], in->transport = at + (kind == 44 ? 8 : (at[1] + 1) * 8);
        if (in->transport > in->end) return false;
        if (in->is_later_fragment) break;
    }
    return true;
}

// Replaces every "weakly typed"; how much longer the packet has become, -1 without room. Checksums
// are computed anew: rewriting is not what is measured.
static long rewrite(const struct inner *in, long payload_length, long room) {
    uint8_t *payload = in->transport + UDP;
    long grown = 0;
    for (long at = 0;;) {
        const uint8_t *found = find(payload + at, payload_length - at, "weakly typed", 12);
        if (!found) break;
        if (grown + 2 > room) return -1;
        at = found - payload;
        memmove(payload + at + 14, payload + at + 12, (size_t)(payload_length - at - 12));
        memcpy(payload + at, "strongly typed", 14);
        at += 14, payload_length += 2, grown += 2;
    }
    if (grown == 0) return 0;
    long udp_length = UDP + payload_length;
    put16(in->transport + 4, (unsigned)udp_length);
    uint64_t sum = IPPROTO_UDP + (uint64_t)udp_length;
    if (in->version == 4) {
        put16(in->ip + 2, (unsigned)(in->transport + udp_length - in->ip));
        seal_ipv4(in->ip, (in->ip[0] & 15) * 4);
        sum = sum_words(sum, in->ip + 12, 8);
    } else {
        put16(in->ip + 4, (unsigned)(in->transport + udp_length - in->ip - 40));
        sum = sum_words(sum, in->ip + 8, 32);
    }
    if (get16(in->transport + 6) != 0) {
        put16(in->transport + 6, 0);
        unsigned checksum = fold(sum_words(sum, in->transport, udp_length));
        put16(in->transport + 6, checksum ? checksum : 0xFFFF);
    }
    return grown;
}

// The blog's policy on a packet of `length` bytes: its new length, 0 to drop it.
static inline long apply_blog_policy(uint8_t *outer, long udp, uint8_t *inner, long length,
                                     long room) {
    struct inner in;
    if (!read_inner(&in, inner, outer + length)) return 0;
    long available = in.end - in.transport;
    if (in.is_later_fragment || available < UDP) return length;
    if (in.protocol == IPPROTO_ICMP && in.version == 4) {
        bool is_echo = in.transport[0] == 8 || in.transport[0] == 0;
        return is_echo && get16(in.transport + 6) % 5 == 0 ? 0 : length;
    }
    if (in.protocol != IPPROTO_UDP ||
        (get16(in.transport) != 3000 && get16(in.transport + 2) != 3000))
        return length;
    long udp_length = get16(in.transport + 4);
    if (udp_length < UDP || (udp_length > available && !in.is_fragment)) return length;
    long payload_length = (udp_length < available ? udp_length : available) - UDP;
    if (find(in.transport + UDP, payload_length, "drop me", 7)) return 0;
    if (in.is_fragment) return length;
    long grown = rewrite(&in, payload_length, room - length);
    if (grown <= 0) return grown < 0 ? 0 : length;
    length = in.transport + UDP + payload_length + grown - outer;
    put16(outer + 2, (unsigned)length);
    put16(outer + udp + 4, (unsigned)(length - udp));
    put16(outer + udp + 6, 0);
    seal_ipv4(outer, udp);
    return length;
}

// Turns the outer IPv4 packet at `outer` around in place; it has `length` bytes and room for
// `room`. Its length to send, 0 to send nothing.
static inline long turn_around(uint8_t *outer, long length, long room) {
    if (length < IPV4 + UDP + 8) return 0;
    long udp = (outer[0] & 15) * 4, total = get16(outer + 2);
    if (outer[0] >> 4 != 4 || udp < IPV4 || total > length || total < udp + UDP + 8) return 0;
    if (outer[9] != IPPROTO_UDP || get16(outer + udp + 2) != GENEVE_PORT) return 0;
    uint8_t *geneve = outer + udp + UDP;
    uint8_t *inner = geneve + 8 + (geneve[0] & 0x3F) * 4;
    if (geneve[0] >> 6 != 0 || inner > outer + total) return 0;
    uint32_t source, destination;
    memcpy(&source, outer + 12, 4);
    memcpy(&destination, outer + 16, 4);
    memcpy(outer + 12, &destination, 4);
    memcpy(outer + 16, &source, 4);
    return options.blog ? apply_blog_policy(outer, udp, inner, total, room) : total;
}

// --- sockets -------------------------------------------------------------------------------------

struct worker {
    pthread_t thread;
    int index, in, out;
    uint64_t received, sent;
    uint8_t *ring;       // of the packet ring: `frames` slots
    unsigned next;       // the slot to look at
    uint8_t *buffers;    // of the other methods: MAX_BURST slots
    struct mmsghdr arriving[MAX_BURST], leaving[MAX_BURST];
    struct iovec arriving_bytes[MAX_BURST], leaving_bytes[MAX_BURST];
    struct sockaddr_in from[MAX_BURST], to[MAX_BURST];
    char beside[MAX_BURST][128];
};

static struct worker workers[MAX_WORKERS];

static int open_socket(int family, int type, int protocol) {
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) die(71, "socket");
    return fd;
}

static void set(int fd, int level, int option, int value, const char *name) {
    if (setsockopt(fd, level, option, &value, sizeof value) != 0) die(71, "%s", name);
}

static void attach(int fd, int level, int option, struct sock_filter *code, size_t count) {
    struct sock_fprog program = {(unsigned short)count, code};
    if (setsockopt(fd, level, option, &program, sizeof program) != 0) die(71, "attach a filter");
}
#define ATTACH(fd, level, option, code) attach(fd, level, option, code, sizeof code / sizeof *code)

static void bind_port(int fd) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(GENEVE_PORT)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0) die(71, "bind UDP port %d", GENEVE_PORT);
}

// What all receiving sockets of the IP stack are told.
static void prepare(int fd) {
    set(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO");
    set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL");
    set(fd, SOL_SOCKET, SO_RCVBUFFORCE, options.frames * SLOT, "SO_RCVBUFFORCE");
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, options.interface,
                   (socklen_t)strlen(options.interface)) != 0)
        die(71, "SO_BINDTODEVICE %s", options.interface);
}

static int open_raw_sender(void) {
    int fd = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER");
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, options.frames * SLOT, "SO_SNDBUFFORCE");
    return fd;
}

// Takes the port, so that the kernel answers no packet with port unreachable, and drops all.
static void open_sink(void) {
    int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
    struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    ATTACH(fd, SOL_SOCKET, SO_ATTACH_FILTER, nothing);
    bind_port(fd);
}

static void open_raw(struct worker *w) {
    w->in = open_socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    struct sock_filter share[] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),  // X = length of the IPv4 header
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GENEVE_PORT, 0, 4),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, (unsigned)options.workers),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)w->index, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0x40000),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    ATTACH(w->in, SOL_SOCKET, SO_ATTACH_FILTER, share);
    prepare(w->in);
    w->out = open_raw_sender();
}

static void open_udp(struct worker *w) {
    w->in = open_socket(AF_INET, SOCK_DGRAM, 0);
    set(w->in, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
    set(w->in, IPPROTO_IP, IP_RECVTTL, 1, "IP_RECVTTL");
    set(w->in, IPPROTO_IP, IP_RECVTOS, 1, "IP_RECVTOS");
    prepare(w->in);
    bind_port(w->in);
    w->out = open_raw_sender();
    if (options.workers > 1 && w->index == options.workers - 1) {
        struct sock_filter by_port[] = {
            BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (unsigned)SKF_NET_OFF + IPV4),
            BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, (unsigned)options.workers),
            BPF_STMT(BPF_RET | BPF_A, 0),
        };
        ATTACH(w->in, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, by_port);
    }
}

static void bind_interface(int fd, int protocol) {
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = htons((uint16_t)protocol),
                            .sll_ifindex = (int)if_nametoindex(options.interface)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0) die(71, "bind to %s", options.interface);
}

static void open_packet(struct worker *w) {
    w->in = open_socket(AF_PACKET, SOCK_RAW, 0);
    struct sock_filter geneve[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 6),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETHERNET + 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 4),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETHERNET),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETHERNET + 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GENEVE_PORT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0x40000),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    ATTACH(w->in, SOL_SOCKET, SO_ATTACH_FILTER, geneve);
    set(w->in, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
    set(w->in, SOL_PACKET, PACKET_VERSION, TPACKET_V2, "PACKET_VERSION");
    struct tpacket_req ring = {.tp_block_size = RING_BLOCK,
                               .tp_block_nr = (unsigned)options.frames / (RING_BLOCK / RING_SLOT),
                               .tp_frame_size = RING_SLOT,
                               .tp_frame_nr = (unsigned)options.frames};
    if (setsockopt(w->in, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0)
        die(71, "PACKET_RX_RING");
    w->ring = mmap(NULL, (size_t)options.frames * RING_SLOT, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, w->in, 0);
    if (w->ring == MAP_FAILED) die(71, "map the ring");
    bind_interface(w->in, ETH_P_ALL);
    if (options.workers > 1) {
        int group = (getpid() & 0xFFFF) | PACKET_FANOUT_CBPF << 16;
        set(w->in, SOL_PACKET, PACKET_FANOUT, group, "PACKET_FANOUT");
        if (w->index == 0) {
            struct sock_filter by_port[] = {
                BPF_STMT(BPF_LD | BPF_H | BPF_ABS, IPV4),  // byte 0 is the IPv4 header
                BPF_STMT(BPF_RET | BPF_A, 0),              // the kernel takes it modulo the group
            };
            ATTACH(w->in, SOL_PACKET, PACKET_FANOUT_DATA, by_port);
        }
    }
    w->out = open_socket(AF_PACKET, SOCK_RAW, 0);
    set(w->out, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS");
    set(w->out, SOL_SOCKET, SO_SNDBUFFORCE, options.frames * SLOT, "SO_SNDBUFFORCE");
    bind_interface(w->out, 0);
}

// --- loops ---------------------------------------------------------------------------------------

static void rest(const struct worker *w) {
    if (options.busy_poll) return;
    struct pollfd p = {w->in, POLLIN, 0};
    poll(&p, 1, 250);
}

// Sends the first `count` messages of `leaving`. One that the kernel refuses is given up.
static void send_burst(struct worker *w, int count) {
    for (int at = 0, retries = 0; at < count;) {
        int n = sendmmsg(w->out, w->leaving + at, (unsigned)(count - at), MSG_DONTWAIT);
        if (n > 0) {
            w->sent += (unsigned)n, at += n;
        } else if (!(errno == EAGAIN || errno == ENOBUFS || errno == EINTR) ||
                   retries++ == SEND_RETRIES) {
            at++;
        }
    }
}

static void run_packet(struct worker *w) {
    while (!stopping) {
        int seen = 0, answers = 0;
        unsigned first = w->next, frames = (unsigned)options.frames;
        while (seen < MAX_BURST) {
            struct tpacket2_hdr *slot = (void *)(w->ring + (size_t)w->next * RING_SLOT);
            if (!(__atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) break;
            uint8_t *frame = (uint8_t *)slot + slot->tp_mac;
            long length = turn_around(frame + ETHERNET, (long)slot->tp_snaplen - ETHERNET,
                                      RING_SLOT - slot->tp_mac - ETHERNET);
            if (length > 0) {
                uint8_t destination[6];
                memcpy(destination, frame, 6);
                memcpy(frame, frame + 6, 6);
                memcpy(frame + 6, destination, 6);
                w->leaving_bytes[answers].iov_base = frame;
                w->leaving_bytes[answers++].iov_len = (size_t)length + ETHERNET;
            }
            w->next = w->next + 1 == frames ? 0 : w->next + 1;
            seen++;
        }
        if (seen == 0) {
            rest(w);
            continue;
        }
        w->received += (unsigned)seen;
        send_burst(w, answers);
        for (int i = 0; i < seen; i++) {
            struct tpacket2_hdr *slot = (void *)(w->ring + (size_t)first * RING_SLOT);
            __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
            first = first + 1 == frames ? 0 : first + 1;
        }
    }
}

// Writes in front of a UDP payload the outer header that it came with, as far as it is known.
static uint8_t *restore_outer(struct worker *w, int i, long length) {
    struct msghdr *message = &w->arriving[i].msg_hdr;
    uint8_t *outer = w->buffers + i * SLOT + HEADROOM - IPV4 - UDP;
    uint32_t destination = 0;
    uint8_t ttl = 255, tos = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != IPPROTO_IP) continue;
        if (c->cmsg_type == IP_PKTINFO)
            destination = ((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_addr.s_addr;
        if (c->cmsg_type == IP_TTL) ttl = *CMSG_DATA(c);
        if (c->cmsg_type == IP_TOS) tos = *CMSG_DATA(c);
    }
    outer[0] = 0x45, outer[1] = tos;
    put16(outer + 2, (unsigned)length);
    put32(outer + 4, 0);  // the kernel fills in ID and header checksum (raw(7))
    outer[8] = ttl, outer[9] = IPPROTO_UDP;
    put16(outer + 10, 0);
    memcpy(outer + 12, &w->from[i].sin_addr, 4);
    memcpy(outer + 16, &destination, 4);
    memcpy(outer + 20, &w->from[i].sin_port, 2);
    put16(outer + 22, GENEVE_PORT);
    put16(outer + 24, (unsigned)length - IPV4);
    put16(outer + 26, 0);
    return outer;
}

// The outer UDP checksum over pseudo-header and datagram (RFC 768).
static void seal_udp(uint8_t *outer, long length) {
    const uint8_t *at = outer + 12;
    uint64_t sum = IPPROTO_UDP * 256, high = 0;
    long count = length - 12;
    sum += htons((uint16_t)(length - IPV4));
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        sum += word & 0xFFFFFFFF, high += word >> 32;
    }
    uint64_t last = 0;
    memcpy(&last, at, (size_t)count);
    sum += (last & 0xFFFFFFFF) + (last >> 32) + high;
    uint16_t checksum = (uint16_t)fold(sum);
    if (checksum == 0) checksum = 0xFFFF;
    memcpy(outer + 26, &checksum, 2);
}

static void run_bursts(struct worker *w, bool is_udp) {
    for (int i = 0; i < MAX_BURST; i++) {
        w->arriving_bytes[i] =
            (struct iovec){w->buffers + i * SLOT + HEADROOM, SLOT - HEADROOM};
        w->arriving[i].msg_hdr = (struct msghdr){.msg_name = &w->from[i],
                                                 .msg_iov = &w->arriving_bytes[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = w->beside[i]};
        w->to[i].sin_family = AF_INET;
        w->leaving[i].msg_hdr.msg_name = &w->to[i];
        w->leaving[i].msg_hdr.msg_namelen = sizeof w->to[i];
    }
    while (!stopping) {
        for (int i = 0; i < MAX_BURST; i++) {
            w->arriving[i].msg_hdr.msg_namelen = sizeof w->from[i];
            w->arriving[i].msg_hdr.msg_controllen = sizeof w->beside[i];
        }
        int seen = recvmmsg(w->in, w->arriving, MAX_BURST, MSG_DONTWAIT, NULL), answers = 0;
        if (seen <= 0) {
            rest(w);
            continue;
        }
        w->received += (unsigned)seen;
        for (int i = 0; i < seen; i++) {
            uint8_t *outer = w->arriving_bytes[i].iov_base;
            long length = w->arriving[i].msg_len, room = SLOT - HEADROOM;
            if (is_udp) {
                length += IPV4 + UDP, room += IPV4 + UDP;
                outer = restore_outer(w, i, length);
            }
            length = turn_around(outer, length, room);
            if (length == 0) continue;
            if (is_udp && options.checksum) seal_udp(outer, length);
            memcpy(&w->to[answers].sin_addr, outer + 16, 4);
            w->leaving_bytes[answers].iov_base = outer;
            w->leaving_bytes[answers++].iov_len = (size_t)length;
        }
        send_burst(w, answers);
    }
}

static void run_one_by_one(struct worker *w) {
    int flags = options.busy_poll ? MSG_DONTWAIT : 0;
    while (!stopping) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        ssize_t n = recvfrom(w->in, w->buffers, SLOT, flags, (struct sockaddr *)&peer, &size);
        if (n < 0) continue;
        w->received++;
        long length = turn_around(w->buffers, n, SLOT);
        if (length > 0 && sendto(w->out, w->buffers, (size_t)length, 0, (struct sockaddr *)&peer,
                                 sizeof peer) >= 0)
            w->sent++;
    }
}

// --- start and stop ------------------------------------------------------------------------------

static void *run(void *argument) {
    struct worker *w = argument;
    if (options.cpus[0] >= 0) pin(options.cpus[w->index % options.cpu_count]);
    for (int i = 0; i < MAX_BURST; i++) {
        w->leaving[i].msg_hdr.msg_iov = &w->leaving_bytes[i];
        w->leaving[i].msg_hdr.msg_iovlen = 1;
    }
    if (!w->ring) {
        w->buffers = mmap(NULL, MAX_BURST * SLOT, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (w->buffers == MAP_FAILED) die(71, "allocate buffers");
    }
    if (w->ring) run_packet(w);
    else if (strcmp(options.io, "raw1") == 0) run_one_by_one(w);
    else run_bursts(w, strcmp(options.io, "udp") == 0);
    return NULL;
}

static void usage(FILE *out) {
    fputs("usage: reflect --io packet|udp|raw|raw1 --interface NAME [--policy none|blog]\n"
          "               [--workers N] [--cpu LIST] [--frames N] [--busy-poll]\n"
          "               [--outer-checksum zero|compute]\n", out);
}

static void read_options(int count, char **arguments) {
    static const struct option known[] = {
        {"io", 1, 0, 'i'},        {"interface", 1, 0, 'I'}, {"policy", 1, 0, 'p'},
        {"workers", 1, 0, 'w'},   {"cpu", 1, 0, 'c'},       {"frames", 1, 0, 'f'},
        {"busy-poll", 0, 0, 'b'}, {"help", 0, 0, 'h'},      {"outer-checksum", 1, 0, 's'}, {0}};
    for (int c; (c = getopt_long(count, arguments, "", known, NULL)) != -1;) switch (c) {
        case 'i': options.io = optarg; break;
        case 'I': options.interface = optarg; break;
        case 'p': options.blog = strcmp(optarg, "blog") == 0; break;
        case 'w': options.workers = (int)parse_number("workers", optarg, 1, MAX_WORKERS); break;
        case 'c': options.cpu_count = parse_cpus(optarg, options.cpus, MAX_WORKERS); break;
        case 'f': options.frames = (int)parse_number("frames", optarg, 64, 65536) & ~3; break;
        case 'b': options.busy_poll = true; break;
        case 's': options.checksum = strcmp(optarg, "compute") == 0; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(64);
    }
    static const char *const methods[] = {"packet", "udp", "raw", "raw1"};
    bool is_known = false;
    for (int i = 0; i < 4; i++)
        is_known |= options.io && strcmp(options.io, methods[i]) == 0;
    if (!is_known || !options.interface || optind < count) usage(stderr), exit(64);
    if (if_nametoindex(options.interface) == 0) die(64, "no interface %s", options.interface);
    if (strcmp(options.io, "raw1") == 0 && options.workers > 1)
        die(64, "--io raw1 has one worker");
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    // No SA_RESTART: a signal ends a blocking call. The threads of the workers inherit the mask.
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (options.io[0] == 'r') open_sink();
    for (int i = 0; i < options.workers; i++) {
        struct worker *w = &workers[i];
        w->index = i;
        if (options.io[0] == 'p') open_packet(w);
        else if (options.io[0] == 'u') open_udp(w);
        else open_raw(w);
    }
    for (int i = 1; i < options.workers; i++)
        if (pthread_create(&workers[i].thread, NULL, run, &workers[i]) != 0) die(71, "thread");
    fputs("ready\n", stderr);
    run(&workers[0]);
    uint64_t received = workers[0].received, sent = workers[0].sent;
    for (int i = 1; i < options.workers; i++) {
        pthread_join(workers[i].thread, NULL);
        received += workers[i].received, sent += workers[i].sent;
    }
    printf("{\"received\": %llu, \"sent\": %llu}\n", (unsigned long long)received,
           (unsigned long long)sent);
    return 0;
}
