// faulty: an appliance that does one thing wrong, to test whoever judges appliances.
//
//   faulty --interface eth0 [--policy reflect|blog] [--fault NAME --every N] [--late-ms N]
//          [--bucket PPS --depth N]
//
// Without a fault it is a right one: it turns every Geneve packet around, and with --policy blog
// drops and rewrites as the blog policy says. Every N-th packet that the fault can be done to gets it;
// all checksums are right but the one that is the fault. With --bucket no more than PPS packets a
// second pass, and N (--depth) at once.
//
// Runs until SIGINT or SIGTERM, then prints one JSON line: packets received, sent, dropped by
// policy or bucket, and faults done.
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 64, ROOM = 10240, ETHERNET = 14, OUTER = 28, HELD = 4096 };

enum fault {
  NONE, ADDRESSES, PORTS, GENEVE, COOKIE, OUTER_CHECKSUM, INNER_CHECKSUM, PAYLOAD, UNEXPECTED,
  MISSING_DROP, DUPLICATE, REORDERED, LATE, FAULTS
};
static const char *const names[FAULTS] = {
  "none", "addresses", "ports", "geneve", "cookie", "outer_checksum", "inner_checksum", "payload",
  "unexpected", "missing_drop", "duplicate", "reordered", "late"
};

static struct {
  const char *interface;
  enum fault fault;
  bool blog;
  unsigned long every;
  long late_ms;
  double bucket, depth;
} options = {.every = 10, .late_ms = 300, .depth = 100};

static struct { unsigned long received, sent, policy_drops, bucket_drops, faults; } count;
static volatile sig_atomic_t stopping;

static void stop(int number) { (void)number; stopping = 1; }

static void die(const char *what) {
  fprintf(stderr, "faulty: %s: %s\n", what, strerror(errno));
  exit(71);
}

// ---- Bytes.

static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }
static void put16(uint8_t *p, unsigned value) { p[0] = (uint8_t)(value >> 8); p[1] = (uint8_t)value; }

static uint64_t sum(const uint8_t *p, int length, uint64_t start) {
  for (; length > 1; length -= 2, p += 2) start += get16(p);
  return length ? start + ((unsigned)*p << 8) : start;
}

static unsigned fold(uint64_t total) {
  while (total >> 16) total = (total & 0xFFFF) + (total >> 16);
  return ~(unsigned)total & 0xFFFF;
}

// ---- A packet: its Ethernet frame, and where things stand in it.

struct packet {
  uint8_t *frame, *ip, *udp, *geneve, *inner, *transport;
  int length;        // of the frame
  int inner_length;  // by the inner IP header
  int protocol;      // inner; -1 = a fragment
  int checksum;      // offset of the transport checksum, 0 = none
};

// False for what is not a Geneve packet that a right appliance would take.
static bool parse(struct packet *p, uint8_t *frame, int length) {
  *p = (struct packet){.frame = frame, .ip = frame + ETHERNET, .length = length, .protocol = -1};
  if (length < ETHERNET + OUTER + 8 || p->ip[0] != 0x45 || p->ip[9] != 17) return false;
  int total = (int)get16(p->ip + 2);
  if (total < OUTER + 8 || total > length - ETHERNET) return false;
  p->length = ETHERNET + total;
  p->udp = p->ip + 20;
  p->geneve = p->udp + 8;
  int header = 8 + (p->geneve[0] & 0x3F) * 4, rest = total - OUTER - header;
  if (rest < 20) return false;
  p->inner = p->geneve + header;
  if (p->inner[0] >> 4 == 4) {
    int words = (p->inner[0] & 15) * 4;
    p->inner_length = (int)get16(p->inner + 2);
    if (words < 20 || p->inner_length < words || p->inner_length > rest) return false;
    p->transport = p->inner + words;
    if (!(get16(p->inner + 6) & 0x3FFF)) p->protocol = p->inner[9];
  } else {
    if (rest < 40 || p->inner[0] >> 4 != 6) return false;
    p->inner_length = 40 + (int)get16(p->inner + 4);
    if (p->inner_length > rest) return false;
    p->transport = p->inner + 40;
    // Extension headers are passed over as opaque: nothing here looks behind them.
    p->protocol = p->inner[6] == 44 ? -1 : p->inner[6];
  }
  int available = p->inner_length - (int)(p->transport - p->inner);
  if (p->protocol == 17 && available >= 8) p->checksum = 6;
  else if (p->protocol == 6 && available >= 20) p->checksum = 16;
  else if ((p->protocol == 1 || p->protocol == 58) && available >= 8) p->checksum = 2;
  return true;
}

