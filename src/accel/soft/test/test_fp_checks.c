/* Who may execute vector and x87 instructions, alignment, and faults before anything is committed. */
#include "harness.h"
#include "accel/soft/engine/fp.h"

enum { CODE = 0x10000, DATA = 0x20000, OK = -1 };

struct change {
    uint64_t cr0_set, cr4_clear, xcr0;
    bool pending; /* an unmasked x87 exception */
};

struct check {
    const char *name, *code;
    int plain, em, ts, ts_mp, no_osfxsr, no_osxsave, no_avx, pending;
};

/* SDM 3A table 2-1 and 13.1.1, SDM 2A 2.4. Columns: as is; CR0.EM; CR0.TS; CR0.TS and MP; CR4.OSFXSR clear;
 * CR4.OSXSAVE clear; XCR0 without AVX; x87 exception pending. */
static const struct check checks[] = {
    {"addps", "\x0f\x58\xc1", OK, X86_UD, X86_NM, X86_NM, X86_UD, OK, OK, OK},
    {"paddb mmx", "\x0f\xfc\xc1", OK, X86_UD, X86_NM, X86_NM, OK, OK, OK, X86_MF},
    {"emms", "\x0f\x77", OK, X86_UD, X86_NM, X86_NM, OK, OK, OK, X86_MF},
    {"movq2dq", "\xf3\x0f\xd6\xc1", OK, X86_UD, X86_NM, X86_NM, X86_UD, OK, OK, X86_MF},
    {"maskmovq", "\x0f\xf7\xc1", OK, X86_UD, X86_NM, X86_NM, OK, OK, OK, X86_MF},
    {"vaddps", "\xc5\xf8\x58\xc1", OK, OK, X86_NM, X86_NM, OK, X86_UD, X86_UD, OK},
    {"vzeroupper", "\xc5\xf8\x77", OK, OK, X86_NM, X86_NM, OK, X86_UD, X86_UD, OK},
    {"vmaskmovps", "\xc4\xe2\x79\x2c\x03", OK, OK, X86_NM, X86_NM, OK, X86_UD, X86_UD, OK},
    {"vldmxcsr", "\xc5\xf8\xae\x13", OK, OK, X86_NM, X86_NM, OK, X86_UD, X86_UD, OK},
    {"stmxcsr", "\x0f\xae\x1b", OK, X86_UD, X86_NM, X86_NM, X86_UD, OK, OK, OK},
    {"fxsave", "\x0f\xae\x03", OK, X86_NM, X86_NM, X86_NM, OK, OK, OK, OK},
    {"xsave", "\x0f\xae\x23", OK, OK, X86_NM, X86_NM, OK, X86_UD, OK, OK},
    {"fld1", "\xd9\xe8", OK, X86_NM, X86_NM, X86_NM, OK, OK, OK, X86_MF},
    {"fldcw", "\xd9\x2b", OK, X86_NM, X86_NM, X86_NM, OK, OK, OK, X86_MF},
    {"fninit", "\xdb\xe3", OK, X86_NM, X86_NM, X86_NM, OK, OK, OK, OK},
    {"fnstsw", "\xdf\xe0", OK, X86_NM, X86_NM, X86_NM, OK, OK, OK, OK},
    {"fwait", "\x9b", OK, OK, OK, X86_NM, OK, OK, OK, X86_MF},
};

static int step_with(struct harness *h, const char *code, const struct change *ch)
{
    struct x86_state s = h_long_mode(h, CODE, 3);
    s.cr0 = (s.cr0 & ~CR0_MP) | ch->cr0_set;
    s.cr4 &= ~ch->cr4_clear;
    s.xcr0 = ch->xcr0;
    s.gpr[X86_RBX] = s.gpr[X86_RDI] = DATA;
    s.fpu.mxcsr = 0x1f80;
    s.fpu.fcw = ch->pending ? 0x37e : 0x37f;
    s.fpu.fsw = ch->pending ? 0x8081 : 0;
    memset(h->ram + CODE, 0, 15);
    memcpy(h->ram + CODE, code, strlen(code));
    memset(h->ram + DATA, 0, 1024);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    return h_step(h) ? h_cpu(h)->fault_vector : OK;
}

