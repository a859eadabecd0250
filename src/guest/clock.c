#include "guest/clock.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/list.h"
#include "base/range.h"
#include "host/host.h"
#include "host/loop.h"

struct clock {
    pthread_mutex_t mutex; /* innermost: nothing is called under it but timer arming */
    bool running;
    uint64_t base;   /* guest time when it last stopped or started */
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

/* The lock is not part of what a reader sees as the clock's value. */
static struct clock *locked(const struct clock *c)
{
    struct clock *m = (struct clock *)(uintptr_t)c;
    pthread_mutex_lock(&m->mutex);
    return m;
}

static uint64_t now_locked(const struct clock *c)
{
    return c->running ? c->base + (host_now_ns() - c->host_at) : c->base;
}

uint64_t clock_now(const struct clock *c)
{
    struct clock *m = locked(c);
    uint64_t now = now_locked(m);
    pthread_mutex_unlock(&m->mutex);
    return now;
}

static uint64_t to_host_locked(const struct clock *c, uint64_t guest_ns)
{
    if (!c->running)
        return UINT64_MAX;
    if (guest_ns <= c->base)
        return c->host_at;
    return guest_ns - c->base > UINT64_MAX - c->host_at ? UINT64_MAX : c->host_at + (guest_ns - c->base);
}

uint64_t clock_to_host(const struct clock *c, uint64_t guest_ns)
{
    struct clock *m = locked(c);
    uint64_t host = to_host_locked(m, guest_ns);
    pthread_mutex_unlock(&m->mutex);
    return host;
}

void clock_start(struct clock *c)
{
    pthread_mutex_lock(&c->mutex);
    if (!c->running) {
        c->running = true;
        c->host_at = host_now_ns();
        list_for_each(n, &c->timers) {
            struct clock_timer *t = CONTAINER_OF(n, struct clock_timer, node);
            if (t->armed)
                loop_timer_arm(t->timer, to_host_locked(c, t->deadline));
        }
    }
    pthread_mutex_unlock(&c->mutex);
}

void clock_stop(struct clock *c)
{
    pthread_mutex_lock(&c->mutex);
    c->base = now_locked(c);
    c->running = false;
    list_for_each(n, &c->timers)
        loop_timer_disarm(CONTAINER_OF(n, struct clock_timer, node)->timer);
    pthread_mutex_unlock(&c->mutex);
}

void clock_set(struct clock *c, uint64_t now_ns)
{
    pthread_mutex_lock(&c->mutex);
    c->base = now_ns;
    c->host_at = host_now_ns();
    pthread_mutex_unlock(&c->mutex);
}

static void on_timer(void *opaque)
{
    struct clock_timer *t = opaque;
    pthread_mutex_lock(&t->clock->mutex);
    bool due = t->armed && t->clock->running && now_locked(t->clock) >= t->deadline;
    if (due)
        t->armed = false;
    pthread_mutex_unlock(&t->clock->mutex);
    if (due)
        t->fn(t->opaque);
}

struct clock_timer *clock_timer_new(struct clock *c, struct loop *l, void (*fn)(void *opaque), void *opaque, struct err *e)
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
        loop_timer_arm(t->timer, to_host_locked(c, deadline_guest_ns));
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
