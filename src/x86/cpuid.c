#include "x86/cpuid.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "x86/model.h"
#include "x86/regs.h"
#include "x86/spec.h"

/* Leaves: SDM 2A CPUID; APM 3 appendix E for 0x80000005 and the AMD meaning of 0x80000008 ECX; 0x4000000x:
 * the kernel's Documentation/virt/kvm/x86/cpuid.rst; 0x40000010: the frequency leaf that several hypervisors
 * share. */

enum { PHYS_BITS_MAX = 46, LINEAR_BITS = 48, LINEAR_BITS_LA57 = 57, PKRU_OFFSET = 2688, PKRU_SIZE = 8 };

static const char intel[] = "GenuineIntel";

struct build {
    struct x86_cpuid *out;
    const struct x86_cpu_config *cfg;
    const struct x86_host *host;
    const struct x86_features *f;
    uint32_t phys_bits;
    bool amd;
    uint32_t core_bits; /* bits of the APIC id that number cores */
};

static void put_sub(struct build *b, uint32_t leaf, uint32_t sub, bool indexed, const uint32_t r[4])
{
    CHECK(b->out->count < X86_CPUID_MAX);
    b->out->leaf[b->out->count++] = (struct x86_cpuid_leaf){
        .leaf = leaf, .subleaf = sub, .indexed = indexed, .eax = r[0], .ebx = r[1], .ecx = r[2], .edx = r[3]};
}

static void put(struct build *b, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    put_sub(b, leaf, 0, false, (uint32_t[]){eax, ebx, ecx, edx});
}

static void put_text(struct build *b, uint32_t leaf, const char text[16])
{
    uint32_t r[4];

    memcpy(r, text, sizeof r);
    put_sub(b, leaf, 0, false, r);
}

/* Leaf 0 and 0x80000000: highest leaf and vendor. */
static void put_vendor(struct build *b, uint32_t leaf, uint32_t max, const char *vendor)
{
    uint32_t v[3];

    memcpy(v, vendor, 12);
    put(b, leaf, max, v[0], v[2], v[1]);
}

static void put_leaf_1(struct build *b, uint32_t signature)
{
    uint32_t ids = 1u << b->core_bits;
    uint32_t edx = b->f->w[X86_W_1_EDX] | (b->cfg->cpus > 1 ? 1u << (X86_F_HTT & 31) : 0);

    put(b, 1, signature, b->cfg->apic_id << 24 | (ids > 255 ? 255 : ids) << 16 | 8 << 8,
        b->f->w[X86_W_1_ECX] | 1u << (X86_F_HYPERVISOR & 31), edx);
}

/* One cache for leaf 4: type 1 data, 2 instruction, 3 unified; 64-byte lines. */
static void put_cache(struct build *b, uint32_t sub, uint32_t type, uint32_t level, uint32_t kib,
                      uint32_t ways, uint32_t sharing)
{
    uint32_t cores = (1u << b->core_bits) > 64 ? 64 : 1u << b->core_bits;
    uint32_t sets = kib * 1024 / 64 / ways;
    uint32_t eax = (cores - 1) << 26 | (sharing - 1) << 14 | 1u << 8 | level << 5 | type;

    put_sub(b, 4, sub, true, (uint32_t[]){eax, (ways - 1) << 22 | 63, sets - 1, 0});
}

static void put_topology(struct build *b)
{
    uint32_t id = b->cfg->apic_id;

    put_sub(b, 0xb, 0, true, (uint32_t[]){0, 1, 1 << 8 | 0, id});
    put_sub(b, 0xb, 1, true, (uint32_t[]){b->core_bits, b->cfg->cpus, 2 << 8 | 1, id});
    put_sub(b, 0xb, 2, true, (uint32_t[]){0, 0, 2, id});
}

/* Behind the eight components before it, where a host without PKRU has no place for it: as Intel has it. */
static uint32_t pkru_offset(const struct x86_host *h)
{
    return h->xsave[9].size == PKRU_SIZE ? h->xsave[9].offset : PKRU_OFFSET;
}

/* Leaf 0xd: components and their places in the standard format. AVX lies at 576 everywhere (SDM 1 13.4.3);
 * what is above lies where the host's processor puts it. */
