// A bare AF_PACKET sender: frames as GWLB sends them, built beforehand, past the qdisc by sendmmsg,
// nothing done per packet (a transmit ring measured slower up to 1500 bytes). Prints one JSON
// object. Three ways to use it:
//
//   send … --seconds S | --count N [--rate PPS]
//       sends flat out, or on a schedule. With several CPUs, one thread on each.
//   send … --drain PID --count N [--repeat K]
//       the drain test: stops the process, sends N frames that its queues hold, lets it go on and
//       times the emptying. No wake-ups, and no sender that could be the limit.
//   send … --latency --rate PPS --seconds S
//       one thread sends on a schedule and reads the answers' arrival times (the kernel's) from a
//       ring; latency counts from the time a frame was due, so a late sender hides nothing.
//
// It sends to the one address and the one interface it is told.
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STAMP = 8,  // bytes of the inner payload that latency runs number packets in
    HEAD = ETHERNET + IPV4 + UDP + GENEVE + IPV4 + UDP + STAMP,
    LEAST_INNER = IPV4 + UDP + STAMP,
    MOST_INNER = 8933,
    MAX_SENDERS = 16,
    RING_SLOT = 256,
    RING_SLOTS = 16384,
};

static struct {
    const char *interface;
    uint32_t source, target;
    uint8_t to[6];
    int size;  // inner bytes; 0 = IMIX
    int port, flows, cpus[MAX_SENDERS], senders, repeat;
    long count, rate;
    double seconds;
    pid_t drain;
    bool latency, zero_checksum;
} options = {.size = 128, .port = 4000, .flows = 256, .cpus = {-1}, .senders = 1, .repeat = 1};

// --- frames --------------------------------------------------------------------------------------

// The simple IMIX, 7:4:1, in an order that spreads the sizes.
static const int imix[12] = {64, 576, 64, 64, 576, 64, 1500, 64, 576, 64, 64, 576};

static struct frames {
    int count;
    uint8_t (*heads)[HEAD];
    struct iovec (*parts)[2];
    struct mmsghdr *messages;
    uint8_t *payload;  // what follows the heads: lower-case letters and spaces
} frames;

static void fill_payload(void) {
    frames.payload = malloc(MOST_INNER);
    uint32_t state = 1;
    for (int i = 0; i < MOST_INNER; i++) {
        state = state * 1664525 + 1013904223;
        frames.payload[i] = (uint8_t) "abcdefghijklmnopqrstuvwxyz      "[state >> 27];
    }
    frames.payload[MOST_INNER - 1] = 0;
    const char *text = (const char *)frames.payload;
    if (strstr(text, "drop me") || strstr(text, "weakly typed")) die(64, "not a neutral payload");
}

static unsigned udp_checksum(const uint8_t *ip, const uint8_t *udp, int head, int tail) {
    uint64_t sum = IPPROTO_UDP + (unsigned)(head + tail);
    sum = sum_words(sum, ip + 12, 8);
    sum = sum_words(sum, udp, head);
    sum = sum_words(sum, frames.payload, tail);
    unsigned checksum = fold(sum);
    return checksum ? checksum : 0xFFFF;
}

static void put_ipv4(uint8_t *ip, int total, uint32_t source, uint32_t destination) {
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)total);
    ip[8] = 255, ip[9] = IPPROTO_UDP;
    put32(ip + 12, source);
    put32(ip + 16, destination);
    seal_ipv4(ip, IPV4);
}

static void put_geneve(uint8_t *at, unsigned flow) {
    at[0] = (GENEVE - 8) / 4;
    put16(at + 2, ETH_P_IP);
    static const uint8_t lengths[] = {8, 8, 4};
    uint8_t *option = at + 8;
    for (int kind = 1; kind <= 3; kind++) {
        put16(option, 0x0108);
        option[2] = (uint8_t)kind, option[3] = lengths[kind - 1] / 4;
        if (kind == 1) put32(option + 4, 0x01234567), put32(option + 8, 0x89ABCDEF);
        if (kind == 3) put32(option + 4, 0x51000000 + flow);
        option += 4 + lengths[kind - 1];
    }
}

