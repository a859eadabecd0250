#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "host/host.h"
#include "host/lock.h"

static const enum lock_rank ranks[] = {LOCK_VM, LOCK_DEVICE, LOCK_MAP, LOCK_IRQ, LOCK_VCPU, LOCK_LEAF};
enum { RANKS = sizeof ranks / sizeof ranks[0] };

/* fn in a child process: true when it aborted. */
static bool aborts(void (*fn)(enum lock_rank, enum lock_rank), enum lock_rank a, enum lock_rank b)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        fn(a, b);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void take_both(enum lock_rank a, enum lock_rank b)
{
    struct lock la, lb;
    lock_init(&la, a);
    lock_init(&lb, b);
    lock_take(&la);
    lock_take(&lb);
    lock_drop(&lb);
    lock_drop(&la);
}

static void locks_are_taken_by_rising_rank_or_not_at_all(void **state)
{
    (void)state;
#ifndef LOCK_RANKS
    skip();
#endif
    for (int a = 0; a < RANKS; a++)
        for (int b = 0; b < RANKS; b++)
            assert_int_equal(aborts(take_both, ranks[a], ranks[b]), b <= a);
}

static void drop_out_of_order(enum lock_rank a, enum lock_rank b)
{
    struct lock la, lb, lc;
    lock_init(&la, a);
    lock_init(&lb, b);
    lock_init(&lc, b);
    lock_take(&la);
    lock_take(&lb);
    lock_drop(&la);
    lock_drop(&lb);
    lock_take(&la); /* nothing is held any more */
    lock_drop(&la);
    lock_take(&lb);
    lock_drop(&lb);
}

static void locks_may_be_dropped_in_any_order(void **state)
{
    (void)state;
    assert_false(aborts(drop_out_of_order, LOCK_DEVICE, LOCK_IRQ));
}

static void still_held(enum lock_rank a, enum lock_rank b)
{
    struct lock la, lb, lc;
    lock_init(&la, LOCK_VM);
    lock_init(&lb, a);
    lock_init(&lc, b);
    lock_take(&la);
    lock_take(&lb);
    lock_drop(&la);
    lock_take(&lc);
}

static void a_lock_counts_until_it_is_dropped(void **state)
{
    (void)state;
#ifndef LOCK_RANKS
    skip();
#endif
    assert_true(aborts(still_held, LOCK_IRQ, LOCK_DEVICE));
    assert_false(aborts(still_held, LOCK_DEVICE, LOCK_IRQ));
}

static void drop_foreign(enum lock_rank a, enum lock_rank b)
{
    struct lock la;
    (void)b;
    lock_init(&la, a);
    pthread_mutex_lock(&la.mutex); /* not by lock_take */
    lock_drop(&la);
}

static void a_lock_that_was_not_taken_cannot_be_dropped(void **state)
{
    (void)state;
#ifndef LOCK_RANKS
    skip();
#endif
    assert_true(aborts(drop_foreign, LOCK_LEAF, LOCK_LEAF));
}

struct shared {
    struct lock lock;
    unsigned long count;
};

static void *count(void *opaque)
{
    struct shared *s = opaque;
    for (unsigned i = 0; i < 20000; i++) {
        lock_take(&s->lock);
        s->count++;
        lock_drop(&s->lock);
    }
    return NULL;
}

static void ranks_are_each_threads_own_and_the_lock_excludes(void **state)
{
    struct shared s = {.count = 0};
    struct lock outer;
    pthread_t t[3];
    (void)state;
    lock_init(&s.lock, LOCK_DEVICE);
    lock_init(&outer, LOCK_LEAF);
    lock_take(&outer); /* of no concern to the others */
    for (int i = 0; i < 3; i++)
        assert_int_equal(host_thread(&t[i], "counter", count, &s), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    lock_drop(&outer);
    assert_int_equal(s.count, 60000);
    lock_destroy(&s.lock);
    lock_destroy(&outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_are_taken_by_rising_rank_or_not_at_all),
        cmocka_unit_test(locks_may_be_dropped_in_any_order),
        cmocka_unit_test(a_lock_counts_until_it_is_dropped),
        cmocka_unit_test(a_lock_that_was_not_taken_cannot_be_dropped),
        cmocka_unit_test(ranks_are_each_threads_own_and_the_lock_excludes),
    };
    return cmocka_run_group_tests_name("host: lock", tests, NULL, NULL);
}
