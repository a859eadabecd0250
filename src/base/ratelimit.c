/* A bucket of `burst` tokens, refilled by one each interval. Lock-free: a lost exchange means that another
 * thread did the work. */
#include "base/ratelimit.h"
#include <time.h>

enum { BURST = 10, INTERVAL_MS = 1000 };

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void refill(struct ratelimit *r, uint64_t now, uint32_t interval)
{
    uint64_t last = __atomic_load_n(&r->last_ms, __ATOMIC_RELAXED);
    uint64_t earned = now > last ? (now - last) / interval : 0;
    if (!earned || !__atomic_compare_exchange_n(&r->last_ms, &last, last + earned * interval, false,
                                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    uint32_t used = __atomic_load_n(&r->used, __ATOMIC_RELAXED), left;
    do
        left = earned >= used ? 0 : used - (uint32_t)earned;
    while (!__atomic_compare_exchange_n(&r->used, &used, left, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

bool ratelimit_ok(struct ratelimit *r)
{
    uint32_t burst = r->burst ? r->burst : BURST;
    refill(r, now_ms(), r->interval_ms ? r->interval_ms : INTERVAL_MS);
    uint32_t used = __atomic_load_n(&r->used, __ATOMIC_RELAXED);
    do
        if (used >= burst) {
            __atomic_fetch_add(&r->suppressed, 1, __ATOMIC_RELAXED);
            return false;
        }
    while (
        !__atomic_compare_exchange_n(&r->used, &used, used + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}