static void seal_outer(struct packet *p) {
  put16(p->ip + 10, 0);
  put16(p->ip + 10, fold(sum(p->ip, 20, 0)));
  if (!get16(p->udp + 6)) return;
  int length = (int)get16(p->udp + 4);
  put16(p->udp + 6, 0);
  unsigned value = fold(sum(p->udp, length, sum(p->ip + 12, 8, 17 + (unsigned)length)));
  put16(p->udp + 6, value ? value : 0xFFFF);
}

static void seal_inner(struct packet *p) {
  bool four = p->inner[0] >> 4 == 4;
  if (four) {
    put16(p->inner + 10, 0);
    put16(p->inner + 10, fold(sum(p->inner, (int)(p->transport - p->inner), 0)));
  }
  if (!p->checksum || (p->protocol == 17 && !get16(p->transport + 6))) return;
  int length = p->inner_length - (int)(p->transport - p->inner);
  uint64_t pseudo = 0;
  if (p->protocol != 1)
    pseudo = sum(p->inner + (four ? 12 : 8), four ? 8 : 32, (unsigned)(p->protocol + length));
  put16(p->transport + p->checksum, 0);
  unsigned value = fold(sum(p->transport, length, pseudo));
  put16(p->transport + p->checksum, p->protocol == 17 && !value ? 0xFFFF : value);
}

static void swap(uint8_t *a, uint8_t *b, int length) {
  for (int i = 0; i < length; i++) { uint8_t t = a[i]; a[i] = b[i]; b[i] = t; }
}

// ---- The blog policy.

static uint8_t *chat(struct packet *p, int *length) {
  if (p->protocol != 17 || !p->checksum) return NULL;
  if (get16(p->transport) != 3000 && get16(p->transport + 2) != 3000) return NULL;
  *length = (int)get16(p->transport + 4) - 8;
  int available = p->inner_length - (int)(p->transport - p->inner) - 8;
  return *length >= 0 && *length <= available ? p->transport + 8 : NULL;
}

static bool should_drop(struct packet *p) {
  int length;
  uint8_t *text = chat(p, &length);
  if (text) return memmem(text, (size_t)length, "drop me", 7) != NULL;
  bool echo = p->protocol == 1 && p->checksum && (p->transport[0] == 8 || p->transport[0] == 0);
  return echo && get16(p->transport + 6) % 5 == 0;
}

// Puts `with` in place of every "weakly typed". True when there was one.
static bool rewrite(struct packet *p, const char *with) {
  int length, growth = (int)strlen(with) - 12, before;
  uint8_t *text = chat(p, &length), *at = text;
  if (!text) return false;
  before = length;
  while ((at = memmem(at, (size_t)(text + length - at), "weakly typed", 12))) {
    if (p->length + growth > ROOM) return false;
    memmove(at + 12 + growth, at + 12, (size_t)(p->frame + p->length - at - 12));
    memcpy(at, with, (size_t)(12 + growth));
    at += 12 + growth;
    length += growth;
    p->length += growth;
    p->inner_length += growth;
  }
  if (length == before) return false;
  put16(p->transport + 4, 8 + (unsigned)length);
  bool four = p->inner[0] >> 4 == 4;
  put16(p->inner + (four ? 2 : 4), (unsigned)(four ? p->inner_length : p->inner_length - 40));
  put16(p->ip + 2, (unsigned)(p->length - ETHERNET));
  put16(p->udp + 4, (unsigned)(p->length - ETHERNET - 20));
  seal_inner(p);
  return true;
}

