/*
 * xemit: bytes of host machine code. Register numbers are the hardware's. Memory in struct cpu is addressed
 * through GS, whose base is the struct while translated code runs.
 *
 * Writing is to the writable view of the code; `delta` leads from there to where the code runs. Each writer
 * first makes sure that there is room (xcache.c: XUNIT_ROOM), so nothing is checked here.
 */
#ifndef ENGINE_XEMIT_H
#define ENGINE_XEMIT_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    H_RAX,
    H_RCX,
    H_RDX,
    H_RBX,
    H_RSP,
    H_RBP,
    H_RSI,
    H_RDI,
    H_R8,
    H_R9,
    H_R10,
    H_R11,
    H_R12,
    H_R13,
    H_R14,
    H_R15
};

struct xemit {
    uint8_t *p;
    uint64_t delta; /* address where the byte at p runs = (uintptr_t)p + delta */
};

static inline void x8(struct xemit *e, unsigned b)
{
    *e->p++ = (uint8_t)b;
}
static inline void x16(struct xemit *e, uint16_t v)
{
    memcpy(e->p, &v, 2);
    e->p += 2;
}
static inline void x32(struct xemit *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}
static inline void x64(struct xemit *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}
static inline void xbytes(struct xemit *e, const void *b, unsigned n)
{
    memcpy(e->p, b, n);
    e->p += n;
}
/* A string of bytes: XB(e, 0x48, 0x89, ...) */
#define XB(e, ...)                                                                                           \
    do {                                                                                                     \
        const uint8_t xb_[] = {__VA_ARGS__};                                                                 \
        xbytes(e, xb_, sizeof xb_);                                                                          \
    } while (0)

static inline uint64_t xhere(const struct xemit *e)
{
    return (uintptr_t)e->p + e->delta;
}

