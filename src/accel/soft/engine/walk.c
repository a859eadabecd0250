/*
 * walk: guest page tables, in all forms (SDM 3A 4.3, 4.4, 4.5), with permissions (4.6), error codes
 * (4.7) and accessed and dirty flags (4.8).
 *
 * Flags are set only when the whole access is allowed, each by compare-and-exchange against the entry as it
 * was read; when another CPU changed an entry meanwhile, the walk starts again.
 */
#include "accel/soft/engine/private.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
enum { PTE_KEY = 59 }; /* a number of four bits */
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

struct entry {
    uint64_t gpa, value;
};

struct path {
    struct entry e[5];
    unsigned count;
    unsigned wide;        /* bytes of an entry */
    uint64_t all, any_nx; /* AND of the rights bits, OR of NX */
    unsigned page_bits;
    uint64_t frame;
};

static uint64_t entry_load(struct cpu *c, uint64_t gpa, unsigned wide)
{
    const uint8_t *host = phys_host(c, gpa, wide, false);

    if (!host)
        return mask_size(wide);
    return wide == 8 ? __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_RELAXED)
                     : __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED);
}

/* One step down. 0: go on; 1: leaf; negative: fault with *error. */
static int step(struct cpu *c, struct path *p, uint64_t gpa, uint64_t reserved, uint32_t *error)
{
    uint64_t v = entry_load(c, gpa, p->wide);

    if (!(v & PTE_P)) {
        *error = 0;
        return -1;
    }
    if (v & reserved) {
        *error = PF_P | PF_RSV;
        return -1;
    }
    p->e[p->count++] = (struct entry){gpa, v};
    p->all &= v;
    p->any_nx |= v & PTE_NX;
    return 0;
}

static bool path_legacy(struct cpu *c, uint64_t linear, struct path *p, uint32_t *error)
{
    p->wide = 4;
    if (step(c, p, (c->cr3 & 0xfffff000u) + (linear >> 22 & 1023) * 4, 0, error))
        return false;
    uint64_t pde = p->e[0].value;
    if ((pde & PTE_PS) && (c->cr4 & CR4_PSE)) {
        /* PSE-36: bits 13 to 20 are physical address bits 32 to 39, bit 21 is reserved */
        uint64_t high = pde >> 13 & 0xff;
        if ((pde & 1u << 21) || (high << 32 & c->priv->phys_reserved)) {
            *error = PF_P | PF_RSV;
            return false;
        }
        p->page_bits = 22;
        p->frame = (pde & 0xffc00000u) | high << 32;
        return true;
    }
    if (step(c, p, (pde & 0xfffff000u) + (linear >> 12 & 1023) * 4, 0, error))
        return false;
    p->page_bits = 12;
    p->frame = p->e[1].value & 0xfffff000u;
    return true;
}

static bool path_wide(struct cpu *c, uint64_t linear, struct path *p, uint32_t *error)
{
    bool long_mode = c->long_mode;
    uint64_t always = c->priv->phys_reserved | (c->efer & EFER_NXE ? 0 : PTE_NX);
    uint64_t table;
    int level;

    p->wide = 8;
    if (long_mode) {
        table = c->cr3 & PTE_ADDR;
        level = c->cr4 & CR4_LA57 ? 4 : 3;
    } else {
        uint64_t top = c->pdpte[linear >> 30 & 3];
        if (!(top & PTE_P)) {
            *error = 0;
            return false;
        }
        table = top & PTE_ADDR;
        level = 1;
        always |= 0x7ff0000000000000ull;
    }
    for (;; level--) {
        unsigned shift = 12 + 9 * (unsigned)level;
        uint64_t reserved = always;
        if (level >= 3 || (level == 2 && !cpu_has(c, X86_FEATURE(X86_W_80000001_EDX, 26))))
            reserved |= PTE_PS;
        if (step(c, p, table + (linear >> shift & 511) * 8, reserved, error))
            return false;
        uint64_t v = p->e[p->count - 1].value;
        if (level == 0 || (v & PTE_PS)) {
            uint64_t inside = (1ull << shift) - 1;
            if (level && (v & inside & ~0x1fffull)) {
                *error = PF_P | PF_RSV;
                return false;
            }
            p->page_bits = shift;
            p->frame = v & PTE_ADDR & ~inside;
            return true;
        }
        table = v & PTE_ADDR;
    }
}

/* The protection key of a leaf forbids an access to data (SDM 3A 4.6.2): PKRU for user pages, IA32_PKRS for
 * others, two bits a key: all accesses, and writes. */
static bool key_forbids(const struct cpu *c, const struct path *p, unsigned access)
{
    bool user_page = p->all & PTE_U;

    if (!c->long_mode || access & WALK_FETCH || !(c->cr4 & (user_page ? CR4_PKE : CR4_PKS)))
        return false;
    uint64_t rights = user_page ? c->fpu.pkru : c->pkrs;
    unsigned key = (unsigned)(p->e[p->count - 1].value >> PTE_KEY) & 15;
    bool strict = (c->cr0 & CR0_WP) || (user_page && access & WALK_USER);
    rights >>= 2 * key;
    return (rights & 1) || ((rights & 2) && access & WALK_WRITE && strict);
}

