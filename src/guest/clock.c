#include "guest/clock.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/list.h"
#include "base/range.h"
#include "guest/seq.h"
#include "host/host.h"
#include "host/loop.h"

struct clock {
    pthread_mutex_t mutex; /* innermost: nothing is called under it but timer arming */
    struct seq seq;        /* of the three below; written with the mutex held */
    bool running;
    uint64_t base;    /* guest time when it last stopped or started */
    uint64_t host_at; /* host time of that start */
    struct list timers;
};

struct clock_timer {
    struct list node;
    struct clock *clock;
    struct loop_timer *timer;
    void (*fn)(void *opaque);
    void *opaque;
    bool armed;
    uint64_t deadline;
};

struct clock *clock_new(struct err *e)
{
    struct clock *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&c->mutex, NULL);
    list_init(&c->timers);
    return c;
}

void clock_free(struct clock *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct reading {
    bool running;
    uint64_t base, host_at, now;
};

/* The host's clock is read within: a time read after a stop began is never given. */
static struct reading look(const struct clock *c)
{
    struct reading r;
    uint32_t began;
    do {
        began = seq_begin(&c->seq);
        r = (struct reading){
            .running = seq_get(c->running), .base = seq_get(c->base), .host_at = seq_get(c->host_at)};
        r.now = r.running ? r.base + (host_now_ns() - r.host_at) : r.base;
        /* the host's clock is the TSC, which is read no later than this; the check comes after (SDM 2B,
         * RDTSC) */
        __builtin_ia32_lfence();
    } while (seq_again(&c->seq, began));
    return r;
}

uint64_t clock_now(const struct clock *c)
{
    return look(c).now;
}

uint64_t clock_to_host(const struct clock *c, uint64_t guest_ns)
{
    struct reading r = look(c);
    if (!r.running)
        return UINT64_MAX;
    if (guest_ns <= r.base)
        return r.host_at;
    return guest_ns - r.base > UINT64_MAX - r.host_at ? UINT64_MAX : r.host_at + (guest_ns - r.base);
}

void clock_start(struct clock *c)
{
    pthread_mutex_lock(&c->mutex);
    if (!c->running) {
        seq_open(&c->seq);
        seq_put(c->running, true);
        seq_put(c->host_at, host_now_ns());
        seq_close(&c->seq);
        list_for_each (n, &c->timers) {
            struct clock_timer *t = CONTAINER_OF(n, struct clock_timer, node);
            if (t->armed)
                loop_timer_arm(t->timer, clock_to_host(c, t->deadline));
        }
    }
    pthread_mutex_unlock(&c->mutex);
}

void clock_stop(struct clock *c)
{
    pthread_mutex_lock(&c->mutex);
    if (c->running) {
        seq_open(&c->seq);
        seq_put(c->base, c->base + (host_now_ns() - c->host_at));
        seq_put(c->running, false);
        seq_close(&c->seq);
    }
    list_for_each (n, &c->timers)
        loop_timer_disarm(CONTAINER_OF(n, struct clock_timer, node)->timer);
    pthread_mutex_unlock(&c->mutex);
}

void clock_set(struct clock *c, uint64_t now_ns)
{
    pthread_mutex_lock(&c->mutex);
    seq_open(&c->seq);
    seq_put(c->base, now_ns);
    seq_put(c->host_at, host_now_ns());
    seq_close(&c->seq);
    pthread_mutex_unlock(&c->mutex);
}

static void on_timer(void *opaque)
{
    struct clock_timer *t = opaque;
    pthread_mutex_lock(&t->clock->mutex);
    bool due = t->armed && t->clock->running && clock_now(t->clock) >= t->deadline;
    if (due)
        t->armed = false;
    pthread_mutex_unlock(&t->clock->mutex);
    if (due)
        t->fn(t->opaque);
}

struct clock_timer *clock_timer_new(struct clock *c, struct loop *l, void (*fn)(void *opaque), void *opaque,
                                    struct err *e)
{
    struct clock_timer *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    *t = (struct clock_timer){.clock = c, .fn = fn, .opaque = opaque};
    t->timer = loop_timer_new(l, on_timer, t, e);
    if (!t->timer) {
        free(t);
        return NULL;
    }
    pthread_mutex_lock(&c->mutex);
    list_append(&c->timers, &t->node);
    pthread_mutex_unlock(&c->mutex);
    return t;
}

void clock_timer_arm(struct clock_timer *t, uint64_t deadline_guest_ns)
{
    struct clock *c = t->clock;
    pthread_mutex_lock(&c->mutex);
    t->armed = true;
    t->deadline = deadline_guest_ns;
    if (c->running)
        loop_timer_arm(t->timer, clock_to_host(c, deadline_guest_ns));
    pthread_mutex_unlock(&c->mutex);
}

void clock_timer_disarm(struct clock_timer *t)
{
    struct clock *c = t->clock;
    pthread_mutex_lock(&c->mutex);
    t->armed = false;
    loop_timer_disarm(t->timer);
    pthread_mutex_unlock(&c->mutex);
}

void clock_timer_free(struct clock_timer *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->clock->mutex);
    list_remove(&t->node);
    pthread_mutex_unlock(&t->clock->mutex);
    loop_timer_free(t->timer);
    free(t);
}
