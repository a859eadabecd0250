/*
 * vme: v8086 tasks and programs for tests of the virtual interrupt flags.
 */
#ifndef SOFT_TEST_VME_H
#define SOFT_TEST_VME_H
#include "system.h"

enum {
    SP = 0x100,
    V_SS = 0x7000,
    V_CS = T_CODE >> 4,
    MAP = 0x88,        /* of ports, in the TSS; that of software interrupts lies below it */
    HANDLER = 0x14000, /* of redirected interrupts: writes HERE to the exit port */
    HERE = 0x5a,
    ANY = -1
};

/* The machine's TSS, with all ports allowed and all software interrupts going to protected mode. */
static inline void vme_tss(struct harness *h, struct x86_state *s)
{
    s->tr.limit = MAP + 0x40;
    h_put32(h, T_TSS + 0x64, MAP << 16);
    memset(h->ram + T_TSS + MAP - 32, 0xff, 32);
    memset(h->ram + T_TSS + MAP, 0, 0x41);
    T_PUT(h, HANDLER, "\xb0\x5a\xe6\xf4\xeb\xfe"); /* mov $HERE,%al; out %al,$0xf4; jmp . */
    for (unsigned v = 0; v < 256; v++) {
        h_put32(h, v * 4, (HANDLER >> 4) << 16);
        t_gate(h, v, false, S_CODE0, T_TRAPS + v * 16, 0xe, 3, 0);
    }
}

static inline struct x86_state v8086(struct harness *h, uint64_t flags, uint64_t cr4)
{
    struct x86_state s = t_protected(h, 3);

    vme_tss(h, &s);
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = seg_v86(i == X86_CS ? V_CS : i == X86_SS ? V_SS : 0x2000);
    s.rip = 0;
    s.gpr[X86_RSP] = SP;
    s.rflags = 2 | X86_VM | flags;
    s.cr4 |= cr4;
    return s;
}

static inline struct x86_state program(struct harness *h, unsigned bits, unsigned cpl, uint64_t flags,
                                       uint64_t cr4)
{
    struct x86_state s = bits == 64 ? t_long(h, cpl) : t_protected(h, cpl);

    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = h_flat((uint16_t)(s.seg[i].sel & 0xfffc) | (uint16_t)cpl, i == X86_CS, cpl,
                          i == X86_CS && bits == 64);
    s.rflags = 2 | flags;
    s.cr4 |= cr4;
    return s;
}

/* One instruction: its fault's vector, -1 none. */
static inline int step(struct harness *h, const struct x86_state *s, const char *code, size_t n)
{
    memset(h->ram + T_CODE, 0x90, 16);
    memcpy(h->ram + T_CODE, code, n);
    assert_int_equal(engine_set(h->en, 0, s), 0);
    return h_step(h) ? h_cpu(h)->fault_vector : -1;
}

/* An interrupt that a program's flags allow is pending: no instruction of its is begun (SDM 3A 20.3.2). The
 * flags count with VME in v8086 mode, with PVI at CPL 3, and with an IOPL below 3 only (SDM 3A 2.3). */
static inline bool pending(const struct x86_state *s)
{
    const uint64_t both = X86_VIF | X86_VIP;
    uint64_t enabled = s->cr4 & (s->rflags & X86_VM ? CR4_VME : CR4_PVI);

    return X86_SEG_DPL(s->seg[X86_SS].attr) == 3 && enabled && (s->rflags & both) == both &&
           (s->rflags & X86_IOPL) != X86_IOPL;
}

/* The flags that a program may not see or not change itself are virtual when IOPL is below 3. */
static inline bool is_virtual(const struct x86_state *s)
{
    return (s->rflags & X86_IOPL) != X86_IOPL;
}

/* A value in a table, ANY standing for all. */
static inline bool fits(int want, unsigned is)
{
    return want == ANY || (unsigned)want == is;
}

#endif
