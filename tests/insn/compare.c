/*
 * compare: what must be equal, and how a difference is shown.
 *
 * Not compared: flags that the SDM calls undefined after the instruction (Zydis has them per instruction);
 * x87 instruction and data pointers and opcode, where processors differ in when they keep them; CR2 unless
 * the fault is a page fault; upper halves of registers in 32-bit code.
 *
 * Instructions that microcode makes of several accesses (PUSHA, ENTER, FNSAVE, FXSAVE, ...) leave on this
 * host what the accesses before the faulting one did, and report the address of that one. The interpreter
 * checks all of them first and must have changed nothing; so there only this is asked, and that the faulting
 * address lies within the operand.
 */
#include <stdio.h>
#include <string.h>
#include "lab.h"
#include "x86/regs.h"

static const char *const gpr_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

struct diff {
    bool print;
    bool any;
};

static void differ(struct diff *d, const char *what, uint64_t host, uint64_t guest)
{
    d->any = true;
    if (d->print)
        printf("    %-8s host %016llx  interpreter %016llx\n", what, (unsigned long long)host,
               (unsigned long long)guest);
}

static void differ_bytes(struct diff *d, const char *what, unsigned n, const uint8_t *host,
                         const uint8_t *guest, unsigned len)
{
    if (memcmp(host, guest, len) == 0)
        return;
    d->any = true;
    if (!d->print)
        return;
    printf("    %s%u\n      host       ", what, n);
    for (unsigned i = len; i-- > 0;)
        printf("%02x", host[i]);
    printf("\n      interpreter ");
    for (unsigned i = len; i-- > 0;)
        printf("%02x", guest[i]);
    printf("\n");
}

static uint64_t undefined_flags(const struct lab_case *k, ZydisDecodedInstruction *zi)
{
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    if (!forms_decode(k->mode, k->bytes, k->len, zi, ops) || !zi->cpu_flags)
        return 0;
    return zi->cpu_flags->undefined;
}

/* Images that FXSAVE, XSAVE and FNSAVE write hold FIP, FDP and FOP: those bytes of a line are left out. */
static bool saves_fpu(ZydisMnemonic m)
{
    static const ZydisMnemonic list[] = {
        ZYDIS_MNEMONIC_FXSAVE,   ZYDIS_MNEMONIC_FXSAVE64,   ZYDIS_MNEMONIC_XSAVE,  ZYDIS_MNEMONIC_XSAVE64,
        ZYDIS_MNEMONIC_XSAVEOPT, ZYDIS_MNEMONIC_XSAVEOPT64, ZYDIS_MNEMONIC_XSAVEC, ZYDIS_MNEMONIC_XSAVEC64};
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (list[i] == m)
            return true;
    return false;
}

/* MXCSR_MASK: the host's own bits (AMD has bit 17, misaligned SSE). */
static bool is_mxcsr_mask(ZydisMnemonic m, uint64_t off)
{
    return saves_fpu(m) && off >= 28 && off < 32;
}

static bool is_pointer_byte(ZydisMnemonic m, uint64_t first, uint64_t at, unsigned width)
{
    uint64_t off = at - first;
    if (saves_fpu(m))
        return (off >= 6 && off < 24) || is_mxcsr_mask(m, off); /* FOP, FIP, FDP (SDM 2A FXSAVE) */
    if (m == ZYDIS_MNEMONIC_FNSAVE || m == ZYDIS_MNEMONIC_FNSTENV) {
        unsigned w = width == 16 ? 2 : 4;
        return off >= 3 * w && off < 7 * w;
    }
    return false;
}

/* Made of several accesses. An 80-bit store is one of the significand and one of sign and exponent. */
static bool in_steps(const struct form *form)
{
    ZydisMnemonic m = form->mnemonic;
    static const ZydisMnemonic list[] = {
        ZYDIS_MNEMONIC_ENTER,   ZYDIS_MNEMONIC_PUSHA,   ZYDIS_MNEMONIC_PUSHAD,    ZYDIS_MNEMONIC_POPA,
        ZYDIS_MNEMONIC_POPAD,   ZYDIS_MNEMONIC_FNSAVE,  ZYDIS_MNEMONIC_FNSTENV,   ZYDIS_MNEMONIC_FRSTOR,
        ZYDIS_MNEMONIC_FLDENV,  ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64, ZYDIS_MNEMONIC_XRSTOR,
        ZYDIS_MNEMONIC_XRSTOR64};
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (list[i] == m)
            return true;
    return saves_fpu(m) || m == ZYDIS_MNEMONIC_FBSTP ||
           (m == ZYDIS_MNEMONIC_FSTP && strstr(form->text, "m80"));
}