static void put_xsave(struct build *b)
{
    uint32_t xcr0 = XCR0_X87 | XCR0_SSE, max = 576;

    if (!x86_features_has(b->f, X86_F_XSAVE)) {
        put_sub(b, 0xd, 0, true, (uint32_t[4]){0});
        return;
    }
    if (x86_features_has(b->f, X86_F_AVX)) {
        xcr0 |= XCR0_AVX;
        max = 576 + 256;
    }
    if (x86_features_has(b->f, X86_F_AVX512F)) {
        xcr0 |= XCR0_AVX512;
        for (unsigned i = 5; i < 8; i++)
            if (b->host->xsave[i].offset + b->host->xsave[i].size > max)
                max = b->host->xsave[i].offset + b->host->xsave[i].size;
    }
    if (x86_features_has(b->f, X86_F_PKU)) {
        xcr0 |= XCR0_PKRU;
        max = pkru_offset(b->host) + PKRU_SIZE;
    }
    put_sub(b, 0xd, 0, true, (uint32_t[]){xcr0, 576, max, 0});
    put_sub(b, 0xd, 1, true, (uint32_t[]){b->f->w[X86_W_D_1_EAX], 576, 0, 0});
    if (xcr0 & XCR0_AVX)
        put_sub(b, 0xd, 2, true, (uint32_t[]){256, 576, 0, 0});
    for (unsigned i = 5; i < 8; i++)
        if (xcr0 & 1u << i)
            put_sub(b, 0xd, i, true, (uint32_t[]){b->host->xsave[i].size, b->host->xsave[i].offset, 0, 0});
    if (xcr0 & XCR0_PKRU)
        put_sub(b, 0xd, 9, true, (uint32_t[]){PKRU_SIZE, pkru_offset(b->host), 0, 0});
}

/* Leaf 0x15: TSC = crystal * EBX / EAX with the APIC timer's clock as the crystal, as Linux takes it for
 * both. Linux multiplies crystal kHz by EBX in 32 bits, so EBX stays below 2^32 / 10^6: the best fraction
 * under that bound (continued fraction). */
static void put_tsc(struct build *b)
{
    uint64_t n = b->cfg->tsc_khz, d = X86_APIC_BUS_HZ / 1000;
    uint64_t p0 = 0, q0 = 1, p1 = 1, q1 = 0;

    while (d) {
        uint64_t a = n / d, p2 = a * p1 + p0, q2 = a * q1 + q0, r = n % d;

        if (p2 > 4294 || q2 > 1000000)
            break;
        p0 = p1, q0 = q1, p1 = p2, q1 = q2;
        n = d, d = r;
    }
    if (p1 && q1)
        put(b, 0x15, (uint32_t)q1, (uint32_t)p1, X86_APIC_BUS_HZ, 0);
}

static void put_basic(struct build *b, uint32_t signature, const char *vendor)
{
    uint32_t cpus = b->core_bits > 12 ? 4096 : 1u << b->core_bits;

    put_vendor(b, 0, b->cfg->tsc_khz ? 0x15 : 0xd, vendor);
    put_leaf_1(b, signature);
    if (!b->amd) {
        put(b, 2, 0x00feff01, 0xf0, 0, 0); /* "ask leaf 4"; 64-byte prefetch */
        put_cache(b, 0, 1, 1, 32, 8, 1);
        put_cache(b, 1, 2, 1, 32, 8, 1);
        put_cache(b, 2, 3, 2, 1024, 16, 1);
        put_cache(b, 3, 3, 3, 16384, 16, cpus);
        put_sub(b, 4, 4, true, (uint32_t[4]){0});
    }
    put(b, 6, 1u << 2, 0, 0, 0); /* the APIC timer never stops */
    put_sub(b, 7, 0, true,
            (uint32_t[]){b->f->w[X86_W_7_1_EAX] ? 1 : 0, b->f->w[X86_W_7_EBX], b->f->w[X86_W_7_ECX],
                         b->f->w[X86_W_7_EDX]});
    if (b->f->w[X86_W_7_1_EAX])
        put_sub(b, 7, 1, true, (uint32_t[]){b->f->w[X86_W_7_1_EAX], 0, 0, 0});
    put_topology(b);
    put_xsave(b);
    if (b->cfg->tsc_khz)
        put_tsc(b);
}

static void put_hypervisor(struct build *b)
{
    put_vendor(b, 0x40000000, b->cfg->tsc_khz ? 0x40000010 : 0x40000001, "KVMKVMKVM\0\0\0");
    /* The vendor order of leaf 0 is EBX, EDX, ECX; a hypervisor's is EBX, ECX, EDX. */
    struct x86_cpuid_leaf *l = &b->out->leaf[b->out->count - 1];
    uint32_t t = l->ecx;

    l->ecx = l->edx;
    l->edx = t;
    put(b, 0x40000001, b->f->w[X86_W_KVM_EAX], 0, 0, 0);
    if (b->cfg->tsc_khz)
        put(b, 0x40000010, b->cfg->tsc_khz, X86_APIC_BUS_HZ / 1000, 0, 0);
}

