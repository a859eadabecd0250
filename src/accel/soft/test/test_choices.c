/* Where the architecture leaves a choice to the processor, or Intel's and AMD's differ: the engine's is that
 * of Intel's current processors, on every host. */
#define H_MODEL "host"
#include "harness.h"
#include "accel/soft/engine/fp.h"

enum { CODE = 0x10000, DATA = 0x20000, ABSENT = 0x40000000, OK = -1 };

static struct x86_state user(struct harness *h)
{
    struct x86_state s = h_long_mode(h, CODE, 3);
    s.cr0 |= CR0_AM;
    s.fpu.mxcsr = 0x1f80;
    s.fpu.fcw = 0x37f;
    s.fpu.fsw = s.fpu.fop = 0;
    s.fpu.ftw = 0;
    return s;
}

/* One instruction: OK or the vector of its fault. */
static int step(struct harness *h, const struct x86_state *s, const char *code, size_t n)
{
    memset(h->ram + CODE, 0x90, 16);
    memcpy(h->ram + CODE, code, n);
    assert_int_equal(engine_set(h->en, 0, s), 0);
    return h_step(h) ? h_cpu(h)->fault_vector : OK;
}
#define STEP(h, s, code) step(h, s, code, sizeof(code) - 1)

static int step_at(struct harness *h, struct x86_state *s, const char *code, uint64_t rbx)
{
    s->gpr[X86_RBX] = rbx;
    return step(h, s, code, strlen(code));
}

/* ---- memory operands ---- */

static void alignment_checks_leave_operands_of_16_and_32_bytes_alone(void **state)
{
    static const struct {
        const char *code;
        int at_1, at_8;
    } cases[] = {
        {"\xf2\x0f\x10\x03", X86_AC_VEC, OK},     /* movsd */
        {"\xdb\x2b", X86_AC_VEC, OK},             /* fld tbyte */
        {"\x0f\x10\x03", OK, OK},                 /* movups */
        {"\x0f\x11\x03", OK, OK},                 /* movups to memory */
        {"\x0f\x28\x03", X86_GP, X86_GP},         /* movaps */
        {"\xc5\xf8\x58\x03", OK, OK},             /* vaddps xmm */
        {"\xc5\xfc\x58\x03", OK, OK},             /* vaddps ymm */
        {"\xc4\xe2\x79\x13\x03", OK, OK},         /* vcvtph2ps xmm, m64: class 11, no alignment check */
        {"\xc4\xe3\x79\x1d\x03\x04", OK, OK},     /* vcvtps2ph m64, xmm */
        {"\x66\x0f\x38\x30\x03", X86_AC_VEC, OK}, /* pmovzxbw xmm, m64 */
        {"\x0f\x38\xcb\x03", X86_GP, X86_GP},     /* sha256rnds2: class 4 */
        {"\x0f\xae\x03", X86_AC_VEC, X86_GP},     /* fxsave: #AC below 4 bytes, else #GP */
        {"\x0f\xae\x23", X86_AC_VEC, X86_GP},     /* xsave */
        {"\x0f\xae\x2b", X86_AC_VEC, X86_GP},     /* xrstor */
        {"\x66\x63\x03", X86_AC_VEC, OK},         /* movsxd r16 */
        {"\xc4\xe2\x7d\x2c\x03", OK, OK},         /* vmaskmovps ymm */
    };
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.rflags |= X86_AC;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int at_1 = step_at(h, &s, cases[i].code, DATA + 1), at_8 = step_at(h, &s, cases[i].code, DATA + 8);
        if (at_1 == X86_UD && at_8 == X86_UD)
            continue; /* not on this host */
        if (at_1 != cases[i].at_1 || at_8 != cases[i].at_8)
            fail_msg("case %u: %d, %d", i, at_1, at_8);
    }
    h_free(h);
}

static void movsxd_to_16_bits_reads_two_bytes(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.rflags |= X86_AC;
    s.gpr[X86_RAX] = 0x1111222233334444;
    h_put64(h, DATA, 0x80018002ull << 16);
    assert_int_equal(step_at(h, &s, "\x66\x63\x03", DATA + 2), OK); /* aligned to 2, not to 4 */
    assert_true(h_cpu(h)->gpr[X86_RAX] == 0x1111222233338002);
    h_free(h);
}

/* ---- what comes first, and what a fault leaves ---- */

