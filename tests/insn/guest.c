/*
 * guest: cases on the interpreter. One vCPU in 64-bit mode at CPL 3 with paging, over a few MiB of RAM.
 *
 * The test pages appear at the host's linear addresses, in physical pages that are apart, so that an access
 * which crosses a page finds no luck in neighbouring host memory. An exception is delivered through the
 * guest's IDT; vector and frame are read back from where it went.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "accel/soft/engine/engine.h"
#include "base/err.h"
#include "lab.h"
#include "outside.h"
#include "x86/regs.h"
#include "x86/state.h"

/* Guest-physical layout. */
enum {
    GPA_GDT = 0x1000,
    GPA_IDT = 0x2000,
    GPA_TSS = 0x3000,
    GPA_STACK = 0x5000,
    GPA_HANDLERS = 0x6000,
    GPA_PML4 = 0x10000,
    GPA_NEXT_TABLE = 0x11000,
    GPA_CODE = 0x100000,
    GPA_DATA = 0x200000,
    RAM_SIZE = 4 << 20,
    STACK_TOP = 0x1000 - 64,
};
#define KERNEL_BASE 0xffffffff80000000ull /* linear of gpa 0, supervisor */

struct guest {
    uint8_t *ram, *notes;
    uint32_t *gens;
    struct engine *engine;
    size_t arena_size;
    uint64_t next_table;
    bool translated;
    struct x86_state start; /* of every case but for what the case says */
    uint8_t data[DATA_PAGES * PAGE];
};

static void die(const char *what)
{
    fprintf(stderr, "lab: guest: %s\n", what);
    exit(1);
}

/* ---- tables in guest memory ---- */

static uint64_t *word(struct guest *g, uint64_t gpa)
{
    return (uint64_t *)(void *)(g->ram + gpa);
}

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40 };
#define PTE_NX (1ull << 63)

static void map_page(struct guest *g, uint64_t linear, uint64_t gpa, uint64_t bits)
{
    uint64_t table = GPA_PML4;
    for (unsigned level = 4; level > 1; level--) {
        uint64_t *e = word(g, table + ((linear >> (12 + 9 * (level - 1))) & 511) * 8);
        if (!*e) {
            *e = g->next_table | PTE_P | PTE_W | PTE_U | PTE_A;
            g->next_table += PAGE;
        }
        table = *e & 0xffffffffff000ull;
    }
    *word(g, table + ((linear >> 12) & 511) * 8) = gpa | bits | PTE_P | PTE_A | (bits & PTE_W ? PTE_D : 0);
}

/* Physical page of a data page: neighbours are apart and out of order. */
static uint64_t data_gpa(unsigned page)
{
    return GPA_DATA + (uint64_t)((page * 5 + 3) % 8) * 2 * PAGE;
}

static uint64_t code_gpa(unsigned page)
{
    return GPA_CODE + (uint64_t)(CODE_PAGES - 1 - page) * 2 * PAGE;
}

static void build_paging(struct guest *g)
{
    g->next_table = GPA_NEXT_TABLE;
    for (uint64_t gpa = 0; gpa < GPA_PML4; gpa += PAGE)
        map_page(g, KERNEL_BASE + gpa, gpa, PTE_W);
    for (unsigned p = 0; p < CODE_PAGES; p++)
        map_page(g, CODE_BASE + p * PAGE, code_gpa(p), PTE_W | PTE_U);
    for (unsigned p = 0; p < DATA_PAGES; p++)
        if (data_page_present(p))
            map_page(g, DATA_BASE + p * PAGE, data_gpa(p), PTE_U | PTE_NX | (p == DATA_RO ? 0 : PTE_W));
}

/* GDT in the order of Linux: 4 user 32-bit code, 5 user data, 6 user 64-bit code; kernel code and data at
 * 2, 3. */
