/*
 * bside: one engine and its guest: a few MiB of RAM, page tables, one handler for each vector that halts.
 *
 * Memory is changed here as devices change it (guest/ram.c): generations and a code event where the page's
 * note says that there is code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "blocks.h"
#include "base/err.h"
#include "outside.h"

enum {
    GPA_GDT = 0x1000,
    GPA_IDT = 0x2000,
    GPA_TSS = 0x4000,
    GPA_STACK = 0x6000,
    GPA_LOW_END = 0x10000,
    GPA_PML4 = 0x10000,
    RAM_SIZE = 4 << 20,
    STACK_TOP = 0x1000 - 64,
    STACK2_TOP = 0x800 - 64, /* for interrupts */
    GPA_POKE = 0x40000000,
    GPA_DEVICE = 0x50000000,
    S_KERNEL_CODE = 0x10,
    S_KERNEL_DATA = 0x18,
    S_SYSRET = 0x23, /* then user data, user code */
};
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_RW = PTE_P | PTE_W | PTE_A | PTE_D };
#define PTE_NX (1ull << 63)

static void die(const char *what)
{
    fprintf(stderr, "blocks: %s\n", what);
    exit(2);
}

/* ---- outside ---- */

static uint64_t out_mmio_read(void *o, uint64_t gpa, unsigned size)
{
    (void)o, (void)gpa, (void)size;
    return 0x5a5a5a5a5a5a5a5aull;
}
static void out_mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct side *s = o;
    (void)size, (void)value;
    if (gpa >> 12 == GPA_DEVICE >> 12 && s->prog && s->prog->patches)
        side_patch(s, &s->prog->patch[s->device_writes++ % s->prog->patches]);
}
static void out_sleep(void *o, unsigned cpu, uint64_t deadline)
{
    struct side *s = o;
    (void)deadline;
    engine_kick(s->en, cpu);
}
static void out_arm(void *o, unsigned cpu, uint64_t deadline)
{
    (void)o, (void)cpu, (void)deadline;
}

static struct engine_outside outside(void)
{
    struct engine_outside o = no_outside;

    o.mmio_read = out_mmio_read;
    o.mmio_write = out_mmio_write;
    o.sleep = out_sleep;
    o.arm = out_arm;
    return o;
}

/* ---- tables ---- */

static uint64_t *word(const struct side *s, uint64_t gpa)
{
    return (uint64_t *)(void *)(s->ram + gpa);
}

/* The page-table page for a linear address. */
static uint64_t table_for(struct side *s, uint64_t linear)
{
    uint64_t table = GPA_PML4;

    for (unsigned level = 4; level > 1; level--) {
        uint64_t *e = word(s, table + ((linear >> (12 + 9 * (level - 1))) & 511) * 8);
        if (!*e) {
            *e = s->next_table | PTE_RW | PTE_U;
            s->next_table += 4096;
        }
        table = *e & 0xffffffffff000ull;
    }
    return table;
}

uint64_t *side_pte(struct side *s, unsigned region, uint32_t at)
{
    const uint64_t *table = at < AT_NEAR                 ? s->table
                            : at < AT_MIRROR + DATA_SIZE ? s->mirror_table
                                                         : s->far_table;

    return word(s, table[region] + (uint64_t)(at >> 12 & 511) * 8);
}

/* Neighbours are apart, and out of order. */
uint64_t side_data_gpa(unsigned page)
{
    return GPA_DATA + (uint64_t)((page * 5 + 2) % 7) * 2 * 4096;
}

uint64_t side_code_gpa(unsigned piece)
{
    return GPA_CODE + (uint64_t)(CODE_PIECES - 1 - piece) * 2 * 4096;
}

/* Page number `at` of the piece of n bytes that begins at `from`; -1: it is not in it. */
static int in_piece(uint32_t at, uint32_t from, uint32_t n)
{
    return at - from < n ? (int)((at - from) >> 12) : -1;
}