// ---- Sending: a burst is collected and sent at once.

static int transmitter;
static struct mmsghdr out[BURST];
static struct iovec out_bytes[BURST];
static uint8_t out_room[BURST][ROOM];
static int waiting;

static void flush(void) {
  int at = 0;
  while (at < waiting) {
    int n = sendmmsg(transmitter, out + at, (unsigned)(waiting - at), 0);
    if (n > 0) { at += n; count.sent += (unsigned long)n; }
    else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) { if (stopping) break; usleep(50); }
    else die("sendmmsg");
  }
  waiting = 0;
}

// Copies, so that the frame may go on being used.
static void send_frame(const uint8_t *frame, int length) {
  memcpy(out_room[waiting], frame, (size_t)length);
  out_bytes[waiting] = (struct iovec){out_room[waiting], (size_t)length};
  out[waiting].msg_hdr = (struct msghdr){.msg_iov = &out_bytes[waiting], .msg_iovlen = 1};
  if (++waiting == BURST) flush();
}

// ---- Packets that are kept back.

struct held { uint8_t *frame; int length; uint64_t due; };
static struct held held[HELD];
static unsigned first_held, after_held;
static struct packet swapped_with;  // frame NULL = none is kept to be overtaken
static uint8_t swapped_room[ROOM];
static uint64_t swapped_at;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool keep_back(struct packet *p) {
  if (after_held - first_held == HELD) return false;
  struct held *h = &held[after_held % HELD];
  h->frame = malloc((size_t)p->length);
  if (!h->frame) return false;
  memcpy(h->frame, p->frame, (size_t)p->length);
  h->length = p->length;
  h->due = now() + (uint64_t)options.late_ms * 1000000;
  after_held++;
  return true;
}

// Of a flow without a next packet, the one that waits for it is sent as if nothing had been.
static void send_swapped(bool all) {
  if (!swapped_with.frame || (!all && now() - swapped_at < 50000000)) return;
  send_frame(swapped_with.frame, swapped_with.length);
  swapped_with.frame = NULL;
}

static void send_due(bool all) {
  send_swapped(all);
  while (first_held != after_held) {
    struct held *h = &held[first_held % HELD];
    if (!all && h->due > now()) break;
    send_frame(h->frame, h->length);
    free(h->frame);
    first_held++;
  }
}

// Same way of the same flow: addresses and ports, outer port and options.
static bool same_lane(const struct packet *a, const struct packet *b) {
  int header = 8 + (a->geneve[0] & 0x3F) * 4;
  return get16(a->udp) == get16(b->udp) && !memcmp(a->geneve, b->geneve, (size_t)header) &&
    a->inner[0] == b->inner[0] &&
    (a->inner[0] >> 4 == 4 ? !memcmp(a->inner + 12, b->inner + 12, 8)
                           : !memcmp(a->inner + 8, b->inner + 8, 32)) &&
    a->protocol == b->protocol &&
    ((a->protocol != 6 && a->protocol != 17) || !memcmp(a->transport, b->transport, 4));
}

// ---- The faults. Each is given a packet that is right and turned around.

// True when this packet is one of the every-N-th.
static bool due_for_fault(void) {
  static unsigned long seen;
  return ++seen % options.every == 0;
}

static void overtake(struct packet *p) {
  send_frame(p->frame, p->length);
  if (swapped_with.frame && same_lane(&swapped_with, p)) {
    send_frame(swapped_with.frame, swapped_with.length);
    swapped_with.frame = NULL;
    count.faults++;
  }
}

