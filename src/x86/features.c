#include <stdio.h>
#include <string.h>
#include "base/range.h"
#include "x86/cpuid.h"

/* Names as /proc/cpuinfo spells them, by word and bit; "" where a bit has no name. Sources: SDM 2A CPUID, APM
 * 3 appendix E. */
#define N(word, bit, text)                                                                                   \
    {                                                                                                        \
        X86_FEATURE(word, bit), text                                                                         \
    }

static const struct x86_feature_name names[] = {
    N(X86_W_1_ECX, 0, "sse3"),
    N(X86_W_1_ECX, 1, "pclmulqdq"),
    N(X86_W_1_ECX, 2, "dtes64"),
    N(X86_W_1_ECX, 3, "monitor"),
    N(X86_W_1_ECX, 4, "ds_cpl"),
    N(X86_W_1_ECX, 5, "vmx"),
    N(X86_W_1_ECX, 6, "smx"),
    N(X86_W_1_ECX, 7, "est"),
    N(X86_W_1_ECX, 8, "tm2"),
    N(X86_W_1_ECX, 9, "ssse3"),
    N(X86_W_1_ECX, 10, "cid"),
    N(X86_W_1_ECX, 11, "sdbg"),
    N(X86_W_1_ECX, 12, "fma"),
    N(X86_W_1_ECX, 13, "cx16"),
    N(X86_W_1_ECX, 14, "xtpr"),
    N(X86_W_1_ECX, 15, "pdcm"),
    N(X86_W_1_ECX, 17, "pcid"),
    N(X86_W_1_ECX, 18, "dca"),
    N(X86_W_1_ECX, 19, "sse4_1"),
    N(X86_W_1_ECX, 20, "sse4_2"),
    N(X86_W_1_ECX, 21, "x2apic"),
    N(X86_W_1_ECX, 22, "movbe"),
    N(X86_W_1_ECX, 23, "popcnt"),
    N(X86_W_1_ECX, 24, "tsc_deadline_timer"),
    N(X86_W_1_ECX, 25, "aes"),
    N(X86_W_1_ECX, 26, "xsave"),
    N(X86_W_1_ECX, 27, "osxsave"),
    N(X86_W_1_ECX, 28, "avx"),
    N(X86_W_1_ECX, 29, "f16c"),
    N(X86_W_1_ECX, 30, "rdrand"),
    N(X86_W_1_ECX, 31, "hypervisor"),

    N(X86_W_1_EDX, 0, "fpu"),
    N(X86_W_1_EDX, 1, "vme"),
    N(X86_W_1_EDX, 2, "de"),
    N(X86_W_1_EDX, 3, "pse"),
    N(X86_W_1_EDX, 4, "tsc"),
    N(X86_W_1_EDX, 5, "msr"),
    N(X86_W_1_EDX, 6, "pae"),
    N(X86_W_1_EDX, 7, "mce"),
    N(X86_W_1_EDX, 8, "cx8"),
    N(X86_W_1_EDX, 9, "apic"),
    N(X86_W_1_EDX, 11, "sep"),
    N(X86_W_1_EDX, 12, "mtrr"),
    N(X86_W_1_EDX, 13, "pge"),
    N(X86_W_1_EDX, 14, "mca"),
    N(X86_W_1_EDX, 15, "cmov"),
    N(X86_W_1_EDX, 16, "pat"),
    N(X86_W_1_EDX, 17, "pse36"),
    N(X86_W_1_EDX, 18, "pn"),
    N(X86_W_1_EDX, 19, "clflush"),
    N(X86_W_1_EDX, 21, "dts"),
    N(X86_W_1_EDX, 22, "acpi"),
    N(X86_W_1_EDX, 23, "mmx"),
    N(X86_W_1_EDX, 24, "fxsr"),
    N(X86_W_1_EDX, 25, "sse"),
    N(X86_W_1_EDX, 26, "sse2"),
    N(X86_W_1_EDX, 27, "ss"),
    N(X86_W_1_EDX, 28, "ht"),
    N(X86_W_1_EDX, 29, "tm"),
    N(X86_W_1_EDX, 31, "pbe"),

    N(X86_W_7_EBX, 0, "fsgsbase"),
    N(X86_W_7_EBX, 1, "tsc_adjust"),
    N(X86_W_7_EBX, 2, "sgx"),
    N(X86_W_7_EBX, 3, "bmi1"),
    N(X86_W_7_EBX, 4, "hle"),
    N(X86_W_7_EBX, 5, "avx2"),
    N(X86_W_7_EBX, 6, "fdp_excptn_only"),
    N(X86_W_7_EBX, 7, "smep"),
    N(X86_W_7_EBX, 8, "bmi2"),
    N(X86_W_7_EBX, 9, "erms"),
    N(X86_W_7_EBX, 10, "invpcid"),
    N(X86_W_7_EBX, 11, "rtm"),
    N(X86_W_7_EBX, 12, "cqm"),
    N(X86_W_7_EBX, 13, "zero_fcs_fds"),
    N(X86_W_7_EBX, 14, "mpx"),
    N(X86_W_7_EBX, 15, "rdt_a"),
    N(X86_W_7_EBX, 16, "avx512f"),
    N(X86_W_7_EBX, 17, "avx512dq"),
    N(X86_W_7_EBX, 18, "rdseed"),
    N(X86_W_7_EBX, 19, "adx"),
    N(X86_W_7_EBX, 20, "smap"),
    N(X86_W_7_EBX, 21, "avx512ifma"),
    N(X86_W_7_EBX, 23, "clflushopt"),
    N(X86_W_7_EBX, 24, "clwb"),
    N(X86_W_7_EBX, 25, "intel_pt"),
    N(X86_W_7_EBX, 26, "avx512pf"),
    N(X86_W_7_EBX, 27, "avx512er"),
    N(X86_W_7_EBX, 28, "avx512cd"),
    N(X86_W_7_EBX, 29, "sha_ni"),
    N(X86_W_7_EBX, 30, "avx512bw"),
    N(X86_W_7_EBX, 31, "avx512vl"),

    N(X86_W_7_ECX, 0, "prefetchwt1"),
    N(X86_W_7_ECX, 1, "avx512vbmi"),
    N(X86_W_7_ECX, 2, "umip"),
    N(X86_W_7_ECX, 3, "pku"),
    N(X86_W_7_ECX, 4, "ospke"),
    N(X86_W_7_ECX, 5, "waitpkg"),
    N(X86_W_7_ECX, 6, "avx512_vbmi2"),
    N(X86_W_7_ECX, 7, "shstk"),
    N(X86_W_7_ECX, 8, "gfni"),
    N(X86_W_7_ECX, 9, "vaes"),
    N(X86_W_7_ECX, 10, "vpclmulqdq"),
    N(X86_W_7_ECX, 11, "avx512_vnni"),
    N(X86_W_7_ECX, 12, "avx512_bitalg"),
    N(X86_W_7_ECX, 13, "tme"),
    N(X86_W_7_ECX, 14, "avx512_vpopcntdq"),
    N(X86_W_7_ECX, 16, "la57"),
    N(X86_W_7_ECX, 22, "rdpid"),
    N(X86_W_7_ECX, 23, "kl"),
    N(X86_W_7_ECX, 24, "bus_lock_detect"),
    N(X86_W_7_ECX, 25, "cldemote"),
    N(X86_W_7_ECX, 27, "movdiri"),
    N(X86_W_7_ECX, 28, "movdir64b"),
    N(X86_W_7_ECX, 29, "enqcmd"),
    N(X86_W_7_ECX, 30, "sgx_lc"),
    N(X86_W_7_ECX, 31, "pks"),

    N(X86_W_7_EDX, 2, "avx512_4vnniw"),
    N(X86_W_7_EDX, 3, "avx512_4fmaps"),
    N(X86_W_7_EDX, 4, "fsrm"),
    N(X86_W_7_EDX, 5, "uintr"),
    N(X86_W_7_EDX, 8, "avx512_vp2intersect"),
    N(X86_W_7_EDX, 10, "md_clear"),
    N(X86_W_7_EDX, 11, "rtm_always_abort"),
    N(X86_W_7_EDX, 14, "serialize"),
    N(X86_W_7_EDX, 15, "hybrid_cpu"),
    N(X86_W_7_EDX, 16, "tsxldtrk"),
    N(X86_W_7_EDX, 18, "pconfig"),
    N(X86_W_7_EDX, 19, "arch_lbr"),
    N(X86_W_7_EDX, 20, "ibt"),
    N(X86_W_7_EDX, 22, "amx_bf16"),
    N(X86_W_7_EDX, 23, "avx512_fp16"),
    N(X86_W_7_EDX, 24, "amx_tile"),
    N(X86_W_7_EDX, 25, "amx_int8"),
    N(X86_W_7_EDX, 26, "spec_ctrl"),
    N(X86_W_7_EDX, 27, "intel_stibp"),
    N(X86_W_7_EDX, 28, "flush_l1d"),
    N(X86_W_7_EDX, 29, "arch_capabilities"),
    N(X86_W_7_EDX, 30, "core_capabilities"),
    N(X86_W_7_EDX, 31, "ssbd"),

    N(X86_W_7_1_EAX, 4, "avx_vnni"),
    N(X86_W_7_1_EAX, 5, "avx512_bf16"),
    N(X86_W_7_1_EAX, 7, "cmpccxadd"),
    N(X86_W_7_1_EAX, 10, "fzrm"),
    N(X86_W_7_1_EAX, 11, "fsrs"),
    N(X86_W_7_1_EAX, 12, "fsrc"),
    N(X86_W_7_1_EAX, 17, "fred"),
    N(X86_W_7_1_EAX, 18, "lkgs"),
    N(X86_W_7_1_EAX, 19, "wrmsrns"),
    N(X86_W_7_1_EAX, 21, "amx_fp16"),
    N(X86_W_7_1_EAX, 22, "hreset"),
    N(X86_W_7_1_EAX, 23, "avx_ifma"),
    N(X86_W_7_1_EAX, 26, "lam"),

    N(X86_W_D_1_EAX, 0, "xsaveopt"),
    N(X86_W_D_1_EAX, 1, "xsavec"),
    N(X86_W_D_1_EAX, 2, "xgetbv1"),
    N(X86_W_D_1_EAX, 3, "xsaves"),
    N(X86_W_D_1_EAX, 4, "xfd"),

    N(X86_W_80000001_ECX, 0, "lahf_lm"),
    N(X86_W_80000001_ECX, 1, "cmp_legacy"),
    N(X86_W_80000001_ECX, 2, "svm"),
    N(X86_W_80000001_ECX, 3, "extapic"),
    N(X86_W_80000001_ECX, 4, "cr8_legacy"),
    N(X86_W_80000001_ECX, 5, "abm"),
    N(X86_W_80000001_ECX, 6, "sse4a"),
    N(X86_W_80000001_ECX, 7, "misalignsse"),
    N(X86_W_80000001_ECX, 8, "3dnowprefetch"),
    N(X86_W_80000001_ECX, 9, "osvw"),
    N(X86_W_80000001_ECX, 10, "ibs"),
    N(X86_W_80000001_ECX, 11, "xop"),
    N(X86_W_80000001_ECX, 12, "skinit"),
    N(X86_W_80000001_ECX, 13, "wdt"),
    N(X86_W_80000001_ECX, 15, "lwp"),
    N(X86_W_80000001_ECX, 16, "fma4"),
    N(X86_W_80000001_ECX, 17, "tce"),
    N(X86_W_80000001_ECX, 21, "tbm"),
    N(X86_W_80000001_ECX, 22, "topoext"),
    N(X86_W_80000001_ECX, 23, "perfctr_core"),
    N(X86_W_80000001_ECX, 24, "perfctr_nb"),
    N(X86_W_80000001_ECX, 26, "bpext"),
    N(X86_W_80000001_ECX, 28, "perfctr_llc"),
    N(X86_W_80000001_ECX, 29, "mwaitx"),

    N(X86_W_80000001_EDX, 11, "syscall"),
    N(X86_W_80000001_EDX, 20, "nx"),
    N(X86_W_80000001_EDX, 22, "mmxext"),
    N(X86_W_80000001_EDX, 25, "fxsr_opt"),
    N(X86_W_80000001_EDX, 26, "pdpe1gb"),
    N(X86_W_80000001_EDX, 27, "rdtscp"),
    N(X86_W_80000001_EDX, 29, "lm"),
    N(X86_W_80000001_EDX, 30, "3dnowext"),
    N(X86_W_80000001_EDX, 31, "3dnow"),

    N(X86_W_80000007_EDX, 8, "invtsc"),

    N(X86_W_80000008_EBX, 0, "clzero"),
    N(X86_W_80000008_EBX, 1, "irperf"),
    N(X86_W_80000008_EBX, 2, "xsaveerptr"),
    N(X86_W_80000008_EBX, 4, "rdpru"),
    N(X86_W_80000008_EBX, 9, "wbnoinvd"),
    N(X86_W_80000008_EBX, 12, "amd_ibpb"),
    N(X86_W_80000008_EBX, 14, "amd_ibrs"),
    N(X86_W_80000008_EBX, 15, "amd_stibp"),
    N(X86_W_80000008_EBX, 24, "amd_ssbd"),
    N(X86_W_80000008_EBX, 25, "virt_ssbd"),
    N(X86_W_80000008_EBX, 26, "amd_ssb_no"),
    N(X86_W_80000008_EBX, 28, "amd_psfd"),

    N(X86_W_ARCH_CAPS, 0, "rdcl_no"),
    N(X86_W_ARCH_CAPS, 1, "ibrs_all"),
    N(X86_W_ARCH_CAPS, 2, "rsba"),
    N(X86_W_ARCH_CAPS, 3, "skip_l1dfl"),
    N(X86_W_ARCH_CAPS, 4, "ssb_no"),
    N(X86_W_ARCH_CAPS, 5, "mds_no"),
    N(X86_W_ARCH_CAPS, 6, "pschange_mc_no"),
    N(X86_W_ARCH_CAPS, 7, "tsx_ctrl"),
    N(X86_W_ARCH_CAPS, 8, "taa_no"),
    N(X86_W_ARCH_CAPS, 13, "sbdr_ssdp_no"),
    N(X86_W_ARCH_CAPS, 14, "fbsdp_no"),
    N(X86_W_ARCH_CAPS, 15, "psdp_no"),
    N(X86_W_ARCH_CAPS, 17, "fb_clear"),
    N(X86_W_ARCH_CAPS, 19, "rrsba"),
    N(X86_W_ARCH_CAPS, 20, "bhi_no"),
    N(X86_W_ARCH_CAPS, 24, "pbrsb_no"),
    N(X86_W_ARCH_CAPS, 26, "gds_no"),
    N(X86_W_ARCH_CAPS, 27, "rfds_no"),

    N(X86_W_KVM_EAX, 0, "kvmclock_old"),
    N(X86_W_KVM_EAX, 1, "kvm_nopiodelay"),
    N(X86_W_KVM_EAX, 3, "kvmclock"),
    N(X86_W_KVM_EAX, 4, "kvm_asyncpf"),
    N(X86_W_KVM_EAX, 5, "kvm_steal_time"),
    N(X86_W_KVM_EAX, 6, "kvm_pv_eoi"),
    N(X86_W_KVM_EAX, 7, "kvm_pv_unhalt"),
    N(X86_W_KVM_EAX, 9, "kvm_pv_tlb_flush"),
    N(X86_W_KVM_EAX, 11, "kvm_pv_ipi"),
    N(X86_W_KVM_EAX, 12, "kvm_poll_control"),
    N(X86_W_KVM_EAX, 24, "kvmclock_stable"),

    N(X86_W_ARCH_CAPS_HI, 30, "its_no"),
};