static void build_segments(struct guest *g)
{
    static const uint64_t gdt[] = {0,
                                   0,
                                   0x00af9b000000ffff,
                                   0x00cf93000000ffff,
                                   0x00cffb000000ffff,
                                   0x00cff3000000ffff,
                                   0x00affb000000ffff};

    memcpy(g->ram + GPA_GDT, gdt, sizeof(gdt));
    for (unsigned v = 0; v < 32; v++) {
        uint64_t handler = KERNEL_BASE + GPA_HANDLERS + v * 16;
        word(g, GPA_IDT)[v * 2] =
            (handler & 0xffff) | 0x10ull << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
        word(g, GPA_IDT)[v * 2 + 1] = handler >> 32;
    }
    uint64_t stack = KERNEL_BASE + GPA_STACK + STACK_TOP;
    memcpy(g->ram + GPA_TSS + 4, &stack, 8);
    memset(g->ram + GPA_TSS + 0x66, 0xff, 2); /* no I/O bitmap: every port faults at CPL 3 */
    memset(g->ram + GPA_HANDLERS, 0xf4, PAGE);
}

static struct x86_seg segment(uint16_t sel, uint32_t attr)
{
    return (struct x86_seg){.base = 0, .limit = 0xffffffff, .attr = attr, .sel = sel};
}

static void build_state(struct guest *g, const struct x86_cpuid *cpuid)
{
    struct x86_state *s = &g->start;
    (void)cpuid;

    x86_state_reset(s, true, 0);
    s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    s->cr3 = GPA_PML4;
    s->cr4 = CR4_PSE | CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    s->gdtr = (struct x86_dtable){.base = KERNEL_BASE + GPA_GDT, .limit = 0x7f};
    s->idtr = (struct x86_dtable){.base = KERNEL_BASE + GPA_IDT, .limit = 32 * 16 - 1};
    s->tr =
        (struct x86_seg){.base = KERNEL_BASE + GPA_TSS, .limit = 0x67, .attr = X86_SEG_P | 0xb, .sel = 0x40};
    s->ldtr = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
    s->seg[X86_SS] = s->seg[X86_DS] = s->seg[X86_ES] =
        segment(SEL_DATA, 0x3 | X86_SEG_S | 3u << 5 | X86_SEG_P | X86_SEG_DB | X86_SEG_G);
    s->seg[X86_FS] = s->seg[X86_GS] = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
}

void guest_cpuid(struct x86_cpuid *out)
{
    /* beyond the default model: what the interpreter has and few hosts lack */
    static const uint32_t more[] = {X86_FEATURE(X86_W_7_EBX, 18), X86_FEATURE(X86_W_7_EBX, 19),
                                    X86_FEATURE(X86_W_7_EBX, 23), X86_FEATURE(X86_W_7_EBX, 24)};
    struct x86_cpu_config cfg = {.model = "default", .cpus = 1, .tsc_khz = 1000000};
    struct x86_features have;
    struct err e = {""};

    memset(&cfg.allow, 0xff, sizeof(cfg.allow));
    if (x86_cpuid_build(out, &cfg, &e))
        die(e.msg);
    x86_cpuid_features(out, &have);
    for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        x86_features_set(&have, more[i]);
    cfg.model = "host";
    cfg.allow = have;
    if (x86_cpuid_build(out, &cfg, &e))
        die(e.msg);
}

static void *map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("no memory");
    return p;
}

struct guest *guest_open(void)
{
    struct guest *g = calloc(1, sizeof(*g));
    struct x86_cpuid cpuid;
    struct engine_config cfg = {.cpus = 1, .tsc_khz = 1000000, .count = true, .cpuid = &cpuid};

    if (!g)
        die("no memory");
    guest_cpuid(&cpuid);
    g->ram = map(RAM_SIZE);
    g->notes = map(RAM_SIZE / PAGE);
    g->gens = map(RAM_SIZE / PAGE * sizeof(uint32_t));
    build_paging(g);
    build_segments(g);
    build_state(g, &cpuid);
    g->arena_size = engine_arena_size(&cfg);
    g->engine = engine_init(map(g->arena_size), g->arena_size, &cfg);
    engine_attach(g->engine, &no_outside, g);
    struct engine_slot slot = {
        .gpa = 0, .size = RAM_SIZE, .host = g->ram, .notes = g->notes, .gens = g->gens};
    engine_set_slots(g->engine, &slot, 1);
    for (unsigned p = 0; p < CODE_PAGES; p++)
        memset(g->ram + code_gpa(p), 0xcc, PAGE);
    return g;
}