static void put_extended(struct build *b, const char *vendor, const char *brand)
{
    uint32_t edx = b->f->w[X86_W_80000001_EDX], ecx = b->f->w[X86_W_80000001_ECX];
    uint32_t cores = b->cfg->cpus - 1;
    char text[48] = {0};

    if (b->amd) {
        /* AMD repeats part of leaf 1 EDX here, and tells cores from threads by CMP_LEGACY. */
        edx |= b->f->w[X86_W_1_EDX] & 0x0183f3ff;
        ecx |= cores ? 2 : 0;
        put_vendor(b, 0x80000000, 0x80000008, vendor);
    } else {
        put(b, 0x80000000, 0x80000008, 0, 0, 0);
    }
    put(b, 0x80000001, 0, 0, ecx, edx);
    memcpy(text, brand, strnlen(brand, sizeof text - 1));
    for (uint32_t i = 0; i < 3; i++)
        put_text(b, 0x80000002 + i, text + 16 * i);
    if (b->amd)
        put(b, 0x80000005, 0, 0, 32u << 24 | 8 << 16 | 1 << 8 | 64, 32u << 24 | 8 << 16 | 1 << 8 | 64);
    put(b, 0x80000006, 0, 0, 1024u << 16 | 8 << 12 | (b->amd ? 1 << 8 : 0) | 64,
        b->amd ? 32u << 18 | 8 << 12 | 1 << 8 | 64 : 0);
    put(b, 0x80000007, 0, 0, 0, b->f->w[X86_W_80000007_EDX]);
    uint32_t linear = x86_features_has(b->f, X86_F_LA57) ? LINEAR_BITS_LA57 : LINEAR_BITS;
    put(b, 0x80000008, linear << 8 | b->phys_bits, b->f->w[X86_W_80000008_EBX],
        b->amd ? b->core_bits << 12 | cores : 0, 0);
}

/* (want + add - drop) ∩ allow, and ∩ host for instructions; -ENOTSUP when a required one is not among it. */
static int resolve(const struct x86_cpu_spec *spec, const struct x86_cpu_config *cfg,
                   const struct x86_host *host, struct x86_features *f, struct err *e)
{
    const struct x86_model *m = spec->model;
    struct x86_features required, isa;
    char list[320];

    x86_model_features(m, f, &required);
    x86_features_user_isa(&isa);
    for (unsigned i = 0; i < X86_WORDS; i++) {
        uint32_t kept = ~spec->drop.w[i];
        f->w[i] = (f->w[i] | spec->add.w[i]) & kept & cfg->allow.w[i] & (host->features.w[i] | ~isa.w[i]);
        required.w[i] = (required.w[i] | spec->add.w[i]) & kept;
    }
    x86_features_close(f);
    if (x86_features_missing(&required, f, list, sizeof list))
        return err_set(e, ENOTSUP, "CPU model %s: this host or accelerator lacks %s%s", m->name, list,
                       strcmp(m->name, "x86-64-v3") == 0 ? " (--cpu default takes what there is)" : "");
    return 0;
}

/* Asked for, or as wide as the host's, up to what portable machines have. */
static int choose_phys_bits(struct build *b, uint32_t asked, struct err *e)
{
    uint32_t host = b->host->phys_bits;

    if (asked && host && asked > host)
        return err_set(e, ENOTSUP, "CPU: phys-bits=%u: this host's processor has %u", asked, host);
    b->phys_bits = asked ? asked : host && host < PHYS_BITS_MAX ? host : PHYS_BITS_MAX;
    return 0;
}

int x86_cpuid_build_on(struct x86_cpuid *out, const struct x86_cpu_config *cfg, const struct x86_host *host,
                       struct err *e)
{
    struct x86_cpu_spec spec;
    struct x86_features f;
    struct build b = {.out = out, .cfg = cfg, .host = host, .f = &f};
    const char *vendor = intel, *brand = "Liege virtual CPU";
    int r = x86_cpu_spec_parse(&spec, cfg->model ? cfg->model : "default", e);

    if (r)
        return r;
    if (cfg->cpus < 1 || cfg->cpus > 255 || cfg->apic_id >= cfg->cpus)
        return err_set(e, EINVAL, "CPU %u of %u: there may be 1 to 255", cfg->apic_id, cfg->cpus);
    r = resolve(&spec, cfg, host, &f, e);
    r = r ? r : choose_phys_bits(&b, spec.phys_bits, e);
    if (r)
        return r;
    if (!spec.model->signature && host->vendor[0]) {
        vendor = host->vendor;
        brand = host->brand;
    }
    vendor = spec.vendor ? spec.vendor : vendor;
    b.amd = strcmp(vendor, "AuthenticAMD") == 0 || strcmp(vendor, "HygonGenuine") == 0;
    while ((1u << b.core_bits) < cfg->cpus)
        b.core_bits++;
    memset(out, 0, sizeof *out);
    out->arch_caps = f.w[X86_W_ARCH_CAPS] | (uint64_t)f.w[X86_W_ARCH_CAPS_HI] << 32;
    put_basic(&b, spec.model->signature ? spec.model->signature : host->signature, vendor);
    if (cfg->hypervisor_leaves)
        put_hypervisor(&b);
    put_extended(&b, vendor, brand);
    return 0;
}

