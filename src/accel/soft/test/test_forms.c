#include "system.h"

/* Corner forms of system instructions: what faults first, what a reserved bit does, when a trap is due. */

static uint32_t flags_of(struct harness *h, const struct x86_state *s)
{
    struct x86_state after;

    assert_int_equal(t_run(h, s) & 0xff, X86_UD); /* programs here end with UD2 */
    engine_get(h->en, 0, &after);
    return (uint32_t)h_get64(h, after.gpr[X86_RSP] + 16);
}

static void set_msr(struct x86_state *s, uint32_t index, uint64_t value)
{
    assert_int_equal(x86_state_msr_set(s, index, value), 0);
}

static uint64_t rip_of(struct harness *h)
{
    struct x86_state s;

    engine_get(h->en, 0, &s);
    return h_get64(h, s.gpr[X86_RSP]);
}

static void debug_registers_4_and_5_do_not_exist_with_de_whatever_the_privilege(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\x0f\x21\xe0"); /* mov %dr4,%rax */
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    s.cr4 |= CR4_DE;
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    h_free(h);
}

static void ltr_and_lldt_refuse_bases_that_are_not_canonical(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    h_put64(h, T_GDT + S_TSS2 + 8, 0x8000);   /* base bit 47 */
    T_PUT(h, T_CODE, "\x0f\x00\xd8\x0f\x0b"); /* ltr %ax; ud2 */
    s.gpr[X86_RAX] = S_TSS2;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    engine_get(h->en, 0, &s);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), S_TSS2);
    assert_true(h_get64(h, T_GDT + S_TSS2) >> 41 & 1 ? false : true); /* not made busy */

    s = t_long(h, 0);
    h_put64(h, T_GDT + S_LDT, t_desc(0x9000, 0xff, 2 | X86_SEG_P));
    h_put64(h, T_GDT + S_LDT + 8, 0x8000);
    T_PUT(h, T_CODE, "\x0f\x00\xd0\x0f\x0b"); /* lldt %ax; ud2 */
    s.gpr[X86_RAX] = S_LDT;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    h_free(h);
}

static void lar_and_lsl_look_at_both_halves_of_a_system_descriptor(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    s.gpr[X86_RCX] = S_TSS2;
    for (unsigned i = 0; i < 2; i++) {
        T_PUT(h, T_CODE, "\x0f\x02\xc1\x0f\x0b"); /* lar %cx,%eax; ud2 */
        h->ram[T_CODE + 1] = (uint8_t)(2 + i);    /* lsl */
        h_put64(h, T_GDT + S_TSS2 + 8, 0);
        assert_true(flags_of(h, &s) & X86_ZF);
        h_put64(h, T_GDT + S_TSS2 + 8, 1ull << 40); /* a type where none may be */
        assert_false(flags_of(h, &s) & X86_ZF);
        h_put64(h, T_GDT + S_TSS2 + 8, 0);
        s.gdtr.limit = S_TSS2 + 7;
        assert_false(flags_of(h, &s) & X86_ZF);
        s.gdtr.limit = 0x7f;
    }
    h_free(h);
}

static void invpcid_refuses_reserved_bits_whatever_its_type(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x66\x0f\x38\x82\x03\x0f\x0b"); /* invpcid (%rbx),%rax; ud2 */
    s.gpr[X86_RBX] = 0x20000;
    for (unsigned type = 0; type < 4; type++) {
        s.gpr[X86_RAX] = type;
        h_put64(h, 0x20000, 0);
        assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
        h_put64(h, 0x20000, 1ull << 12);
        assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    }
    h_free(h);
}

static void memory_type_registers_refuse_types_and_bits_that_do_not_exist(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = h_cpu(h);

    assert_true(msr_write(c, MSR_MTRR_DEF_TYPE, 0xc06, false));
    assert_false(msr_write(c, MSR_MTRR_DEF_TYPE, 2, false));
    assert_false(msr_write(c, MSR_MTRR_DEF_TYPE, 0x200, false));
    assert_true(msr_write(c, MSR_MTRR_PHYSBASE0, 0x80000006, false));
    assert_false(msr_write(c, MSR_MTRR_PHYSBASE0, 3, false));
    assert_false(msr_write(c, MSR_MTRR_PHYSBASE0, 0x106, false));
    assert_false(msr_write(c, MSR_MTRR_PHYSBASE0, 1ull << 51, false));
    assert_true(msr_write(c, MSR_MTRR_PHYSBASE0 + 1, 0xff0000800, false));
    assert_false(msr_write(c, MSR_MTRR_PHYSBASE0 + 1, 0x400, false));
    assert_true(msr_write(c, MSR_MTRR_FIX64K, 0x0606060606060606, false));
    assert_false(msr_write(c, MSR_MTRR_FIX64K, 0x0206060606060606, false));
    assert_false(msr_write(c, MSR_MTRR_FIX4K_C0, 0x0606060606060607, false)); /* UC- is for the PAT only */
    h_free(h);
}

