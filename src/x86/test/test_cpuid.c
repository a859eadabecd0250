#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/range.h"
#include "x86/cpuid.h"

static struct x86_host everything(const char *vendor)
{
    struct x86_host h = {.signature = 0xa00f11, .phys_bits = 52, .brand = "A Host"};

    memset(&h.features, 0xff, sizeof h.features);
    snprintf(h.vendor, sizeof h.vendor, "%s", vendor);
    h.xsave[2] = (typeof(h.xsave[0])){256, 576};
    h.xsave[5] = (typeof(h.xsave[0])){64, 832};
    h.xsave[6] = (typeof(h.xsave[0])){512, 896};
    h.xsave[7] = (typeof(h.xsave[0])){1024, 1408};
    return h;
}

static struct x86_cpu_config config(const char *model, uint32_t cpus, uint32_t id)
{
    struct x86_cpu_config c = {
        .model = model, .cpus = cpus, .apic_id = id, .tsc_khz = 2596124, .hypervisor_leaves = true};

    memset(&c.allow, 0xff, sizeof c.allow);
    return c;
}

static struct x86_cpuid build(const char *model, uint32_t cpus, uint32_t id, const struct x86_host *h)
{
    struct x86_cpu_config c = config(model, cpus, id);
    struct x86_cpuid out;
    struct err e = {""};

    assert_int_equal(x86_cpuid_build_on(&out, &c, h, &e), 0);
    return out;
}

static const uint32_t forbidden[] = {
    X86_F_INVTSC, X86_F_RDPID,   X86_F_PKU,  X86_F_AVX512F, X86_F_AMX_TILE,
    X86_F_SHSTK,  X86_F_IBT,     X86_F_LA57, X86_F_MPX,     X86_F_RTM,
    X86_F_HLE,    X86_F_MONITOR, X86_F_VMX,  X86_F_SVM,     X86_F_OSXSAVE,
};

static void topology_names_every_cpu_once(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 64, 255};
    struct x86_host h = everything("GenuineIntel");

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        uint32_t n = counts[k], bits = 0;

        while ((1u << bits) < n)
            bits++;
        for (uint32_t id = 0; id<n; id += n> 8 ? 7 : 1) {
            struct x86_cpuid c = build("default", n, id, &h);
            struct x86_cpuid_leaf l = x86_cpuid_get(&c, 1, 0);

            assert_int_equal(l.ebx >> 24, id);
            assert_int_equal(l.edx >> 28 & 1, n > 1);
            assert_true((l.ebx >> 16 & 0xff) >= (n > 255 ? 255 : n));
            l = x86_cpuid_get(&c, 0xb, 0);
            assert_int_equal(l.eax, 0);
            assert_int_equal(l.ebx, 1);
            assert_int_equal(l.ecx, 0x100);
            assert_int_equal(l.edx, id);
            l = x86_cpuid_get(&c, 0xb, 1);
            assert_int_equal(l.eax, bits);
            assert_int_equal(l.ebx, n);
            assert_int_equal(l.ecx, 0x201);
            assert_int_equal(l.edx, id);
            l = x86_cpuid_get(&c, 0xb, 5);
            assert_int_equal(l.eax | l.ebx, 0);
            assert_int_equal(l.ecx, 5);
            assert_int_equal(l.edx, id);
            l = x86_cpuid_get(&c, 4, 3);
            assert_true((l.eax >> 14 & 0xfff) + 1 >= n);
            assert_true((l.eax >> 26) + 1 >= (n > 64 ? 64 : n));
            l = x86_cpuid_get(&c, 4, 0);
            assert_int_equal(l.eax >> 14 & 0xfff, 0);
        }
    }
}

