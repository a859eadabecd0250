#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/ratelimit.h"

static void an_error_has_one_line_and_a_negative_code(void **state)
{
    struct err e;
    (void)state;
    assert_int_equal(err_set(&e, EINVAL, "%s: 0x%x", "disk", 16), -EINVAL);
    assert_string_equal(e.msg, "disk: 0x10");
    assert_int_equal(err_set(&e, -EINVAL, "a"), -EINVAL);
    assert_int_equal(err_set(NULL, EIO, "nobody listens"), -EIO);
    assert_int_equal(err_sys(&e, ENOENT, "kernel"), -ENOENT);
    assert_string_equal(e.msg, "kernel: No such file or directory");
    assert_int_equal(err_prefix(&e, ENOENT, "boot %d", 1), -ENOENT);
    assert_string_equal(e.msg, "boot 1: kernel: No such file or directory");
    assert_int_equal(err_prefix(NULL, ENOENT, "x"), -ENOENT);
}

static void a_prefix_of_nothing_stands_alone(void **state)
{
    struct err e = {""};
    (void)state;
    err_prefix(&e, EIO, "disk");
    assert_string_equal(e.msg, "disk");
}

static void control_characters_of_hostile_names_do_not_reach_the_terminal(void **state)
{
    struct err e;
    (void)state;
    err_set(&e, EINVAL, "%s", "a\x1b[2Jb\nc\rd\x7f");
    assert_string_equal(e.msg, "a [2Jb c d ");
}

static void a_long_message_is_cut_and_terminated(void **state)
{
    static char word[2000];
    struct err e;
    (void)state;
    memset(word, 'w', sizeof word - 1);
    err_set(&e, EINVAL, "%s", word);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    err_sys(&e, EINVAL, "%s", word);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    err_prefix(&e, EINVAL, "%s", word);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

/* Run fn with stderr in a pipe and give what it wrote. */
static void capture(void (*fn)(void), char *out, size_t n)
{
    int p[2], was = dup(STDERR_FILENO);
    assert_int_equal(pipe(p), 0);
    dup2(p[1], STDERR_FILENO);
    close(p[1]);
    fn();
    dup2(was, STDERR_FILENO);
    close(was);
    ssize_t got = read(p[0], out, n - 1);
    out[got > 0 ? got : 0] = 0;
    close(p[0]);
}

static void log_all(void)
{
    log_set_level(LOG_INFO);
    log_error("one %d", 1);
    log_info("guest says \x1b[31m\nliege: forged");
    log_debug("unseen");
    log_set_level(LOG_WARN);
    log_info("unseen");
}

static void log_lines_below_the_level_are_dropped_and_each_entry_is_one_line(void **state)
{
    char out[512];
    (void)state;
    fflush(stderr);
    capture(log_all, out, sizeof out);
    assert_string_equal(out, "liege: one 1\nliege: guest says  [31m liege: forged\n");
}

static void a_log_line_keeps_errno(void **state)
{
    char out[64];
    (void)state;
    errno = EXDEV;
    capture(log_all, out, sizeof out);
    errno = EXDEV;
    log_debug("x");
    assert_int_equal(errno, EXDEV);
}

static void a_broken_invariant_aborts_with_its_place(void **state)
{
    (void)state;
    CHECK(1 + 1 == 2);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void guest_of_many_objects(void)
{
    static struct ratelimit own[50]; /* as many devices, each with its burst and none of it spent */
    for (unsigned i = 0; i < 1000; i++)
        for (unsigned k = 0; k < 50; k++)
            log_guest(&own[k], LOG_WARN, "device %u of the guest's", k);
    for (unsigned i = 0; i < 50000; i++)
        log_guest(NULL, LOG_ERROR, "what has no limit of its own");
}

static void all_of_a_guests_messages_together_are_bounded(void **state)
{
    static char out[1 << 16];
    unsigned lines = 0;
    (void)state;
    capture(guest_of_many_objects, out, sizeof out);
    for (const char *p = out; (p = strchr(p, '\n')); p++)
        lines++;
    /* 100000 messages take less than 10 s */
    assert_in_range(lines, LOG_GUEST_BURST, LOG_GUEST_BURST + 10 * LOG_GUEST_A_SECOND);
}

static void guest_in_time(void)
{
    struct ratelimit own = {.burst = 1, .interval_ms = 1};
    for (unsigned i = 0; i < 100; i++)
        log_guest(&own, LOG_WARN, "a");
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000},
              NULL); /* a token of all guests' is earned */
    log_guest(&own, LOG_DEBUG, "unseen");
    log_guest(&own, LOG_WARN, "b");
}

