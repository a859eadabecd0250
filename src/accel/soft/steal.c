/*
 * steal: how long a vCPU's thread was ready to run and had no CPU, by the kernel's account of it: the second
 * number of /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst). The file is opened in the
 * VMM, for its own thread or for that of the engine's process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "accel/soft/internal.h"

static int open_account(pid_t pid, pid_t tid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

uint64_t soft_stolen(struct soft *s, unsigned cpu)
{
    struct soft_vcpu *v = s->vcpu[cpu];
    char text[96], *end;

    if (!v->account) { /* once; where there is none nothing was stolen */
        int fd = s->child
                     ? open_account(s->child, (pid_t)__atomic_load_n(&s->shared->tid[cpu], __ATOMIC_RELAXED))
                     : open_account(getpid(), gettid());
        v->account = fd < 0 ? -1 : fd + 1;
    }
    ssize_t n = v->account > 0 ? pread(v->account - 1, text, sizeof text - 1, 0) : 0;
    if (n <= 0)
        return 0;
    text[n] = 0;
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10);
}

void soft_stolen_end(struct soft_vcpu *v)
{
    if (v->account > 0)
        close(v->account - 1);
}
