#include "base/ratelimit.h"
#include <time.h>

bool ratelimit_ok(struct ratelimit *r)
{
    struct timespec ts;
    uint32_t burst = r->burst ? r->burst : 10, interval = r->interval_ms ? r->interval_ms : 1000;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    uint64_t earned = (now - r->last_ms) / interval;
    if (earned) {
        r->used = earned >= r->used ? 0 : r->used - (uint32_t)earned;
        r->last_ms = now;
    }
    if (r->used >= burst) {
        r->suppressed++;
        return false;
    }
    r->used++;
    r->suppressed = 0;
    return true;
}