// One flow's frame around an inner UDP packet of `inner` bytes.
static void build(uint8_t *head, const uint8_t *from, unsigned flow, int inner) {
    uint8_t *outer = head + ETHERNET, *udp = outer + IPV4, *geneve = udp + UDP;
    uint8_t *ip = geneve + GENEVE, *inner_udp = ip + IPV4;
    int tail = inner - LEAST_INNER;
    memset(head, 0, HEAD);
    memcpy(head, options.to, 6);
    memcpy(head + 6, from, 6);
    put16(head + 12, ETH_P_IP);
    put_ipv4(ip, inner, 0x0A000000 + flow / 16, 0x0A800001);
    put16(inner_udp, 20000 + flow % 16);
    put16(inner_udp + 2, (unsigned)options.port);
    put16(inner_udp + 4, (unsigned)(inner - IPV4));
    memcpy(inner_udp + UDP, "sequence", STAMP);
    if (!options.zero_checksum)
        put16(inner_udp + 6, udp_checksum(ip, inner_udp, UDP + STAMP, tail));
    put_geneve(geneve, flow);
    int total = IPV4 + UDP + GENEVE + inner;
    put_ipv4(outer, total, options.source, options.target);
    // A permutation of 14 bits, so that consecutive flows differ as hashes do.
    put16(udp, 0xC000 + (flow * 0x2A35 + 0x1234) % 0x4000);
    put16(udp + 2, GENEVE_PORT);
    put16(udp + 4, (unsigned)(total - IPV4));
    if (!options.zero_checksum)
        put16(udp + 6, udp_checksum(outer, udp, UDP + GENEVE + LEAST_INNER, tail));
}

static void build_frames(void) {
    uint8_t from[6];
    struct ifreq request = {0};
    strncpy(request.ifr_name, options.interface, IFNAMSIZ - 1);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) die(71, "interface %s", options.interface);
    memcpy(from, request.ifr_hwaddr.sa_data, 6);
    close(fd);
    fill_payload();
    int sizes = options.size ? 1 : 12;
    frames.count = options.flows * sizes;
    size_t count = (size_t)frames.count;
    frames.heads = calloc(count, sizeof *frames.heads);
    frames.parts = calloc(count, sizeof *frames.parts);
    frames.messages = calloc(count, sizeof *frames.messages);
    for (int i = 0; i < frames.count; i++) {
        int inner = options.size ? options.size : imix[i % 12];
        build(frames.heads[i], from, (unsigned)(i % options.flows), inner);
        frames.parts[i][0] = (struct iovec){frames.heads[i], HEAD};
        frames.parts[i][1] = (struct iovec){frames.payload, (size_t)(inner - LEAST_INNER)};
        frames.messages[i].msg_hdr.msg_iov = frames.parts[i];
        frames.messages[i].msg_hdr.msg_iovlen = 2;
    }
}

// --- sending -------------------------------------------------------------------------------------

static int packet_socket(int protocol) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1, buffer = 64 << 20;
    if (fd < 0) die(71, "packet socket");
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = htons((uint16_t)protocol),
                            .sll_ifindex = (int)if_nametoindex(options.interface)};
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    if (protocol == 0 && bind(fd, (struct sockaddr *)&a, sizeof a) != 0) die(71, "bind");
    return fd;
}

static struct sender {
    pthread_t thread;
    int fd, at;
    long wanted;              // frames to send; negative = until the time is over
    uint64_t sent, refused, wall_ns, cpu_ns;
} senders[MAX_SENDERS];

static pthread_barrier_t gate;

// Sends up to `most` of the next frames; refused ones are passed over.
static void send_some(struct sender *s, long most) {
    long left = frames.count - s->at;
    if (most > left) most = left;
    if (most > MAX_BURST) most = MAX_BURST;
    int n = sendmmsg(s->fd, frames.messages + s->at, (unsigned)most, 0);
    if (n > 0) {
        s->sent += (unsigned)n;
    } else {
        s->refused++;
        n = 1;
    }
    s->at = (s->at + n) % frames.count;
}