static void control_bits_decide_who_may_execute(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    for (unsigned i = 0; i < sizeof checks / sizeof *checks; i++) {
        const struct check *k = &checks[i];
        const struct {
            struct change ch;
            int want;
        } cases[] = {
            {{0, 0, 7, false}, k->plain},
            {{CR0_EM, 0, 7, false}, k->em},
            {{CR0_TS, 0, 7, false}, k->ts},
            {{CR0_TS | CR0_MP, 0, 7, false}, k->ts_mp},
            {{0, CR4_OSFXSR, 7, false}, k->no_osfxsr},
            {{0, CR4_OSXSAVE, 7, false}, k->no_osxsave},
            {{0, 0, 3, false}, k->no_avx},
            {{0, 0, 7, true}, k->pending},
        };
        for (unsigned j = 0; j < sizeof cases / sizeof *cases; j++) {
            int got = step_with(h, k->code, &cases[j].ch);
            if (got != cases[j].want)
                fail_msg("%s, column %u: vector %d, expected %d", k->name, j, got, cases[j].want);
        }
    }
    h_free(h);
}

static void vex_is_undefined_in_real_mode(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_protected(h, CODE);
    s.cr4 |= CR4_OSXSAVE;
    s.xcr0 = 7;
    memcpy(h->ram + CODE, "\xc5\xf8\x58\xc1\x0f\x58\xc1", 7); /* vaddps; addps */
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    s.cr0 &= ~CR0_PE;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = (struct x86_seg){.limit = 0xffff, .attr = 0x93};
    s.rip = 0x1000;
    memcpy(h->ram + 0x1000, h->ram + CODE, 7);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_UD);
    h_cpu(h)->rip = 0x1004;
    assert_int_equal(h_step(h), 0);
    h_free(h);
}

static void a_feature_that_cpuid_denies_is_undefined(void **state)
{
    static const struct {
        const char *code;
        uint32_t feature;
    } cases[] = {
        {"\x0f\x58\xc1", X86_FEATURE(X86_W_1_EDX, 25)},         /* addps */
        {"\x66\x0f\x58\xc1", X86_FEATURE(X86_W_1_EDX, 26)},     /* addpd */
        {"\x66\x0f\x38\xdc\xc1", X86_FEATURE(X86_W_1_ECX, 25)}, /* aesenc */
        {"\xc4\xe2\x71\x98\xc2", X86_FEATURE(X86_W_1_ECX, 12)}, /* vfmadd132ps */
        {"\xc4\xe2\x79\x13\xc1", X86_FEATURE(X86_W_1_ECX, 29)}, /* vcvtph2ps */
        {"\xc5\xf5\xfc\xc2", X86_FEATURE(X86_W_7_EBX, 5)},      /* vpaddb ymm */
        {"\xdb\xf1", X86_FEATURE(X86_W_1_EDX, 15)},             /* fcomi */
    };
    (void)state;
    struct harness *h = h_new(1);
    const struct change none = {0, 0, 7, false};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t *word = &h_cpu(h)->priv->features.w[cases[i].feature >> 5],
                 bit = 1u << (cases[i].feature & 31);
        if (!(*word & bit))
            continue;
        assert_int_equal(step_with(h, cases[i].code, &none), OK);
        *word &= ~bit;
        assert_int_equal(step_with(h, cases[i].code, &none), X86_UD);
        *word |= bit;
    }
    h_free(h);
}

static int step_at(struct harness *h, const char *code, uint64_t rbx)
{
    struct x86_state s = h_long_mode(h, CODE, 3);
    s.fpu.mxcsr = 0x1f80;
    s.fpu.fcw = 0x37f;
    s.fpu.fsw = s.fpu.ftw = 0;
    s.gpr[X86_RBX] = rbx;
    memset(h->ram + CODE, 0, 15);
    memcpy(h->ram + CODE, code, strlen(code));
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    return h_step(h) ? h_cpu(h)->fault_vector : OK;
}

static void legacy_operands_must_be_aligned_and_vex_ones_need_not(void **state)
{
    static const struct {
        const char *code;
        int at_1, at_8, at_16;
    } cases[] = {
        {"\x0f\x28\x03", X86_GP, X86_GP, OK},         /* movaps */
        {"\x0f\x58\x03", X86_GP, X86_GP, OK},         /* addps */
        {"\x0f\x10\x03", OK, OK, OK},                 /* movups */
        {"\x66\x0f\x3a\x63\x03\x01", OK, OK, OK},     /* pcmpistri */
        {"\xf3\x0f\x58\x03", OK, OK, OK},             /* addss */
        {"\x0f\x2b\x03", X86_GP, X86_GP, OK},         /* movntps */
        {"\xc5\xf8\x28\x03", X86_GP, X86_GP, OK},     /* vmovaps xmm */
        {"\xc5\xfc\x28\x03", X86_GP, X86_GP, X86_GP}, /* vmovaps ymm: 32 */
        {"\xc5\xfc\x58\x03", OK, OK, OK},             /* vaddps ymm */
        {"\x0f\xfc\x03", OK, OK, OK},                 /* paddb mmx */
        {"\x0f\xae\x03", X86_GP, X86_GP, OK},         /* fxsave */
        {"\x0f\xae\x23", X86_GP, X86_GP, X86_GP},     /* xsave: 64 */
        {"\xdb\x2b", OK, OK, OK},                     /* fld tbyte */
    };
    (void)state;
    struct harness *h = h_new(1);
    memset(h->ram + DATA, 0, 8192);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (step_at(h, cases[i].code, DATA + 1) != cases[i].at_1 ||
            step_at(h, cases[i].code, DATA + 8) != cases[i].at_8 ||
            step_at(h, cases[i].code, DATA + 16) != cases[i].at_16)
            fail_msg("case %u", i);
    }
    h_free(h);
}