static uint64_t default_pte(const struct side *s, unsigned region, uint32_t at)
{
    uint64_t rw = PTE_RW | (region >= REGION_KERNEL ? 0 : PTE_U);
    int i;

    if ((i = in_piece(at, AT_CODE, CODE_SIZE)) >= 0)
        return side_code_gpa(CODE_A + (unsigned)i) | rw;
    if ((i = in_piece(at, AT_ALIAS, CODE_SIZE)) >= 0)
        return side_code_gpa(CODE_A + (unsigned)i) | rw | PTE_NX;
    if ((i = in_piece(at, AT_DATA, DATA_SIZE)) >= 0)
        return side_data_gpa((unsigned)i) | rw | PTE_NX;
    if ((i = in_piece(at, AT_MIRROR, DATA_SIZE)) >= 0)
        return side_data_gpa((unsigned)i) | rw | PTE_NX;
    if ((i = in_piece(at, AT_POKE, POKES * 4096)) >= 0)
        return (GPA_POKE + (unsigned)i * 4096) | rw | PTE_NX;
    if (at == AT_TABLE)
        return s->table[region] | rw | PTE_NX;
    return at == AT_DEVICE ? GPA_DEVICE | rw | PTE_NX : 0;
}

static void reset_pte(struct side *s, unsigned region, uint32_t at)
{
    uint64_t *pte = side_pte(s, region, at), want = default_pte(s, region, at);

    if (*pte == want)
        return;
    *pte = want;
    cpu_tlb_flush_page(s->c, region_base[region] + at);
}

void side_tables(struct side *s, unsigned region)
{
    for (uint32_t at = 0; at < AT_NEAR; at += 4096)
        reset_pte(s, region, at);
}

void side_flush(struct side *s, unsigned region, uint32_t at)
{
    cpu_tlb_flush_page(s->c, region_base[region] + at);
}

/* Come at any time, also to the handlers of others. */
static bool is_interrupt(unsigned vector)
{
    return vector == X86_NMI || vector == VECTOR_INTR;
}

static void build_tables(struct side *s)
{
    static const uint64_t gdt[] = {0,
                                   0,
                                   0x00af9b000000ffff,
                                   0x00cf93000000ffff,
                                   0x00cffb000000ffff,
                                   0x00cff3000000ffff,
                                   0x00affb000000ffff};

    memcpy(s->ram + GPA_GDT, gdt, sizeof gdt);
    s->next_table = GPA_PML4 + 4096;
    for (uint64_t gpa = 0; gpa < GPA_LOW_END; gpa += 4096) {
        uint64_t linear = KERNEL_BASE + gpa;
        word(s, table_for(s, linear))[(linear >> 12) & 511] = gpa | PTE_RW;
    }
    for (unsigned r = 0; r < REGIONS; r++) {
        s->table[r] = table_for(s, region_base[r]);
        s->far_table[r] = table_for(s, region_base[r] + AT_POKE);
        s->mirror_table[r] = table_for(s, region_base[r] + AT_MIRROR);
        for (uint32_t at = AT_MIRROR; at < AT_MIRROR + DATA_SIZE; at += 4096)
            reset_pte(s, r, at);
        for (uint32_t at = AT_POKE; at <= AT_DEVICE; at += 4096)
            reset_pte(s, r, at);
    }
    for (unsigned r = 0; r < REGIONS; r++)
        side_tables(s, r);
    for (unsigned v = 0; v < 256; v++) { /* interrupt gates, IST 1 or 2; all may be called by programs */
        uint64_t at = KERNEL_BASE + GPA_HANDLERS + v * 16;
        word(s, GPA_IDT)[v * 2] = (at & 0xffff) | S_KERNEL_CODE << 16 | (0xee01ull + is_interrupt(v)) << 32 |
                                  (at >> 16 & 0xffff) << 48;
        word(s, GPA_IDT)[v * 2 + 1] = at >> 32;
    }
    uint64_t stack = KERNEL_BASE + GPA_STACK + STACK_TOP;
    memcpy(s->ram + GPA_TSS + 4, &stack, 8);
    memcpy(s->ram + GPA_TSS + 0x24, &stack, 8);
    stack += STACK2_TOP - STACK_TOP;
    memcpy(s->ram + GPA_TSS + 0x2c, &stack, 8);
    memset(s->ram + GPA_TSS + 0x66, 0xff, 2);
    memset(s->ram + GPA_HANDLERS, 0xf4, 4096);
}

