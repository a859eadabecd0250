/* Integer instructions: what the instruction lab cannot see (it compares single instructions of one CPU in
 * plain memory). */
#include <pthread.h>
#include "harness.h"

enum { CODE = 0x10000, DATA = 0x20000, MMIO = 0x2000000 };

static struct x86_state prepare(struct harness *h, const char *code, size_t n)
{
    struct x86_state s = h_long_mode(h, CODE, 0);
    memcpy(h->ram + CODE, code, n);
    return s;
}
#define PREPARE(h, code) prepare(h, code, sizeof(code) - 1)

static void start(struct harness *h, const struct x86_state *s)
{
    assert_int_equal(engine_set(h->en, 0, s), 0);
    h_cpu(h)->attention = 0;
}

/* ---- atomicity ---- */

enum { ROUNDS = 20000 };

struct runner {
    struct harness *h;
    unsigned cpu;
};

static void *run_rounds(void *arg)
{
    struct runner *r = arg;
    struct cpu *c = engine_cpu(r->h->en, r->cpu);
    for (unsigned i = 0; i < ROUNDS; i++) {
        c->rip = CODE;
        if (cpu_step_raw(c))
            return arg;
    }
    return NULL;
}

static uint64_t two_cpus(const char *code, size_t n, uint64_t address)
{
    struct harness *h = h_new(2);
    struct x86_state s = prepare(h, code, n);
    struct runner r[2] = {{h, 0}, {h, 1}};
    pthread_t other;
    void *failed;

    s.gpr[X86_RBX] = address;
    s.gpr[X86_RAX] = 1;
    start(h, &s);
    assert_int_equal(engine_set(h->en, 1, &s), 0);
    assert_int_equal(pthread_create(&other, NULL, run_rounds, &r[1]), 0);
    assert_null(run_rounds(&r[0]));
    pthread_join(other, &failed);
    assert_null(failed);
    uint64_t v = h_get64(h, address);
    h_free(h);
    return v;
}

static void locked_changes_by_two_cpus_are_all_counted(void **state)
{
    (void)state;
    assert_int_equal(two_cpus("\xf0\x48\x83\x03\x03", 5, DATA), 3 * 2 * ROUNDS); /* lock add qword [rbx], 3 */
    assert_int_equal(two_cpus("\xf0\x48\xff\x03", 4, DATA), 2 * ROUNDS);         /* lock inc */
    assert_int_equal(two_cpus("\xf0\x83\x2b\xfe", 4, DATA), 2 * 2 * ROUNDS); /* lock sub dword [rbx], -2 */
}

static void a_locked_change_across_a_page_is_atomic_too(void **state)
{
    (void)state;
    assert_int_equal(two_cpus("\xf0\x48\x83\x03\x03", 5, DATA + 4096 - 3), 3 * 2 * ROUNDS);
}

/* ---- repeated strings ---- */

static void a_repeated_string_yields_to_attention_and_goes_on(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = PREPARE(h, "\xf3\x48\xa5"); /* rep movsq */
    (void)state;
    memset(h->ram + DATA, 0x5a, 0x4000);
    s.gpr[X86_RSI] = DATA;
    s.gpr[X86_RDI] = DATA + 0x8000;
    s.gpr[X86_RCX] = 0x4000 / 8;
    start(h, &s);
    struct cpu *c = h_cpu(h);
    c->attention = 1;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->rip, CODE);
    assert_true(c->gpr[X86_RCX] > 0 && c->gpr[X86_RCX] < 0x4000 / 8);
    assert_int_equal(c->gpr[X86_RDI] - c->gpr[X86_RSI], 0x8000);
    c->attention = 0;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->rip, CODE + 3);
    assert_int_equal(c->gpr[X86_RCX], 0);
    assert_memory_equal(h->ram + DATA, h->ram + DATA + 0x8000, 0x4000);
    h_free(h);
}

static void a_repeated_string_steps_one_element_under_tf(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = PREPARE(h, "\xf3\xaa"); /* rep stosb */
    (void)state;
    s.gpr[X86_RDI] = DATA;
    s.gpr[X86_RCX] = 3;
    s.rflags |= X86_TF;
    start(h, &s);
    for (unsigned left = 3; left-- > 0;) {
        h_step(h);
        assert_int_equal(h_cpu(h)->gpr[X86_RCX], left);
    }
    h_free(h);
}

