#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>
#include "x86/regs.h"
#include "x86/state.h"

static void reset_is_that_of_the_manual(void **state)
{
    struct x86_state s;

    (void)state;
    x86_state_reset(&s, true, 0);
    assert_int_equal(s.rip, 0xfff0);
    assert_int_equal(s.seg[X86_CS].base + s.rip, 0xfffffff0);
    assert_int_equal(s.rflags, 2);
    assert_int_equal(s.cr0, 0x60000010);
    assert_int_equal(s.dr6, 0xffff0ff0);
    assert_int_equal(s.dr7, 0x400);
    assert_int_equal(s.fpu.fcw, 0x40);
    assert_int_equal(s.fpu.mxcsr, 0x1f80);
    assert_int_equal(s.xcr0, 1);
    assert_int_equal(s.idtr.limit, 0xffff);
    assert_int_equal(s.apic_base, 0xfee00900);
    assert_int_equal(s.mp_state, X86_MP_RUNNABLE);
    assert_int_equal(s.lapic.regs[X86_LAPIC_SVR], 0xff);
    assert_int_equal(s.lapic.regs[X86_LAPIC_LVT_LINT0], 0x10000);
}

static void other_cpus_wait_for_sipi(void **state)
{
    struct x86_state s;

    (void)state;
    x86_state_reset(&s, false, 3);
    assert_int_equal(s.apic_base, 0xfee00800);
    assert_int_equal(s.mp_state, X86_MP_WAIT_SIPI);
    assert_int_equal(s.lapic.regs[X86_LAPIC_ID], 3 << 24);
}

static void msrs_are_kept_until_the_array_is_full(void **state)
{
    struct x86_state s;

    (void)state;
    x86_state_reset(&s, true, 0);
    assert_int_equal(x86_state_msr(&s, MSR_LSTAR, 7), 7);
    for (uint32_t i = 0; i < X86_MAX_MSRS; i++)
        assert_int_equal(x86_state_msr_set(&s, i + 1, i), 0);
    assert_int_equal(x86_state_msr_set(&s, 1, 99), 0);
    assert_int_equal(x86_state_msr(&s, 1, 0), 99);
    assert_int_equal(x86_state_msr_set(&s, 0xffff, 1), -ENOSPC);
    s.msr_count = 0xffffffff; /* as a hostile file might have it */
    assert_int_equal(x86_state_msr(&s, 0xfffe, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_is_that_of_the_manual),
        cmocka_unit_test(other_cpus_wait_for_sipi),
        cmocka_unit_test(msrs_are_kept_until_the_array_is_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