static struct x86_seg flat(uint16_t sel, uint32_t attr)
{
    return (struct x86_seg){
        .limit = 0xffffffff, .attr = attr | X86_SEG_S | X86_SEG_P | X86_SEG_G, .sel = sel};
}

static void build_state(struct side *s)
{
    struct x86_state *b = &s->base;

    engine_get(s->en, 0, b);
    b->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    b->cr3 = GPA_PML4;
    b->cr4 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    b->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    b->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    b->gdtr = (struct x86_dtable){.base = KERNEL_BASE + GPA_GDT, .limit = 0x7f};
    b->idtr = (struct x86_dtable){.base = KERNEL_BASE + GPA_IDT, .limit = 256 * 16 - 1};
    b->tr =
        (struct x86_seg){.base = KERNEL_BASE + GPA_TSS, .limit = 0x67, .attr = X86_SEG_P | 0xb, .sel = 0x40};
    b->ldtr = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
    b->lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    b->mp_state = X86_MP_RUNNABLE;
    b->rflags = 2;
    for (unsigned i = 0; i < X86_SEGS; i++)
        b->seg[i] = i == X86_CS ? flat(S_KERNEL_CODE, 0xb | X86_SEG_L) : flat(S_KERNEL_DATA, 3 | X86_SEG_DB);
}

static void *map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        die("no memory");
    return p;
}

/* The pages of the engine in which other threads would write to interrupt the vCPU, as memory of the guest:
 * so an interruption comes between two instructions that are known. The reference has pages that nobody
 * reads. */
uint32_t side_poke_at(unsigned i)
{
    static const uint32_t at[POKES] = {offsetof(struct cpu_private, lapic.irr) + VECTOR_INTR / 32 * 4,
                                       offsetof(struct cpu, attention), offsetof(struct cpu, x.poll)};

    return at[i] & 0xfff;
}

static void add_pokes(struct side *s, struct engine_slot *slot)
{
    uint8_t *const at[POKES] = {(uint8_t *)&s->c->priv->lapic.irr[VECTOR_INTR / 32],
                                (uint8_t *)&s->c->attention, (uint8_t *)&s->c->x.poll};

    for (unsigned i = 0; i < POKES; i++) {
        uint8_t *page = s->reference ? s->dummy + i * 4096 : at[i] - (uintptr_t)at[i] % 4096;
        slot[i] = (struct engine_slot){.gpa = GPA_POKE + i * 4096, .size = 4096, .host = page};
    }
}

struct side *side_open(bool reference)
{
    struct side *s = calloc(1, sizeof *s);
    struct x86_cpuid cpuid;
    struct engine_config cfg = {.cpus = 1, .tsc_khz = 1000000, .count = true, .cpuid = &cpuid};
    struct engine_slot slot[1 + POKES];

    if (!s)
        die("no memory");
    guest_cpuid(&cpuid);
    s->reference = reference;
    s->ram = map(RAM_SIZE);
    s->notes = map(RAM_SIZE / 4096);
    s->gens = map(RAM_SIZE / 4096 * sizeof(uint32_t));
    s->dummy = map(POKES * 4096);
    s->en = engine_init(map(engine_arena_size(&cfg)), engine_arena_size(&cfg), &cfg);
    s->c = engine_cpu(s->en, 0);
    struct engine_outside around = outside();
    if (engine_attach(s->en, &around, s))
        die("the engine does not attach");
    build_tables(s);
    slot[0] = (struct engine_slot){.size = RAM_SIZE, .host = s->ram, .notes = s->notes, .gens = s->gens};
    add_pokes(s, slot + 1);
    engine_set_slots(s->en, slot, 1 + POKES);
    build_state(s);
    if (engine_set(s->en, 0, &s->base))
        die("the state is refused");
    if (!reference && !xlate_possible(s->c))
        die("no translator on this host");
    cpu_enter(s->c);
    cpu_leave(s->c);
    return s;
}

/* ---- memory ---- */

