/* Stands in for another disk or clock, in each process that loads it (LD_PRELOAD).

   SHIM_FLOCK  an errno: flock fails with it; "alone": it succeeds, as each host locks for itself
   SHIM_LINK   an errno: link fails with it
   SHIM_CLOCK  seconds: every other look at the time of day is so much ahead, the others behind
   SHIM_LATE   milliseconds in which files of other hosts are not seen; SHIM_HOST is this host,
               SHIM_ROOT the folder, SHIM_TABLE a file of zeros that all hosts share
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) static __typeof__(name) *next; \
                   if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define SLOTS 65536

static int number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }

int flock(int file, int operation) {
    NEXT(flock);
    const char *how = getenv("SHIM_FLOCK");
    if (!how) return next(file, operation);
    if (!strcmp(how, "alone")) return 0;
    errno = atoi(how);
    return -1;
}

/* the clock */

static long shift(void) {
    static atomic_uint looks;
    int seconds = number("SHIM_CLOCK");
    return seconds ? (atomic_fetch_add(&looks, 1) % 2 ? seconds : -seconds) : 0;
}

static int true_time(struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return next(CLOCK_REALTIME, now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int result = next(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    true_time(&exact);
    now->tv_sec = exact.tv_sec + shift();
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    true_time(&exact);
    time_t now = exact.tv_sec + shift();
    if (out) *out = now;
    return now;
}

/* files of other hosts */

struct slot { _Atomic uint64_t path; _Atomic uint64_t host; };

static struct slot *slot_of(const char *path) {
    static struct slot *table;
    const char *root = getenv("SHIM_ROOT"), *name = getenv("SHIM_TABLE");
    if (!path || !root || !name || strncmp(path, root, strlen(root))) return NULL;
    if (!table) {
        int file = (int)syscall(257, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0); /* openat */
        table = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (table == MAP_FAILED) { perror("shim"); _exit(99); }
    }
    uint64_t hash = 14695981039346656037u;
    for (const char *c = path; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    hash |= 1;
    for (uint64_t k = hash % SLOTS;; k = (k + 1) % SLOTS) {
        uint64_t nothing = 0;
        if (atomic_compare_exchange_strong(&table[k].path, &nothing, hash) || nothing == hash)
            return &table[k];
    }
}

static void own(const char *path) {
    struct slot *slot = slot_of(path);
    if (slot) atomic_store(&slot->host, (uint64_t)number("SHIM_HOST") + 1);
}

static int is_late(const char *path) {
    int late = number("SHIM_LATE");
    if (!late) return 0;
    struct slot *slot = slot_of(path);
    if (!slot) return 0;
    uint64_t host = atomic_load(&slot->host);
    if (!host || host == (uint64_t)number("SHIM_HOST") + 1) return 0;
    struct stat status;
    if (syscall(262, AT_FDCWD, path, &status, 0) || !S_ISREG(status.st_mode)) return 0; /* newfstatat */
    struct timespec now;
    true_time(&now);
    long age = (now.tv_sec - status.st_ctim.tv_sec) * 1000
             + (now.tv_nsec - status.st_ctim.tv_nsec) / 1000000;
    if (age >= late) return 0;
    errno = ENOENT;
    return 1;
}

int rename(const char *from, const char *to) { NEXT(rename); own(to); return next(from, to); }

int renameat(int a, const char *from, int b, const char *to) {
    NEXT(renameat);
    own(to);
    return next(a, from, b, to);
}

static int no_link(void) { errno = number("SHIM_LINK"); return errno != 0; }

int link(const char *from, const char *to) {
    NEXT(link);
    if (no_link()) return -1;
    int result = next(from, to);
    if (!result) own(to);
    return result;
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    NEXT(linkat);
    if (no_link()) return -1;
    int result = next(a, from, b, to, flags);
    if (!result) own(to);
    return result;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (flags & O_CREAT) { if (!is_late(path)) own(path); } else if (is_late(path)) return -1; \
        return next(path, flags, mode); \
    }
#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        NEXT(name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (flags & O_CREAT) { if (!is_late(path)) own(path); } else if (is_late(path)) return -1; \
        return next(at, path, flags, mode); \
    }
#define LOOKS(name, kind) \
    int name(const char *restrict path, struct kind *restrict status) { \
        NEXT(name); return is_late(path) ? -1 : next(path, status); \
    }
#define LOOKS_AT(name, kind) \
    int name(int at, const char *restrict path, struct kind *restrict status, int flags) { \
        NEXT(name); return is_late(path) ? -1 : next(at, path, status, flags); \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
LOOKS(stat, stat)
LOOKS(stat64, stat64)
LOOKS(lstat, stat)
LOOKS(lstat64, stat64)
LOOKS_AT(fstatat, stat)
LOOKS_AT(fstatat64, stat64)

FILE *fopen(const char *restrict path, const char *restrict mode) {
    NEXT(fopen);
    return mode[0] == 'r' && is_late(path) ? NULL : next(path, mode);
}

FILE *fopen64(const char *restrict path, const char *restrict mode) {
    NEXT(fopen64);
    return mode[0] == 'r' && is_late(path) ? NULL : next(path, mode);
}
