// What the kernel and the card say of a network interface.
#define _GNU_SOURCE
#include "CSluice.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>

// Asks the kernel one thing of an interface (netdevice(7)); 0, or -errno.
static int ask(const char *name, unsigned long request, struct ifreq *r) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    memset(r, 0, sizeof *r);
    strncpy(r->ifr_name, name, IFNAMSIZ - 1);
    int result = ioctl(fd, request, r) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

// Asks what `ethtool` asks; 0, or -errno.
static int ethtool(const char *name, void *question) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    struct ifreq r = {.ifr_data = question};
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    int result = ioctl(fd, SIOCETHTOOL, &r) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

int sluice_interface_type(const char *name) {
    struct ifreq r;
    int result = ask(name, SIOCGIFHWADDR, &r);
    return result < 0 ? result : r.ifr_hwaddr.sa_family;
}

int sluice_interface_mtu(const char *name) {
    struct ifreq r;
    int result = ask(name, SIOCGIFMTU, &r);
    return result < 0 ? result : r.ifr_mtu;
}

int sluice_interface_flags(const char *name) {
    struct ifreq r;
    int result = ask(name, SIOCGIFFLAGS, &r);
    return result < 0 ? result : (int)(unsigned short)r.ifr_flags;
}

int sluice_interface_has_feature(const char *name, const char *feature) {
    enum { ROOM = 256 };  // features; the kernel has some 60, of which the first 64 fit one block
    struct {
        struct ethtool_sset_info info;
        uint32_t count;
    } set = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
    int result = ethtool(name, &set);
    if (result < 0) return result;
    uint32_t count = set.info.sset_mask ? set.count : 0, blocks = (count + 31) / 32;
    if (count == 0 || count > ROOM) return -EOPNOTSUPP;
    union {
        struct ethtool_gstrings head;
        char room[sizeof(struct ethtool_gstrings) + ROOM * ETH_GSTRING_LEN];
    } names = {.head = {ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count}};
    union {
        struct ethtool_gfeatures head;
        char room[sizeof(struct ethtool_gfeatures) +
                  ROOM / 32 * sizeof(struct ethtool_get_features_block)];
    } values = {.head = {ETHTOOL_GFEATURES, blocks}};
    if ((result = ethtool(name, &names)) < 0 || (result = ethtool(name, &values)) < 0)
        return result;
    for (uint32_t i = 0; i < count; i++) {
        if (strncmp((char *)names.head.data + i * ETH_GSTRING_LEN, feature, ETH_GSTRING_LEN) == 0)
            return values.head.features[i / 32].active >> i % 32 & 1;
    }
    return -ENOENT;
}

// Takes a route of the table `local`; the new count.
static int add_prefix(const struct nlmsghdr *m, struct sluice_prefix *prefixes, int count, int room) {
    const struct rtmsg *route = NLMSG_DATA(m);
    // Kernels that do not filter tell all tables.
    if (m->nlmsg_type != RTM_NEWROUTE || m->nlmsg_len < NLMSG_LENGTH(sizeof *route) ||
        route->rtm_table != RT_TABLE_LOCAL ||
        (route->rtm_type != RTN_LOCAL && route->rtm_type != RTN_BROADCAST))
        return count;
    uint32_t address = 0;
    unsigned left = (unsigned)RTM_PAYLOAD(m);
    for (const struct rtattr *a = RTM_RTA(route); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_DST && RTA_PAYLOAD(a) == sizeof address)
            memcpy(&address, RTA_DATA(a), sizeof address);
    }
    if (count == room) return -E2BIG;
    prefixes[count] = (struct sluice_prefix){ntohl(address), route->rtm_dst_len, route->rtm_type};
    return count + 1;
}

int sluice_local_prefixes(struct sluice_prefix *prefixes, int room) {
    int fd = sluice_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    const int on = 1;
    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    const struct {
        struct nlmsghdr header;
        struct rtmsg route;
    } request = {{sizeof request, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
                 {.rtm_family = AF_INET, .rtm_table = RT_TABLE_LOCAL}};
    int count = send(fd, &request, sizeof request, 0) == sizeof request ? 0 : -errno;
    _Alignas(struct nlmsghdr) char buffer[32768];
    for (int more = 1; more && count >= 0;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0) count = got < 0 ? -errno : -EIO;
        unsigned left = got > 0 ? (unsigned)got : 0;
        for (const struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left) && count >= 0;
             m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_type == NLMSG_ERROR)
                count = ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
            more = m->nlmsg_type != NLMSG_DONE && m->nlmsg_type != NLMSG_ERROR;
            if (more) count = add_prefix(m, prefixes, count, room);
        }
    }
    close(fd);
    return count;
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
        // The kernel writes all that the driver has by then, whatever number it is asked for: there
        // must be room for more.
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
