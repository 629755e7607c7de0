/* Loaded before libc (LD_PRELOAD): counts what a process changes on the disk below one folder, and kills it at one of
   these operations, without having done it, or with half of a write done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long last = -1;
static atomic_long done;

void arm(const char *path, long at) { /* at < 0 counts only */
    strncpy(folder, path, sizeof folder - 1);
    last = at;
    done = 0;
}

long counted(void) { return done; }

static int inside(const char *path) { return folder[0] && path && !strncmp(path, folder, strlen(folder)); }

static int inside_fd(int fd) {
    char link[64], path[PATH_MAX];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return inside(path);
}

static int inside_at(int fd, const char *path) {
    return path[0] == '/' ? inside(path) : fd != AT_FDCWD && inside_fd(fd);
}

static int now(int counts) { return counts && atomic_fetch_add(&done, 1) == last; }

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define ORIGINAL(name) __typeof__(&name) original = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CHANGE(name, parameters, arguments, counts)                                                                  \
    int name parameters {                                                                                            \
        ORIGINAL(name);                                                                                              \
        if (now(counts)) end();                                                                                      \
        return original arguments;                                                                                   \
    }
#define WRITE(name, parameters, whole, half)                                                                         \
    ssize_t name parameters {                                                                                        \
        ORIGINAL(name);                                                                                              \
        if (now(inside_fd(fd))) {                                                                                    \
            original half;                                                                                           \
            end();                                                                                                   \
        }                                                                                                            \
        return original whole;                                                                                       \
    }
#define OPEN(name)                                                                                                   \
    int name(const char *path, int flags, ...) {                                                                     \
        ORIGINAL(name);                                                                                              \
        va_list rest;                                                                                                \
        va_start(rest, flags);                                                                                       \
        mode_t mode = va_arg(rest, mode_t);                                                                          \
        va_end(rest);                                                                                                \
        if (now((flags & (O_CREAT | O_TRUNC)) && inside(path))) end();                                               \
        return original(path, flags, mode);                                                                          \
    }
#define OPENAT(name)                                                                                                 \
    int name(int fd, const char *path, int flags, ...) {                                                             \
        ORIGINAL(name);                                                                                              \
        va_list rest;                                                                                                \
        va_start(rest, flags);                                                                                       \
        mode_t mode = va_arg(rest, mode_t);                                                                          \
        va_end(rest);                                                                                                \
        if (now((flags & (O_CREAT | O_TRUNC)) && inside_at(fd, path))) end();                                        \
        return original(fd, path, flags, mode);                                                                      \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
WRITE(write, (int fd, const void *data, size_t n), (fd, data, n), (fd, data, n / 2))
WRITE(pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), (fd, data, n / 2, at))
WRITE(pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at), (fd, data, n / 2, at))
WRITE(sendfile, (int fd, int from, off_t *at, size_t n), (fd, from, at, n), (fd, from, at, n / 2))
WRITE(sendfile64, (int fd, int from, off64_t *at, size_t n), (fd, from, at, n), (fd, from, at, n / 2))
WRITE(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n),
      (fd, &(struct iovec){parts->iov_base, parts->iov_len / 2}, 1))
CHANGE(rename, (const char *a, const char *b), (a, b), inside(b))
CHANGE(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), inside_at(e, b))
CHANGE(renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), inside_at(e, b))
CHANGE(link, (const char *a, const char *b), (a, b), inside(b))
CHANGE(mkdir, (const char *path, mode_t mode), (path, mode), inside(path))
CHANGE(mkdirat, (int d, const char *path, mode_t mode), (d, path, mode), inside_at(d, path))
CHANGE(unlink, (const char *path), (path), inside(path))
CHANGE(unlinkat, (int d, const char *path, int flags), (d, path, flags), inside_at(d, path))
CHANGE(rmdir, (const char *path), (path), inside(path))
CHANGE(ftruncate, (int fd, off_t n), (fd, n), inside_fd(fd))
CHANGE(ftruncate64, (int fd, off64_t n), (fd, n), inside_fd(fd))
CHANGE(fsync, (int fd), (fd), inside_fd(fd))
CHANGE(fdatasync, (int fd), (fd), inside_fd(fd))
