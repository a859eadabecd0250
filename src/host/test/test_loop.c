#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/range.h"
#include "host/host.h"
#include "host/loop.h"

struct ctx {
    struct loop *l;
    struct loop_fd *f, *g;
    struct loop_timer *t;
    int fd, gd;
    unsigned count;
    uint64_t at;
    atomic_uint posted;
};

static void stop(void *opaque)
{
    loop_stop(((struct ctx *)opaque)->l);
}

static void *run(void *opaque)
{
    loop_run(((struct ctx *)opaque)->l);
    return NULL;
}

static struct ctx start(void)
{
    struct ctx c = {.l = loop_new(NULL), .fd = eventfd(0, EFD_NONBLOCK), .gd = eventfd(0, EFD_NONBLOCK)};
    assert_non_null(c.l);
    return c;
}

static void finish(struct ctx *c)
{
    loop_del_fd(c->f);
    loop_del_fd(c->g);
    loop_timer_free(c->t);
    close(c->fd);
    close(c->gd);
    loop_free(c->l);
}

static void a_stop_before_run_makes_run_return(void **state)
{
    struct ctx c = start();
    (void)state;
    loop_stop(c.l);
    loop_run(c.l);
    finish(&c);
    loop_free(NULL);
    loop_del_fd(NULL);
    loop_timer_free(NULL);
}

static void on_fd(void *opaque, uint32_t events)
{
    struct ctx *c = opaque;
    uint64_t n;
    assert_int_equal(events, EPOLLIN);
    assert_true(loop_is_current(c->l));
    assert_int_equal(read(c->fd, &n, sizeof n), sizeof n);
    if (++c->count == 3)
        loop_stop(c->l);
    else
        eventfd_write(c->fd, 1);
}

static void a_readable_fd_is_called_each_time(void **state)
{
    struct ctx c = start();
    (void)state;
    c.f = loop_add_fd(c.l, c.fd, EPOLLIN, on_fd, &c, NULL);
    eventfd_write(c.fd, 1);
    loop_run(c.l);
    assert_int_equal(c.count, 3);
    assert_false(loop_is_current(c.l));
    finish(&c);
}

static void del_both(void *opaque, uint32_t events)
{
    struct ctx *c = opaque;
    (void)events;
    c->count++;
    loop_del_fd(c->f);
    loop_del_fd(c->g);
    c->f = c->g = NULL;
    loop_post(c->l, stop, c);
}

static void a_callback_may_delete_itself_and_others_that_are_ready(void **state)
{
    struct ctx c = start();
    (void)state;
    c.f = loop_add_fd(c.l, c.fd, EPOLLIN, del_both, &c, NULL);
    c.g = loop_add_fd(c.l, c.gd, EPOLLIN, del_both, &c, NULL);
    eventfd_write(c.fd, 1);
    eventfd_write(c.gd, 1);
    loop_run(c.l);
    assert_int_equal(c.count, 1);
    finish(&c);
}

static void disable_both(void *opaque, uint32_t events)
{
    struct ctx *c = opaque;
    (void)events;
    c->count++;
    loop_mod_fd(c->f, 0);
    loop_mod_fd(c->g, 0);
    loop_post(c->l, stop, c);
}

static void a_disabled_fd_is_not_called_even_when_it_was_ready(void **state)
{
    struct ctx c = start();
    (void)state;
    c.f = loop_add_fd(c.l, c.fd, EPOLLIN, disable_both, &c, NULL);
    c.g = loop_add_fd(c.l, c.gd, EPOLLIN, disable_both, &c, NULL);
    eventfd_write(c.fd, 1);
    eventfd_write(c.gd, 1);
    loop_run(c.l);
    assert_int_equal(c.count, 1);
    loop_mod_fd(c.f, EPOLLIN);
    loop_run(c.l);
    assert_int_equal(c.count, 2);
    finish(&c);
}

static void an_fd_added_for_nothing_may_be_enabled_later_and_a_hang_up_does_not_spin_it(void **state)
{
    struct ctx c = start();
    int p[2];
    (void)state;
    assert_int_equal(pipe(p), 0);
    c.f = loop_add_fd(c.l, p[0], 0, disable_both, &c, NULL);
    c.g = loop_add_fd(c.l, c.gd, 0, disable_both, &c, NULL);
    close(p[1]);
    loop_post(c.l, stop, &c);
    loop_run(c.l);
    assert_int_equal(c.count, 0);
    loop_mod_fd(c.f, EPOLLIN);
    loop_run(c.l);
    assert_int_equal(c.count, 1);
    close(p[0]);
    finish(&c);
}