void guest_close(struct guest *g)
{
    munmap(g->engine, g->arena_size);
    munmap(g->ram, RAM_SIZE);
    munmap(g->notes, RAM_SIZE / PAGE);
    munmap(g->gens, RAM_SIZE / PAGE * sizeof(uint32_t));
    free(g);
}

/* ---- a case ---- */

static uint8_t *code_at(struct guest *g, uint64_t linear)
{
    return g->ram + code_gpa((unsigned)((linear - CODE_BASE) / PAGE)) + linear % PAGE;
}

static void put_code(struct guest *g, const struct lab_case *k, bool erase)
{
    uint8_t bytes[15 + LAB_EXIT_BYTES];
    unsigned n = k->fetch_cut ? (unsigned)(k->len - k->fetch_cut) : k->len + (unsigned)LAB_EXIT_BYTES;

    memcpy(bytes, k->bytes, k->len);
    lab_exit_bytes(k, bytes + k->len);
    for (unsigned i = 0; i < n; i++)
        *code_at(g, k->in.rip + i) = erase ? 0xcc : bytes[i];
    for (unsigned p = 0; p < CODE_PAGES; p++)
        g->gens[code_gpa(p) / PAGE]++;
}

static void load_fpu(struct x86_fpu *f, const struct lab_fpu *in)
{
    const uint8_t *p = in->image;
    memset(f, 0, sizeof(*f));
    memcpy(&f->fcw, p, 2);
    memcpy(&f->fsw, p + 2, 2);
    f->ftw = p[4];
    memcpy(&f->mxcsr, p + 24, 4);
    memcpy(f->st, p + 32, 128);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(f->ymm[i], p + 160 + i * 16, 16);
        memcpy(f->ymm[i] + 16, p + 576 + i * 16, 16);
    }
}

static void save_fpu(const struct x86_fpu *f, struct lab_fpu *out)
{
    uint8_t *p = out->image;
    memset(out, 0, sizeof(*out));
    memcpy(p, &f->fcw, 2);
    memcpy(p + 2, &f->fsw, 2);
    p[4] = f->ftw;
    memcpy(p + 24, &f->mxcsr, 4);
    memcpy(p + 32, f->st, 128);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(p + 160 + i * 16, f->ymm[i], 16);
        memcpy(p + 576 + i * 16, f->ymm[i] + 16, 16);
    }
}

static struct x86_seg ldt_segment(uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr)
{
    return (struct x86_seg){
        .base = base, .limit = limit, .attr = attr | X86_SEG_S | 3u << 5 | X86_SEG_P, .sel = sel};
}

static void load_segments(const struct lab_case *k, struct x86_state *s)
{
    if (k->mode == MODE_64)
        s->seg[X86_CS] = segment(SEL_CODE64, 0xb | X86_SEG_S | 3u << 5 | X86_SEG_P | X86_SEG_L | X86_SEG_G);
    else if (k->mode == MODE_32)
        s->seg[X86_CS] = segment(SEL_CODE32, 0xb | X86_SEG_S | 3u << 5 | X86_SEG_P | X86_SEG_DB | X86_SEG_G);
    else
        s->seg[X86_CS] = ldt_segment(SEL_LDT_CODE16, CODE_BASE, LDT_CODE_LIMIT, 0xb);
    if (!k->ldt)
        return;
    s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS] =
        ldt_segment(SEL_LDT_DATA, LDT_BASE, LDT_LIMIT, 3 | X86_SEG_DB);
    if (k->mode == MODE_16)
        s->seg[X86_SS] = ldt_segment(SEL_LDT_STACK16, LDT_BASE, LDT_LIMIT, 3);
}

