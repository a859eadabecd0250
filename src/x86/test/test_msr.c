#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/state.h"

static struct x86_cpuid cpuid(const char *model, uint32_t kvm_features)
{
    struct x86_cpu_config cfg = {.model = model, .cpus = 1, .tsc_khz = 1000000, .hypervisor_leaves = true};
    struct x86_host h = {.vendor = "AuthenticAMD", .phys_bits = 48};
    struct x86_cpuid c;

    memset(&h.features, 0xff, sizeof h.features);
    memset(&cfg.allow, 0xff, sizeof cfg.allow);
    cfg.allow.w[X86_W_KVM_EAX] = kvm_features;
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, NULL), 0);
    return c;
}

static void table_is_sorted_and_disjoint(void **state)
{
    size_t n;
    const struct x86_msr_info *t = x86_msr_table(&n);
    uint64_t next = 0;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_true(t[i].first >= next);
        assert_true(t[i].count >= 1);
        next = (uint64_t)t[i].first + t[i].count;
        assert_non_null(t[i].name);
        /* Where it lives is one place. */
        assert_false((t[i].flags & X86_MSR_SAVE) && (t[i].flags & X86_MSR_FIELD));
    }
}

static void what_is_saved_fits_the_state(void **state)
{
    struct x86_cpuid c = cpuid("host", 0xffffffff);
    struct x86_state s;

    (void)state;
    x86_state_reset(&s, true, 0);
    x86_state_reset_msrs(&s, &c);
    assert_true(s.msr_count > 40 && s.msr_count < X86_MAX_MSRS);
    assert_int_equal(x86_state_msr(&s, MSR_PAT, 0), 0x0007040600070406);
    assert_int_equal(x86_state_msr(&s, MSR_MISC_ENABLE, 0) & 1, 1);
    assert_int_equal(x86_state_msr(&s, MSR_ARCH_CAPABILITIES, 0), c.arch_caps);
}

static void an_msr_without_its_feature_is_not_found(void **state)
{
    struct x86_cpuid with = cpuid("default", 1u << 3 | 1u << 5), without = cpuid("default", 1u << 3);

    (void)state;
    assert_non_null(x86_msr_find(&with, MSR_KVM_STEAL_TIME));
    assert_null(x86_msr_find(&without, MSR_KVM_STEAL_TIME));
    assert_non_null(x86_msr_find(&without, MSR_KVM_SYSTEM_TIME));
    assert_null(x86_msr_find(&with, MSR_KVM_SYSTEM_TIME_OLD));
    assert_null(x86_msr_find(&with, 0x4b564d02)); /* asynchronous page faults */
    assert_null(x86_msr_find(&with, 0xc0010015)); /* not this vendor's */
    assert_null(x86_msr_find(&with, 0xc0010007));
    struct x86_cpuid amd = cpuid("default,vendor=AuthenticAMD", 0);
    assert_non_null(x86_msr_find(&amd, 0xc0010007)); /* PERF_CTR3 is there without a feature */
    assert_null(x86_msr_find(&amd, 0xc0010008));
    assert_null(x86_msr_find(&with, MSR_XSS));
    assert_null(x86_msr_find(&with, 0xffffffff));
    assert_null(x86_msr_find(&with, 0));
}

static void rows_cover_their_whole_range(void **state)
{
    struct x86_cpuid c = cpuid("default", 0);

    (void)state;
    for (uint32_t i = MSR_MTRR_PHYSBASE0; i < MSR_MTRR_PHYSBASE0 + 16; i++)
        assert_non_null(x86_msr_find(&c, i));
    assert_null(x86_msr_find(&c, MSR_MTRR_PHYSBASE0 + 16));
    assert_non_null(x86_msr_find(&c, MSR_X2APIC_LAST));
    assert_null(x86_msr_find(&c, MSR_X2APIC_LAST + 1));
    assert_int_equal(x86_msr_reset(&c, MSR_MTRRCAP), 0x508);
    assert_int_equal(x86_msr_reset(&c, MSR_ARCH_CAPABILITIES), c.arch_caps);
    assert_true(c.arch_caps & 1); /* RDCL_NO */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_sorted_and_disjoint),
        cmocka_unit_test(what_is_saved_fits_the_state),
        cmocka_unit_test(an_msr_without_its_feature_is_not_found),
        cmocka_unit_test(rows_cover_their_whole_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
