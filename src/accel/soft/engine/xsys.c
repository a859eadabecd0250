/*
 * xsys: instructions of the kernel's daily life that have no counterpart in user mode: flags and segment
 * bases in struct cpu; and divisions, which must not fault on the host.
 *
 * Each checks that it is the ordinary case and leaves all else to the interpreter, before anything is
 * changed. Those that need CPL 0 are only made so for units of a supervisor's TLB set (xinsn.c).
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum { STATUS = X86_ARITH_FLAGS };

/* op dword gs:[disp], imm32: 1 OR, 4 AND, 6 XOR */
static void flags_word(struct maker *m, unsigned op, uint32_t imm)
{
    XB(&m->e, 0x65, 0x81, (uint8_t)(0x04 | op << 3), 0x25);
    x32(&m->e, XOFF(rflags));
    x32(&m->e, imm);
}

static void slow_if(struct maker *m, unsigned cc, unsigned index)
{
    x_jcc(&m->e, cc);
    xmake_stub(m, STUB_SLOW, index);
}

static void slow_if_wanted(struct maker *m, unsigned index)
{
    x_gs_cmp32(&m->e, XOFF(attention), 0);
    slow_if(m, CC_NE, index);
}

static void emit_sti(struct maker *m, unsigned index)
{
    /* Nobody waits for interrupts to be enabled: then the shadow over the next instruction hides nothing. */
    slow_if_wanted(m, index);
    flags_word(m, 1, X86_IF);
}

static void emit_pushf(struct maker *m, unsigned index)
{
    xmake_push_place(m, index);
    XB(&m->e, 0x44, 0x8b, 0x1c, 0x24, 0x41, 0x81, 0xe3); /* mov r11d, [rsp]; and r11d, STATUS */
    x32(&m->e, STATUS);
    XB(&m->e, 0x4d, 0x89, 0x1a); /* mov [r10], r11 */
    x_load(&m->e, H_R11, XOFF(rflags));
    XB(&m->e, 0x41, 0x81, 0xe3); /* and r11d, .. */
    x32(&m->e, ~(uint32_t)(STATUS | X86_VM | X86_RF));
    XB(&m->e, 0x4d, 0x09, 0x1a); /* or [r10], r11 */
    xmake_move_sp(m, -8);
}

/* Only status flags and IF may change. */
static void emit_popf(struct maker *m, unsigned index)
{
    xmake_pop_place(m, index);
    XB(&m->e, 0x4d, 0x8b, 0x1a);                  /* mov r11, [r10] */
    x_gs(&m->e, true, 0x33, H_R11, XOFF(rflags)); /* xor r11, gs:[rflags] */
    XB(&m->e, 0x41, 0xf7, 0xc3);                  /* test r11d, .. */
    x32(&m->e, ~(uint32_t)(STATUS | X86_IF));
    slow_if(m, CC_NE, index);
    slow_if_wanted(m, index);
    XB(&m->e, 0x45, 0x8b, 0x1a); /* mov r11d, [r10] */
    XB(&m->e, 0x45, 0x89, 0xda); /* mov r10d, r11d */
    XB(&m->e, 0x41, 0x81, 0xe2); /* and r10d, STATUS */
    x32(&m->e, STATUS);
    XB(&m->e, 0x4c, 0x89, 0x14, 0x24); /* mov [rsp], r10 */
    XB(&m->e, 0x41, 0x81, 0xe3);       /* and r11d, IF */
    x32(&m->e, X86_IF);
    flags_word(m, 4, ~(uint32_t)X86_IF);
    x_gs(&m->e, false, 0x09, H_R11, XOFF(rflags)); /* or gs:[rflags], r11d */
    xmake_move_sp(m, 8);
}

static void emit_swapgs(struct maker *m)
{
    uint32_t base =
        XOFF(seg) + X86_GS * (uint32_t)sizeof(struct x86_seg) + (uint32_t)offsetof(struct x86_seg, base);

    x_load(&m->e, H_R10, base);
    x_load(&m->e, H_R11, XOFF(kernel_gs_base));
    x_store(&m->e, H_R11, base);
    x_store(&m->e, H_R11, XOFF(fast_base) + 8 * X86_GS);
    x_store(&m->e, H_R10, XOFF(kernel_gs_base));
}

/* The divisor is in R11. Quotients that do not fit are #DE, as is division by zero. Flags stay as they were,
 * which is one of the things that undefined ones may do. */
static void emit_div(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    bool wide = x->zi.operand_width == 64;
    uint8_t w = wide ? 8 : 0;

    if (x->mem) {
        xmake_memory(m, index);
        XB(&m->e, (uint8_t)(0x45 | w), 0x8b, 0x1a); /* mov r11, [r10] */
    } else {
        xmake_get_reg(m, H_R11, (unsigned)ZydisRegisterGetId(x->ops[0].reg.value));
        xmake_spoil_flags(m);
    }
    if (x->zi.mnemonic == ZYDIS_MNEMONIC_DIV) {
        XB(&m->e, (uint8_t)(0x44 | w), 0x39, 0xda | 0); /* cmp rdx, r11 */
        slow_if(m, CC_AE, index);
        XB(&m->e, (uint8_t)(0x41 | w), 0xf7, 0xf3); /* div r11 */
        return;
    }
    /* RDX is RAX's sign, the divisor neither 0 nor -1: the quotient fits */
    XB(&m->e, (uint8_t)(0x41 | w), 0x89, 0xc2);                            /* mov r10, rax */
    XB(&m->e, (uint8_t)(0x41 | w), 0xc1, 0xfa, (uint8_t)(wide ? 63 : 31)); /* sar r10, 63 */
    XB(&m->e, (uint8_t)(0x41 | w), 0x39, 0xd2);                            /* cmp r10, rdx */
    slow_if(m, CC_NE, index);
    XB(&m->e, (uint8_t)(0x45 | w), 0x8d, 0x53, 0x01); /* lea r10, [r11+1] */
    XB(&m->e, (uint8_t)(0x41 | w), 0x83, 0xfa, 0x01); /* cmp r10, 1 */
    slow_if(m, CC_BE, index);
    XB(&m->e, (uint8_t)(0x41 | w), 0xf7, 0xfb); /* idiv r11 */
}

static void emit_push_mem(struct maker *m, unsigned index)
{
    xmake_memory(m, index);
    XB(&m->e, 0x4d, 0x8b, 0x12); /* mov r10, [r10] */
    x_store(&m->e, H_R10, XOFF(x.target));
    xmake_push_place(m, index);
    x_load(&m->e, H_R11, XOFF(x.target));
    XB(&m->e, 0x4d, 0x89, 0x1a); /* mov [r10], r11 */
    xmake_move_sp(m, -8);
}

void xmake_system(struct maker *m, unsigned index)
{
    switch ((enum xkind)m->insn[index].kind) {
    case XK_CLI:
        xmake_spoil_flags(m);
        flags_word(m, 4, ~(uint32_t)X86_IF);
        break;
    case XK_STI:
        xmake_spoil_flags(m);
        emit_sti(m, index);
        break;
    case XK_CLD:
        xmake_spoil_flags(m);
        flags_word(m, 4, ~(uint32_t)X86_DF);
        break;
    case XK_PUSHF:
        emit_pushf(m, index);
        break;
    case XK_POPF:
        emit_popf(m, index);
        break;
    case XK_SWAPGS:
        emit_swapgs(m);
        break;
    case XK_DIV:
        emit_div(m, index);
        break;
    case XK_PUSH_MEM:
        emit_push_mem(m, index);
        break;
    default:
        break;
    }
}
