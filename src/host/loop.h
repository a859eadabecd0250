/*
 * loop: an epoll loop that runs callbacks on one thread, its own.
 *
 * A device or backend is given its loop at construction; there is no "the" loop. Unless said otherwise,
 * functions are called on the loop's thread or before it runs. Callbacks may add and delete anything,
 * themselves included.
 */
#ifndef HOST_LOOP_H
#define HOST_LOOP_H
#include <stdbool.h>
#include <stdint.h>
struct err;

struct loop;
struct loop_fd;
struct loop_timer;

struct loop *loop_new(struct err *e);
void loop_free(struct loop *l); /* NULL is fine; fds and timers must be gone */
void loop_run(struct loop *l);  /* until loop_stop */
/* fn(opaque) runs on the loop's thread each time before it waits, when it holds no pointer of anybody's:
 * quiescent points. Before loop_run. */
void loop_on_idle(struct loop *l, void (*fn)(void *opaque), void *opaque);
/* fn(opaque) runs on the loop's thread each time after it waited, before callbacks: with loop_on_idle, what
 * takes a reader of guest memory offline while the loop sleeps. Before loop_run. */
void loop_on_busy(struct loop *l, void (*fn)(void *opaque), void *opaque);
/* Any thread, async-signal safe; a stop before run makes run return at once */
void loop_stop(struct loop *l);

/* Call fn(opaque, events) when fd has any of `events` (EPOLLIN, ...; level triggered). The fd stays the
 * caller's. NULL: e. */
struct loop_fd *loop_add_fd(struct loop *l, int fd, uint32_t events,
                            void (*fn)(void *opaque, uint32_t events), void *opaque, struct err *e);
void loop_mod_fd(struct loop_fd *f, uint32_t events); /* 0 disables */
/* Before closing the fd; NULL is fine; fn is not called again */
void loop_del_fd(struct loop_fd *f);

/* A one-shot timer on CLOCK_MONOTONIC. Created disarmed. */
struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *opaque), void *opaque, struct err *e);
/* Any thread; replaces an earlier deadline; past: soon */
void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns);
/* Any thread; fn may be about to run all the same */
void loop_timer_disarm(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL is fine */

/* Run fn(opaque) once on the loop's thread, soon. Any thread. Returns -ENOMEM or 0. */
int loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque);
/* As loop_post, but wait until it ran (direct call when already on the loop's thread or when the loop does
 * not run). */
void loop_call(struct loop *l, void (*fn)(void *opaque), void *opaque);
bool loop_is_current(const struct loop *l); /* on the loop's own thread now */

#endif
