// Signals and standard descriptors.
#define _GNU_SOURCE
#include "CSluice.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

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
    // Of a longer line the beginning, and its line feed, in one piece.
    struct iovec parts[2] = {{(void *)line, length <= 4096 ? length : 4095}, {(void *)"\n", length <= 4096 ? 0 : 1}};
    ssize_t ignored = writev(2, parts, 2);
    (void)ignored;
}

int sluice_output_is_written(void) { return fflush(stdout) == 0 && !ferror(stdout); }

int sluice_error_is_journal(void) {
    const char *name = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat s;
    return name && sscanf(name, "%llu:%llu", &device, &inode) == 2 && fstat(2, &s) == 0 && s.st_dev == device &&
           s.st_ino == inode;
}

void sluice_lower_thread_priority(int nice) {
    // On Linux the call is about one thread, whatever POSIX says of processes (setpriority(2)).
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
}

static int argument_count;
static char **arguments;

// glibc hands a constructor what it hands main().
__attribute__((constructor)) static void keep_arguments(int count, char **values) {
    argument_count = count;
    arguments = values;
}

const char *sluice_argument(int index) { return index < argument_count ? arguments[index] : NULL; }

/* The Swift runtime's crash handler, which is part of a static program, asks /proc/self/exe for its own
   path before main, and aborts where there is no /proc. Told a root, it does not ask. */
__attribute__((constructor(101))) static void spare_runtime_path(void) {
    if (access("/proc/self/exe", F_OK) != 0) setenv("SWIFT_ROOT", "/", 0);
}
