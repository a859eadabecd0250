/*
 * xsys: instructions of the kernel's daily life that have no counterpart in user mode: flags and segment
 * bases in struct cpu; and divisions, which must not fault on the host.
 *
 * Each checks that it is the ordinary case and leaves all else to the interpreter, before anything is
 * changed. Those that change the TLB set say so by cpu->tlb_user alone; what follows from that for the
 * interpreter is seen to when C is entered (xout.c, arrive). Those that need CPL 0 are only made so for units
 * of a supervisor's TLB set (xinsn.c).
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum { STATUS = X86_ARITH_FLAGS };

/* Of RFLAGS in struct cpu: 1 OR, 4 AND. */
static void flags_word(struct maker *m, unsigned op, uint32_t imm)
{
    x_gs_imm(&m->e, op, XOFF(rflags), imm);
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
    if (!SEED_BUG(31))
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
    x32(&m->e, ~(uint32_t)(STATUS | X86_IF | (SEED_BUG(30) ? X86_DF : 0)));
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
    if (!SEED_BUG(36))
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
        slow_if(m, SEED_BUG(37) ? CC_A : CC_AE, index);
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

static void emit_mov_cr(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    ZydisRegister from = x->ops[1].reg.value;

    x_load(&m->e, H_R10,
           from == ZYDIS_REGISTER_CR0   ? XOFF(cr0)
           : from == ZYDIS_REGISTER_CR2 ? XOFF(cr2)
           : from == ZYDIS_REGISTER_CR3 ? XOFF(cr3)
                                        : XOFF(cr4));
    xmake_put_reg(m, (unsigned)ZydisRegisterGetId(x->ops[0].reg.value), H_R10);
}

static void emit_mov_seg(struct maker *m, unsigned index)
{
    struct xemit *e = &m->e;
    const ZydisDecodedOperand *op = m->insn[index].ops;
    unsigned g = (unsigned)ZydisRegisterGetId(
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op[0].reg.value));
    unsigned seg = (unsigned)ZydisRegisterGetId(op[1].reg.value), h = x_host(g);

    XB(e, 0x65, 0x44, 0x0f, 0xb7, 0x14, 0x25); /* movzx r10d, word gs:[..] */
    x32(e, xseg(seg, offsetof(struct x86_seg, sel)));
    if (op[0].size != 16)
        xmake_put_reg(m, g, H_R10);
    else if (h != X_IN_MEMORY)
        XB(e, 0x66, (uint8_t)(0x44 | h >> 3), 0x89, (uint8_t)(0xd0 | (h & 7))); /* mov .., r10w */
    else {
        XB(e, 0x65, 0x66, 0x44, 0x89, 0x14, 0x25); /* mov gs:[..], r10w */
        x32(e, x_gpr(g));
    }
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE */
static void emit_base(struct maker *m, unsigned index, bool write)
{
    struct xemit *e = &m->e;
    const struct xinsn *x = &m->insn[index];
    bool wide = x->zi.operand_width == 64;
    unsigned g = (unsigned)ZydisRegisterGetId(x->ops[0].reg.value);
    unsigned seg = x->zi.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || x->zi.mnemonic == ZYDIS_MNEMONIC_WRFSBASE
                       ? X86_FS
                       : X86_GS;

    xmake_spoil_flags(m);
    x_gs_test(e, XOFF(cr4), CR4_FSGSBASE);
    slow_if(m, CC_E, index);
    if (!write)
        x_load(e, H_R10, xseg(seg, offsetof(struct x86_seg, base)));
    else
        xmake_get_reg(m, H_R10, g);
    if (!wide)
        XB(e, 0x45, 0x89, 0xd2); /* mov r10d, r10d */
    if (!write) {
        xmake_put_reg(m, g, H_R10);
        return;
    }
    if (wide) {
        XB(e, 0x4d, 0x89, 0xd3, 0x49, 0xc1, 0xfb, 0x2f); /* mov r11, r10; sar r11, 47 */
        XB(e, 0x49, 0xff, 0xc3, 0x49, 0x83, 0xfb, 0x01); /* inc r11; cmp r11, 1: canonical */
        slow_if(m, CC_A, index);
    }
    x_store(e, H_R10, xseg(seg, offsetof(struct x86_seg, base)));
    x_store(e, H_R10, XOFF(fast_base) + 8 * seg);
}

static void emit_rdtsc(struct maker *m, unsigned index)
{
    struct xemit *e = &m->e;

    xmake_spoil_flags(m);
    if (m->u->set == TLB_USER) {
        x_gs_test(e, XOFF(cr4), CR4_TSD);
        slow_if(m, CC_NE, index);
    }
    if (m->insn[index].zi.mnemonic == ZYDIS_MNEMONIC_RDTSCP)
        XB(e, 0x0f, 0xae, 0xe8); /* lfence: it waits for what comes before (SDM 2B, RDTSCP) */
    x_call_to(e, m->k->glue.rdtsc);
    slow_if(m, CC_B, index);
    if (m->insn[index].zi.mnemonic == ZYDIS_MNEMONIC_RDTSCP)
        x_gs(e, false, 0x8b, H_RCX, XOFF(tsc_aux));
}

/* The register's upper bits choose the word, the lower ones the bit in it (SDM 2A 3.1.1.9, BitBase). */
static void emit_bit(struct maker *m, unsigned index)
{
    struct xemit *e = &m->e;
    const struct xinsn *x = &m->insn[index];
    const ZydisDecodedOperand *op = &x->ops[0];
    bool wide = x->zi.operand_width == 64, write = x->zi.mnemonic != ZYDIS_MNEMONIC_BT;
    unsigned g = (unsigned)ZydisRegisterGetId(
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, x->ops[1].reg.value));

    xmake_address(m, x, op);
    xmake_get_reg(m, H_R11, g);
    xmake_spoil_flags(m);
    if (!wide)
        XB(e, 0x4d, 0x63, 0xdb);                            /* movsxd r11, r11d */
    XB(e, 0x49, 0xc1, 0xfb, wide ? 6 : 5);                  /* sar r11, .. */
    XB(e, 0x4f, 0x8d, 0x14, (uint8_t)(wide ? 0xda : 0x9a)); /* lea r10, [r10 + r11*8 or 4] */
    xmake_add_base(m, op->mem.segment);
    xmake_probe(m, index, wide ? 8 : 4, write, 1);
    xmake_get_reg(m, H_R11, g);
    XB(e, 0x41, 0x83, 0xe3, wide ? 63 : 31); /* and r11d, .. */
    xmake_restore_flags(m);
    if (x->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK)
        x8(e, 0xf0);
    XB(e, (uint8_t)(0x45 | (wide ? 8 : 0)), 0x0f, x->zi.opcode, 0x1a); /* bt [r10], r11 */
    m->state = XF_HOST;
}