/* op reg, gs:[disp], or its mirror image, as the opcode says; 64-bit when w. */
static inline void x_gs(struct xemit *e, bool w, unsigned op, unsigned reg, uint32_t disp)
{
    unsigned rex = (w ? 0x48u : 0x40u) | (reg >> 3) << 2;
    x8(e, 0x65);
    if (rex != 0x40)
        x8(e, rex);
    x8(e, op);
    XB(e, (uint8_t)(0x04 | (reg & 7) << 3), 0x25);
    x32(e, disp);
}
static inline void x_load(struct xemit *e, unsigned reg, uint32_t disp)
{
    x_gs(e, true, 0x8b, reg, disp);
}
static inline void x_store(struct xemit *e, unsigned reg, uint32_t disp)
{
    x_gs(e, true, 0x89, reg, disp);
}
/* op reg, gs:[base + disp]; base is not R12 */
static inline void x_gs_base(struct xemit *e, unsigned op, unsigned reg, unsigned base, uint32_t disp)
{
    XB(e, 0x65, (uint8_t)(0x48 | (reg >> 3) << 2 | base >> 3), (uint8_t)op,
       (uint8_t)(0x80 | (reg & 7) << 3 | (base & 7)));
    x32(e, disp);
}
/* op dword gs:[disp], imm32: 0 ADD, 1 OR, 4 AND, 6 XOR, 7 CMP */
static inline void x_gs_imm(struct xemit *e, unsigned op, uint32_t disp, uint32_t imm)
{
    XB(e, 0x65, 0x81, (uint8_t)(0x04 | op << 3), 0x25);
    x32(e, disp);
    x32(e, imm);
}
/* test dword gs:[disp], imm32 */
static inline void x_gs_test(struct xemit *e, uint32_t disp, uint32_t imm)
{
    XB(e, 0x65, 0xf7, 0x04, 0x25);
    x32(e, disp);
    x32(e, imm);
}
/* mov byte gs:[disp], imm8; mov qword gs:[disp], imm32 */
static inline void x_gs_byte(struct xemit *e, uint32_t disp, unsigned imm)
{
    XB(e, 0x65, 0xc6, 0x04, 0x25);
    x32(e, disp);
    x8(e, imm);
}
static inline void x_gs_zero(struct xemit *e, uint32_t disp)
{
    XB(e, 0x65, 0x48, 0xc7, 0x04, 0x25);
    x32(e, disp);
    x32(e, 0);
}
/* cmp dword gs:[disp], imm8 */
static inline void x_gs_cmp32(struct xemit *e, uint32_t disp, unsigned imm)
{
    XB(e, 0x65, 0x83, 0x3c, 0x25);
    x32(e, disp);
    x8(e, imm);
}
static inline void x_mov(struct xemit *e, unsigned to, unsigned from)
{
    XB(e, (uint8_t)(0x48 | (from >> 3) << 2 | to >> 3), 0x89, (uint8_t)(0xc0 | (from & 7) << 3 | (to & 7)));
}
static inline bool fits32(int64_t v)
{
    return v == (int32_t)v;
}
static inline void x_mov_imm(struct xemit *e, unsigned reg, uint64_t v)
{
    if (v == (uint32_t)v) {
        if (reg >= 8)
            x8(e, 0x41);
        x8(e, 0xb8 | (reg & 7));
        x32(e, (uint32_t)v);
    } else if (fits32((int64_t)v)) {
        XB(e, (uint8_t)(0x48 | reg >> 3), 0xc7, (uint8_t)(0xc0 | (reg & 7)));
        x32(e, (uint32_t)v);
    } else {
        XB(e, (uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7)));
        x64(e, v);
    }
}
/* lea to, [base + index*scale + disp]; base and index 0xff: none; 32-bit result when !w */
static inline void x_lea(struct xemit *e, bool w, unsigned to, unsigned base, unsigned index, unsigned scale,
                         int32_t disp)
{
    unsigned rex = (w ? 0x48u : 0x40u) | (to >> 3) << 2;
    unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
    if (base != 0xff)
        rex |= base >> 3;
    if (index != 0xff)
        rex |= (index >> 3) << 1;
    if (rex != 0x40)
        x8(e, rex);
    x8(e, 0x8d);
    if (base == 0xff) { /* SIB without base: a 32-bit displacement */
        XB(e, (uint8_t)(0x04 | (to & 7) << 3), (uint8_t)(ss << 6 | (index == 0xff ? 4 : index & 7) << 3 | 5));
        x32(e, (uint32_t)disp);
        return;
    }
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    if (index != 0xff || (base & 7) == 4)
        XB(e, (uint8_t)(mod << 6 | (to & 7) << 3 | 4),
           (uint8_t)(ss << 6 | (index == 0xff ? 4 : index & 7) << 3 | (base & 7)));
    else
        x8(e, mod << 6 | (to & 7) << 3 | (base & 7));
    if (mod == 1)
        x8(e, (uint8_t)disp);
    else if (mod == 2)
        x32(e, (uint32_t)disp);
}
/* jmp or jcc (op 0x70..0x7f) to an address; 32-bit displacement */
static inline void x_jmp_to(struct xemit *e, uint64_t at)
{
    x8(e, 0xe9);
    x32(e, (uint32_t)(at - (xhere(e) + 4)));
}
static inline void x_jcc_to(struct xemit *e, unsigned cc, uint64_t at)
{
    XB(e, 0x0f, (uint8_t)(0x80 | cc));
    x32(e, (uint32_t)(at - (xhere(e) + 4)));
}
static inline void x_call_to(struct xemit *e, uint64_t at)
{
    x8(e, 0xe8);
    x32(e, (uint32_t)(at - (xhere(e) + 4)));
}
/* A forward jump inside what is being written: returns what x_patch wants. */
static inline uint8_t *x_jcc(struct xemit *e, unsigned cc)
{
    XB(e, 0x0f, (uint8_t)(0x80 | cc));
    x32(e, 0);
    return e->p;
}
static inline uint8_t *x_jump(struct xemit *e)
{
    x8(e, 0xe9);
    x32(e, 0);
    return e->p;
}
static inline void x_patch(const struct xemit *e, uint8_t *from)
{
    uint32_t d = (uint32_t)(e->p - from);
    memcpy(from - 4, &d, 4);
}

enum {
    CC_O,
    CC_NO,
    CC_B,
    CC_AE,
    CC_E,
    CC_NE,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G
};

#endif