static void write_page(struct side *s, uint64_t gpa, const void *bytes, unsigned n)
{
    uint64_t page = gpa >> 12;

    memcpy(s->ram + gpa, bytes, n);
    if (!(s->notes[page] & PAGE_CODE))
        return;
    s->gens[page]++;
    engine_code_event(s->en);
}

void side_patch(struct side *s, const struct patch *t)
{
    const struct item *x = &s->prog->item[t->item];
    unsigned at = x->at + x->imm_at;

    for (unsigned i = 0; !x->off && i < x->imm_len; i++, at++)
        write_page(s, side_code_gpa(at >> 12) + (at & 0xfff), &t->bytes[i], 1);
}

void side_memory(struct side *s, const struct image *m)
{
    for (unsigned i = 0; i < CODE_PIECES; i++)
        if (memcmp(side_page(s, side_code_gpa(i)), m->code[i], 4096))
            write_page(s, side_code_gpa(i), m->code[i], 4096);
    for (unsigned i = 0; i < DATA_N; i++)
        if (memcmp(side_page(s, side_data_gpa(i)), m->data[i], 4096))
            write_page(s, side_data_gpa(i), m->data[i], 4096);
}

void side_read(const struct side *s, struct image *m)
{
    for (unsigned i = 0; i < CODE_PIECES; i++)
        memcpy(m->code[i], side_page(s, side_code_gpa(i)), 4096);
    for (unsigned i = 0; i < DATA_N; i++)
        memcpy(m->data[i], side_page(s, side_data_gpa(i)), 4096);
}

/* ---- registers ---- */

static bool system_changed(const struct side *s)
{
    const struct cpu *c = s->c;
    const struct x86_state *b = &s->base;

    return ((c->cr0 ^ b->cr0) & ~(uint64_t)CR0_TS) || c->cr3 != b->cr3 ||
           (c->cr4 & ~(uint64_t)CR4_SMAP) != b->cr4 || c->efer != b->efer || c->xcr0 != b->xcr0 ||
           c->gdtr.base != b->gdtr.base || c->idtr.base != b->idtr.base || c->idtr.limit != b->idtr.limit ||
           c->dr7 != b->dr7 || c->tr.base != b->tr.base || c->priv->lapic.tpr ||
           c->mp_state != X86_MP_RUNNABLE;
}

static void set_ring(struct cpu *c, unsigned ring)
{
    uint32_t dpl = ring << 5;

    c->seg[X86_CS] = flat((uint16_t)(ring ? 0x33 : S_KERNEL_CODE), 0xb | X86_SEG_L | dpl);
    c->seg[X86_SS] = flat((uint16_t)(ring ? 0x2b : S_KERNEL_DATA), 3 | X86_SEG_DB | dpl);
    c->cpl = (uint8_t)ring;
}

/* Nothing is pending, nothing is held off. */
static void set_quiet(struct cpu *c)
{
    struct lapic *a = &c->priv->lapic;

    c->halted = c->shadow = c->shadow_set = c->in_exception = c->db_pending = c->debug_exit = 0;
    c->nmi_masked = 0;
    c->attention &= ATT_CODE | ATT_DEVICE_CODE;
    c->x.poll = c->attention != 0;
    c->priv->has_inject = c->priv->interpret_once = 0;
    memset(a->isr, 0, sizeof a->isr);
    memset(a->irr, 0, sizeof a->irr);
}

void side_registers(struct side *s, const struct prog *p, unsigned region, unsigned ring)
{
    struct cpu *c = s->c;

    if (system_changed(s) && engine_set(s->en, 0, &s->base))
        die("the state is refused");
    s->prog = p;
    s->device_writes = 0;
    for (unsigned i = 0; i < 16; i++)
        c->gpr[i] = p->gpr[i] + (p->pointers >> i & 1 ? region_base[region] : 0);
    c->rip = c->next_rip = region_base[region] + p->start;
    c->rflags = p->rflags | 2;
    for (unsigned i = 0; i < X86_SEGS; i++)
        if (i != X86_CS && i != X86_SS)
            c->seg[i] = flat(S_KERNEL_DATA, 3 | X86_SEG_DB);
    set_ring(c, ring);
    c->seg[X86_FS].base = region_base[region] + p->fs;
    c->seg[X86_GS].base = region_base[region] + p->gs;
    c->kernel_gs_base = region_base[region] + p->kernel_gs;
    c->fpu = p->fpu;
    c->cr2 = 0;
    c->dr6 = s->base.dr6;
    c->cr4 = s->base.cr4 | (p->smap ? CR4_SMAP : 0);
    c->cr0 = s->base.cr0;
    c->star = (uint64_t)S_SYSRET << 48 | (uint64_t)S_KERNEL_CODE << 32;
    c->lstar = p->syscall < 0 ? KERNEL_BASE + GPA_HANDLERS : item_rip(p, p->system, (unsigned)p->syscall);
    c->sfmask = p->sfmask;
    set_quiet(c);
    cpu_update_mode(c);
}