static void a_repeated_string_to_a_device_writes_each_element(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = PREPARE(h, "\xf3\xa5"); /* rep movsd */
    (void)state;
    s.gpr[X86_RSI] = DATA;
    s.gpr[X86_RDI] = MMIO;
    s.gpr[X86_RCX] = 5;
    h_put64(h, DATA + 16, 0x77);
    start(h, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h->mmio_writes, 5);
    assert_int_equal(h->mmio_size, 4);
    assert_int_equal(h->mmio_addr, MMIO + 16);
    assert_int_equal(h->mmio_value, 0x77);
    h_free(h);
}

/* ---- devices ---- */

static void a_change_of_a_device_register_is_one_read_and_one_write(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s =
        PREPARE(h, "\xf0\x83\x0b\x10\x87\x03"); /* lock or dword [rbx], 16; xchg [rbx], eax */
    (void)state;
    s.gpr[X86_RBX] = MMIO + 8;
    s.gpr[X86_RAX] = 0x1234;
    h->mmio_value = 3;
    start(h, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h->mmio_reads, 1);
    assert_int_equal(h->mmio_writes, 1);
    assert_int_equal(h->mmio_value, 0x13);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX], 0x13);
    assert_int_equal(h->mmio_value, 0x1234);
    h_free(h);
}

/* ---- features ---- */

static int step_with_feature(uint32_t feature, const char *code, size_t n, bool has, uint64_t *rax)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, code, n);
    struct x86_features *f = &h_cpu(h)->priv->features;

    if (has)
        x86_features_set(f, feature);
    else
        f->w[feature >> 5] &= ~(1u << (feature & 31));
    s.gpr[X86_RBX] = 0x00100000;
    start(h, &s);
    int why = h_step(h);
    *rax = h_cpu(h)->gpr[X86_RAX];
    if (why == LEAVE_FAULT)
        assert_int_equal(h_cpu(h)->fault_vector, X86_UD);
    h_free(h);
    return why;
}

static void without_their_features_tzcnt_and_lzcnt_are_bsf_and_bsr(void **state)
{
    uint64_t v;
    (void)state;
    step_with_feature(X86_F_ABM, "\xf3\x0f\xbd\xc3", 4, false, &v);
    assert_int_equal(v, 20);
    step_with_feature(X86_F_ABM, "\xf3\x0f\xbd\xc3", 4, true, &v);
    assert_int_equal(v, 11);
    step_with_feature(X86_F_BMI1, "\xf3\x0f\xbc\xc3", 4, false, &v);
    assert_int_equal(v, 20);
}

static void an_instruction_of_an_absent_feature_raises_ud(void **state)
{
    uint64_t v;
    (void)state;
    assert_int_equal(step_with_feature(X86_F_POPCNT, "\xf3\x0f\xb8\xc3", 4, false, &v), LEAVE_FAULT);
    assert_int_equal(step_with_feature(X86_F_MOVBE, "\x0f\x38\xf0\x03", 4, false, &v), LEAVE_FAULT);
    assert_int_equal(step_with_feature(X86_F_BMI1, "\xc4\xe2\x60\xf2\xc3", 5, false, &v), LEAVE_FAULT);
    assert_int_equal(step_with_feature(X86_F_BMI2, "\xc4\xe2\x62\xf7\xc3", 5, false, &v), LEAVE_FAULT);
}

static void random_numbers_set_carry_alone(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = PREPARE(h, "\x0f\xc7\xf0"); /* rdrand eax */
    (void)state;
    if (!cpu_has(h_cpu(h), X86_F_RDRAND)) {
        h_free(h);
        skip();
    }
    s.gpr[X86_RAX] = UINT64_MAX;
    s.rflags |= X86_OF | X86_SF | X86_ZF | X86_PF | X86_AF;
    start(h, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->rflags & (X86_ARITH_FLAGS & ~X86_CF), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] >> 32, 0);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locked_changes_by_two_cpus_are_all_counted),
        cmocka_unit_test(a_locked_change_across_a_page_is_atomic_too),
        cmocka_unit_test(a_repeated_string_yields_to_attention_and_goes_on),
        cmocka_unit_test(a_repeated_string_steps_one_element_under_tf),
        cmocka_unit_test(a_repeated_string_to_a_device_writes_each_element),
        cmocka_unit_test(a_change_of_a_device_register_is_one_read_and_one_write),
        cmocka_unit_test(without_their_features_tzcnt_and_lzcnt_are_bsf_and_bsr),
        cmocka_unit_test(an_instruction_of_an_absent_feature_raises_ud),
        cmocka_unit_test(random_numbers_set_carry_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