int x86_cpuid_build(struct x86_cpuid *out, const struct x86_cpu_config *cfg, struct err *e)
{
    struct x86_host host;

    x86_host_read(&host);
    return x86_cpuid_build_on(out, cfg, &host, e);
}

static const struct x86_cpuid_leaf *find(const struct x86_cpuid *c, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < c->count && i < X86_CPUID_MAX; i++) {
        const struct x86_cpuid_leaf *l = &c->leaf[i];

        if (l->leaf == leaf && (!l->indexed || l->subleaf == subleaf))
            return l;
    }
    return NULL;
}

static uint32_t highest(const struct x86_cpuid *c, uint32_t range)
{
    const struct x86_cpuid_leaf *l = find(c, range, 0);

    return l ? l->eax : 0;
}

struct x86_cpuid_leaf x86_cpuid_get(const struct x86_cpuid *c, uint32_t leaf, uint32_t subleaf)
{
    uint32_t range = leaf >= 0x80000000                        ? 0x80000000
                     : leaf >= 0x40000000 && leaf < 0x50000000 ? 0x40000000
                                                               : 0;
    uint32_t asked = leaf, top = highest(c, range);
    const struct x86_cpuid_leaf *l = find(c, 0, 0), *hit;
    bool amd = l && l->ebx == 0x68747541;
    struct x86_cpuid_leaf r = {.leaf = leaf, .subleaf = subleaf};

    if (leaf > top || top < range) {
        /* SDM 2A, CPUID: beyond the highest leaf Intel answers with the data of the highest basic one; AMD
         * with zeros. */
        if (amd)
            return r;
        leaf = highest(c, 0);
    }
    hit = find(c, leaf, subleaf);
    if (hit) {
        r = *hit;
    } else if (leaf == 0xb) {
        /* An invalid level: only its number and the x2APIC id. */
        r.ecx = subleaf & 0xff;
        hit = find(c, 0xb, 0);
        r.edx = hit ? hit->edx : 0;
    }
    r.leaf = asked;
    r.subleaf = subleaf;
    return r;
}

static const struct {
    uint32_t leaf, subleaf;
    size_t reg;
} places[X86_WORDS] = {
    [X86_W_1_ECX] = {1, 0, offsetof(struct x86_cpuid_leaf, ecx)},
    [X86_W_1_EDX] = {1, 0, offsetof(struct x86_cpuid_leaf, edx)},
    [X86_W_7_EBX] = {7, 0, offsetof(struct x86_cpuid_leaf, ebx)},
    [X86_W_7_ECX] = {7, 0, offsetof(struct x86_cpuid_leaf, ecx)},
    [X86_W_7_EDX] = {7, 0, offsetof(struct x86_cpuid_leaf, edx)},
    [X86_W_7_1_EAX] = {7, 1, offsetof(struct x86_cpuid_leaf, eax)},
    [X86_W_D_1_EAX] = {0xd, 1, offsetof(struct x86_cpuid_leaf, eax)},
    [X86_W_80000001_ECX] = {0x80000001, 0, offsetof(struct x86_cpuid_leaf, ecx)},
    [X86_W_80000001_EDX] = {0x80000001, 0, offsetof(struct x86_cpuid_leaf, edx)},
    [X86_W_80000007_EDX] = {0x80000007, 0, offsetof(struct x86_cpuid_leaf, edx)},
    [X86_W_80000008_EBX] = {0x80000008, 0, offsetof(struct x86_cpuid_leaf, ebx)},
    [X86_W_KVM_EAX] = {0x40000001, 0, offsetof(struct x86_cpuid_leaf, eax)},
};

static uint32_t word(const struct x86_cpuid *c, uint32_t w)
{
    const struct x86_cpuid_leaf *l;
    uint32_t v;

    if (w == X86_W_ARCH_CAPS)
        return (uint32_t)c->arch_caps;
    if (w == X86_W_ARCH_CAPS_HI)
        return (uint32_t)(c->arch_caps >> 32);
    l = w < X86_WORDS ? find(c, places[w].leaf, places[w].subleaf) : NULL;
    if (!l)
        return 0;
    memcpy(&v, (const char *)l + places[w].reg, sizeof v);
    return v;
}

void x86_cpuid_features(const struct x86_cpuid *c, struct x86_features *f)
{
    for (uint32_t w = 0; w < X86_WORDS; w++)
        f->w[w] = word(c, w);
}

bool x86_cpuid_has(const struct x86_cpuid *c, uint32_t feature)
{
    return word(c, feature >> 5) >> (feature & 31) & 1;
}