static void a_line_says_how_many_were_left_out_before_it(void **state)
{
    static char out[4096];
    (void)state;
    capture(guest_of_many_objects, out, sizeof out); /* nothing is left to spend */
    capture(guest_in_time, out, sizeof out);
    const char *b = strstr(out, "liege: b (");
    assert_non_null(b);
    assert_true(strtoul(b + strlen("liege: b ("), NULL, 10) >= 99);
    assert_non_null(strstr(b, " of the guest's messages left out)\n"));
    assert_null(strstr(out, "unseen"));
}

static void a_rate_limit_lets_a_burst_through_and_counts_the_rest(void **state)
{
    struct ratelimit r = {.burst = 3, .interval_ms = 1000000};
    unsigned allowed = 0;
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        allowed += ratelimit_ok(&r);
    /* The first event may find a token earned since the machine started, which the full bucket cannot hold.
     */
    assert_int_equal(allowed, 3);
    assert_true(r.suppressed == 97);
}

static void a_zeroed_rate_limit_has_the_defaults(void **state)
{
    struct ratelimit r = {0};
    unsigned allowed = 0;
    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        allowed += ratelimit_ok(&r);
    assert_in_range(allowed, 10, 12);
}

static void a_rate_limit_earns_tokens_as_time_passes(void **state)
{
    struct ratelimit r = {.burst = 1, .interval_ms = 1};
    unsigned allowed = 0;
    (void)state;
    while (allowed < 5) /* ends, or the test's time does */
        allowed += ratelimit_ok(&r);
}

static void *many(void *opaque)
{
    unsigned long allowed = 0;
    for (unsigned i = 0; i < 10000; i++)
        allowed += ratelimit_ok(opaque);
    return (void *)allowed;
}

static void threads_share_a_rate_limit(void **state)
{
    struct ratelimit r = {.burst = 50, .interval_ms = 1000000};
    pthread_t t[4];
    unsigned long sum = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many, &r), 0);
    for (int i = 0; i < 4; i++) {
        void *n;
        pthread_join(t[i], &n);
        sum += (unsigned long)n;
    }
    assert_int_equal(sum, 50);
    assert_true(r.suppressed == 40000 - 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_has_one_line_and_a_negative_code),
        cmocka_unit_test(a_prefix_of_nothing_stands_alone),
        cmocka_unit_test(control_characters_of_hostile_names_do_not_reach_the_terminal),
        cmocka_unit_test(a_long_message_is_cut_and_terminated),
        cmocka_unit_test(log_lines_below_the_level_are_dropped_and_each_entry_is_one_line),
        cmocka_unit_test(a_log_line_keeps_errno),
        cmocka_unit_test(a_broken_invariant_aborts_with_its_place),
        cmocka_unit_test(all_of_a_guests_messages_together_are_bounded),
        cmocka_unit_test(a_line_says_how_many_were_left_out_before_it),
        cmocka_unit_test(a_rate_limit_lets_a_burst_through_and_counts_the_rest),
        cmocka_unit_test(a_zeroed_rate_limit_has_the_defaults),
        cmocka_unit_test(a_rate_limit_earns_tokens_as_time_passes),
        cmocka_unit_test(threads_share_a_rate_limit),
    };
    return cmocka_run_group_tests_name("base: messages", tests, NULL, NULL);
}