/* A repeated CMPS or SCAS that faults restores the flags of before (SDM 2B REP); AMD's processors leave those
 * of the last element. */
static bool repeats_compare(ZydisMnemonic m)
{
    return (m >= ZYDIS_MNEMONIC_SCASB && m <= ZYDIS_MNEMONIC_SCASW) || m == ZYDIS_MNEMONIC_CMPSB ||
           m == ZYDIS_MNEMONIC_CMPSW || m == ZYDIS_MNEMONIC_CMPSD || m == ZYDIS_MNEMONIC_CMPSQ;
}

/* An XSAVE that faults in a part of its area which it was not asked to store: this host probes all of it, the
 * interpreter what it stores (SDM 1 13.7 leaves it open). */
static bool probes_more(ZydisMnemonic m, uint64_t area, const struct lab_result *h,
                        const struct lab_result *g)
{
    return saves_fpu(m) && m != ZYDIS_MNEMONIC_FXSAVE && m != ZYDIS_MNEMONIC_FXSAVE64 &&
           h->vector == X86_PF_VEC && (h->error & PF_W) && g->vector == LAB_NO_FAULT &&
           h->cr2 - area < sizeof(struct lab_fpu);
}

/* AMD's processors have bit 17 of MXCSR (misaligned SSE); our CPU model has not, so there loading it raises
 * #GP. */
static bool loads_host_mxcsr(const struct lab_result *h, const struct lab_result *g)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, h->out.fpu.image + 24, 4);
    return h->vector == LAB_NO_FAULT && g->vector == X86_GP && mxcsr >> 16 == 2;
}

/* A call whose push and whose target both fault: the SDM checks the target first, AMD's processors push
 * first. */
static bool either_fault(ZydisMnemonic m, const struct lab_result *h, const struct lab_result *g)
{
    return m == ZYDIS_MNEMONIC_CALL && h->vector != LAB_NO_FAULT && g->vector == X86_GP;
}

/* Error code of a page fault without what the top of the host's address space and its kernel half tell about
 * themselves: pages there are present. */
static uint32_t fault_error(const struct lab_result *r)
{
    return r->vector == X86_PF_VEC && (r->cr2 >> 46) ? r->error & ~PF_P : r->error;
}

static void compare_memory(struct diff *d, const ZydisDecodedInstruction *zi, uint64_t operand,
                           const struct lab_result *h, const struct lab_result *g)
{
    if (h->hash == g->hash)
        return;
    struct diff quiet = {.any = false};
    bool same_lines = h->lines == g->lines && h->lines <= LAB_LINES;
    for (unsigned i = 0; same_lines && i < h->lines; i++) {
        if (h->line[i].at != g->line[i].at)
            quiet.any = true;
        for (unsigned b = 0; b < LAB_LINE; b++)
            if (h->line[i].bytes[b] != g->line[i].bytes[b] &&
                !is_pointer_byte(zi->mnemonic, operand, h->line[i].at + b, zi->operand_width))
                quiet.any = true;
    }
    if (same_lines && !quiet.any)
        return;
    d->any = true;
    if (!d->print)
        return;
    printf("    memory   lines changed: host %u, interpreter %u\n", h->lines, g->lines);
    for (unsigned side = 0; side < 2; side++) {
        const struct lab_result *r = side ? g : h;
        for (unsigned i = 0; i < r->lines && i < LAB_LINES; i++) {
            const struct lab_result *o = side ? h : g;
            if (i < o->lines && memcmp(&o->line[i], &r->line[i], sizeof(r->line[i])) == 0)
                continue;
            printf("      %-11s %llx:", side ? "interpreter" : "host", (unsigned long long)r->line[i].at);
            for (unsigned b = 0; b < LAB_LINE; b++)
                printf("%s%02x", b % 8 ? "" : " ", r->line[i].bytes[b]);
            printf("\n");
        }
    }
}