static void an_fd_that_cannot_be_watched_is_refused(void **state)
{
    struct ctx c = start();
    struct err e;
    FILE *f = tmpfile();
    (void)state;
    assert_null(loop_add_fd(c.l, fileno(f), EPOLLIN, on_fd, &c, &e));
    assert_null(loop_add_fd(c.l, fileno(f), 0, on_fd, &c, &e));
    assert_null(loop_add_fd(c.l, -1, EPOLLIN, on_fd, &c, &e));
    assert_true(e.msg[0]);
    fclose(f);
    finish(&c);
}

static void on_timer(void *opaque)
{
    struct ctx *c = opaque;
    c->count++;
    assert_true(host_now_ns() >= c->at);
    loop_stop(c->l);
}

static void a_timer_fires_once_and_not_before_its_time(void **state)
{
    struct ctx c = start();
    (void)state;
    c.t = loop_timer_new(c.l, on_timer, &c, NULL);
    c.at = host_now_ns() + 3000000;
    loop_timer_arm(c.t, c.at);
    loop_run(c.l);
    assert_int_equal(c.count, 1);
    loop_timer_arm(c.t, 0); /* long past: soon */
    loop_run(c.l);
    assert_int_equal(c.count, 2);
    finish(&c);
}

static void a_timer_that_was_disarmed_or_put_off_does_not_fire(void **state)
{
    struct ctx c = start(), d = {0};
    (void)state;
    c.t = loop_timer_new(c.l, on_timer, &c, NULL);
    d.l = c.l;
    d.t = loop_timer_new(c.l, on_timer, &d, NULL);
    loop_timer_arm(c.t, host_now_ns());
    loop_timer_disarm(c.t);
    loop_timer_arm(d.t, host_now_ns() + 2000000);
    loop_run(c.l);
    assert_int_equal(d.count, 1);
    loop_timer_arm(c.t, host_now_ns());
    loop_timer_arm(c.t, UINT64_MAX);
    loop_timer_arm(d.t, host_now_ns() + 2000000);
    loop_run(c.l);
    assert_int_equal(c.count, 0);
    assert_int_equal(d.count, 2);
    loop_timer_free(d.t);
    finish(&c);
}

static void free_timer(void *opaque)
{
    struct ctx *c = opaque;
    loop_timer_free(c->t);
    c->t = NULL;
    loop_stop(c->l);
}

static void a_timer_may_free_itself(void **state)
{
    struct ctx c = start();
    (void)state;
    c.t = loop_timer_new(c.l, free_timer, &c, NULL);
    loop_timer_arm(c.t, 1);
    loop_run(c.l);
    assert_null(c.t);
    finish(&c);
}

static void *arm_it(void *opaque)
{
    struct ctx *c = opaque;
    for (unsigned i = 0; i < 200; i++)
        if (i % 3)
            loop_timer_arm(c->t, host_now_ns() + 100000000000);
        else
            loop_timer_disarm(c->t);
    c->at = host_now_ns() + 1000000;
    loop_timer_arm(c->t, c->at);
    return NULL;
}

static void a_timer_may_be_armed_from_another_thread(void **state)
{
    struct ctx c = start();
    pthread_t t;
    (void)state;
    c.t = loop_timer_new(c.l, on_timer, &c, NULL);
    assert_int_equal(host_thread(&t, "armer", arm_it, &c), 0);
    loop_run(c.l);
    pthread_join(t, NULL);
    assert_int_equal(c.count, 1);
    finish(&c);
}

enum { THREADS = 4, POSTS = 500 };

static void count_post(void *opaque)
{
    struct ctx *c = opaque;
    assert_true(loop_is_current(c->l));
    c->count++; /* not atomic: all on one thread */
    if (c->count == THREADS * POSTS)
        loop_stop(c->l);
}

static void *post_many(void *opaque)
{
    struct ctx *c = opaque;
    for (unsigned i = 0; i < POSTS; i++)
        assert_int_equal(loop_post(c->l, count_post, c), 0);
    return NULL;
}