static void load_state(const struct guest *g, const struct lab_case *k, struct x86_state *s)
{
    *s = g->start;
    memcpy(s->gpr, k->in.gpr, sizeof(s->gpr));
    s->rip = k->in.rip - (k->mode == MODE_16 ? CODE_BASE : 0);
    s->rflags = k->in.rflags;
    load_fpu(&s->fpu, &k->in.fpu);
    s->seg[X86_FS].base = k->in.fs_base;
    s->seg[X86_GS].base = k->in.gs_base;
    load_segments(k, s);
}

static bool has_error_code(unsigned vector)
{
    return vector == X86_DF_VEC || (vector >= X86_TS && vector <= X86_PF_VEC) || vector == X86_AC_VEC;
}

/* The state at the fault, from the frame that delivery pushed. */
static void read_frame(struct guest *g, const struct x86_state *s, struct lab_result *r)
{
    uint64_t at = s->gpr[X86_RSP] - KERNEL_BASE, vector = (s->rip - KERNEL_BASE - GPA_HANDLERS) / 16;

    if (at >= RAM_SIZE - 64 || vector >= 32) {
        r->vector = LAB_LOST;
        return;
    }
    const uint64_t *frame = word(g, at);
    r->vector = (uint8_t)vector;
    if (has_error_code((unsigned)vector))
        r->error = (uint32_t)*frame++;
    r->out.rip = frame[0];
    r->out.rflags = frame[2];
    r->out.gpr[X86_RSP] = frame[3];
    r->cr2 = s->cr2;
}

static void read_data(struct guest *g)
{
    for (unsigned p = 0; p < DATA_PAGES; p++)
        memcpy(g->data + p * PAGE, g->ram + data_gpa(p), PAGE);
}

/* By the interpreter, or by the translator as far as it does the instruction itself. */
static unsigned step(struct guest *g, struct x86_state *s)
{
    uint64_t pages[DATA_PAGES];

    if (g->translated) {
        for (unsigned p = 0; p < DATA_PAGES; p++)
            pages[p] = DATA_BASE + p * PAGE;
        if (engine_step_translated(g->engine, s, pages, DATA_PAGES) == 1)
            return 1;
    }
    return engine_step_state(g->engine, s, 1);
}

void guest_translate(struct guest *g)
{
    g->translated = true;
}

void guest_run(struct guest *g, const uint8_t *pristine, const struct lab_case *k, struct lab_result *r)
{
    struct x86_state s;

    for (unsigned p = 0; p < DATA_PAGES; p++)
        memcpy(g->ram + data_gpa(p), pristine + p * PAGE, PAGE);
    for (unsigned i = 0; i < k->patch_len; i++)
        g->ram[data_gpa((unsigned)((k->patch_at + i - DATA_BASE) / PAGE)) + (k->patch_at + i) % PAGE] =
            k->patch[i];
    r->before = 0;
    if (k->patch_len) {
        read_data(g);
        lab_collect(g->data, pristine, r);
        r->before = r->hash;
    }
    put_code(g, k, false);
    load_state(g, k, &s);
    unsigned steps = step(g, &s);
    /* a repeated string instruction may stop between elements, still at itself */
    uint64_t left = k->in.gpr[X86_RCX], code_base = k->mode == MODE_16 ? CODE_BASE : 0;
    while (steps == 1 && s.rip + code_base == k->in.rip && (s.seg[X86_CS].sel & 3) &&
           s.gpr[X86_RCX] != left) {
        left = s.gpr[X86_RCX];
        steps = step(g, &s);
    }

    r->vector = steps == 1 ? LAB_NO_FAULT : LAB_LOST;
    r->error = 0;
    r->cr2 = 0;
    memcpy(r->out.gpr, s.gpr, sizeof(s.gpr));
    r->out.rip = s.rip;
    r->out.rflags = s.rflags;
    r->out.fs_base = s.seg[X86_FS].base;
    r->out.gs_base = s.seg[X86_GS].base;
    save_fpu(&s.fpu, &r->out.fpu);
    if ((s.seg[X86_CS].sel & 3) == 0)
        read_frame(g, &s, r);
    r->out.rip += code_base;
    read_data(g);
    lab_collect(g->data, pristine, r);
    put_code(g, k, true);
}
