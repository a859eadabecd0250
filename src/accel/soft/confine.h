/*
 * confine: take from a freshly forked process what it does not need.
 */
#ifndef SOFT_CONFINE_H
#define SOFT_CONFINE_H
#include <stddef.h>
#include <stdint.h>

struct confine_range {
    uintptr_t from, to;
};

/* Unmap all memory but `keep`, program and libraries, the calling thread's stack and the kernel's own pages.
 * Afterwards neither malloc nor free may be called. 0 or -errno. Uses no memory but the stack. */
int confine_memory(const struct confine_range *keep, size_t count);

/* Close all descriptors but `fd`. */
void confine_files(int fd);

/* From now on, in all threads, only: futex, sched_yield, membarrier, clock_gettime, read, exit. Anything else
 * kills the process. 0 or -errno. */
int confine_calls(void);

#endif
