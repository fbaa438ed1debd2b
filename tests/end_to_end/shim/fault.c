/* Lets one call of a program into the system fail, or kills the program at it.
 *
 * Loaded with LD_PRELOAD in front of the C library. RINGFENCE_FAULT says at which call and how; without it
 * every call goes through unchanged:
 *
 *     RINGFENCE_FAULT = [CALL ;] CALL ; FAULT
 *     CALL            = operation , path , text , number
 *     operation       = open | write | sync | rename | remove | receive | disk (any of them but receive)
 *     path            = part of the file's path, its end when followed by $; "socket:" for a connection
 *     text            = part of the bytes written or received, or nothing
 *     number          = how many such calls it takes, from 1
 *     FAULT           = kill-before | kill-within | kill-after | eio | enospc
 *
 * The second call is counted from the first on. kill-within lets half of the bytes through. eio fails one call
 * and enospc all from there on. A text is looked for in what a write to a file changes: the journal writes the
 * rest of its last block again with every record. With RINGFENCE_FAULT_CACHED no file can be opened past the
 * page cache, as on a file system that does not do that, so writes and syncs are calls of their own.
 * RINGFENCE_FAULT_LOG names a file that gets a line when the fault happens and
 * one for every later call that fits: "fault" and "again".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))

enum fault { NONE, KILL_BEFORE, KILL_WITHIN, KILL_AFTER, FAIL_IO, FAIL_FULL };

struct call {
    char operation[16];
    char path[128];
    char text[128];
    long number;
};

static struct call calls[2];
static int calls_count;
static enum fault fault;
static int log_file = -1;
static int cached;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int current;
static long seen;
static int happened;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void refuse(const char *what) {
    fprintf(stderr, "fault shim: cannot understand RINGFENCE_FAULT: %s\n", what);
    _exit(125);
}

static int field(const char **text, char end, char *out, size_t size) {
    const char *stop = strchr(*text, end);
    if (!stop || (size_t)(stop - *text) >= size) return 0;
    memcpy(out, *text, stop - *text);
    out[stop - *text] = 0;
    *text = stop + 1;
    return 1;
}

__attribute__((constructor)) static void start(void) {
    static const char *const faults[] = {"", "kill-before", "kill-within", "kill-after", "eio", "enospc"};
    const char *text = getenv("RINGFENCE_FAULT");
    const char *log = getenv("RINGFENCE_FAULT_LOG");
    if (!text) return;
    cached = getenv("RINGFENCE_FAULT_CACHED") != NULL;
    while (calls_count < 2 && strchr(text, ';')) {
        struct call *call = &calls[calls_count];
        char number[24];
        if (!field(&text, ',', call->operation, sizeof call->operation)) refuse("operation");
        if (!field(&text, ',', call->path, sizeof call->path)) refuse("path");
        if (!field(&text, ',', call->text, sizeof call->text)) refuse("text");
        if (!field(&text, ';', number, sizeof number) || (call->number = atol(number)) < 1) refuse("number");
        calls_count++;
    }
    for (int i = KILL_BEFORE; i <= FAIL_FULL; i++)
        if (!strcmp(text, faults[i])) fault = i;
    if (!fault || !calls_count) refuse("fault");
    if (log) log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void note(const char *line) {
    if (log_file >= 0) syscall(SYS_write, log_file, line, strlen(line));
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int path_fits(const char *path, const char *pattern) {
    size_t length = strlen(pattern), have = strlen(path);
    if (!length || pattern[length - 1] != '$') return strstr(path, pattern) != NULL;
    length--;
    return have >= length && !memcmp(path + have - length, pattern, length);
}

static int text_fits(const struct iovec *parts, int count, const char *text) {
    if (!*text) return 1;
    for (int i = 0; i < count; i++)
        if (memmem(parts[i].iov_base, parts[i].iov_len, text, strlen(text))) return 1;
    return 0;
}

static int fits(const struct call *call, const char *operation, const char *path, const struct iovec *parts,
                int count) {
    int disk = !strcmp(call->operation, "disk") && strcmp(operation, "receive");
    if (!disk && strcmp(call->operation, operation)) return 0;
    return path_fits(path, call->path) && text_fits(parts, count, call->text);
}

/* What has to happen at this call. */
static enum fault at(const char *operation, const char *path, const struct iovec *parts, int count) {
    enum fault verdict = NONE;
    pthread_mutex_lock(&lock);
    if (fits(&calls[current], operation, path, parts, count)) {
        if (happened) {
            note("again\n");
            if (fault == FAIL_FULL) verdict = fault;
        } else if (++seen == calls[current].number) {
            seen = 0;
            if (current + 1 < calls_count) {
                current++;
            } else {
                happened = 1;
                note("fault\n");
                verdict = fault;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    return verdict;
}

static enum fault at_file(const char *operation, int file, const struct iovec *parts, int count) {
    char link[40], path[4096];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return NONE;
    path[length] = 0;
    return at(operation, path, parts, count);
}

/* Whether the call must not be made; errno says why. */
static int stops(enum fault verdict) {
    if (verdict == KILL_BEFORE) die();
    if (verdict != FAIL_IO && verdict != FAIL_FULL) return 0;
    errno = verdict == FAIL_IO ? EIO : ENOSPC;
    return 1;
}

static void ends(enum fault verdict) {
    if (verdict == KILL_AFTER || verdict == KILL_WITHIN) die();
}

#define PASS(verdict, type, make)    \
    do {                             \
        enum fault found = verdict;  \
        if (stops(found)) return -1; \
        type result = make;          \
        int saved = errno;           \
        ends(found);                 \
        errno = saved;               \
        return result;               \
    } while (0)

static size_t share(enum fault verdict, size_t size) { return verdict == KILL_WITHIN ? size / 2 : size; }

#define OPEN(name, head, args, path)                                                    \
    int name head {                                                                     \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                   \
        if (!calls_count) return REAL(name) args;                                       \
        if (cached && (flags & O_DIRECT)) {                                             \
            errno = EINVAL;                                                             \
            return -1;                                                                  \
        }                                                                               \
        PASS(at("open", path, NULL, 0), int, REAL(name) args);                          \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), path)
OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), path)