static void a_store_that_an_unmasked_x87_exception_prevents_touches_no_memory(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.fpu.fcw = 0x37e;                                        /* invalid operation; all registers are empty */
    assert_int_equal(step_at(h, &s, "\xdb\x13", ABSENT), OK); /* fist dword */
    assert_int_equal(h_cpu(h)->fpu.fsw, FSW_B | FSW_ES | FSW_SF | 1);
    s.fpu.fcw = 0x37f;
    assert_int_equal(step_at(h, &s, "\xdb\x13", ABSENT), X86_PF_VEC);
    assert_int_equal(h_cpu(h)->fpu.fsw, 0);
    h_free(h);
}

static void a_simd_exception_comes_before_the_fault_of_the_store(void **state)
{
    static const uint32_t signalling_nan = 0x7f800001;
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    memset(s.fpu.ymm[0], 0, 32);
    memcpy(s.fpu.ymm[0], &signalling_nan, 4);
    s.fpu.mxcsr = 0x1f00;
    int vector = step_at(h, &s, "\xc4\xe3\x79\x1d\x03\x04", ABSENT); /* vcvtps2ph m64, xmm0 */
    if (vector == X86_UD) {
        h_free(h);
        skip();
    }
    assert_int_equal(vector, X86_XM);
    s.fpu.mxcsr = 0x1f80;
    assert_int_equal(step_at(h, &s, "\xc4\xe3\x79\x1d\x03\x04", ABSENT), X86_PF_VEC);
    assert_int_equal(h_cpu(h)->fpu.mxcsr, 0x1f80);
    h_free(h);
}

static void an_mmx_store_that_faults_leaves_the_stack(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.fpu.fsw = 0x1800;
    s.fpu.ftw = 0x18;
    assert_int_equal(step_at(h, &s, "\x0f\x7f\x03", ABSENT), X86_PF_VEC); /* movq m64, mm0 */
    assert_int_equal(h_cpu(h)->fpu.fsw, 0x1800);
    assert_int_equal(h_cpu(h)->fpu.ftw, 0x18);
    h_free(h);
}

static void a_masked_store_of_16_bytes_begins_with_the_upper_half(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.gpr[X86_RDI] = ABSENT;
    assert_int_equal(STEP(h, &s, "\x66\x0f\xf7\xc1"), X86_PF_VEC); /* maskmovdqu */
    assert_true(h_cpu(h)->cr2 == ABSENT + 8);
    h_free(h);
}

static void a_gather_widens_its_mask_before_it_loads(void **state)
{
    static const uint8_t want[32] = {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    memset(s.fpu.ymm, 0, sizeof s.fpu.ymm);
    memset(s.fpu.ymm[2], 0x7f, 32);
    s.fpu.ymm[2][7] = 0x80;
    int vector = step_at(h, &s, "\xc4\xe2\x69\x90\x04\x0b", ABSENT); /* vpgatherdd xmm0, [rbx+xmm1], xmm2 */
    if (vector == X86_UD) {
        h_free(h);
        skip();
    }
    assert_int_equal(vector, X86_PF_VEC);
    assert_true(h_cpu(h)->cr2 == ABSENT);
    assert_memory_equal(h_cpu(h)->fpu.ymm[2], want, 32);
    h_free(h);
}

static void a_refused_mxcsr_leaves_all_components(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    uint8_t *a = h->ram + DATA;
    s.gpr[X86_RAX] = 7;
    memset(s.fpu.ymm, 0x33, sizeof s.fpu.ymm);
    memset(a, 0, 1024);
    a[27] = 0x80; /* bit 31 of MXCSR */
    a[512] = 7;
    assert_int_equal(step_at(h, &s, "\x0f\xae\x2b", DATA), X86_GP); /* xrstor */
    assert_memory_equal(h_cpu(h)->fpu.ymm, s.fpu.ymm, sizeof s.fpu.ymm);
    assert_int_equal(h_cpu(h)->fpu.fcw, 0x37f);
    h_free(h);
}

static void cmps_reads_its_target_first(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.gpr[X86_RCX] = 100;
    s.gpr[X86_RSI] = ABSENT;
    s.gpr[X86_RDI] = ABSENT + 0x1000;
    assert_int_equal(STEP(h, &s, "\xa6"), X86_PF_VEC);
    assert_true(h_cpu(h)->cr2 == ABSENT + 0x1000);
    assert_int_equal(STEP(h, &s, "\xf3\xa7"), X86_PF_VEC);
    assert_true(h_cpu(h)->cr2 == ABSENT + 0x1000);
    h_free(h);
}

static void bound_reads_the_upper_bound_when_the_lower_allows(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_protected(h, CODE);
    s.seg[X86_DS].limit = DATA + 3;
    h_put64(h, DATA, 10);
    s.gpr[X86_RAX] = 9;
    assert_int_equal(step_at(h, &s, "\x62\x03", DATA), X86_BR);
    s.gpr[X86_RAX] = 10;
    assert_int_equal(step_at(h, &s, "\x62\x03", DATA), X86_GP);
    h_free(h);
}

/* ---- registers and memory that may change or not ---- */

static void the_opcode_is_recorded_by_unmasked_x87_exceptions_only(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.fpu.fop = 0x123;
    assert_int_equal(STEP(h, &s, "\xd9\xe8"), OK); /* fld1 */
    assert_int_equal(h_cpu(h)->fpu.fop, 0x123);
    assert_true(h_cpu(h)->fpu.fip == CODE);
    s.fpu.fcw = 0x37e;
    assert_int_equal(STEP(h, &s, "\xd9\xfa"), OK); /* fsqrt of an empty register */
    assert_int_equal(h_cpu(h)->fpu.fop, 0x1fa);
    h_free(h);
}

static void repetitions_with_32_bit_addresses_cut_the_count(void **state)
{
    static const struct {
        const char *code;
        bool source, target; /* cut too */
    } cases[] = {
        {"\x67\xf3\xa4", true, true},   {"\x67\xf3\xaa", false, true},  {"\x67\xf3\xac", false, false},
        {"\x67\xf3\xa6", false, false}, {"\x67\xf3\xae", false, false},
    };
    const uint64_t high = 0x12345678ull << 32;
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.gpr[X86_RSI] = s.gpr[X86_RDI] = high | ABSENT;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned count = 0; count < 2; count++) {
            s.gpr[X86_RCX] = high | count;
            assert_int_equal(step_at(h, &s, cases[i].code, 0), count ? X86_PF_VEC : OK);
            assert_true(h_cpu(h)->gpr[X86_RCX] == count);
            assert_true(h_cpu(h)->gpr[X86_RSI] == (cases[i].source ? ABSENT : high | ABSENT));
            assert_true(h_cpu(h)->gpr[X86_RDI] == (cases[i].target ? ABSENT : high | ABSENT));
        }
    }
    h_free(h);
}