/* ---- SYSCALL and SYSRET under TF: Linux's entry code depends on both (arch/x86/entry/entry_64.S) ---- */

static void syscall_does_not_trap_when_its_mask_clears_tf(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\x0f\x05");
    T_PUT(h, T_USER, "\x90\x0f\x0b");
    s.rflags |= X86_TF;
    set_msr(&s, MSR_STAR, (uint64_t)S_CODE0 << 32);
    set_msr(&s, MSR_LSTAR, T_USER);
    set_msr(&s, MSR_SYSCALL_MASK, X86_TF);
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    set_msr(&s, MSR_SYSCALL_MASK, 0);
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    assert_int_equal(rip_of(h), T_USER);
    h_free(h);
}

static void sysret_that_sets_tf_traps_at_once(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x48\x0f\x07");
    T_PUT(h, T_USER, "\x90\x0f\x0b");
    set_msr(&s, MSR_STAR, (uint64_t)(S_CODE3 - 16 + 3) << 48);
    s.gpr[X86_RCX] = T_USER;
    s.gpr[X86_R11] = 2 | X86_TF;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    assert_int_equal(rip_of(h), T_USER);
    s.gpr[X86_R11] = 2;
    s.rflags |= X86_TF;
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    h_free(h);
}

/* Of a selector two bytes are read, however wide its place on the stack is: so do Intel's processors (seen in
 * user mode); the SDM has POP take "a word or doubleword" (2B). */
static void a_selector_is_popped_by_its_two_bytes(void **state)
{
    enum { EDGE = 0x200000 }; /* the page from here on is not present */
    static const struct {
        const char *code;
        unsigned words; /* under the selector */
        uint16_t sel;
    } cases[] = {
        {"\x0f\xa9", 0, 0}, {"\x48\xcb", 1, S_CODE0}, {"\x48\xcf", 4, S_DATA0}}; /* pop %gs, lretq, iretq */
    const uint64_t frame[] = {T_CODE + 8, S_CODE0, 2, 0x80000};
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);
    (void)state;
    h_put64(h, H_TABLES + 0x2000 + (EDGE >> 21) * 8, 0);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t sp = EDGE - 2 - 8 * cases[i].words;
        memcpy(h->ram + T_CODE, cases[i].code, 2);
        memcpy(h->ram + sp, frame, 8 * cases[i].words);
        memcpy(h->ram + EDGE - 2, &cases[i].sel, 2);
        s.gpr[X86_RSP] = sp;
        engine_set(h->en, 0, &s);
        assert_int_equal(h_step(h), 0);
        assert_int_equal(h_cpu(h)->gpr[X86_RSP], i == 2 ? 0x80000 : EDGE - 2 + 8);
        s.gpr[X86_RSP] = sp + 1;
        memcpy(h->ram + sp + 1, frame, 8 * cases[i].words);
        engine_set(h->en, 0, &s);
        assert_int_equal(h_step(h), LEAVE_FAULT);
        assert_int_equal(h_cpu(h)->fault_vector, X86_PF_VEC);
        assert_true(h_cpu(h)->cr2 == EDGE && h_cpu(h)->gpr[X86_RSP] == sp + 1);
    }
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debug_registers_4_and_5_do_not_exist_with_de_whatever_the_privilege),
        cmocka_unit_test(ltr_and_lldt_refuse_bases_that_are_not_canonical),
        cmocka_unit_test(lar_and_lsl_look_at_both_halves_of_a_system_descriptor),
        cmocka_unit_test(invpcid_refuses_reserved_bits_whatever_its_type),
        cmocka_unit_test(memory_type_registers_refuse_types_and_bits_that_do_not_exist),
        cmocka_unit_test(syscall_does_not_trap_when_its_mask_clears_tf),
        cmocka_unit_test(sysret_that_sets_tf_traps_at_once),
        cmocka_unit_test(a_selector_is_popped_by_its_two_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