static void an_unmasked_simd_exception_leaves_the_destination_and_sets_the_flag(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    static const float one[4] = {1, 1, 1, 1}, zero[4];
    for (unsigned handled = 0; handled < 2; handled++) {
        struct x86_state s = h_long_mode(h, CODE, 3);
        if (!handled)
            s.cr4 &= ~CR4_OSXMMEXCPT;
        s.fpu.mxcsr = 0x1f80 & ~0x200u; /* divide by zero */
        memcpy(s.fpu.ymm[0], one, 16);
        memcpy(s.fpu.ymm[1], zero, 16);
        memcpy(h->ram + CODE, "\x0f\x5e\xc1", 3); /* divps xmm0, xmm1 */
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_step(h), LEAVE_FAULT);
        assert_int_equal(h_cpu(h)->fault_vector, handled ? X86_XM : X86_UD);
        assert_int_equal(h_cpu(h)->fpu.mxcsr, s.fpu.mxcsr | 4);
        assert_memory_equal(h_cpu(h)->fpu.ymm[0], one, 16);
        assert_int_equal(h_cpu(h)->rip, CODE);
    }
    h_free(h);
}

static void reserved_mxcsr_bits_are_refused(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    h_cpu(h)->priv->features.w[X86_W_80000001_ECX] &= ~(1u << 7);
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t v = 1u << bit;
        memcpy(h->ram + DATA, &v, 4);
        assert_int_equal(step_at(h, "\x0f\xae\x13", DATA), bit < 16 ? OK : X86_GP); /* ldmxcsr */
    }
    h_free(h);
}

/* All four rounding modes and both denormal controls reach the host's adder. */
static void rounding_and_denormals_follow_mxcsr(void **state)
{
    static const struct {
        uint32_t mxcsr, a, b, sum, flags;
    } cases[] = {
        {0x1f80, 0x3f800000, 0x33800000, 0x3f800000, 0x20}, /* 1 + 2^-24: to nearest even */
        {0x3f80, 0x3f800000, 0x33800000, 0x3f800000, 0x20}, /* down */
        {0x5f80, 0x3f800000, 0x33800000, 0x3f800001, 0x20}, /* up */
        {0x7f80, 0x3f800000, 0x33800000, 0x3f800000, 0x20}, /* to zero */
        {0x1f80, 1, 1, 2, 2},                               /* denormals: DE */
        {0x1fc0, 1, 0x3f800000, 0x3f800000, 0},             /* DAZ: the denormal is zero */
        {0x1f80, 0x00800001, 0x80800000, 1, 0},             /* a tiny result that is exact */
        {0x9f80, 0x00800001, 0x80800000, 0, 0x30},          /* FTZ: flushed, UE and PE */
    };
    (void)state;
    struct harness *h = h_new(1);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct x86_state s = h_long_mode(h, CODE, 3);
        uint32_t sum;
        s.fpu.mxcsr = cases[i].mxcsr;
        memcpy(s.fpu.ymm[0], &cases[i].a, 4);
        memcpy(s.fpu.ymm[1], &cases[i].b, 4);
        memcpy(h->ram + CODE, "\xf3\x0f\x58\xc1", 4); /* addss */
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_step(h), 0);
        memcpy(&sum, h_cpu(h)->fpu.ymm[0], 4);
        if (sum != cases[i].sum || h_cpu(h)->fpu.mxcsr != (cases[i].mxcsr | cases[i].flags))
            fail_msg("case %u: sum %x, mxcsr %x", i, sum, h_cpu(h)->fpu.mxcsr);
    }
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_bits_decide_who_may_execute),
        cmocka_unit_test(vex_is_undefined_in_real_mode),
        cmocka_unit_test(a_feature_that_cpuid_denies_is_undefined),
        cmocka_unit_test(legacy_operands_must_be_aligned_and_vex_ones_need_not),
        cmocka_unit_test(an_unmasked_simd_exception_leaves_the_destination_and_sets_the_flag),
        cmocka_unit_test(reserved_mxcsr_bits_are_refused),
        cmocka_unit_test(rounding_and_denormals_follow_mxcsr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