bool xmake_away_system(struct maker *m, unsigned index)
{
    struct xemit *e = &m->e;
    uint64_t next = m->u->linear + m->insn[index].at + m->insn[index].zi.length;

    xmake_spoil_flags(m);
    switch ((enum xkind)m->insn[index].kind) {
    case XK_IRET:
        x_mov(e, H_R10, H_R15);
        xmake_probe_stack(m, index, 40, false, false);
        x_call_to(e, m->k->glue.iret[m->u->set]);
        x8(e, 0xe9); /* jmp */
        x32(e, 0);
        xmake_stub(m, STUB_SLOW, index);
        break;
    case XK_STAC:
        flags_word(m, 1, X86_AC);
        x_gs_byte(e, XOFF(tlb_user), TLB_SUPER);
        xmake_away_set(m, next, TLB_SUPER);
        break;
    case XK_CLAC:
        x_gs_test(e, XOFF(cr4), CR4_SMAP);
        slow_if(m, CC_E, index);
        flags_word(m, 4, ~(uint32_t)X86_AC);
        x_gs_byte(e, XOFF(tlb_user), TLB_SUPER_SMAP);
        xmake_away_set(m, next, TLB_SUPER_SMAP);
        break;
    case XK_SYSCALL:
        x_gs_test(e, XOFF(efer), EFER_SCE);
        slow_if(m, CC_E, index);
        x_mov_imm(e, H_RCX, next);
        x_jmp_to(e, m->k->glue.syscall);
        break;
    default: /* SYSRET */
        x_gs_test(e, XOFF(efer), EFER_SCE);
        slow_if(m, CC_E, index);
        x_gs_test(e, x_gpr(X86_R11), X86_TF | X86_AC | X86_RF | X86_VM | X86_VIF | X86_VIP);
        slow_if(m, CC_NE, index);
        slow_if_wanted(m, index);
        XB(e, 0x49, 0x89, 0xca); /* mov r10, rcx */
        XB(e, 0x49, 0xc1, 0xfa, 0x2f, 0x49, 0xff, 0xc2, 0x49, 0x83, 0xfa,
           0x01); /* sar r10, 47; inc r10; cmp r10, 1: canonical */
        slow_if(m, CC_A, index);
        x_jmp_to(e, m->k->glue.sysret);
        break;
    }
    return false;
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
    case XK_MOV_CR:
        emit_mov_cr(m, index);
        break;
    case XK_MOV_SEG:
        emit_mov_seg(m, index);
        break;
    case XK_RD_BASE:
        emit_base(m, index, false);
        break;
    case XK_WR_BASE:
        emit_base(m, index, true);
        break;
    case XK_RDTSC:
        emit_rdtsc(m, index);
        break;
    case XK_DIV:
        emit_div(m, index);
        break;
    case XK_BIT:
        emit_bit(m, index);
        break;
    case XK_PUSH_MEM:
        emit_push_mem(m, index);
        break;
    default:
        break;
    }
}