static void spoil(struct packet *p) {
  int header = (int)(p->transport - p->inner);
  int payload = p->protocol == 6 ? 20 : 8;
  if (options.fault == INNER_CHECKSUM &&
      (!p->checksum || (p->protocol == 17 && !get16(p->transport + 6)))) goto right;
  if (options.fault == PAYLOAD && (!p->checksum || p->inner_length <= header + payload)) goto right;
  if (options.fault == OUTER_CHECKSUM && !get16(p->udp + 6)) goto right;
  if (options.fault == REORDERED && swapped_with.frame) goto right;
  if (!due_for_fault()) goto right;
  if (options.fault != REORDERED) count.faults++;
  switch (options.fault) {
  case ADDRESSES:
    swap(p->ip + 12, p->ip + 16, 4);
    break;
  case PORTS:
    swap(p->udp, p->udp + 2, 2);
    break;
  case GENEVE:  // the last byte of option 2, the attachment id
    p->geneve[31] ^= 1;
    seal_outer(p);
    break;
  case COOKIE:
    p->geneve[39] ^= 1;
    seal_outer(p);
    break;
  case OUTER_CHECKSUM:
    p->udp[7] ^= 0x55;
    if (!get16(p->udp + 6)) p->udp[7] = 1;
    break;
  case INNER_CHECKSUM:
    p->transport[p->checksum + 1] ^= 0x55;
    seal_outer(p);
    break;
  case PAYLOAD:  // the last byte, with every checksum made right
    p->inner[p->inner_length - 1] ^= 0x20;
    seal_inner(p);
    seal_outer(p);
    break;
  case UNEXPECTED: {  // another packet, of a flow that nobody has sent
    uint8_t room[ROOM];
    struct packet stranger;
    memcpy(room, p->frame, (size_t)p->length);
    send_frame(p->frame, p->length);
    parse(&stranger, room, p->length);
    put16(stranger.udp, get16(stranger.udp) ^ 0x4000);
    for (int i = 36; i < 40; i++) stranger.geneve[i] = 0xEE;
    stranger.inner[stranger.inner[0] >> 4 == 4 ? 12 : 8] = 0x64;
    seal_inner(&stranger);
    seal_outer(&stranger);
    send_frame(room, p->length);
    return;
  }
  case DUPLICATE:
    send_frame(p->frame, p->length);
    break;
  case REORDERED:
    memcpy(swapped_room, p->frame, (size_t)p->length);
    parse(&swapped_with, swapped_room, p->length);
    swapped_at = now();
    return;
  case LATE:
    if (keep_back(p)) return;
    count.faults--;
    break;
  default: break;
  }
right:
  overtake(p);
}

// ---- One packet.

static bool bucket_lets_pass(uint64_t time) {
  static double tokens;
  static uint64_t last;
  if (options.bucket <= 0) return true;
  if (!last) tokens = options.depth;
  else if (time > last) tokens += (double)(time - last) * 1e-9 * options.bucket;
  if (time > last) last = time;
  if (tokens > options.depth) tokens = options.depth;
  if (tokens < 1) return false;
  tokens -= 1;
  return true;
}

// time: when the kernel received it, nanoseconds.
static void answer(uint8_t *frame, int length, uint64_t time) {
  struct packet p;
  if (!parse(&p, frame, length)) return;
  count.received++;
  if (!bucket_lets_pass(time)) { count.bucket_drops++; return; }
  bool leaks = false;
  if (options.blog && should_drop(&p)) {
    leaks = options.fault == MISSING_DROP && due_for_fault();
    if (!leaks) { count.policy_drops++; return; }
    count.faults++;
  }
  swap(frame, frame + 6, 6);
  swap(p.ip + 12, p.ip + 16, 4);
  if (options.blog) {
    // The wrong rewrite: right in every length and checksum, but not the word.
    bool wrong = options.fault == PAYLOAD && due_for_fault();
    if (rewrite(&p, wrong ? "STRONGLY typed" : "strongly typed")) {
      if (wrong) count.faults++;
      seal_outer(&p);
    }
  }
  bool is_done = options.fault == NONE || options.fault == MISSING_DROP ||
    (options.fault == PAYLOAD && options.blog);
  if (is_done) send_frame(p.frame, p.length);
  else spoil(&p);
}

// ---- Sockets.