static void a_32_bit_push_of_a_selector_stores_16_bits(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_protected(h, CODE);
    memset(h->ram + 0x80000 - 8, 0xaa, 8);
    assert_int_equal(STEP(h, &s, "\x1e"), OK); /* push ds */
    assert_int_equal(h_cpu(h)->gpr[X86_RSP], 0x80000 - 4);
    assert_true(h_get64(h, 0x80000 - 8) == 0xaaaa0010aaaaaaaa);
    assert_int_equal(STEP(h, &s, "\x66\x1e"), OK);
    assert_int_equal(h_cpu(h)->gpr[X86_RSP], 0x80000 - 2);
    assert_true(h_get64(h, 0x80000 - 8) == 0x00100010aaaaaaaa);
    s = user(h);
    assert_int_equal(STEP(h, &s, "\x0f\xa0"), OK); /* push fs */
    assert_true(h_get64(h, 0x80000 - 8) == 0x13);
    h_free(h);
}

static void pause_with_rex_b_is_pause(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = user(h);
    s.gpr[X86_RAX] = 1;
    s.gpr[X86_R8] = 2;
    assert_int_equal(STEP(h, &s, "\xf3\x49\x90"), OK);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX], 1);
    assert_int_equal(STEP(h, &s, "\x49\x90"), OK); /* xchg r8, rax */
    assert_int_equal(h_cpu(h)->gpr[X86_RAX], 2);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alignment_checks_leave_operands_of_16_and_32_bytes_alone),
        cmocka_unit_test(movsxd_to_16_bits_reads_two_bytes),
        cmocka_unit_test(a_store_that_an_unmasked_x87_exception_prevents_touches_no_memory),
        cmocka_unit_test(a_simd_exception_comes_before_the_fault_of_the_store),
        cmocka_unit_test(an_mmx_store_that_faults_leaves_the_stack),
        cmocka_unit_test(a_masked_store_of_16_bytes_begins_with_the_upper_half),
        cmocka_unit_test(a_gather_widens_its_mask_before_it_loads),
        cmocka_unit_test(a_refused_mxcsr_leaves_all_components),
        cmocka_unit_test(cmps_reads_its_target_first),
        cmocka_unit_test(bound_reads_the_upper_bound_when_the_lower_allows),
        cmocka_unit_test(the_opcode_is_recorded_by_unmasked_x87_exceptions_only),
        cmocka_unit_test(repetitions_with_32_bit_addresses_cut_the_count),
        cmocka_unit_test(a_32_bit_push_of_a_selector_stores_16_bits),
        cmocka_unit_test(pause_with_rex_b_is_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
