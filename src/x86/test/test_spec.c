/* What --cpu may say. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/range.h"
#include "x86/cpuid.h"

static int build(const char *model, struct x86_cpuid *c, struct err *e)
{
    struct x86_host h = {.signature = 0xa00f11, .phys_bits = 46, .vendor = "GenuineIntel"};
    struct x86_cpu_config cfg = {.model = model, .cpus = 1, .hypervisor_leaves = true};

    memset(&h.features, 0xff, sizeof h.features);
    memset(&cfg.allow, 0xff, sizeof cfg.allow);
    cfg.allow.w[X86_F_RDPID >> 5] &= ~(1u << (X86_F_RDPID & 31));
    h.xsave[2] = (typeof(h.xsave[0])){256, 576};
    return x86_cpuid_build_on(c, &cfg, &h, e);
}

static void features_are_added_and_taken_away(void **state)
{
    struct x86_cpuid plain, c;

    (void)state;
    assert_int_equal(build("default", &plain, NULL), 0);
    assert_true(x86_cpuid_has(&plain, X86_F_PCID) && !x86_cpuid_has(&plain, X86_F_INVTSC));
    assert_int_equal(build("default,-pcid,+invtsc,-smap", &c, NULL), 0);
    assert_false(x86_cpuid_has(&c, X86_F_PCID) || x86_cpuid_has(&c, X86_F_SMAP));
    assert_true(x86_cpuid_has(&c, X86_F_INVTSC) && x86_cpuid_has(&c, X86_F_SMEP));
    assert_int_equal(build("x86-64-v3,-avx2", &c, NULL), 0);
    assert_true(x86_cpuid_has(&c, X86_F_AVX) && !x86_cpuid_has(&c, X86_F_AVX2));
}

static void what_rests_on_a_feature_goes_with_it(void **state)
{
    struct x86_cpuid c;

    (void)state;
    assert_int_equal(build("default,-xsave", &c, NULL), 0);
    assert_false(x86_cpuid_has(&c, X86_F_AVX) || x86_cpuid_has(&c, X86_F_AVX2) ||
                 x86_cpuid_has(&c, X86_F_XSAVEOPT));
}

static void a_feature_that_is_asked_for_and_lacking_is_refused_by_name(void **state)
{
    struct x86_cpuid c;
    struct err e = {""};

    (void)state;
    assert_int_equal(build("default,+rdpid", &c, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "rdpid"));
    assert_int_equal(build("default,-xsave,+avx", &c, &e), -ENOTSUP); /* which rests on it */
    assert_non_null(strstr(e.msg, "avx"));
}

static void widths_and_vendors_are_chosen(void **state)
{
    struct x86_cpuid c;
    struct err e = {""};

    (void)state;
    assert_int_equal(build("default,phys-bits=36", &c, NULL), 0);
    assert_int_equal(x86_cpuid_get(&c, 0x80000008, 0).eax & 0xff, 36);
    assert_int_equal(build("default,phys-bits=47", &c, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "46"));
    assert_int_equal(build("default,vendor=AuthenticAMD", &c, NULL), 0);
    assert_int_equal(x86_cpuid_get(&c, 0, 0).ebx, 0x68747541);
    assert_int_equal(x86_cpuid_get(&c, 0x80000001, 0).edx & 1, 1); /* as AMD repeats leaf 1 */
    assert_int_equal(build("default,vendor=GenuineIntel", &c, NULL), 0);
    assert_int_equal(x86_cpuid_get(&c, 0, 0).ebx, 0x756e6547);
}

static void everything_else_is_refused_with_what_is_wrong(void **state)
{
    static const struct {
        const char *model, *says;
    } rows[] = {
        {"", "not known"},
        {"defaul", "defaul "},
        {"default,", "''"},
        {"default,pcid", "'pcid'"},
        {"default,+", "not known"},
        {"default,+pci", "pci "},
        {"default,+pcidx", "pcidx"},
        {"default,+vmx", "vmx"},
        {"default,+hypervisor", "hypervisor"},
        {"default,-sse2", "sse2"},
        {"default,-lm", "lm"},
        {"default,phys-bits=", "phys-bits="},
        {"default,phys-bits=31", "phys-bits=31"},
        {"default,phys-bits=53", "phys-bits=53"},
        {"default,phys-bits=40x", "40x"},
        {"default,phys-bits=-40", "-40"},
        {"default,vendor=Cyrix", "Cyrix"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct x86_cpuid c;
        struct err e = {""};

        assert_int_equal(build(rows[i].model, &c, &e), -EINVAL);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s: %s", rows[i].model, e.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_added_and_taken_away),
        cmocka_unit_test(what_rests_on_a_feature_goes_with_it),
        cmocka_unit_test(a_feature_that_is_asked_for_and_lacking_is_refused_by_name),
        cmocka_unit_test(widths_and_vendors_are_chosen),
        cmocka_unit_test(everything_else_is_refused_with_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