static int packet_socket(int protocol) {
  int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1, size = 64 << 20;
  if (fd < 0) die("packet socket");
  // Frames without Geneve are not even copied: UDP to port 6081, in an unfragmented datagram.
  struct sock_filter code[] = {
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, 12}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 8, ETH_P_IP},
    {BPF_LD | BPF_B | BPF_ABS, 0, 0, 23}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 6, 17},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, 20}, {BPF_JMP | BPF_JSET | BPF_K, 4, 0, 0x3FFF},
    {BPF_LDX | BPF_B | BPF_MSH, 0, 0, 14}, {BPF_LD | BPF_H | BPF_IND, 0, 0, 16},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 6081}, {BPF_RET | BPF_K, 0, 0, 0x40000},
    {BPF_RET | BPF_K, 0, 0, 0},
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)) die("filter");
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  struct sockaddr_ll address = {
    .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol),
    .sll_ifindex = (int)if_nametoindex(options.interface),
  };
  if (!address.sll_ifindex) die(options.interface);
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
  return fd;
}

// Takes port 6081 and throws everything away, so that the kernel sends no port unreachable.
static void open_sink(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(6081)};
  struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  struct sock_fprog program = {1, code};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)) die("sink");
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("UDP port 6081");
}

static uint64_t time_of(struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
      struct timespec t;
      memcpy(&t, CMSG_DATA(c), sizeof t);
      return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    }
  return 0;
}

static void serve(int receiver) {
  static uint8_t room[BURST][ROOM], control[BURST][64];
  static struct mmsghdr in[BURST];
  static struct iovec bytes[BURST];
  while (!stopping) {
    for (int i = 0; i < BURST; i++) {
      // Room is left for a rewrite to grow into.
      bytes[i] = (struct iovec){room[i], ROOM - 512};
      in[i].msg_hdr = (struct msghdr){
        .msg_iov = &bytes[i], .msg_iovlen = 1, .msg_control = control[i],
        .msg_controllen = sizeof control[i],
      };
    }
    int n = recvmmsg(receiver, in, BURST, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
      answer(room[i], (int)in[i].msg_len, time_of(&in[i].msg_hdr));
    send_due(false);
    flush();
    if (n <= 0) {
      struct pollfd wait = {receiver, POLLIN, 0};
      poll(&wait, 1, first_held != after_held || swapped_with.frame ? 1 : 100);
    }
  }
  send_due(true);
  flush();
}

// ---- Options.

static enum fault fault_named(const char *name) {
  for (int i = 0; i < FAULTS; i++) if (!strcmp(name, names[i])) return (enum fault)i;
  fprintf(stderr, "faulty: no fault is called %s\n", name);
  exit(64);
}

int main(int argc, char **argv) {
  static const struct option flags[] = {
    {"interface", 1, 0, 'i'}, {"fault", 1, 0, 'f'}, {"every", 1, 0, 'e'}, {"policy", 1, 0, 'p'},
    {"late-ms", 1, 0, 'l'}, {"bucket", 1, 0, 'b'}, {"depth", 1, 0, 'd'}, {0},
  };
  int flag;
  while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
    switch (flag) {
    case 'i': options.interface = optarg; break;
    case 'f': options.fault = fault_named(optarg); break;
    case 'e': options.every = strtoul(optarg, NULL, 10); break;
    case 'p': options.blog = !strcmp(optarg, "blog"); break;
    case 'l': options.late_ms = strtol(optarg, NULL, 10); break;
    case 'b': options.bucket = strtod(optarg, NULL); break;
    case 'd': options.depth = strtod(optarg, NULL); break;
    default: return 64;
    }
  }
  if (!options.interface || !options.every) {
    fprintf(stderr, "faulty: --interface is missing, or --every is 0\n");
    return 64;
  }
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  open_sink();
  int receiver = packet_socket(ETH_P_IP);
  transmitter = packet_socket(0);
  fprintf(stderr, "ready\n");
  serve(receiver);
  printf("{\"received\": %lu, \"sent\": %lu, \"policy_drops\": %lu, \"bucket_drops\": %lu, "
         "\"faults\": %lu}\n",
         count.received, count.sent, count.policy_drops, count.bucket_drops, count.faults);
  return 0;
}