static void send_all(struct sender *s) {
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t end = s->wanted < 0 ? wall + (uint64_t)(options.seconds * 1e9) : UINT64_MAX;
    double rate = (double)options.rate / options.senders / 1e9;
    for (;;) {
        long done = (long)(s->sent + s->refused), most = MAX_BURST;
        if (s->wanted >= 0 && s->wanted - done < most) most = s->wanted - done;
        if (most <= 0) break;
        if (s->wanted < 0 || rate > 0) {
            uint64_t now = clock_ns(CLOCK_MONOTONIC);
            if (now >= end) break;
            if (rate > 0) {
                long due = (long)((double)(now - wall) * rate) - done;
                if (due <= 0) continue;
                if (due < most) most = due;
            }
        }
        send_some(s, most);
    }
    s->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
    s->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

static void start_over(struct sender *s) {
    s->sent = s->refused = 0;
    s->wanted = options.count ? options.count / options.senders : -1;
}

static void *run_sender(void *argument) {
    struct sender *s = argument;
    if (options.cpus[0] >= 0) pin(options.cpus[s - senders]);
    for (int i = 0; i < options.repeat; i++) {
        pthread_barrier_wait(&gate);
        send_all(s);
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

static void start_senders(void) {
    pthread_barrier_init(&gate, NULL, (unsigned)options.senders);
    for (int i = 0; i < options.senders; i++) {
        senders[i].fd = packet_socket(0);
        senders[i].at = frames.count / options.senders * i;
        start_over(&senders[i]);
    }
    for (int i = 1; i < options.senders; i++)
        pthread_create(&senders[i].thread, NULL, run_sender, &senders[i]);
    if (options.cpus[0] >= 0) pin(options.cpus[0]);
}

struct totals { uint64_t sent, refused, wall_ns, cpu_ns; };

// All senders once, this thread among them.
static struct totals send_together(void) {
    for (int i = 0; i < options.senders; i++) start_over(&senders[i]);
    pthread_barrier_wait(&gate);
    send_all(&senders[0]);
    pthread_barrier_wait(&gate);
    struct totals t = {0};
    for (int i = 0; i < options.senders; i++) {
        t.sent += senders[i].sent, t.refused += senders[i].refused;
        t.cpu_ns += senders[i].cpu_ns;
        if (senders[i].wall_ns > t.wall_ns) t.wall_ns = senders[i].wall_ns;
    }
    return t;
}

static void flood(void) {
    struct totals t = send_together();
    double seconds = (double)t.wall_ns / 1e9;
    printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f, \"pps\": %.0f, "
           "\"cpu_ns\": %llu}\n",
           (unsigned long long)t.sent, (unsigned long long)t.refused, seconds,
           (double)t.sent / seconds, (unsigned long long)t.cpu_ns);
}

// --- the drain test ------------------------------------------------------------------------------

static uint64_t read_counter(int fd) {
    char text[32] = {0};
    if (pread(fd, text, sizeof text - 1, 0) <= 0) die(71, "read the interface's counter");
    return strtoull(text, NULL, 10);
}

// Calls `visit` with /proc/PID/task/TID/FILE of every thread, and sums up what it returns.
static uint64_t over_threads(pid_t pid, const char *file, uint64_t (*visit)(const char *text)) {
    char path[320], text[512];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) die(71, "process %d", pid);
    for (struct dirent *d; (d = readdir(tasks));) {
        if (d->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/%s", pid, d->d_name, file);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (n > 0) text[n] = 0, sum += visit(text);
        if (fd >= 0) close(fd);
    }
    closedir(tasks);
    return sum;
}

// schedstat begins with the nanoseconds spent on a CPU.
static uint64_t cpu_time(const char *text) { return strtoull(text, NULL, 10); }

// stat: the state is behind the closing bracket of the name.
static uint64_t is_running(const char *text) {
    const char *state = strrchr(text, ')');
    return state && state[1] && state[2] != 'T' && state[2] != 't';
}

static void sleep_us(long us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

// Lets a process go on, also when we end early.
static void let_go(void) { if (options.drain) kill(options.drain, SIGCONT); }

static void let_go_and_end(int number) {
    let_go();
    _exit(128 + number);
}

static void freeze(pid_t pid) {
    if (kill(pid, SIGSTOP) != 0) die(71, "stop process %d", pid);
    for (int i = 0; over_threads(pid, "stat", is_running) > 0; i++) {
        if (i == 5000) errno = ETIMEDOUT, die(71, "process %d does not stop", pid);
        sleep_us(200);
    }
}

static void drain_once(int counter, bool is_last) {
    freeze(options.drain);
    struct totals t = send_together();
    uint64_t base = read_counter(counter), seen = 0;
    uint64_t cpu = over_threads(options.drain, "schedstat", cpu_time);
    uint64_t began = clock_ns(CLOCK_MONOTONIC), last = began, now = began;
    kill(options.drain, SIGCONT);
    // All back, or no answer for 0.2 s.
    while (seen < t.sent && now - last < 200000000) {
        uint64_t count = read_counter(counter) - base;
        now = clock_ns(CLOCK_MONOTONIC);
        if (count != seen) seen = count, last = now;
        sleep_us(20);
    }
    // A thread's time is booked when it goes to sleep.
    sleep_us(3000);
    cpu = over_threads(options.drain, "schedstat", cpu_time) - cpu;
    printf("{\"sent\": %llu, \"refused\": %llu, \"send_cpu_ns\": %llu, \"send_wall_ns\": %llu, "
           "\"answered\": %llu, \"serve_ns\": %llu, \"process_cpu_ns\": %llu}%s",
           (unsigned long long)t.sent, (unsigned long long)t.refused,
           (unsigned long long)t.cpu_ns, (unsigned long long)t.wall_ns,
           (unsigned long long)seen, (unsigned long long)(last - began),
           (unsigned long long)cpu, is_last ? "" : ",\n ");
}

static void drain(void) {
    // What `ip netns exec` mounts: the interfaces of this namespace.
    char path[128];
    snprintf(path, sizeof path, "/sys/class/net/%s/statistics/rx_packets", options.interface);
    int counter = open(path, O_RDONLY | O_CLOEXEC);
    if (counter < 0) die(71, "%s", path);
    atexit(let_go);
    signal(SIGINT, let_go_and_end);
    signal(SIGTERM, let_go_and_end);
    printf("{\"drains\": [");
    for (int i = 0; i < options.repeat; i++) drain_once(counter, i == options.repeat - 1);
    printf("]}\n");
}

// --- latency -------------------------------------------------------------------------------------

static uint8_t *open_ring(int *fd) {
    *fd = packet_socket(ETH_P_ALL);
    struct sock_filter answers[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETHERNET + IPV4 + 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GENEVE_PORT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, HEAD),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof answers / sizeof *answers, answers};
    struct tpacket_req ring = {.tp_block_size = 65536,
                               .tp_block_nr = RING_SLOTS / (65536 / RING_SLOT),
                               .tp_frame_size = RING_SLOT,
                               .tp_frame_nr = RING_SLOTS};
    int version = TPACKET_V2;
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = htons(ETH_P_ALL),
                            .sll_ifindex = (int)if_nametoindex(options.interface)};
    if (setsockopt(*fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
        setsockopt(*fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0 ||
        setsockopt(*fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0)
        die(71, "receive ring");
    uint8_t *memory = mmap(NULL, (size_t)RING_SLOT * RING_SLOTS, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_POPULATE, *fd, 0);
    if (memory == MAP_FAILED) die(71, "map the receive ring");
    if (bind(*fd, (struct sockaddr *)&a, sizeof a) != 0) die(71, "bind the receive ring");
    return memory;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void measure_latency(void) {
    int receiver;
    uint8_t *ring = open_ring(&receiver);
    struct sender *s = &senders[0];
    uint64_t total = (uint64_t)(options.seconds * (double)options.rate), next = 0, answered = 0;
    uint64_t warm_up = total / 10, kept = 0;
    int64_t *latency = calloc(total + 1, sizeof *latency);
    double interval = 1e9 / (double)options.rate;
    unsigned slot = 0;
    // The ring's time stamps are of the real-time clock.
    uint64_t start = clock_ns(CLOCK_REALTIME) + 1000000, end = 0;
    for (;;) {
        uint64_t now = clock_ns(CLOCK_REALTIME);
        uint64_t due = now > start ? (uint64_t)((double)(now - start) / interval) : 0;
        if (due > total) due = total;
        if (next < due) {
            long most = (long)(due - next), left = frames.count - s->at;
            if (most > 16) most = 16;
            if (most > left) most = left;
            for (long i = 0; i < most; i++) {
                uint64_t number = next + (uint64_t)i;
                memcpy(frames.heads[s->at + i] + HEAD - STAMP, &number, STAMP);
            }
            uint64_t before = s->sent + s->refused;
            send_some(s, most);
            next += s->sent + s->refused - before;
        }
        for (;;) {
            struct tpacket2_hdr *h = (void *)(ring + (size_t)slot * RING_SLOT);
            if (!(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) break;
            uint64_t number = UINT64_MAX;
            if (h->tp_snaplen >= HEAD)
                memcpy(&number, (uint8_t *)h + h->tp_mac + HEAD - STAMP, STAMP);
            if (number < total) {
                int64_t at = (int64_t)(h->tp_sec * 1000000000ull + h->tp_nsec);
                answered++;
                // Frame 0 is due one interval after the start.
                if (number >= warm_up)
                    latency[kept++] =
                        at - (int64_t)start - (int64_t)((double)(number + 1) * interval);
            }
            __atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
            slot = (slot + 1) % RING_SLOTS;
            if (kept > total) break;
        }
        if (next >= total) {
            if (!end) end = now + 200000000;
            if (now >= end || answered >= s->sent) break;
        }
    }
    qsort(latency, kept, sizeof *latency, by_value);
#define AT(p) (long long)(kept ? latency[(uint64_t)((double)(kept - 1) * (p))] : 0)
    printf("{\"sent\": %llu, \"answered\": %llu, \"rate\": %ld, \"latency_ns\": "
           "{\"min\": %lld, \"p50\": %lld, \"p90\": %lld, \"p99\": %lld, \"max\": %lld}}\n",
           (unsigned long long)s->sent, (unsigned long long)answered, options.rate, AT(0),
           AT(0.5), AT(0.9), AT(0.99), AT(1));
}

// --- options -------------------------------------------------------------------------------------

static void usage(FILE *out) {
    fputs("usage: send --interface NAME --source IPV4 --target IPV4 --to MAC [--size INNER|imix]\n"
          "            [--port N] [--flows N] [--cpu LIST] [--zero-checksum]\n"
          "            (--seconds S | --count N) [--rate PPS]\n"
          "            | --count N --drain PID [--repeat K]\n"
          "            | --latency --rate PPS --seconds S\n", out);
}

static uint32_t parse_address(const char *text) {
    struct in_addr a;
    if (inet_pton(AF_INET, text, &a) != 1) die(64, "not an IPv4 address: %s", text);
    return ntohl(a.s_addr);
}

static void parse_mac(const char *text) {
    unsigned b[6];
    char end;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", b, b + 1, b + 2, b + 3, b + 4, b + 5, &end) != 6)
        die(64, "not a MAC address: %s", text);
    for (int i = 0; i < 6; i++) options.to[i] = (uint8_t)b[i];
}

static void read_options(int count, char **arguments) {
    static const struct option known[] = {
        {"interface", 1, 0, 'I'}, {"source", 1, 0, 's'},  {"target", 1, 0, 't'},
        {"to", 1, 0, 'm'},        {"size", 1, 0, 'z'},    {"port", 1, 0, 'p'},
        {"flows", 1, 0, 'f'},     {"cpu", 1, 0, 'c'},     {"zero-checksum", 0, 0, 'Z'},
        {"seconds", 1, 0, 'S'},   {"count", 1, 0, 'n'},   {"rate", 1, 0, 'r'},
        {"drain", 1, 0, 'd'},     {"repeat", 1, 0, 'R'},  {"latency", 0, 0, 'l'},
        {"help", 0, 0, 'h'},      {0}};
    for (int c; (c = getopt_long(count, arguments, "", known, NULL)) != -1;) switch (c) {
        case 'I': options.interface = optarg; break;
        case 's': options.source = parse_address(optarg); break;
        case 't': options.target = parse_address(optarg); break;
        case 'm': parse_mac(optarg); break;
        case 'z':
            options.size = strcmp(optarg, "imix") == 0
                ? 0 : (int)parse_number("size", optarg, LEAST_INNER, MOST_INNER);
            break;
        case 'p': options.port = (int)parse_number("port", optarg, 1, 65535); break;
        case 'f': options.flows = (int)parse_number("flows", optarg, 1, 65536); break;
        case 'c': options.senders = parse_cpus(optarg, options.cpus, MAX_SENDERS); break;
        case 'Z': options.zero_checksum = true; break;
        case 'S': options.seconds = strtod(optarg, NULL); break;
        case 'n': options.count = parse_number("count", optarg, 1, 1l << 40); break;
        case 'r': options.rate = parse_number("rate", optarg, 1, 1l << 30); break;
        case 'd': options.drain = (pid_t)parse_number("drain", optarg, 2, 1 << 22); break;
        case 'R': options.repeat = (int)parse_number("repeat", optarg, 1, 1000); break;
        case 'l': options.latency = true; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(64);
    }
    bool is_timed = options.seconds > 0 && options.seconds <= 3600;
    bool is_complete = options.interface && options.source && options.target;
    bool has_end = options.latency ? is_timed && options.rate
        : options.drain ? options.count > 0 : is_timed != (options.count > 0);
    if (!is_complete || !has_end || optind < count) usage(stderr), exit(64);
    if (if_nametoindex(options.interface) == 0) die(64, "no interface %s", options.interface);
    if (!options.drain) options.repeat = 1;
    if (options.latency) options.senders = 1, options.zero_checksum = true;
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    build_frames();
    start_senders();
    if (options.latency) measure_latency();
    else if (options.drain) drain();
    else flood();
    return 0;
}