static void compare_fpu(struct diff *d, const struct lab_fpu *h, const struct lab_fpu *g)
{
    uint16_t a, b;
    uint32_t m, n;

    memcpy(&a, h->image, 2);
    memcpy(&b, g->image, 2);
    if (a != b)
        differ(d, "fcw", a, b);
    memcpy(&a, h->image + 2, 2);
    memcpy(&b, g->image + 2, 2);
    if (a != b)
        differ(d, "fsw", a, b);
    if (h->image[4] != g->image[4])
        differ(d, "ftw", h->image[4], g->image[4]);
    memcpy(&m, h->image + 24, 4);
    memcpy(&n, g->image + 24, 4);
    if (m != n)
        differ(d, "mxcsr", m, n);
    for (unsigned i = 0; i < 8; i++)
        differ_bytes(d, "st", i, h->image + 32 + i * 16, g->image + 32 + i * 16, 10);
    for (unsigned i = 0; i < 16; i++) {
        uint8_t x[32], y[32];
        memcpy(x, h->image + 160 + i * 16, 16);
        memcpy(x + 16, h->image + 576 + i * 16, 16);
        memcpy(y, g->image + 160 + i * 16, 16);
        memcpy(y + 16, g->image + 576 + i * 16, 16);
        differ_bytes(d, "ymm", i, x, y, 32);
    }
}

/* First byte of the visible memory operand. */
static uint64_t operand_address(const struct lab_case *k)
{
    struct insn in;
    return insn_decode(k->bytes, k->len, k->mode, &in) ? 0 : tolerate_address(k, &in);
}

/* The interpreter met a fault: it must have changed nothing at all. */
static void compare_untouched(struct diff *d, const struct lab_case *k, const struct lab_result *g)
{
    for (unsigned i = 0; i < (k->mode == MODE_64 ? 16u : 8u); i++)
        if (g->out.gpr[i] != k->in.gpr[i])
            differ(d, gpr_name[i], k->in.gpr[i], g->out.gpr[i]);
    if (g->out.rip != k->in.rip)
        differ(d, "rip", k->in.rip, g->out.rip);
    compare_fpu(d, &k->in.fpu, &g->out.fpu);
    if (g->hash != g->before)
        differ(d, "memory", 0, g->lines);
}

/* The fault of an instruction in steps: the interpreter must have changed nothing at all. */
static bool compare_steps(const struct lab_case *k, const struct lab_result *h, const struct lab_result *g,
                          bool print)
{
    struct diff d = {.print = print};
    uint64_t up = h->cr2 - g->cr2, down = g->cr2 - h->cr2, distance = up < down ? up : down;
    struct insn in;
    /* an operand may wrap: on this host the later steps do so within the address size */
    if (!insn_decode(k->bytes, k->len, (enum cpu_mode)k->mode, &in) && in.adsize < 8) {
        uint64_t around = mask_size(in.adsize) + 1 - distance;
        distance = around < distance ? around : distance;
    }

    /* the page fault of an early step and, of a later one, a segment's limit or an illegal header: the
     * interpreter checks those first */
    bool early_step = h->vector == X86_PF_VEC && (g->vector == X86_GP || g->vector == X86_SS_VEC);
    /* misaligned under AC and against the segment's type or limit: likewise */
    bool alignment_first = h->vector == X86_AC_VEC && g->vector == X86_GP && (k->in.rflags & X86_AC);
    if (h->vector != g->vector && !early_step && !alignment_first)
        differ(&d, "vector", h->vector, g->vector);
    bool both_paging = h->vector == X86_PF_VEC && g->vector == X86_PF_VEC;
    if (both_paging && distance >= PAGE)
        differ(&d, "cr2", h->cr2, g->cr2);
    if (both_paging && distance == 0 && fault_error(h) != fault_error(g))
        differ(&d, "error", h->error, g->error);
    compare_untouched(&d, k, g);
    return !d.any;
}

