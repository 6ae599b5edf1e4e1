/* Preloaded into a test's process: the k-th write, sync, truncation or deletion of a project's
   database files fails with an error of choice, and, if asked, all that follow. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fail_at = 0, fail_with = 0, keep_failing = 0, seen = 0, failed = 0;

/* k = 0: never. Returns how many calls were seen since the last time. */
int disk_arm(int k, int error, int keep) {
    int before = seen;
    fail_at = k, fail_with = error, keep_failing = keep, seen = 0, failed = 0;
    return before;
}

int disk_failed(void) { return failed; }

static int hit(const char *path) {
    if (!path || !strstr(path, "annotations")) return 0;
    seen++;
    if (!fail_at || !(seen == fail_at || (keep_failing && seen > fail_at))) return 0;
    failed++;
    errno = fail_with;
    return 1;
}

static int hit_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return hit(path);
}

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t)
    return hit_fd(fd) ? -1 : real(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t)
    return hit_fd(fd) ? -1 : real(fd, data, n, at);
}

ssize_t write(int fd, const void *data, size_t n) {
    REAL("write", ssize_t, int, const void *, size_t)
    return hit_fd(fd) ? -1 : real(fd, data, n);
}

int fsync(int fd) {
    REAL("fsync", int, int)
    return hit_fd(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL("fdatasync", int, int)
    return hit_fd(fd) ? -1 : real(fd);
}

int ftruncate(int fd, off_t n) {
    REAL("ftruncate", int, int, off_t)
    return hit_fd(fd) ? -1 : real(fd, n);
}

int ftruncate64(int fd, off64_t n) {
    REAL("ftruncate64", int, int, off64_t)
    return hit_fd(fd) ? -1 : real(fd, n);
}

int unlink(const char *path) {
    REAL("unlink", int, const char *)
    return hit(path) ? -1 : real(path);
}