const struct x86_feature_name *x86_feature_names(size_t *count)
{
    *count = ARRAY_LEN(names);
    return names;
}

static const char *name_of(uint32_t feature, char *scratch, size_t cap)
{
    static const char *const words[X86_WORDS] = {
        "1:ecx",        "1:edx",
        "7:ebx",        "7:ecx",
        "7:edx",        "7.1:eax",
        "d.1:eax",      "80000001:ecx",
        "80000001:edx", "80000007:edx",
        "80000008:ebx", "arch_capabilities",
        "40000001:eax", "arch_capabilities+32",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].feature == feature)
            return names[i].name;
    snprintf(scratch, cap, "%s.%u", words[feature >> 5], feature & 31);
    return scratch;
}

unsigned x86_features_missing(const struct x86_features *a, const struct x86_features *b, char *out,
                              size_t cap)
{
    unsigned n = 0;
    size_t at = 0;

    if (out && cap)
        out[0] = 0;
    for (uint32_t f = 0; f < X86_WORDS * 32; f++) {
        char scratch[32];
        const char *name;
        size_t len;

        if (!x86_features_has(a, f) || x86_features_has(b, f))
            continue;
        name = name_of(f, scratch, sizeof scratch);
        len = strlen(name);
        if (out && at + len + 2 < cap) {
            snprintf(out + at, cap - at, "%s%s", n ? "," : "", name);
            at += len + (n ? 1 : 0);
        }
        n++;
    }
    return n;
}