/* The rights that `path` gives (SDM 3A 4.6.1). */
static bool allowed(const struct cpu *c, const struct path *p, unsigned access)
{
    bool user_page = p->all & PTE_U, writable = p->all & PTE_W;

    if (access & WALK_FETCH) {
        if (p->any_nx)
            return false;
        return access & WALK_USER ? user_page : !(user_page && (c->cr4 & CR4_SMEP));
    }
    if (access & WALK_USER)
        return user_page && (writable || !(access & WALK_WRITE));
    if (user_page && (access & WALK_SMAP))
        return false;
    return !(access & WALK_WRITE) || writable || !(c->cr0 & CR0_WP);
}

/* Set A along the path and D in the leaf. false: an entry has changed, walk again. */
static bool set_flags(struct cpu *c, struct path *p, bool write)
{
    for (unsigned i = 0; i < p->count; i++) {
        uint64_t want = p->e[i].value | PTE_A | (write && i == p->count - 1 ? PTE_D : 0);
        if (want == p->e[i].value)
            continue;
        uint8_t *host = phys_host(c, p->e[i].gpa, p->wide, true);
        if (!host)
            continue; /* tables in ROM keep their flags */
        if (p->wide == 8) {
            uint64_t was = p->e[i].value;
            if (!__atomic_compare_exchange_n((uint64_t *)(void *)host, &was, want, false, __ATOMIC_SEQ_CST,
                                             __ATOMIC_SEQ_CST))
                return false;
        } else {
            uint32_t was = (uint32_t)p->e[i].value;
            if (!__atomic_compare_exchange_n((uint32_t *)(void *)host, &was, (uint32_t)want, false,
                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                return false;
        }
        p->e[i].value = want;
        phys_written(c, p->e[i].gpa, p->wide);
    }
    return true;
}

static uint32_t fault_bits(const struct cpu *c, unsigned access)
{
    bool fetch_shown = (c->cr4 & CR4_SMEP) || ((c->cr4 & CR4_PAE) && (c->efer & EFER_NXE));

    return (access & WALK_WRITE ? PF_W : 0) | (access & WALK_USER ? PF_U : 0) |
           (access & WALK_FETCH && fetch_shown ? PF_I : 0);
}

static void note_key(const struct cpu *c, const struct path *p, struct walk *w)
{
    uint16_t key = (uint16_t)(1u << (p->e[p->count - 1].value >> PTE_KEY & 15));

    w->user_key = p->all & PTE_U && c->cr4 & CR4_PKE ? key : 0;
    w->super_key = !(p->all & PTE_U) && c->cr4 & CR4_PKS ? key : 0;
}

bool cpu_walk(struct cpu *c, uint64_t linear, unsigned access, struct walk *w)
{
    if (!(c->cr0 & CR0_PG)) {
        *w = (struct walk){.gpa = linear & 0xffffffffull, .writable = true, .dirty = true, .global = true};
        return true;
    }
    for (;;) {
        struct path p = {.all = PTE_W | PTE_U};
        uint32_t error = 0;
        if (!(c->cr4 & CR4_PAE ? path_wide : path_legacy)(c, linear, &p, &error)) {
            w->error = error | fault_bits(c, access);
            return false;
        }
        bool key = key_forbids(c, &p, access);
        if (key || !allowed(c, &p, access)) {
            w->error = PF_P | fault_bits(c, access) | (key ? PF_PK : 0);
            return false;
        }
        if (!(access & WALK_PEEK) && !set_flags(c, &p, access & WALK_WRITE))
            continue;
        uint64_t leaf = p.e[p.count - 1].value;
        w->gpa = p.frame | (linear & ((1ull << p.page_bits) - 1));
        unsigned store = (access | WALK_WRITE) & ~(unsigned)WALK_FETCH;
        w->writable = allowed(c, &p, store) && !key_forbids(c, &p, store);
        w->dirty = leaf & PTE_D;
        w->large = p.page_bits > 12;
        w->global = (leaf & PTE_G) && (c->cr4 & CR4_PGE);
        note_key(c, &p, w);
        return true;
    }
}

bool cpu_load_pdptes(struct cpu *c, uint64_t cr3)
{
    uint64_t v[4];

    for (unsigned i = 0; i < 4; i++) {
        v[i] = entry_load(c, (cr3 & 0xffffffe0u) + i * 8, 8);
        /* SDM 3A 4.4.1: reserved are 2:1, 8:5, 63:MAXPHYADDR */
        if ((v[i] & PTE_P) && (v[i] & (c->priv->phys_reserved | 0xfff00000000001e6ull)))
            return false;
    }
    for (unsigned i = 0; i < 4; i++)
        c->pdpte[i] = v[i];
    return true;
}
