/*
 * xglue: code around the units, written once. In: registers from struct cpu. Out: registers to struct cpu, a
 * C function, and back in where it says.
 *
 * The stack inside: [RSP] is the flags slot; RSP is 8 modulo 16 there, so that a unit's call and the glue's
 * own bring a C function the alignment it expects (System V ABI 3.2.2).
 */
#include <stddef.h>
#include "accel/soft/engine/xlate.h"

enum { STATUS = 0x8d5 };

static const struct {
    uint8_t host, guest;
} homes[] = {
    {H_RAX, 0}, {H_RCX, 1}, {H_RDX, 2}, {H_RBX, 3},  {H_R15, 4},  {H_RBP, 5},  {H_RSI, 6},
    {H_RDI, 7}, {H_R8, 8},  {H_R9, 9},  {H_R12, 12}, {H_R13, 13}, {H_R14, 14},
};

unsigned x_host(unsigned g)
{
    switch (g) {
    case 4:
        return H_R15;
    case 10:
    case 11:
    case 15:
        return X_IN_MEMORY;
    default:
        return g;
    }
}

uint32_t x_gpr(unsigned g)
{
    return XOFF(gpr) + 8 * g;
}

/* movups/vmovdqu of one register to or from gs:[disp] */
static void vector(struct xemit *e, bool avx, bool store, unsigned reg, uint32_t disp)
{
    x8(e, 0x65);
    if (avx)
        XB(e, 0xc5, (uint8_t)((reg < 8 ? 0x80 : 0) | 0x7e), (uint8_t)(store ? 0x7f : 0x6f));
    else {
        if (reg >= 8)
            x8(e, 0x44);
        XB(e, 0x0f, (uint8_t)(store ? 0x11 : 0x10));
    }
    XB(e, (uint8_t)(0x04 | (reg & 7) << 3), 0x25);
    x32(e, disp);
}

static void mxcsr(struct xemit *e, bool store, uint32_t disp)
{
    XB(e, 0x65, 0x0f, 0xae, (uint8_t)(store ? 0x1c : 0x14), 0x25);
    x32(e, disp);
}

static void vectors(struct xemit *e, bool avx, bool store)
{
    for (unsigned i = 0; i < 16; i++)
        vector(e, avx, store, i, XOFF(fpu.ymm) + 32 * i);
}

/* mov dword gs:[disp], imm32 */
static void store_imm(struct xemit *e, uint32_t disp, uint32_t v)
{
    XB(e, 0x65, 0xc7, 0x04, 0x25);
    x32(e, disp);
    x32(e, v);
}

/* Flags from the slot to the host; RAX last, from `rax`. OF by an addition that overflows when bit 3 of the
 * second byte (OF) is set: TF is clear, IOPL and NT are zero in user mode, so its value is at most 15. */
static void flags_from_slot(struct xemit *e, uint32_t rax)
{
    XB(e, 0x8a, 0x44, 0x24, 0x01); /* mov al, [rsp+1] */
    XB(e, 0x04, 0x78);             /* add al, 0x78 */
    XB(e, 0x8a, 0x24, 0x24);       /* mov ah, [rsp] */
    x8(e, 0x9e);                   /* sahf */
    x_load(e, H_RAX, rax);
}