static void portable_models_never_advertise_a_forbidden_feature(void **state)
{
    static const char *const models[] = {"default", "x86-64-v2", "x86-64-v3", "x86-64-v1"};
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct x86_host h = everything(round & 1 ? "AuthenticAMD" : "GenuineIntel");
        struct x86_cpu_config cfg = config(models[round % 4], 2, 1);
        struct x86_cpuid c;

        for (unsigned w = 0; round > 5 && w < X86_WORDS; w++) {
            seed = seed * 1664525 + 1013904223;
            h.features.w[w] &= seed | (seed << 13);
            seed = seed * 1664525 + 1013904223;
            cfg.allow.w[w] &= seed | (seed >> 7) | (seed << 9);
        }
        /* Enough for level 2, so that most are built. */
        if (round & 2) {
            h.features.w[X86_W_1_ECX] |= 0x00982201;
            cfg.allow.w[X86_W_1_ECX] |= 0x00982201;
            cfg.allow.w[X86_W_1_EDX] |= 0x07ffffff;
            h.features.w[X86_W_80000001_ECX] |= 1;
            cfg.allow.w[X86_W_80000001_ECX] |= 1;
            cfg.allow.w[X86_W_80000001_EDX] |= 0x20100800;
        }
        int r = x86_cpuid_build_on(&c, &cfg, &h, NULL);
        assert_true(r == 0 || r == -ENOTSUP);
        if (round <= 5)
            assert_int_equal(r, 0);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(forbidden); i++)
            assert_false(x86_cpuid_has(&c, forbidden[i]));
        if (r == 0 && x86_cpuid_has(&c, X86_F_AVX2))
            assert_true(x86_cpuid_has(&c, X86_F_AVX) && x86_cpuid_has(&c, X86_F_XSAVE));
        if (r == 0) {
            assert_int_equal(c.arch_caps && !x86_cpuid_has(&c, X86_F_ARCH_CAPS), 0);
            assert_true(x86_cpuid_has(&c, X86_F_HYPERVISOR));
        }
    }
}

static void host_model_leaves_out_what_the_machine_cannot_carry(void **state)
{
    struct x86_host h = everything("AuthenticAMD");
    struct x86_cpuid c = build("host", 2, 1, &h);
    static const uint32_t never[] = {X86_F_PKU,  X86_F_AMX_TILE, X86_F_SHSTK,  X86_F_IBT,
                                     X86_F_LA57, X86_F_MPX,      X86_F_RTM,    X86_F_MONITOR,
                                     X86_F_VMX,  X86_F_SVM,      X86_F_OSXSAVE};
    struct x86_cpuid_leaf l = x86_cpuid_get(&c, 0, 0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        assert_false(x86_cpuid_has(&c, never[i]));
    assert_true(x86_cpuid_has(&c, X86_F_AVX512F) && x86_cpuid_has(&c, X86_F_INVTSC));
    assert_int_equal(l.ebx, 0x68747541);
    assert_int_equal(x86_cpuid_get(&c, 1, 0).eax, h.signature);
    l = x86_cpuid_get(&c, 0xd, 7); /* where this host's processor puts it */
    assert_int_equal(l.ebx, 1408);
    assert_int_equal(x86_cpuid_get(&c, 0xd, 0).ecx, 1408 + 1024);
    l = x86_cpuid_get(&c, 0x80000008, 0);
    assert_int_equal(l.ecx, 1 << 12 | 1);
    assert_int_equal(x86_cpuid_get(&c, 0x80000001, 0).edx & 0x3ff, x86_cpuid_get(&c, 1, 0).edx & 0x3ff);
}

static void strict_v3_is_refused_with_a_list_and_default_degrades(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpu_config cfg = config("x86-64-v3", 1, 0);
    struct x86_cpuid c;
    struct err e = {""};

    (void)state;
    h.features.w[X86_W_7_EBX] &= ~(1u << 5);
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "avx2"));
    assert_null(strstr(e.msg, "bmi2"));
    cfg.model = "default";
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), 0);
    assert_true(x86_cpuid_has(&c, X86_F_AVX) && !x86_cpuid_has(&c, X86_F_AVX2));
    h.features.w[X86_W_1_ECX] &= ~(1u << 20);
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "sse4_2"));
}

