// Sockets of the file system and of abstract names, for programs on this machine.
#define _GNU_SOURCE
#include "CSluice.h"

#include <sys/stat.h>

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

int sluice_accept_nonblocking(int fd) {
    // poll first: the listening socket itself stays blocking, accept4's flag is the client's.
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN)) return -EAGAIN;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return client >= 0 ? client : -errno;
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

int sluice_listen_unix(const char *path, uint64_t *inode) {
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
    if (!failed && (listen(fd, 128) != 0 || lstat(path, &s) != 0)) {
        failed = 1;
        e = errno;
    }
    *inode = (uint64_t)s.st_ino;
    if (!failed) return fd;
    close(fd);
    return -e;
}

void sluice_unlink_unix(const char *path, uint64_t inode) {
    struct stat s;
    if (lstat(path, &s) == 0 && S_ISSOCK(s.st_mode) && (uint64_t)s.st_ino == inode) unlink(path);
}

int sluice_peer_uid(int fd) {
    struct ucred c;
    socklen_t n = sizeof c;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? (int)c.uid : -1;
}
