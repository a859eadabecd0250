/*
 * signals: signals to the process as callbacks of a loop, by a thread that waits for them.
 *
 * Not by a signalfd: where one is watched, each signal to any thread of the process wakes the watcher, and
 * the software engine's timers are signals to vCPU threads, some thousand a second.
 */
#ifndef HOST_SIGNALS_H
#define HOST_SIGNALS_H
#include <signal.h>
struct loop;
struct signals;
struct err;

/* fn(opaque, number) runs on the loop's thread for each signal of `set`, which all threads have blocked (so
 * the caller has blocked it before there were others). NULL: e. */
struct signals *signals_new(struct loop *loop, const sigset_t *set, void (*fn)(void *opaque, int number),
                            void *opaque, struct err *e);
void signals_free(struct signals *s); /* NULL is fine; fn is not called again */

#endif