static void posts_from_many_threads_all_run_on_the_loops(void **state)
{
    struct ctx c = start();
    pthread_t t[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(host_thread(&t[i], "poster", post_many, &c), 0);
    loop_run(c.l);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.count, THREADS * POSTS);
    finish(&c);
}

static void post_again(void *opaque)
{
    struct ctx *c = opaque;
    atomic_fetch_add(&c->posted, 1);
    loop_post(c->l, post_again, c);
}

static void a_post_that_posts_itself_does_not_starve_the_fds(void **state)
{
    struct ctx c = start();
    (void)state;
    c.f = loop_add_fd(c.l, c.fd, EPOLLIN, on_fd, &c, NULL);
    loop_post(c.l, post_again, &c);
    eventfd_write(c.fd, 1);
    loop_run(c.l);
    assert_int_equal(c.count, 3);
    finish(&c); /* ends too: what is posted while the loop is freed is dropped */
}

static void nested_call(void *opaque)
{
    struct ctx *c = opaque;
    c->count += 10;
}

static void call_inside(void *opaque)
{
    struct ctx *c = opaque;
    c->count++;
    loop_call(c->l, nested_call, c);
}

static void a_call_has_run_when_it_returns(void **state)
{
    struct ctx c = start();
    pthread_t t;
    (void)state;
    loop_call(c.l, call_inside, &c); /* the loop does not run: here */
    assert_int_equal(c.count, 11);
    assert_int_equal(host_thread(&t, "loop", run, &c), 0);
    for (unsigned i = 2; i < 200; i++) {
        loop_call(c.l, call_inside, &c);
        assert_int_equal(c.count, i * 11);
    }
    loop_stop(c.l);
    pthread_join(t, NULL);
    finish(&c);
}

static void *call_many(void *opaque)
{
    struct ctx *c = opaque;
    for (unsigned i = 0; i < 100; i++)
        loop_call(c->l, stop, c);
    return NULL;
}

static void a_call_returns_even_when_the_loop_stops_meanwhile(void **state)
{
    struct ctx c = start();
    pthread_t t;
    (void)state;
    assert_int_equal(host_thread(&t, "caller", call_many, &c), 0);
    for (unsigned i = 0; i < 300; i++) {
        loop_post(c.l, stop, &c);
        loop_run(c.l);
    }
    pthread_join(t, NULL);
    finish(&c);
}

static void went_idle(void *opaque)
{
    struct ctx *c = opaque;
    assert_int_equal(c->count % 2, 0);
    c->count++;
}

static void went_busy(void *opaque)
{
    struct ctx *c = opaque;
    assert_int_equal(c->count % 2, 1);
    c->count++;
}

static void idle_and_busy_take_turns_around_each_wait(void **state)
{
    struct ctx c = start(), d = {.l = c.l, .fd = c.fd};
    (void)state;
    loop_on_idle(c.l, went_idle, &c);
    loop_on_busy(c.l, went_busy, &c);
    c.f = loop_add_fd(c.l, c.fd, EPOLLIN, on_fd, &d, NULL);
    eventfd_write(c.fd, 1);
    loop_run(c.l);
    assert_true(c.count >= 6);
    finish(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_before_run_makes_run_return),
        cmocka_unit_test(a_readable_fd_is_called_each_time),
        cmocka_unit_test(a_callback_may_delete_itself_and_others_that_are_ready),
        cmocka_unit_test(a_disabled_fd_is_not_called_even_when_it_was_ready),
        cmocka_unit_test(an_fd_added_for_nothing_may_be_enabled_later_and_a_hang_up_does_not_spin_it),
        cmocka_unit_test(an_fd_that_cannot_be_watched_is_refused),
        cmocka_unit_test(a_timer_fires_once_and_not_before_its_time),
        cmocka_unit_test(a_timer_that_was_disarmed_or_put_off_does_not_fire),
        cmocka_unit_test(a_timer_may_free_itself),
        cmocka_unit_test(a_timer_may_be_armed_from_another_thread),
        cmocka_unit_test(posts_from_many_threads_all_run_on_the_loops),
        cmocka_unit_test(a_post_that_posts_itself_does_not_starve_the_fds),
        cmocka_unit_test(a_call_has_run_when_it_returns),
        cmocka_unit_test(a_call_returns_even_when_the_loop_stops_meanwhile),
        cmocka_unit_test(idle_and_busy_take_turns_around_each_wait),
    };
    return cmocka_run_group_tests_name("host: loop", tests, NULL, NULL);
}
