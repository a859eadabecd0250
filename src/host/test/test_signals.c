#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "host/host.h"
#include "host/loop.h"
#include "host/signals.h"

struct ctx {
    struct loop *l;
    struct signals *s;
    int got[8];
    unsigned count, enough;
};

static void on_signal(void *opaque, int number)
{
    struct ctx *c = opaque;
    if (c->count < 8)
        c->got[c->count] = number;
    if (++c->count == c->enough)
        loop_stop(c->l);
}

static void on_time(void *opaque)
{
    loop_stop(((struct ctx *)opaque)->l);
}

static void begin(struct ctx *c, unsigned enough)
{
    struct err e;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    *c = (struct ctx){.l = loop_new(&e), .enough = enough};
    c->s = signals_new(c->l, &set, on_signal, c, &e);
    assert_non_null(c->s);
}

static void finish(struct ctx *c)
{
    signals_free(c->s);
    loop_free(c->l);
}

static void each_signal_reaches_the_loop(void **state)
{
    struct ctx c;
    (void)state;

    for (unsigned round = 0; round < 3; round++) {
        begin(&c, 1);
        kill(getpid(), round ? SIGTERM : SIGWINCH);
        loop_run(c.l);
        assert_int_equal(c.got[0], round ? SIGTERM : SIGWINCH);
        c.enough = 3; /* two of one kind that wait are one; of two kinds, two */
        kill(getpid(), SIGTERM);
        kill(getpid(), SIGWINCH);
        loop_run(c.l);
        assert_int_equal(c.got[1] + c.got[2], SIGTERM + SIGWINCH);
        finish(&c);
    }
}

static void nothing(int number)
{
    (void)number;
}

static void *signal_itself(void *arg)
{
    const struct timespec moment = {.tv_nsec = 20000};
    sigset_t set;
    (void)arg;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    for (unsigned i = 0; i < 2000; i++) {
        pthread_kill(pthread_self(), SIGUSR2);
        nanosleep(&moment, NULL);
    }
    return NULL;
}

/* As vCPU threads get by their timers. */
static void a_threads_own_signals_wake_nobody_else(void **state)
{
    struct sigaction sa = {.sa_handler = nothing};
    struct rusage was, now;
    struct loop_timer *t;
    struct err e;
    struct ctx c;
    pthread_t thread;
    (void)state;

    sigaction(SIGUSR2, &sa, NULL);
    begin(&c, 1);
    t = loop_timer_new(c.l, on_time, &c, &e);
    loop_timer_arm(t, host_now_ns() + 300000000);
    assert_int_equal(host_thread(&thread, "other", signal_itself, NULL), 0);
    getrusage(RUSAGE_THREAD, &was);
    loop_run(c.l);
    getrusage(RUSAGE_THREAD, &now);
    pthread_join(thread, NULL);
    assert_int_equal(c.count, 0);
    assert_true(now.ru_nvcsw - was.ru_nvcsw < 20); /* how often this thread went to sleep */
    loop_timer_free(t);
    finish(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_reaches_the_loop),
        cmocka_unit_test(a_threads_own_signals_wake_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