static void an_unknown_model_and_impossible_cpus_are_invalid(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpu_config cfg = config("pentium", 1, 0);
    struct x86_cpuid c;
    struct err e = {""};

    (void)state;
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "pentium"));
    cfg = config("default", 0, 0);
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -EINVAL);
    cfg = config("default", 256, 0);
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -EINVAL);
    cfg = config("default", 2, 2);
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, &e), -EINVAL);
}

static void xsave_leaf_has_standard_offsets(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpuid c = build("default", 1, 0, &h);
    struct x86_cpuid_leaf l = x86_cpuid_get(&c, 0xd, 0);

    (void)state;
    assert_int_equal(l.eax, 7);
    assert_int_equal(l.ecx, 832);
    l = x86_cpuid_get(&c, 0xd, 2);
    assert_int_equal(l.eax, 256);
    assert_int_equal(l.ebx, 576);
    l = x86_cpuid_get(&c, 0xd, 5);
    assert_int_equal(l.eax | l.ebx, 0);
}

static void hypervisor_leaves_say_kvm_and_nothing_else(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpuid c = build("default", 1, 0, &h);
    struct x86_cpuid_leaf l = x86_cpuid_get(&c, 0x40000000, 0);
    struct x86_cpu_config cfg = config("default", 1, 0);
    char sig[13] = "";

    (void)state;
    memcpy(sig, &l.ebx, 4);
    memcpy(sig + 4, &l.ecx, 4);
    memcpy(sig + 8, &l.edx, 4);
    assert_string_equal(sig, "KVMKVMKVM");
    assert_int_equal(l.eax, 0x40000010);
    assert_int_equal(x86_cpuid_get(&c, 0x40000001, 0).eax, 1u << 1 | 1u << 3 | 1u << 5 | 1u << 24);
    l = x86_cpuid_get(&c, 0x40000010, 0);
    assert_int_equal(l.eax, 2596124);
    assert_int_equal(l.ebx, 1000000);
    cfg.hypervisor_leaves = false;
    cfg.tsc_khz = 0;
    assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, NULL), 0);
    assert_true(x86_cpuid_get(&c, 0x40000000, 0).ebx != 0x4b4d564b);
    assert_int_equal(x86_cpuid_get(&c, 0, 0).eax, 0xd);
}

static void tsc_leaf_is_exact_to_a_millionth_within_32_bits(void **state)
{
    static const uint32_t khz[] = {800000, 1000000, 1996801, 2596124, 3400000, 3792873, 5000001};
    struct x86_host h = everything("GenuineIntel");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(khz); i++) {
        struct x86_cpu_config cfg = config("default", 1, 0);
        struct x86_cpuid c;
        struct x86_cpuid_leaf l;

        cfg.tsc_khz = khz[i];
        assert_int_equal(x86_cpuid_build_on(&c, &cfg, &h, NULL), 0);
        l = x86_cpuid_get(&c, 0x15, 0);
        assert_int_equal(l.ecx, X86_APIC_BUS_HZ);
        assert_true(l.eax && l.ebx && l.ebx <= 4294);
        double got = 1e6 * l.ebx / l.eax, off = got / khz[i] - 1;
        assert_true(off < 1e-6 && off > -1e-6);
    }
}

static void leaves_out_of_range_answer_as_the_manual_says(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpuid c = build("default", 1, 0, &h);
    struct x86_cpuid_leaf top = x86_cpuid_get(&c, 0x15, 0), l = x86_cpuid_get(&c, 0x99, 0);

    (void)state;
    assert_int_equal(l.eax, top.eax);
    assert_int_equal(l.ebx, top.ebx);
    l = x86_cpuid_get(&c, 0x80000099, 0);
    assert_int_equal(l.ecx, top.ecx);
    l = x86_cpuid_get(&c, 0xa, 0); /* inside, but not there */
    assert_int_equal(l.eax | l.ebx | l.ecx | l.edx, 0);
    h = everything("AuthenticAMD");
    c = build("host", 1, 0, &h);
    l = x86_cpuid_get(&c, 0x99, 0);
    assert_int_equal(l.eax | l.ebx | l.ecx | l.edx, 0);
}