bool compare_results(const struct form *form, const struct lab_case *k, const struct lab_result *host,
                     const struct lab_result *g, bool print)
{
    struct lab_result adjusted = *host, *h = &adjusted;
    struct diff d = {.print = print};
    switch (tolerate(form, k, h, g)) {
    case TOLERATE_ANYTHING:
        return true;
    case TOLERATE_FAULT:
        compare_untouched(&d, k, g);
        return !d.any;
    case TOLERATE_NOTHING:
        break;
    }
    ZydisDecodedInstruction zi = {.mnemonic = form->mnemonic};
    uint64_t undefined = h->vector == LAB_NO_FAULT ? undefined_flags(k, &zi) : 0;
    uint64_t width = k->mode == MODE_64 ? ~0ull : 0xffffffff;

    if (probes_more(form->mnemonic, operand_address(k), host, g) || loads_host_mxcsr(host, g))
        return true;
    if (either_fault(form->mnemonic, h, g))
        return g->hash == g->before;
    if (h->vector != LAB_NO_FAULT && h->vector != LAB_LOST && in_steps(form))
        return compare_steps(k, host, g, print);
    if (h->vector != g->vector)
        differ(&d, "vector", h->vector, g->vector);
    if (h->vector == LAB_LOST || g->vector == LAB_LOST)
        return false;
    if (h->vector != LAB_NO_FAULT && fault_error(h) != fault_error(g))
        differ(&d, "error", h->error, g->error);
    if (h->vector == X86_PF_VEC && h->cr2 != g->cr2)
        differ(&d, "cr2", h->cr2, g->cr2);
    for (unsigned i = 0; i < (k->mode == MODE_64 ? 16u : 8u); i++)
        if ((h->out.gpr[i] ^ g->out.gpr[i]) & width)
            differ(&d, gpr_name[i], h->out.gpr[i], g->out.gpr[i]);
    if ((h->out.rip ^ g->out.rip) & width)
        differ(&d, "rip", h->out.rip, g->out.rip);
    if (h->vector != LAB_NO_FAULT && repeats_compare(form->mnemonic))
        undefined |= X86_ARITH_FLAGS;
    if ((h->out.rflags ^ g->out.rflags) & ~undefined)
        differ(&d, "rflags", h->out.rflags, g->out.rflags);
    if (k->mode == MODE_64 && h->out.fs_base != g->out.fs_base)
        differ(&d, "fs base", h->out.fs_base, g->out.fs_base);
    if (k->mode == MODE_64 && h->out.gs_base != g->out.gs_base)
        differ(&d, "gs base", h->out.gs_base, g->out.gs_base);
    compare_fpu(&d, &h->out.fpu, &g->out.fpu);
    compare_memory(&d, &zi, operand_address(k), h, g);
    return !d.any;
}

void compare_print_case(const struct form *form, const struct lab_case *k)
{
    ZydisDisassembledInstruction dis;
    ZydisMachineMode mode = k->mode == MODE_64   ? ZYDIS_MACHINE_MODE_LONG_64
                            : k->mode == MODE_32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                                 : ZYDIS_MACHINE_MODE_LEGACY_16;
    uint32_t mxcsr;
    uint16_t fcw, fsw;

    printf("  form %s, %s, bytes", form->text, placement_name[k->placement]);
    for (unsigned i = 0; i < k->len; i++)
        printf(" %02x", k->bytes[i]);
    if (ZYAN_SUCCESS(ZydisDisassembleIntel(mode, k->in.rip, k->bytes, k->len, &dis)))
        printf("  (%s)", dis.text);
    printf("\n   ");
    for (unsigned i = 0; i < 16; i++)
        printf(" %s=%llx", gpr_name[i], (unsigned long long)k->in.gpr[i]);
    memcpy(&mxcsr, k->in.fpu.image + 24, 4);
    memcpy(&fcw, k->in.fpu.image, 2);
    memcpy(&fsw, k->in.fpu.image + 2, 2);
    printf("%s rip=%llx rflags=%llx fs=%llx gs=%llx mxcsr=%x fcw=%x fsw=%x ftw=%x\n", k->ldt ? " ldt" : "",
           (unsigned long long)k->in.rip, (unsigned long long)k->in.rflags, (unsigned long long)k->in.fs_base,
           (unsigned long long)k->in.gs_base, mxcsr, fcw, fsw, k->in.fpu.image[4]);
}
