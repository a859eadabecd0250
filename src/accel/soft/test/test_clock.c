#include <pthread.h>
#include <x86intrin.h>
#include "harness.h"
#include "host/host.h"

/* Guest time by the host's TSC: an engine whose outside has a clock that can be stopped and set forward. */

struct truth {
    uint64_t offset; /* taken from the host's clock */
    uint64_t stands; /* not 0: it stands there */
    unsigned asked;
};
static struct truth truth;

static uint64_t true_now(void *o)
{
    (void)o;
    __atomic_fetch_add(&truth.asked, 1, __ATOMIC_RELAXED);
    return truth.stands ? truth.stands : host_now_ns() - truth.offset;
}

static struct harness *start(void)
{
    struct harness *h = h_new(1);

    truth = (struct truth){.offset = host_now_ns() - 1000000};
    h->en->host_tsc_khz = (uint32_t)host_tsc_khz();
    h->en->out.now_ns = true_now;
    clock_settle(h->en);
    return h;
}

/* How far the engine's time is from the truth, the least of some readings: others may have the CPU in
 * between. */
static uint64_t error(struct harness *h)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 50; i++) {
        uint64_t before = true_now(NULL), now = engine_now(h->en), after = true_now(NULL);
        uint64_t off = now < before ? before - now : now > after ? now - after : 0;
        best = off < best ? off : best;
    }
    return best;
}

static void pass(uint64_t ns)
{
    for (uint64_t from = host_now_ns(); host_now_ns() - from < ns;)
        ;
}

static void it_is_the_truth_without_asking_for_it(void **state)
{
    struct harness *h = start();
    (void)state;

    for (unsigned i = 0; i < 20; i++) {
        pass(1000000);
        assert_true(error(h) < 3000);
    }
    unsigned asked = truth.asked;
    for (unsigned i = 0; i < 10000; i++)
        engine_now(h->en);
    assert_true(truth.asked - asked < 5000);
    h_free(h);
}

static void it_never_goes_back(void **state)
{
    struct harness *h = start();
    uint64_t last = 0;
    (void)state;

    for (uint64_t from = host_now_ns(); host_now_ns() - from < 60000000;) {
        uint64_t now = engine_now(h->en);
        assert_true(now >= last);
        last = now;
    }
    h_free(h);
}

static void it_follows_a_truth_that_jumps_ahead(void **state)
{
    struct harness *h = start();
    (void)state;

    truth.offset -= 5000000;
    pass(20000000); /* longer than a reading lasts on any host */
    assert_true(error(h) < 3000);
    h_free(h);
}

static void it_goes_back_only_when_vcpus_stood(void **state)
{
    struct harness *h = start();
    (void)state;

    uint64_t stood = true_now(NULL);
    pass(2000000);
    truth.offset += 2000000; /* the guest's clock stood for 2 ms, which nobody told yet */
    uint64_t now = engine_now(h->en);
    assert_true(now >= stood);
    clock_settle(h->en);
    assert_true(engine_now(h->en) < now);
    assert_true(error(h) < 3000);
    h_free(h);
}

/* Without being told it slows down until the truth has caught up, and does not stop or jump. */
static void it_meets_a_truth_that_stays_behind(void **state)
{
    struct harness *h = start();
    uint64_t last = 0;
    (void)state;

    truth.offset += 1000000;
    for (uint64_t from = host_now_ns(); host_now_ns() - from < 100000000;) {
        uint64_t now = engine_now(h->en);
        assert_true(now >= last);
        last = now;
    }
    assert_true(error(h) < 20000);
    h_free(h);
}

static void a_change_that_never_ends_holds_nobody(void **state)
{
    struct harness *h = start();
    (void)state;

    h->en->clock.seq |= 1;
    assert_true(error(h) == 0);
    h_free(h);
}

GUEST(read_tsc, "1: rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp %rbx, %rax\n jb 2f\n mov %rax, %rbx\n"
                "dec %ecx\n jnz 1b\n 2: mov %ecx, %eax\n out %eax, $0xf4\n 3: jmp 3b");

/* In translated code and in C it is one clock. */
static void the_tsc_of_translated_code_is_the_same(void **state)
{
    struct harness *h = start();
    (void)state;

    if (!h_cpu(h)->x.on)
        skip();
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    s.tsc = 123456789;
    s.tsc_khz = 1000000;
    s.gpr[X86_RCX] = 1000000;
    h_code(h, 0x10000, read_tsc);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    unsigned asked = truth.asked;
    uint64_t slow = h_cpu(h)->priv->n_slow, before = cpu_tsc(h_cpu(h));
    assert_int_equal(h_run(h), ENGINE_KICKED);
    uint64_t after = cpu_tsc(h_cpu(h));
    assert_int_equal(h->exit_value, 0); /* it never went back */
    engine_get(h->en, 0, &s);
    assert_true(s.gpr[X86_RBX] > before && s.gpr[X86_RBX] < after);
    assert_true(h_cpu(h)->priv->n_slow - slow < 1000 && truth.asked - asked < 10000);
    h_free(h);
}

struct watcher {
    struct harness *h;
    uint64_t *last;
    bool went_back;
};

/* Values are compared across threads, too: each is no less than the newest that anybody had got before. */
static void *watch(void *opaque)
{
    struct watcher *w = opaque;

    for (uint64_t from = host_now_ns(); host_now_ns() - from < 100000000;) {
        uint64_t seen = __atomic_load_n(w->last, __ATOMIC_SEQ_CST), now = engine_now(w->h->en);
        w->went_back |= now < seen;
        __atomic_store_n(w->last, now, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void it_is_one_for_all_threads(void **state)
{
    struct harness *h = start();
    uint64_t last = 0;
    struct watcher w[2] = {{.h = h, .last = &last}, {.h = h, .last = &last}};
    pthread_t t[2];
    (void)state;

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(host_thread(&t[i], "vcpu", watch, &w[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_false(w[0].went_back || w[1].went_back);
    h_free(h);
}

int main(void)
{
    if (!host_clock_is_tsc())
        return 77; /* it is not used then */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_truth_without_asking_for_it),
        cmocka_unit_test(it_never_goes_back),
        cmocka_unit_test(it_follows_a_truth_that_jumps_ahead),
        cmocka_unit_test(it_goes_back_only_when_vcpus_stood),
        cmocka_unit_test(it_meets_a_truth_that_stays_behind),
        cmocka_unit_test(a_change_that_never_ends_holds_nobody),
        cmocka_unit_test(the_tsc_of_translated_code_is_the_same),
        cmocka_unit_test(it_is_one_for_all_threads),
    };
    return cmocka_run_group_tests_name("soft: clock", tests, NULL, NULL);
}