static void physical_width_is_at_most_46_and_the_hosts(void **state)
{
    struct x86_host h = everything("GenuineIntel");
    struct x86_cpuid c = build("default", 1, 0, &h);

    (void)state;
    assert_int_equal(x86_cpuid_get(&c, 0x80000008, 0).eax, 0x302e);
    h.phys_bits = 39;
    c = build("default", 1, 0, &h);
    assert_int_equal(x86_cpuid_get(&c, 0x80000008, 0).eax, 0x3027);
}

static void every_model_is_built_or_refused_with_a_reason_on_this_host(void **state)
{
    (void)state;
    for (const char *const *m = x86_cpu_models(); *m; m++) {
        struct x86_cpu_config cfg = config(*m, 2, 0);
        struct x86_features f, host;
        struct x86_cpuid c;
        struct err e = {""};
        int r = x86_cpuid_build(&c, &cfg, &e);

        assert_non_null(x86_cpu_model_about(*m));
        if (r) {
            assert_int_equal(r, -ENOTSUP);
            assert_true(e.msg[0]);
            continue;
        }
        x86_features_host(&host);
        x86_cpuid_features(&c, &f);
        assert_false(x86_features_has(&f, X86_F_AVX2) && !x86_features_has(&host, X86_F_AVX2));
        assert_true(x86_cpuid_get(&c, 0, 0).eax >= 0xd);
    }
}

static void missing_features_are_listed_by_name(void **state)
{
    struct x86_features a = {{0}}, b = {{0}};
    char out[64], tiny[6];

    (void)state;
    x86_features_set(&a, X86_F_AVX2);
    x86_features_set(&a, X86_F_SSE3);
    x86_features_set(&a, X86_FEATURE(X86_W_7_1_EAX, 31));
    x86_features_set(&b, X86_F_SSE3);
    assert_int_equal(x86_features_missing(&a, &b, out, sizeof out), 2);
    assert_string_equal(out, "avx2,7.1:eax.31");
    assert_int_equal(x86_features_missing(&a, &b, tiny, sizeof tiny), 2);
    assert_int_equal(x86_features_missing(&b, &a, NULL, 0), 0);
}

static void feature_names_are_unique(void **state)
{
    size_t n;
    const struct x86_feature_name *t = x86_feature_names(&n);

    (void)state;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            assert_int_not_equal(t[i].feature, t[j].feature);
            assert_string_not_equal(t[i].name, t[j].name);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topology_names_every_cpu_once),
        cmocka_unit_test(portable_models_never_advertise_a_forbidden_feature),
        cmocka_unit_test(host_model_leaves_out_what_the_machine_cannot_carry),
        cmocka_unit_test(strict_v3_is_refused_with_a_list_and_default_degrades),
        cmocka_unit_test(an_unknown_model_and_impossible_cpus_are_invalid),
        cmocka_unit_test(xsave_leaf_has_standard_offsets),
        cmocka_unit_test(hypervisor_leaves_say_kvm_and_nothing_else),
        cmocka_unit_test(tsc_leaf_is_exact_to_a_millionth_within_32_bits),
        cmocka_unit_test(leaves_out_of_range_answer_as_the_manual_says),
        cmocka_unit_test(physical_width_is_at_most_46_and_the_hosts),
        cmocka_unit_test(every_model_is_built_or_refused_with_a_reason_on_this_host),
        cmocka_unit_test(missing_features_are_listed_by_name),
        cmocka_unit_test(feature_names_are_unique),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
