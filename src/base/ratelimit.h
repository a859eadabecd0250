/*
 * ratelimit: at most `burst` events at once and one more every `interval_ms`. Zero-initialised means 10 and
 * 1000. Lives inside the object whose guest-triggered messages it limits; any thread (a race may let one
 * message more through). For messages, log_guest (base/log.h) asks it.
 */
#ifndef BASE_RATELIMIT_H
#define BASE_RATELIMIT_H
#include <stdbool.h>
#include <stdint.h>

struct ratelimit {
    uint32_t burst, interval_ms; /* 0: the defaults */
    uint64_t last_ms;            /* when a token was last added */
    uint32_t used;               /* tokens spent */
    uint64_t suppressed;         /* events refused so far: who reports may name it and set it to 0 */
};

/* True when the event may be reported now. */
bool ratelimit_ok(struct ratelimit *r);

#endif
