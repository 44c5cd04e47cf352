/* Preloaded into a program: writes all its changes to files below POWERCUT_ROOT, in order, to
 * POWERCUT_TRACE. With POWERCUT_KILL=n the program is killed by SIGKILL before the n-th change;
 * with POWERCUT_FULL=n the disk is full from the n-th change on, and with
 * POWERCUT_FULL_WHILE=file as long as that file exists.
 *
 * A record: operation (1 byte), then four numbers of 8 bytes: length of the path, length of a
 * second path, offset, length of the data; then the paths and the data. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *full_while;
static int trace = -1;
static long count, kill_at, full_at;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWERCUT_TRACE");
    const char *kill_text = getenv("POWERCUT_KILL"), *full_text = getenv("POWERCUT_FULL");
    root = getenv("POWERCUT_ROOT");
    full_while = getenv("POWERCUT_FULL_WHILE");
    if (path)
        trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (kill_text) kill_at = atol(kill_text);
    if (full_text) full_at = atol(full_text);
    /* Child processes are not traced. */
    unsetenv("LD_PRELOAD");
}

static int inside(const char *path) {
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

/* Counts an operation; returns whether the disk is full for it. The file `marks`, to which tests
 * write the visible effects, is never affected. */
static int count_operation(const char *path) {
    size_t length = strlen(path);
    count++;
    if (kill_at && count >= kill_at) syscall(SYS_kill, getpid(), SIGKILL);
    if (length >= 6 && strcmp(path + length - 6, "/marks") == 0) return 0;
    if (full_while && syscall(SYS_faccessat, AT_FDCWD, full_while, F_OK) == 0) return 1;
    return full_at && count >= full_at;
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = syscall(SYS_write, trace, at, length);
        if (done <= 0) abort();
        at += done;
        length -= done;
    }
}

static void note(char op, const char *path, const char *to, uint64_t offset, const void *data,
                 uint64_t length) {
    if (trace < 0) return;
    uint64_t numbers[4] = {strlen(path), to ? strlen(to) : 0, offset, length};
    put(&op, 1);
    put(numbers, sizeof numbers);
    put(path, numbers[0]);
    if (to) put(to, numbers[1]);
    if (data) put(data, length);
}

#define FULL_CHECK(path) do { if (count_operation(path)) { pthread_mutex_unlock(&lock); errno = ENOSPC; return -1; } } while (0)

static ssize_t noted_write(int fd, const void *data, size_t length, uint64_t offset, int at_end) {
    char path[4096];
    int watched = path_of(fd, path);
    pthread_mutex_lock(&lock);
    if (watched) FULL_CHECK(path);
    ssize_t done;
    if (at_end) {
        struct stat status;
        off_t here = lseek(fd, 0, SEEK_CUR);
        if (fcntl(fd, F_GETFL) & O_APPEND) here = fstat(fd, &status) == 0 ? status.st_size : here;
        offset = here < 0 ? 0 : here;
        done = syscall(SYS_write, fd, data, length);
    } else {
        done = syscall(SYS_pwrite64, fd, data, length, offset);
    }
    if (watched && done > 0) note('w', path, NULL, offset, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) { return noted_write(fd, data, length, 0, 1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return noted_write(fd, data, length, offset, 0); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return noted_write(fd, data, length, offset, 0); }

static int noted_fd(char op, int fd, uint64_t offset, long number, long argument) {
    char path[4096];
    int watched = path_of(fd, path);
    pthread_mutex_lock(&lock);
    if (watched) FULL_CHECK(path);
    int done = syscall(number, fd, argument);
    if (watched && done == 0) note(op, path, NULL, offset, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return noted_fd('s', fd, 0, SYS_fsync, 0); }
int fdatasync(int fd) { return noted_fd('s', fd, 0, SYS_fdatasync, 0); }
int ftruncate(int fd, off_t length) { return noted_fd('t', fd, length, SYS_ftruncate, length); }
int ftruncate64(int fd, off64_t length) { return noted_fd('t', fd, length, SYS_ftruncate, length); }

static int noted_open(int directory, const char *path, int flags, mode_t mode) {
    int watched = directory == AT_FDCWD && inside(path) && (flags & (O_CREAT | O_TRUNC));
    pthread_mutex_lock(&lock);
    struct stat status;
    int made = watched && stat(path, &status) != 0;
    if (made) FULL_CHECK(path);
    int fd = syscall(SYS_openat, directory, path, flags | O_LARGEFILE, mode);
    if (watched && fd >= 0 && made) note('c', path, NULL, 0, NULL, 0);
    if (watched && fd >= 0 && !made && (flags & O_TRUNC)) note('t', path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return noted_open(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int watched = inside(from);
    if (watched) FULL_CHECK(from);
    int done = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (watched && done == 0) note('r', from, to, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int noted_path(char op, const char *path, long number, int directory, long argument) {
    pthread_mutex_lock(&lock);
    int watched = inside(path);
    if (watched && op != 'u') FULL_CHECK(path);
    int done = syscall(number, directory, path, argument);
    if (watched && done == 0) note(op, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) { return noted_path('u', path, SYS_unlinkat, AT_FDCWD, 0); }
int rmdir(const char *path) { return noted_path('u', path, SYS_unlinkat, AT_FDCWD, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return noted_path('d', path, SYS_mkdirat, AT_FDCWD, mode); }

/* Not available, so that files are copied with write(), which is traced. */
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) {
    (void)a; (void)b; (void)c; (void)d; (void)e; (void)f;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int a, int b, off64_t *c, size_t d) {
    (void)a; (void)b; (void)c; (void)d;
    errno = ENOSYS;
    return -1;
}
