/*
 * system: tables for tests of the privileged half: a GDT, a TSS and an IDT whose handler of each vector V
 * writes V to the exit port, so that h_run returns with the exception's frame on the stack.
 */
#ifndef SOFT_TEST_SYSTEM_H
#define SOFT_TEST_SYSTEM_H
#include "harness.h"

enum {
    T_GDT = 0x6000,
    T_IDT = 0x7000,
    T_TSS = 0x8000,
    T_TSS2 = 0x8400,
    T_TRAPS = 0x9000,
    T_CODE = 0x10000,
    T_USER = 0x12000,
    T_STACK0 = 0x70000,
    T_IST1 = 0x74000,
    /* selectors */
    S_CODE0 = 0x08,
    S_DATA0 = 0x10,
    S_CODE3 = 0x18,
    S_DATA3 = 0x20,
    S_OTHER = 0x28,
    S_TSS = 0x30,
    S_TSS2 = 0x40,
    S_GATE = 0x50,
    S_LDT = 0x60,
};

/* A descriptor: attr as in struct x86_seg, limit in pages when G is set. */
static inline uint64_t t_desc(uint32_t base, uint32_t limit, uint32_t attr)
{
    if (attr & X86_SEG_G)
        limit >>= 12;
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(attr >> 12 & 0xf) << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline void t_gate(struct harness *h, unsigned vector, bool wide, uint16_t sel, uint64_t off,
                          unsigned type, unsigned dpl, unsigned ist)
{
    uint64_t at = T_IDT + vector * (wide ? 16 : 8);

    h_put64(h, at,
            (off & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                (uint64_t)(0x80 | dpl << 5 | type) << 40 | (off >> 16 & 0xffff) << 48);
    if (wide)
        h_put64(h, at + 8, off >> 32);
}

/* Handlers, IDT, GDT and TSS for `s`, which is in long mode when `wide` and in 32-bit protected mode
 * otherwise. */
static inline void t_tables(struct harness *h, struct x86_state *s, bool wide)
{
    uint32_t code = 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_G | (wide ? X86_SEG_L : X86_SEG_DB);
    uint32_t data = 0x3 | X86_SEG_S | X86_SEG_P | X86_SEG_G | X86_SEG_DB;

    h_put64(h, T_GDT, 0);
    h_put64(h, T_GDT + S_CODE0, t_desc(0, 0xffffffff, code));
    h_put64(h, T_GDT + S_DATA0, t_desc(0, 0xffffffff, data));
    h_put64(h, T_GDT + S_CODE3, t_desc(0, 0xffffffff, code | 3 << 5));
    h_put64(h, T_GDT + S_DATA3, t_desc(0, 0xffffffff, data | 3 << 5));
    h_put64(h, T_GDT + S_OTHER, t_desc(0, 0xffffffff, 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_G | X86_SEG_DB));
    h_put64(h, T_GDT + S_TSS, t_desc(T_TSS, 0x67, 0xb | X86_SEG_P));
    h_put64(h, T_GDT + S_TSS + 8, 0);
    h_put64(h, T_GDT + S_TSS2, t_desc(T_TSS2, 0x67, 0x9 | X86_SEG_P));
    h_put64(h, T_GDT + S_TSS2 + 8, 0);
    memset(h->ram + T_TSS, 0, 0x800);
    if (wide) {
        h_put64(h, T_TSS + 4, T_STACK0);
        h_put64(h, T_TSS + 0x24, T_IST1);
    } else {
        h_put64(h, T_TSS + 4, T_STACK0 | (uint64_t)S_DATA0 << 32);
    }
    for (unsigned v = 0; v < 256; v++) {
        uint8_t code_bytes[] = {0xb0, (uint8_t)v, 0xe6, H_EXIT_PORT, 0xeb, 0xfe}; /* mov $v,%al; out; jmp . */
        memcpy(h->ram + T_TRAPS + v * 16, code_bytes, sizeof(code_bytes));
        t_gate(h, v, wide, S_CODE0, T_TRAPS + v * 16, 0xe, 0, 0);
    }
    s->gdtr.base = T_GDT;
    s->gdtr.limit = 0x7f;
    s->idtr.base = T_IDT;
    s->idtr.limit = (uint16_t)(256 * (wide ? 16 : 8) - 1);
    s->tr = (struct x86_seg){.sel = S_TSS, .base = T_TSS, .limit = 0x67, .attr = 0xb | X86_SEG_P};
    s->ldtr = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
}

static inline struct x86_state t_long(struct harness *h, unsigned cpl)
{
    struct x86_state s = h_long_mode(h, T_CODE, cpl);
    t_tables(h, &s, true);
    s.seg[X86_CS].sel = (uint16_t)((cpl ? S_CODE3 : S_CODE0) | cpl);
    for (unsigned i = 0; i < X86_SEGS; i++)
        if (i != X86_CS)
            s.seg[i].sel = (uint16_t)((cpl ? S_DATA3 : S_DATA0) | cpl);
    return s;
}

static inline struct x86_state t_protected(struct harness *h, unsigned cpl)
{
    struct x86_state s = h_protected(h, T_CODE);
    t_tables(h, &s, false);
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] =
            h_flat((uint16_t)((i == X86_CS ? (cpl ? S_CODE3 : S_CODE0) : (cpl ? S_DATA3 : S_DATA0)) | cpl),
                   i == X86_CS, cpl, false);
    return s;
}

/* Start from `s` and run to an exit by port: the value written. */
static inline unsigned t_run(struct harness *h, const struct x86_state *s)
{
    assert_int_equal(engine_set(h->en, 0, s), 0);
    h->exit_value = 0x1000;
    assert_int_equal(h_run(h), ENGINE_KICKED);
    return h->exit_value;
}

static inline void t_bytes(struct harness *h, uint64_t at, const char *bytes, size_t n)
{
    memcpy(h->ram + at, bytes, n);
}
#define T_PUT(h, at, lit) t_bytes(h, at, lit, sizeof(lit) - 1)

static inline uint32_t h_get32(struct harness *h, uint64_t at)
{
    uint32_t v;
    memcpy(&v, h->ram + at, 4);
    return v;
}
static inline void h_put32(struct harness *h, uint64_t at, uint32_t v)
{
    memcpy(h->ram + at, &v, 4);
}

/* What lies i words above the stack pointer, after t_run. */
static inline uint64_t t_stack64(struct harness *h, unsigned i)
{
    struct x86_state s;
    engine_get(h->en, 0, &s);
    return h_get64(h, s.gpr[X86_RSP] + i * 8);
}

static inline uint32_t t_stack32(struct harness *h, unsigned i)
{
    struct x86_state s;
    engine_get(h->en, 0, &s);
    return h_get32(h, s.gpr[X86_RSP] + i * 4);
}

#endif
