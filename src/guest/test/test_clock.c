#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <time.h>
#include <cmocka.h>
#include "guest/clock.h"
#include "host/host.h"
#include "host/loop.h"

enum { MS = 1000000 };

struct ctx {
    struct clock *c;
    struct loop *l;
    struct clock_timer *t;
    unsigned fired;
    uint64_t due;
};

static void nap(long ns)
{
    struct timespec ts = {.tv_nsec = ns};
    nanosleep(&ts, NULL);
}

static void on_timer(void *opaque)
{
    struct ctx *x = opaque;
    x->fired++;
    assert_true(clock_now(x->c) >= x->due);
    loop_stop(x->l);
}

static struct ctx start(void)
{
    struct ctx x = {.c = clock_new(NULL), .l = loop_new(NULL)};
    return x;
}

static void finish(struct ctx *x)
{
    clock_timer_free(x->t);
    loop_free(x->l);
    clock_free(x->c);
}

static void stop_loop(void *opaque)
{
    loop_stop(((struct ctx *)opaque)->l);
}

/* Let everything that is due on the loop happen, and something later. */
static void run_for(struct ctx *x, uint64_t ns)
{
    struct loop_timer *t = loop_timer_new(x->l, stop_loop, x, NULL);
    loop_timer_arm(t, host_now_ns() + ns);
    loop_run(x->l);
    loop_timer_free(t);
}

static void a_new_clock_stands_at_zero(void **state)
{
    struct ctx x = start();
    (void)state;
    nap(MS);
    assert_int_equal(clock_now(x.c), 0);
    assert_true(clock_to_host(x.c, 5) == UINT64_MAX);
    finish(&x);
    clock_free(NULL);
}

static void it_runs_with_the_host_and_stops_when_told(void **state)
{
    struct ctx x = start();
    (void)state;
    clock_set(x.c, 1000);
    uint64_t before = host_now_ns();
    clock_start(x.c);
    clock_start(x.c); /* twice is once */
    nap(2 * MS);
    uint64_t now = clock_now(x.c), after = host_now_ns();
    assert_true(now >= 1000 + 2 * MS && now - 1000 <= after - before);
    clock_stop(x.c);
    uint64_t stopped = clock_now(x.c);
    assert_true(stopped >= now);
    nap(MS);
    clock_stop(x.c);
    assert_true(clock_now(x.c) == stopped);
    clock_start(x.c);
    assert_true(clock_now(x.c) >= stopped);
    finish(&x);
}

static void guest_time_translates_to_host_time(void **state)
{
    struct ctx x = start();
    (void)state;
    clock_set(x.c, 5000);
    uint64_t a = host_now_ns();
    clock_start(x.c);
    uint64_t b = host_now_ns(), then = clock_to_host(x.c, 5000 + 10 * MS);
    assert_true(then >= a + 10 * MS && then <= b + 10 * MS);
    assert_true(clock_to_host(x.c, 0) <= b); /* the past is not later than now */
    assert_true(clock_to_host(x.c, UINT64_MAX) >= b);
    finish(&x);
}

/* The clock runs, and a timer is due in `ns` of it. */
static void start_timer(struct ctx *x, uint64_t ns)
{
    clock_start(x->c);
    x->t = clock_timer_new(x->c, x->l, on_timer, x, NULL);
    x->due = clock_now(x->c) + ns;
    clock_timer_arm(x->t, x->due);
}

static void a_timer_fires_in_guest_time(void **state)
{
    struct ctx x = start();
    (void)state;
    start_timer(&x, 2 * MS);
    loop_run(x.l);
    assert_int_equal(x.fired, 1);
    run_for(&x, 3 * MS);
    assert_int_equal(x.fired, 1);
    clock_timer_arm(x.t, x.due = 0);
    loop_run(x.l);
    assert_int_equal(x.fired, 2);
    finish(&x);
}

static void a_timer_waits_through_a_pause(void **state)
{
    struct ctx x = start();
    (void)state;
    start_timer(&x, 2 * MS);
    clock_stop(x.c);
    run_for(&x, 6 * MS);
    assert_int_equal(x.fired, 0);
    clock_start(x.c);
    loop_run(x.l);
    assert_int_equal(x.fired, 1);
    finish(&x);
}

static void a_timer_armed_in_a_pause_fires_after_it_at_the_loaded_time(void **state)
{
    struct ctx x = start();
    (void)state;
    x.t = clock_timer_new(x.c, x.l, on_timer, &x, NULL);
    x.due = 3600000000000 + MS;
    clock_timer_arm(x.t, x.due);
    clock_set(x.c, 3600000000000); /* an hour into the guest's life */
    run_for(&x, 2 * MS);
    assert_int_equal(x.fired, 0);
    clock_start(x.c);
    loop_run(x.l);
    assert_int_equal(x.fired, 1);
    finish(&x);
}

static void a_disarmed_timer_does_not_fire_nor_does_a_start_revive_it(void **state)
{
    struct ctx x = start();
    (void)state;
    clock_start(x.c);
    x.t = clock_timer_new(x.c, x.l, on_timer, &x, NULL);
    clock_timer_arm(x.t, MS);
    clock_timer_disarm(x.t);
    clock_stop(x.c);
    clock_start(x.c);
    run_for(&x, 3 * MS);
    assert_int_equal(x.fired, 0);
    clock_timer_arm(x.t, 0);
    clock_timer_free(x.t); /* due, and gone */
    x.t = NULL;
    run_for(&x, MS);
    assert_int_equal(x.fired, 0);
    clock_timer_free(NULL);
    finish(&x);
}

struct storm {
    struct clock *c;
    atomic_bool stop;
};

static void *watch(void *opaque)
{
    struct storm *s = opaque;
    uint64_t last = 0;
    for (unsigned i = 0; i < 1000 || !atomic_load(&s->stop); i++) {
        uint64_t now = clock_now(s->c);
        assert_true(now >= last);
        last = now;
    }
    return NULL;
}

static void time_never_goes_back_for_anyone_through_stops_and_starts(void **state)
{
    struct storm s = {.c = clock_new(NULL)};
    pthread_t t[2];
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(host_thread(&t[i], "vcpu", watch, &s), 0);
    for (unsigned i = 0; i < 2000; i++) {
        clock_start(s.c);
        if (i % 100 == 0)
            nap(10000);
        clock_stop(s.c);
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    clock_free(s.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_clock_stands_at_zero),
        cmocka_unit_test(it_runs_with_the_host_and_stops_when_told),
        cmocka_unit_test(guest_time_translates_to_host_time),
        cmocka_unit_test(a_timer_fires_in_guest_time),
        cmocka_unit_test(a_timer_waits_through_a_pause),
        cmocka_unit_test(a_timer_armed_in_a_pause_fires_after_it_at_the_loaded_time),
        cmocka_unit_test(a_disarmed_timer_does_not_fire_nor_does_a_start_revive_it),
        cmocka_unit_test(time_never_goes_back_for_anyone_through_stops_and_starts),
    };
    return cmocka_run_group_tests_name("guest: clock", tests, NULL, NULL);
}