/* ---- SYSCALL and SYSRET: the glue ---- */

/* CS and SS are flat; their selectors are R11 + cs and R11 + ss, each with RPL dpl. Spoils R10. */
static void flat_segments(struct xemit *e, unsigned dpl, unsigned cs, unsigned ss)
{
    _Static_assert(offsetof(struct x86_seg, attr) == offsetof(struct x86_seg, limit) + 4, "one word");
    _Static_assert(sizeof(struct x86_seg) == offsetof(struct x86_seg, sel) + 8, "one word");
    static const unsigned segs[] = {X86_CS, X86_SS};

    for (unsigned i = 0; i < 2; i++) {
        uint64_t attr =
            (i ? 3u | X86_SEG_DB : 0xbu | X86_SEG_L) | X86_SEG_S | dpl << 5 | X86_SEG_P | X86_SEG_G;
        x_gs_zero(e, xseg(segs[i], offsetof(struct x86_seg, base)));
        x_mov_imm(e, H_R10, attr << 32 | 0xffffffff);
        x_store(e, H_R10, xseg(segs[i], offsetof(struct x86_seg, limit)));
        XB(e, 0x45, 0x8d, 0x53, (uint8_t)(i ? ss : cs)); /* lea r10d, [r11 + ..] */
        if (dpl)
            XB(e, 0x41, 0x83, 0xca, (uint8_t)dpl); /* or r10d, .. */
        XB(e, 0x45, 0x0f, 0xb7, 0xd2);             /* movzx r10d, r10w */
        x_store(e, H_R10, xseg(segs[i], offsetof(struct x86_seg, sel)));
    }
}

/* RFLAGS = R10, in struct cpu and its status in the slot. Spoils R11. */
static void set_flags(struct xemit *e)
{
    x_store(e, H_R10, XOFF(rflags));
    XB(e, 0x45, 0x89, 0xd3, 0x41, 0x81, 0xe3); /* mov r11d, r10d; and r11d, .. */
    x32(e, STATUS);
    XB(e, 0x4c, 0x89, 0x1c, 0x24); /* mov [rsp], r11 */
}

void xglue_indirect(struct xemit *e, const struct xcache *k, unsigned set)
{
    _Static_assert(JC_BITS == 16, "the next instruction but one");
    if (k->rorx)
        XB(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, JC_SHIFT); /* rorx r11, r10, .. */
    else
        XB(e, 0x4d, 0x89, 0xd3, 0x49, 0xc1, 0xeb, JC_SHIFT); /* mov r11, r10; shr r11, .. */
    XB(e, 0x45, 0x0f, 0xb7, 0xdb);                           /* movzx r11d, r11w */
    XB(e, 0x65, 0x42, 0xff, 0x24, 0xdd);                     /* jmp gs:[r11*8 + ..] */
    x32(e, XOFF(x.jc) + set * JC_SIZE * 8);
}

void xglue_enter_set(struct xemit *e, const struct xcache *k, unsigned set)
{
    x_gs_byte(e, XOFF(tlb_user), set);
    xglue_indirect(e, k, set);
}

/* RCX is set already; SDM 2B SYSCALL. */
static void glue_syscall(const struct xcache *k, struct xemit *e)
{
    XB(e, 0x44, 0x8b, 0x1c, 0x24, 0x41, 0x81, 0xe3); /* mov r11d, [rsp]; and r11d, STATUS */
    x32(e, STATUS);
    x_load(e, H_R10, XOFF(rflags));
    XB(e, 0x49, 0x81, 0xe2); /* and r10, .. */
    x32(e, ~(uint32_t)STATUS);
    XB(e, 0x4d, 0x09, 0xda); /* or r10, r11 */
    x_store(e, H_R10, x_gpr(X86_R11));
    x_load(e, H_R11, XOFF(sfmask));
    XB(e, 0x49, 0xf7, 0xd3, 0x4d, 0x21, 0xda, 0x49, 0x83, 0xca, 0x02); /* not r11; and r10, r11; or r10, 2 */
    set_flags(e);
    x_gs(e, false, 0x8b, H_R11, XOFF(star) + 4);
    XB(e, 0x41, 0x81, 0xe3); /* and r11d, 0xfffc */
    x32(e, 0xfffc);
    flat_segments(e, 0, 0, 8);
    x_gs_byte(e, XOFF(cpl), 0);
    x_load(e, H_R10, XOFF(lstar));
    x_gs_test(e, XOFF(rflags), X86_AC);
    uint8_t *checked = x_jcc(e, CC_NE);
    x_gs_test(e, XOFF(cr4), CR4_SMAP);
    uint8_t *no_smap = x_jcc(e, CC_E);
    xglue_enter_set(e, k, TLB_SUPER_SMAP);
    x_patch(e, checked);
    x_patch(e, no_smap);
    xglue_enter_set(e, k, TLB_SUPER);
}