ssize_t write(int file, const void *bytes, size_t size) {
    if (!calls_count) return REAL(write)(file, bytes, size);
    struct iovec part = {(void *)bytes, size};
    PASS(at_file("write", file, &part, 1), ssize_t, REAL(write)(file, bytes, share(found, size)));
}

/* How many of the first bytes are in the file already. */
static size_t unchanged(int file, const char *bytes, size_t size, off64_t offset) {
    char link[40], there[4096];
    size_t same = 0;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int reader = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    while (reader >= 0 && same < size) {
        size_t want = size - same < sizeof there ? size - same : sizeof there, fits = 0;
        ssize_t have = syscall(SYS_pread64, reader, there, want, offset + same);
        while (have > 0 && fits < (size_t)have && there[fits] == bytes[same + fits]) fits++;
        same += fits;
        if (have <= 0 || fits < (size_t)have) break;
    }
    if (reader >= 0) syscall(SYS_close, reader);
    errno = saved;
    return same;
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) {
    if (!calls_count) return REAL(pwrite64)(file, bytes, size, offset);
    size_t same = unchanged(file, bytes, size, offset);
    struct iovec part = {(char *)bytes + same, size - same};
    PASS(at_file("write", file, &part, 1), ssize_t, REAL(pwrite64)(file, bytes, share(found, size), offset));
}

ssize_t send(int file, const void *bytes, size_t size, int flags) {
    if (!calls_count) return REAL(send)(file, bytes, size, flags);
    struct iovec part = {(void *)bytes, size};
    PASS(at_file("write", file, &part, 1), ssize_t, REAL(send)(file, bytes, share(found, size), flags));
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (!calls_count) return REAL(writev)(file, parts, count);
    /* Half of a request: its head, or half of what is in one piece. */
    PASS(at_file("write", file, parts, count), ssize_t,
         found != KILL_WITHIN ? REAL(writev)(file, parts, count)
         : count > 1          ? REAL(writev)(file, parts, 1)
                              : REAL(write)(file, parts[0].iov_base, parts[0].iov_len / 2));
}

int fsync(int file) {
    if (!calls_count) return REAL(fsync)(file);
    PASS(at_file("sync", file, NULL, 0), int, REAL(fsync)(file));
}

int fdatasync(int file) {
    if (!calls_count) return REAL(fdatasync)(file);
    PASS(at_file("sync", file, NULL, 0), int, REAL(fdatasync)(file));
}

int sync_file_range(int file, off64_t offset, off64_t size, unsigned flags) {
    if (!calls_count) return REAL(sync_file_range)(file, offset, size, flags);
    PASS(at_file("sync", file, NULL, 0), int, REAL(sync_file_range)(file, offset, size, flags));
}

int rename(const char *from, const char *to) {
    if (!calls_count) return REAL(rename)(from, to);
    PASS(at("rename", from, NULL, 0), int, REAL(rename)(from, to));
}

int unlink(const char *path) {
    if (!calls_count) return REAL(unlink)(path);
    PASS(at("remove", path, NULL, 0), int, REAL(unlink)(path));
}

/* What is received is known afterwards, so a fault here always comes after the call. */
ssize_t recv(int file, void *bytes, size_t size, int flags) {
    ssize_t result = REAL(recv)(file, bytes, size, flags);
    if (!calls_count || result <= 0) return result;
    struct iovec part = {bytes, (size_t)result};
    int saved = errno;
    if (at_file("receive", file, &part, 1) != NONE) die();
    errno = saved;
    return result;
}