static void reload(struct xemit *e, bool avx)
{
    x_gs_cmp32(e, XOFF(x.vec_want), 0);
    uint8_t *no_vectors = x_jcc(e, CC_E);
    vectors(e, avx, false);
    mxcsr(e, true, XOFF(x.host_mxcsr));
    mxcsr(e, false, XOFF(x.vec_mxcsr));
    x_gs(e, false, 0x8b, H_RAX, XOFF(x.vec_want));
    x_gs(e, false, 0x89, H_RAX, XOFF(x.vec_live));
    store_imm(e, XOFF(x.vec_want), 0);
    x_patch(e, no_vectors);
    x_load(e, H_RAX, XOFF(rflags));
    x8(e, 0x25); /* and eax, STATUS */
    x32(e, STATUS);
    XB(e, 0x48, 0x89, 0x04, 0x24); /* mov [rsp], rax */
    for (unsigned i = 1; i < sizeof homes / sizeof homes[0]; i++)
        x_load(e, homes[i].host, x_gpr(homes[i].guest));
    flags_from_slot(e, x_gpr(0));
    XB(e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[go] */
    x32(e, XOFF(x.go));
}

/* Everything into struct cpu. The slot holds the flags; it is at [rsp]. Spoils all registers but RSI. */
static void spill_rest(struct xemit *e, bool avx)
{
    XB(e, 0x8b, 0x04, 0x24); /* mov eax, [rsp] */
    x8(e, 0x25);
    x32(e, STATUS);
    x_load(e, H_RCX, XOFF(rflags));
    XB(e, 0x48, 0x81, 0xe1); /* and rcx, ~STATUS */
    x32(e, ~(uint32_t)STATUS);
    XB(e, 0x48, 0x09, 0xc1); /* or rcx, rax */
    x_store(e, H_RCX, XOFF(rflags));
    x_gs_cmp32(e, XOFF(x.vec_live), 0);
    uint8_t *no_vectors = x_jcc(e, CC_E);
    vectors(e, avx, true);
    mxcsr(e, true, XOFF(fpu.mxcsr));
    mxcsr(e, false, XOFF(x.host_mxcsr));
    store_imm(e, XOFF(x.vec_live), 0);
    x_patch(e, no_vectors);
}

static void spill_gprs(struct xemit *e)
{
    for (unsigned i = 0; i < sizeof homes / sizeof homes[0]; i++)
        x_store(e, homes[i].host, x_gpr(homes[i].guest));
}

/* Call fn(cpu, rsi) and go where it says. RSP is at the slot. */
static void call_c(struct xemit *e, uintptr_t fn, uint64_t reload_at, uint64_t leave_at)
{
    x_load(e, H_RDI, XOFF(self));
    XB(e, 0x48, 0x83, 0xec, 0x08); /* sub rsp, 8 */
    x_mov_imm(e, H_RAX, fn);
    XB(e, 0xff, 0xd0);             /* call rax */
    XB(e, 0x48, 0x83, 0xc4, 0x08); /* add rsp, 8 */
    XB(e, 0x48, 0x85, 0xc0);       /* test rax, rax */
    x_jcc_to(e, CC_E, leave_at);
    x_store(e, H_RAX, XOFF(x.go));
    x_jmp_to(e, reload_at);
}

/* A way out that units call: [rsp] is the return address, the slot above it. Two entries: flags in the host,
 * in the slot. */
static void way_out(struct xemit *e, bool avx, uint64_t at[2], uintptr_t fn, uint64_t reload_at,
                    uint64_t leave_at)
{
    at[0] = xglue_align(e);
    XB(e, 0x9c);                   /* pushfq */
    XB(e, 0x8f, 0x44, 0x24, 0x08); /* pop [rsp+8]: the slot, RSP is counted after the pop */
    at[1] = xhere(e);
    spill_gprs(e);
    XB(e, 0x5e); /* pop rsi */
    spill_rest(e, avx);
    call_c(e, fn, reload_at, leave_at);
}

void xglue_make(struct xcache *k, const struct engine_clock *clock)
{
    struct xemit e = {.p = k->code->code, .delta = k->delta};
    bool avx = __builtin_cpu_supports("avx");
    uint64_t unused[2];

    k->rorx = __builtin_cpu_supports("bmi2") ? 1 : 0;
    uint64_t leave_at = xhere(&e);
    XB(&e, 0x48, 0x83, 0xc4, 0x10); /* add rsp, 16 */
    XB(&e, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b,
       0xc3); /* pop r15..r12, rbp, rbx; ret */
    uint64_t reload_at = xglue_align(&e);
    reload(&e, avx);
    /* enter(cpu, where): GS is set */
    k->glue.enter = xglue_align(&e);
    XB(&e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx, rbp, r12..r15 */
    XB(&e, 0x48, 0x83, 0xec, 0x10);                                     /* sub rsp, 16 */
    x_store(&e, H_RSI, XOFF(x.go));
    x_jmp_to(&e, reload_at);

    way_out(&e, avx, k->glue.slow, (uintptr_t)xlate_slow, reload_at, leave_at);
    way_out(&e, avx, k->glue.link, (uintptr_t)xlate_link, reload_at, leave_at);
    way_out(&e, avx, unused, (uintptr_t)xlate_poll, reload_at, leave_at);
    k->glue.poll = unused[1];
    way_out(&e, avx, unused, (uintptr_t)xlate_lost, reload_at, leave_at);
    k->glue.lost = unused[1];
    way_out(&e, avx, unused, (uintptr_t)xlate_once, reload_at, leave_at);
    k->glue.once = unused[1];
    way_out(&e, avx, unused, (uintptr_t)xlate_vec, reload_at, leave_at);
    k->glue.vec = unused[1];

    k->glue.miss = xglue_align(&e);
    x_store(&e, H_R10, XOFF(x.target));
    spill_gprs(&e);
    spill_rest(&e, avx);
    call_c(&e, (uintptr_t)xlate_miss, reload_at, leave_at);
    xglue_system(k, &e, clock);
    xglue_strings(k, &e);
    xglue_stack(k, &e);
    xglue_align(&e);
    k->first = e.p;
    xregion_begin(k);
}
