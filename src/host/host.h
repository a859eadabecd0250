/*
 * host: Linux primitives that want one spelling. Thread-safe, no state.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>
struct err;

uint64_t host_now_ns(void);      /* CLOCK_MONOTONIC */
uint64_t host_realtime_ns(void); /* CLOCK_REALTIME, since 1970 */
/* Of this CPU: CPUID 0x15/0x40000010 where told, else measured over 20 ms; cached by caller */
uint64_t host_tsc_khz(void);
/* CLOCK_MONOTONIC is made from the TSC, which is one for all CPUs then. */
bool host_clock_is_tsc(void);

/* Whole-length I/O with EINTR and short transfers handled. 0, or -errno; a short file gives -ENODATA. */
int host_read_full(int fd, void *p, size_t n);
int host_write_full(int fd, const void *p, size_t n);
int host_pread_full(int fd, void *p, size_t n, uint64_t off);
int host_pwrite_full(int fd, const void *p, size_t n, uint64_t off);

/* A sealed-size memfd of `size` bytes. fd, or -errno. */
int host_memfd(const char *name, uint64_t size, struct err *e);

/* Read a whole file of at most `max` bytes. *data is malloc'ed, the caller frees. 0 or -errno with `e` set.
 */
int host_read_file(const char *path, size_t max, uint8_t **data, size_t *len, struct err *e);

/* Bytes of memory the machine has, and has free for use now. */
uint64_t host_mem_total(void);
uint64_t host_mem_available(void);

/* A thread with a name (15 bytes), all signals blocked but SIGBUS/SEGV/FPE/ILL. 0 or -errno. */
int host_thread(pthread_t *out, const char *name, void *(*fn)(void *), void *arg);

/* membarrier(PRIVATE_EXPEDITED): every other thread of this process has passed a full barrier on return. */
void host_membarrier(void);

#endif