/* What it checks has been: xmake_away_system; SDM 2B SYSRET. */
static void glue_sysret(const struct xcache *k, struct xemit *e)
{
    x_load(e, H_R10, x_gpr(X86_R11));
    XB(e, 0x49, 0x81, 0xe2); /* and r10, .. */
    x32(e, 0x3c7fd7);
    XB(e, 0x49, 0x83, 0xca, 0x02); /* or r10, 2 */
    set_flags(e);
    x_gs(e, false, 0x8b, H_R11, XOFF(star) + 4);
    XB(e, 0x41, 0xc1, 0xeb, 0x10); /* shr r11d, 16 */
    flat_segments(e, 3, 16, 8);
    x_gs_byte(e, XOFF(cpl), 3);
    XB(e, 0x49, 0x89, 0xca); /* mov r10, rcx */
    xglue_enter_set(e, k, TLB_USER);
}

/* EDX:EAX = the guest's TSC: engine_now (clock.c) and tsc_at (time.c) once more. */
static void glue_rdtsc(struct xemit *e, const struct engine_clock *clock)
{
    uint8_t *fail[3];

    x_mov_imm(e, H_R10, (uintptr_t)clock);
    XB(e, 0x4d, 0x8b, 0x1a);                                          /* mov r11, [r10]: seq */
    XB(e, 0x0f, 0x31, 0x0f, 0xae, 0xe8);                              /* rdtsc; lfence */
    XB(e, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0);                  /* shl rdx, 32; or rax, rdx */
    XB(e, 0x49, 0x2b, 0x42, offsetof(struct engine_clock, from_tsc)); /* sub rax, [r10 + ..] */
    XB(e, 0x48, 0x3d);                                                /* cmp rax, .. */
    x32(e, CLOCK_STALE);
    fail[0] = x_jcc(e, CC_AE);
    XB(e, 0x49, 0x0f, 0xaf, 0x42, offsetof(struct engine_clock, mul)); /* imul rax, [r10 + ..] */
    XB(e, 0x48, 0xc1, 0xe8, 0x20);                                     /* shr rax, 32 */
    XB(e, 0x49, 0x03, 0x42, offsetof(struct engine_clock, from_ns));   /* add rax, [r10 + ..] */
    XB(e, 0x4d, 0x3b, 0x1a);                                           /* cmp r11, [r10] */
    fail[1] = x_jcc(e, CC_NE);
    XB(e, 0x41, 0xf6, 0xc3, 0x01); /* test r11b, 1 */
    fail[2] = x_jcc(e, CC_NE);
    x_load(e, H_R10, XOFF(priv));
    XB(e, 0x49, 0xf7, 0xa2); /* mul qword [r10 + ..] */
    x32(e, offsetof(struct cpu_private, tsc_mul));
    XB(e, 0x48, 0x0f, 0xac, 0xd0, TSC_SHIFT); /* shrd rax, rdx, .. */
    x_gs(e, true, 0x03, H_RAX, XOFF(tsc_offset));
    XB(e, 0x48, 0x89, 0xc2, 0x48, 0xc1, 0xea, 0x20, 0x89, 0xc0); /* mov rdx, rax; shr rdx, 32; mov eax, eax */
    XB(e, 0xf8, 0xc3);                                           /* clc; ret */
    for (unsigned i = 0; i < 3; i++)
        x_patch(e, fail[i]);
    XB(e, 0xf9, 0xc3); /* stc; ret */
}

void xglue_system(struct xcache *k, struct xemit *e, const struct engine_clock *clock)
{
    k->glue.rdtsc = xglue_align(e);
    glue_rdtsc(e, clock);
    k->glue.syscall = xglue_align(e);
    glue_syscall(k, e);
    k->glue.sysret = xglue_align(e);
    glue_sysret(k, e);
    xglue_iret(k, e);
}
