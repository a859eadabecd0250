/*
 * sleep: a vCPU waits for a wake or a deadline by a futex, in memory that another process may share.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "accel/soft/internal.h"

void soft_sleep(uint32_t *word, uint64_t host_deadline_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(host_deadline_ns / 1000000000),
                          .tv_nsec = (long)(host_deadline_ns % 1000000000)};
    uint32_t awake = AWAKE;

    if (__atomic_compare_exchange_n(word, &awake, ASLEEP, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET, ASLEEP, host_deadline_ns == UINT64_MAX ? NULL : &ts, NULL,
                FUTEX_BITSET_MATCH_ANY);
    __atomic_store_n(word, AWAKE, __ATOMIC_SEQ_CST);
}

void soft_wake(uint32_t *word)
{
    int was = errno;

    if (__atomic_exchange_n(word, WOKEN, __ATOMIC_SEQ_CST) == ASLEEP)
        syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = was;
}
