#include "host/host.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>
#include "base/check.h"
#include "base/err.h"

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

uint64_t host_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t host_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

/* Frequency that CPUID tells: 0x15 (SDM 2A), or the hypervisor's timing leaf 0x40000010. 0: it does not. */
static uint64_t tsc_khz_told(void)
{
    unsigned a, b, c, d;
    if (__get_cpuid_max(0, NULL) >= 0x15) {
        __cpuid(0x15, a, b, c, d);
        if (a && b && c)
            return (uint64_t)c * b / a / 1000;
    }
    __cpuid(1, a, b, c, d);
    if (c >> 31 & 1) {
        __cpuid(0x40000000, a, b, c, d);
        if (a >= 0x40000010 && a < 0x40010000) {
            __cpuid(0x40000010, a, b, c, d);
            return a;
        }
    }
    return 0;
}

uint64_t host_tsc_khz(void)
{
    uint64_t khz = tsc_khz_told();
    if (khz)
        return khz;
    uint64_t t0 = host_now_ns(), c0 = __rdtsc(), t1;
    struct timespec wait = {.tv_nsec = 20000000};
    nanosleep(&wait, NULL);
    t1 = host_now_ns();
    return (uint64_t)((unsigned __int128)(__rdtsc() - c0) * 1000000 / (t1 - t0));
}

bool host_clock_is_tsc(void)
{
    char name[16] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, name, sizeof name - 1);
    close(fd);
    return n == 4 && !strcmp(name, "tsc\n");
}

/* At offset `off`, or where the file is when that is negative. */
static int read_all(int fd, char *p, size_t n, off_t off)
{
    for (size_t got = 0; got < n;) {
        ssize_t r =
            off < 0 ? read(fd, p + got, n - got) : pread(fd, p + got, n - got, (off_t)((size_t)off + got));
        if (r == 0)
            return -ENODATA;
        if (r < 0 && errno != EINTR)
            return -errno;
        got += r > 0 ? (size_t)r : 0;
    }
    return 0;
}

static int write_all(int fd, const char *p, size_t n, off_t off)
{
    for (size_t put = 0; put < n;) {
        ssize_t r =
            off < 0 ? write(fd, p + put, n - put) : pwrite(fd, p + put, n - put, (off_t)((size_t)off + put));
        if (r < 0 && errno != EINTR)
            return -errno;
        put += r > 0 ? (size_t)r : 0;
    }
    return 0;
}

int host_read_full(int fd, void *p, size_t n)
{
    return read_all(fd, p, n, -1);
}

int host_write_full(int fd, const void *p, size_t n)
{
    return write_all(fd, p, n, -1);
}

int host_pread_full(int fd, void *p, size_t n, uint64_t off)
{
    return off > INT64_MAX ? -EINVAL : read_all(fd, p, n, (off_t)off);
}

int host_pwrite_full(int fd, const void *p, size_t n, uint64_t off)
{
    return off > INT64_MAX ? -EINVAL : write_all(fd, p, n, (off_t)off);
}

int host_memfd(const char *name, uint64_t size, struct err *e)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_sys(e, errno, "memfd %s", name);
    if (ftruncate(fd, (off_t)size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
        int r = err_sys(e, errno, "memfd %s of %llu bytes", name, (unsigned long long)size);
        close(fd);
        return r;
    }
    return fd;
}

static int read_open_file(int fd, const char *path, size_t max, uint8_t **data, size_t *len, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return err_sys(e, errno, "%s", path);
    if (S_ISDIR(st.st_mode))
        return err_set(e, EISDIR, "%s: a directory, where a file is wanted", path);
    /* Not st_size: pipes and /proc have none. */
    size_t cap = st.st_size > 0 && (uint64_t)st.st_size < max ? (size_t)st.st_size + 1 : 65536, n = 0;
    uint8_t *p = malloc(cap);
    while (p) {
        ssize_t r = read(fd, p + n, cap - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            free(p);
            return err_sys(e, errno, "%s", path);
        }
        if (r == 0)
            break;
        n += (size_t)r;
        if (n > max) {
            free(p);
            return err_set(e, EFBIG, "%s: larger than %zu bytes", path, max);
        }
        if (n == cap) {
            uint8_t *bigger = realloc(p, cap * 2);
            if (!bigger)
                free(p);
            p = bigger;
            cap *= 2;
        }
    }
    if (!p)
        return err_set(e, ENOMEM, "%s: out of memory", path);
    *data = p;
    *len = n;
    return 0;
}

int host_read_file(const char *path, size_t max, uint8_t **data, size_t *len, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "%s", path);
    int r = read_open_file(fd, path, max, data, len, e);
    close(fd);
    return r;
}

static uint64_t meminfo(const char *key)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), ": %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (uint64_t)kib << 10;
}

uint64_t host_mem_total(void)
{
    return meminfo("MemTotal");
}

uint64_t host_mem_available(void)
{
    return meminfo("MemAvailable");
}

int host_thread(pthread_t *out, const char *name, void *(*fn)(void *), void *arg)
{
    sigset_t all, was;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int r = pthread_create(out, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (r == 0) {
        char short_name[16]; /* a longer one would be refused */
        snprintf(short_name, sizeof short_name, "%s", name);
        pthread_setname_np(*out, short_name);
    }
    return -r;
}

void host_membarrier(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return;
    /* A process registers its intent once; a kernel without it has the slow global form. */
    if (errno == EPERM && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return;
    CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0);
}
