/*
 * clock: the guest's time. Runs with CLOCK_MONOTONIC, stops while the machine is paused, and is saved with
 * it. All device timers count in it. Any thread.
 */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H
#include <stdint.h>
struct clock;
struct clock_timer;
struct loop;
struct err;

struct clock *clock_new(struct err *e); /* stopped at 0 */
void clock_free(struct clock *c);
uint64_t clock_now(const struct clock *c); /* ns of guest time */
void clock_start(struct clock *c);
void clock_stop(struct clock *c);
void clock_set(struct clock *c, uint64_t now_ns); /* while stopped: on load */
/* Guest time as host CLOCK_MONOTONIC ns: for sleeping; while stopped UINT64_MAX. */
uint64_t clock_to_host(const struct clock *c, uint64_t guest_ns);

/* A one-shot timer in guest time, run on `loop`. It fires late by the pauses in between. */
struct clock_timer *clock_timer_new(struct clock *c, struct loop *l, void (*fn)(void *opaque), void *opaque,
                                    struct err *e);
void clock_timer_arm(struct clock_timer *t, uint64_t deadline_guest_ns);
void clock_timer_disarm(struct clock_timer *t);
void clock_timer_free(struct clock_timer *t);

#endif