/* ---- handlers ---- */

int side_vector(const struct side *s)
{
    uint64_t at = s->c->rip - KERNEL_BASE - GPA_HANDLERS;

    return at < 4096 ? (int)(at / 16) : -1;
}

bool vector_has_error(unsigned vector)
{
    return vector == X86_DF_VEC || (vector >= X86_TS && vector <= X86_PF_VEC) || vector == X86_AC_VEC;
}

uint64_t *side_frame(const struct side *s)
{
    return word(s, GPA_STACK + (is_interrupt((unsigned)side_vector(s)) ? STACK2_TOP : STACK_TOP) - 40);
}

void side_forget_frame(struct side *s)
{
    memset(word(s, GPA_STACK + STACK_TOP - 48), 0, 48);
    memset(word(s, GPA_STACK + STACK2_TOP - 48), 0, 48);
}

void side_unwind(struct side *s, bool keep_rf)
{
    const uint64_t *f = side_frame(s);
    struct cpu *c = s->c;

    c->rip = c->next_rip = f[0];
    c->rflags = keep_rf ? f[2] : f[2] & ~(uint64_t)X86_RF;
    c->gpr[X86_RSP] = f[3];
    if (f[1] & 3) /* else SS is as it was */
        set_ring(c, 3);
    set_quiet(c);
    cpu_update_mode(c);
}

uint32_t point_pte(unsigned i)
{
    return i < 2 ? AT_CODE + i * 4096 : AT_DATA + (i - 2) * 4096;
}

void point_take(struct side *s, unsigned region, struct point *p)
{
    const struct cpu *c = s->c;

    memcpy(p->gpr, c->gpr, sizeof p->gpr);
    memcpy(p->seg, c->seg, sizeof p->seg);
    p->rip = c->rip;
    p->rflags = c->rflags;
    p->kernel_gs = c->kernel_gs_base;
    p->cr0 = c->cr0;
    p->cr2 = c->cr2;
    p->dr6 = c->dr6;
    p->cr4 = c->cr4;
    p->cpl = c->cpl;
    p->shadow = c->shadow;
    p->fpu = c->fpu;
    p->device_writes = s->device_writes;
    for (unsigned i = 0; i < POINT_PTES; i++)
        p->pte[i] = *side_pte(s, region, point_pte(i));
    side_read(s, &p->memory);
}

void point_put(struct side *s, unsigned region, const struct point *p)
{
    struct cpu *c = s->c;

    memcpy(c->gpr, p->gpr, sizeof p->gpr);
    memcpy(c->seg, p->seg, sizeof p->seg);
    c->rip = c->next_rip = p->rip;
    c->rflags = p->rflags;
    c->kernel_gs_base = p->kernel_gs;
    c->cr0 = p->cr0;
    c->cr2 = p->cr2;
    c->dr6 = p->dr6;
    c->cr4 = p->cr4;
    c->cpl = p->cpl;
    c->fpu = p->fpu;
    set_quiet(c);
    c->shadow = p->shadow;
    cpu_update_mode(c);
    s->device_writes = p->device_writes;
    for (unsigned i = 0; i < POINT_PTES; i++) {
        uint64_t *pte = side_pte(s, region, point_pte(i));
        if (*pte == p->pte[i])
            continue;
        *pte = p->pte[i];
        side_flush(s, region, point_pte(i));
    }
    side_memory(s, &p->memory);
}
