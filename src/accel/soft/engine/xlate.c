/*
 * xlate: one unit. The instructions are decoded first, then written in one pass with the ways out behind
 * them.
 */
#include <stddef.h>
#include "accel/soft/engine/xlate.h"

enum { MAX_STUBS = 3 * XUNIT_INSNS, LINE = 64 };

struct stub {
    uint8_t *from;   /* behind the displacement of the jump that leads here */
    uint8_t kind;    /* enum stub_kind */
    uint8_t state;   /* enum xflags */
    uint8_t index;   /* of the instruction */
    uint8_t *go_on;  /* STUB_SLOW: where its successor begins */
    uint64_t target; /* STUB_LINK, STUB_AWAY */
};
enum stub_kind { STUB_SLOW, STUB_LINK, STUB_AWAY, STUB_POLL, STUB_VEC };

struct maker {
    struct xemit e;
    struct cpu *c;
    struct xcache *k;
    struct xunit *u;
    uint8_t *start;
    struct xinsn *insn;
    unsigned count, stubs;
    uint8_t state;  /* enum xflags */
    bool failed;    /* no room for another link */
    bool ambiguous; /* state XF_ANY where it must be known */
    struct stub stub[MAX_STUBS];
};

/* ---- flags ---- */

static void save_flags(struct maker *m)
{
    if (m->state != XF_HOST)
        return;
    XB(&m->e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    m->state = XF_BOTH;
}

static void restore_code(struct xemit *e)
{
    x_store(e, H_RAX, XOFF(x.save));
    XB(e, 0x8a, 0x44, 0x24, 0x01, 0x04, 0x78, 0x8a, 0x24, 0x24, 0x9e); /* as in xglue.c: flags_from_slot */
    x_load(e, H_RAX, XOFF(x.save));
}

static void restore_flags(struct maker *m)
{
    if (m->state != XF_SLOT)
        return;
    restore_code(&m->e);
    m->state = XF_BOTH;
}

/* INC and DEC keep CF alone. */
static void restore_cf(struct maker *m)
{
    if (m->state == XF_SLOT)
        XB(&m->e, 0x0f, 0xba, 0x24, 0x24, 0x00); /* bt dword [rsp], 0 */
}

/* What comes next spoils the host's flags. */
static void spoil_flags(struct maker *m)
{
    save_flags(m);
    m->state = XF_SLOT;
}

/* ---- ways out ---- */

static struct stub *add_stub(struct maker *m, enum stub_kind kind, unsigned index)
{
    struct stub *s = &m->stub[m->stubs++];

    *s = (struct stub){.from = m->e.p, .kind = (uint8_t)kind, .state = m->state, .index = (uint8_t)index};
    return s;
}

static void emit_meta(struct maker *m, unsigned index, const uint8_t *go_on)
{
    struct xmeta t = {.unit = (uint32_t)(((uint8_t *)m->u - m->k->meta) / 8),
                      .insn = index < m->count ? m->insn[index].at : 0,
                      .go_on = (uint16_t)(go_on ? go_on - m->start : 0),
                      .index = (uint8_t)index};
    xbytes(&m->e, &t, sizeof t);
}

/* Leave one instruction to the interpreter; go_on NULL: what follows it is looked up anew. */
static void emit_call_slow(struct maker *m, unsigned state, unsigned index, const uint8_t *go_on)
{
    x_call_to(&m->e, m->k->glue.slow[state != XF_HOST]);
    emit_meta(m, index, go_on);
}

static void emit_interpreted(struct maker *m, unsigned index, bool more)
{
    enum { CALL = 5 };
    m->ambiguous |= m->state == XF_ANY;
    emit_call_slow(m, m->state, index, more ? m->e.p + CALL + sizeof(struct xmeta) : NULL);
    m->state = XF_BOTH;
}

static bool same_page(const struct maker *m, uint64_t target)
{
    return (target ^ m->u->linear) < 4096;
}

/* So that a displacement may be changed while others run it: it lies within a cache line. */
static void align_site(struct maker *m, unsigned opcode_bytes)
{
    uint64_t at = xhere(&m->e) + opcode_bytes;
    for (unsigned n = (at & (LINE - 1)) > LINE - 4 ? LINE - (at & (LINE - 1)) : 0; n; n--)
        x8(&m->e, 0x90);
}

/* The target is on another page: by the jump cache. */
static void emit_away(struct maker *m, uint64_t target)
{
    save_flags(m);
    x_mov_imm(&m->e, H_R10, target);
    XB(&m->e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[..] */
    x32(&m->e, XOFF(x.jc) + (m->u->set * JC_SIZE + jc_index(target)) * 8);
}

static void emit_jump(struct maker *m, unsigned index, uint64_t target)
{
    m->ambiguous |= m->state == XF_ANY;
    if (!same_page(m, target)) {
        emit_away(m, target);
        return;
    }
    align_site(m, 1);
    x8(&m->e, 0xe9);
    x32(&m->e, 0);
    add_stub(m, STUB_LINK, index)->target = target;
}

static void emit_jcc(struct maker *m, unsigned index, uint64_t target)
{
    restore_flags(m);
    align_site(m, 2);
    XB(&m->e, 0x0f, (uint8_t)(0x80 | (m->insn[index].zi.opcode & 15)));
    x32(&m->e, 0);
    add_stub(m, same_page(m, target) ? STUB_LINK : STUB_AWAY, index)->target = target;
}

/* To the linear address in R10; flags are in the slot. */
static void emit_indirect(struct maker *m)
{
    XB(&m->e, 0x45, 0x89, 0xd3, 0x41, 0x81, 0xe3); /* mov r11d, r10d; and r11d, .. */
    x32(&m->e, JC_SIZE - 1);
    XB(&m->e, 0x65, 0x42, 0xff, 0x24, 0xdd); /* jmp gs:[r11*8 + ..] */
    x32(&m->e, XOFF(x.jc) + m->u->set * JC_SIZE * 8);
}

/* ---- memory ---- */

/* R10 = effective address of operand op; the segment's base is not in it. */
static void emit_address(struct maker *m, const struct xinsn *x, const ZydisDecodedOperand *op)
{
    struct xemit *e = &m->e;
    bool wide = x->zi.address_width == 64;
    int64_t disp = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
    unsigned base = 0xff, index = 0xff;

    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
        uint64_t at = m->u->linear + x->at + x->zi.length + (uint64_t)disp;
        x_mov_imm(e, H_R10, wide ? at : (uint32_t)at);
        return;
    }
    if (op->mem.base != ZYDIS_REGISTER_NONE) {
        unsigned g = (unsigned)ZydisRegisterGetId(op->mem.base);
        base = x_host(g);
        if (base == X_IN_MEMORY) {
            x_load(e, H_R10, x_gpr(g));
            base = H_R10;
        }
    }
    if (op->mem.index != ZYDIS_REGISTER_NONE) {
        unsigned g = (unsigned)ZydisRegisterGetId(op->mem.index);
        index = x_host(g);
        if (index == X_IN_MEMORY) {
            x_load(e, H_R11, x_gpr(g));
            index = H_R11;
        }
    }
    if (base == 0xff && index == 0xff)
        x_mov_imm(e, H_R10, wide ? (uint64_t)disp : (uint32_t)disp);
    else if (base != 0xff && index == 0xff && disp == 0 && wide) {
        if (base != H_R10)
            x_mov(e, H_R10, base);
    } else
        x_lea(e, wide, H_R10, base, index, op->mem.scale ? op->mem.scale : 1, (int32_t)disp);
}

/* R10: linear address in, host address out, for an access of n bytes; by the stub when the fast TLB does not
 * know it. */
static void emit_probe(struct maker *m, unsigned index, unsigned n, bool write, unsigned align)
{
    struct xemit *e = &m->e;
    uint32_t f = XOFF(x.ftlb) + m->u->set * (uint32_t)sizeof(struct ftlb);

    spoil_flags(m);
    XB(e, 0x4d, 0x89, 0xd3, 0x49, 0xc1, 0xeb, 0x0c); /* mov r11, r10; shr r11, 12 */
    XB(e, 0x45, 0x0f, 0xb7, 0xdb);                   /* movzx r11d, r11w */
    x_gs_index(e, 0x2b, H_R10, H_R11,
               f + (uint32_t)(write ? offsetof(struct ftlb, tag_write) : offsetof(struct ftlb, tag_read)));
    XB(e, 0x49, 0x81, 0xfa); /* cmp r10, 4096 - n */
    x32(e, 4096 - n);
    x_jcc(e, CC_A);
    add_stub(m, STUB_SLOW, index);
    if (align > 1) {
        XB(e, 0x41, 0xf6, 0xc2, (uint8_t)(align - 1)); /* test r10b, align-1 */
        x_jcc(e, CC_NE);
        add_stub(m, STUB_SLOW, index);
    }
    x_gs_index(e, 0x03, H_R10, H_R11, f + (uint32_t)offsetof(struct ftlb, host));
}

static void add_base(struct maker *m, ZydisRegister seg)
{
    if (seg != ZYDIS_REGISTER_FS && seg != ZYDIS_REGISTER_GS)
        return;
    unsigned s = seg == ZYDIS_REGISTER_FS ? X86_FS : X86_GS;
    spoil_flags(m);
    x_gs(&m->e, true, 0x03, H_R10, XOFF(fast_base) + 8 * s);
}

/* Alignment that a vector access demands (SDM 1 14.9, table 14-22; 2A exceptions type 1 and 4), else 1. */
static unsigned alignment(const struct xinsn *x, unsigned n)
{
    if (!x->vec || n < 16)
        return 1;
    bool legacy = x->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return 1;
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return n;
    default:
        return legacy ? 16 : 1;
    }
}

static void emit_memory(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    const ZydisDecodedOperand *op = &x->ops[x->mem - 1];
    unsigned n = op->size / 8u;

    emit_address(m, x, op);
    add_base(m, op->mem.segment);
    emit_probe(m, index, n, op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE, alignment(x, n));
}

/* The successor of instruction `index` begins here: its slow ways join. */
static void join(struct maker *m, unsigned first_stub, unsigned index)
{
    for (unsigned i = first_stub; i < m->stubs; i++)
        if (m->stub[i].kind == STUB_SLOW && m->stub[i].index == index)
            m->stub[i].go_on = m->e.p;
}

/* ---- instructions ---- */

static unsigned reg_of(const ZydisDecodedOperand *op)
{
    return (unsigned)ZydisRegisterGetId(op->reg.value);
}

/* to = guest register g */
static void get_reg(struct maker *m, unsigned to, unsigned g)
{
    if (x_host(g) == X_IN_MEMORY)
        x_load(&m->e, to, x_gpr(g));
    else
        x_mov(&m->e, to, x_host(g));
}

static void put_reg(struct maker *m, unsigned g, unsigned from)
{
    if (x_host(g) == X_IN_MEMORY)
        x_store(&m->e, from, x_gpr(g));
    else
        x_mov(&m->e, x_host(g), from);
}

static void move_sp(struct maker *m, int by)
{
    x_lea(&m->e, true, H_R15, H_R15, 0xff, 1, by);
}

/* R10 = host address of the 8 bytes below the stack pointer. */
static void emit_push_place(struct maker *m, unsigned index)
{
    x_lea(&m->e, true, H_R10, H_R15, 0xff, 1, -8);
    emit_probe(m, index, 8, true, 1);
}

static void emit_pop_place(struct maker *m, unsigned index)
{
    x_mov(&m->e, H_R10, H_R15);
    emit_probe(m, index, 8, false, 1);
}

/* mov [r10], reg / mov reg, [r10] */
static void store_r10(struct maker *m, unsigned reg)
{
    XB(&m->e, (uint8_t)(0x49 | (reg >> 3) << 2), 0x89, (uint8_t)(0x02 | (reg & 7) << 3));
}
static void load_r10(struct maker *m, unsigned reg)
{
    XB(&m->e, (uint8_t)(0x49 | (reg >> 3) << 2), 0x8b, (uint8_t)(0x02 | (reg & 7) << 3));
}
static void store_r10_imm(struct maker *m, uint64_t v)
{
    if (fits32((int64_t)v)) {
        XB(&m->e, 0x49, 0xc7, 0x02);
        x32(&m->e, (uint32_t)v);
    } else {
        x_mov_imm(&m->e, H_R11, v);
        store_r10(m, H_R11);
    }
}

static void emit_push(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];

    emit_push_place(m, index);
    if (x->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        store_r10_imm(m, (uint64_t)x->ops[0].imm.value.s);
    else if (x_host(reg_of(&x->ops[0])) == X_IN_MEMORY) {
        x_load(&m->e, H_R11, x_gpr(reg_of(&x->ops[0])));
        store_r10(m, H_R11);
    } else
        store_r10(m, x_host(reg_of(&x->ops[0])));
    move_sp(m, -8);
}

static void emit_pop(struct maker *m, unsigned index)
{
    unsigned g = reg_of(&m->insn[index].ops[0]);

    emit_pop_place(m, index);
    if (x_host(g) == X_IN_MEMORY) {
        load_r10(m, H_R11);
        x_store(&m->e, H_R11, x_gpr(g));
    } else
        load_r10(m, x_host(g));
    if (g != 4)
        move_sp(m, 8);
}

static void emit_leave(struct maker *m, unsigned index)
{
    x_mov(&m->e, H_R10, H_RBP);
    emit_probe(m, index, 8, false, 1);
    x_lea(&m->e, true, H_R15, H_RBP, 0xff, 1, 8);
    load_r10(m, H_RBP);
}

/* The host register of an address register; 0xff: there is none; 0xfe: it is not in a host register. */
static unsigned address_host(ZydisRegister r)
{
    if (r == ZYDIS_REGISTER_NONE)
        return 0xff;
    if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
        return 0xfe;
    unsigned h = x_host((unsigned)ZydisRegisterGetId(r));
    return h == X_IN_MEMORY ? 0xfe : h;
}

static void emit_lea(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    const ZydisDecodedOperand *op = &x->ops[1];
    unsigned g = reg_of(&x->ops[0]);
    unsigned base = address_host(op->mem.base), index_reg = address_host(op->mem.index);

    if (x_host(g) != X_IN_MEMORY && base < 16 && (index_reg < 16 || index_reg == 0xff)) {
        x_lea(&m->e, x->zi.operand_width == 64 && x->zi.address_width == 64, x_host(g), base, index_reg,
              op->mem.scale ? op->mem.scale : 1,
              op->mem.disp.has_displacement ? (int32_t)op->mem.disp.value : 0);
        return;
    }
    emit_address(m, x, op);
    if (x->zi.operand_width == 32)
        XB(&m->e, 0x45, 0x89, 0xd2); /* mov r10d, r10d */
    put_reg(m, g, H_R10);
}

static uint64_t next_linear(const struct maker *m, unsigned index)
{
    return m->u->linear + m->insn[index].at + m->insn[index].zi.length;
}

static uint64_t branch_target(const struct maker *m, unsigned index)
{
    return next_linear(m, index) + (uint64_t)m->insn[index].zi.raw.imm[0].value.s;
}

/* R10 = target of an indirect branch. */
static void emit_target(struct maker *m, unsigned index)
{
    if (m->insn[index].mem) {
        emit_memory(m, index);
        load_r10(m, H_R10);
    } else
        get_reg(m, H_R10, reg_of(&m->insn[index].ops[0]));
}

static void emit_call(struct maker *m, unsigned index)
{
    bool indirect = m->insn[index].kind == XK_CALL_IND;

    if (indirect) {
        emit_target(m, index);
        x_store(&m->e, H_R10, XOFF(x.target));
    }
    emit_push_place(m, index);
    store_r10_imm(m, next_linear(m, index));
    move_sp(m, -8);
    if (indirect) {
        x_load(&m->e, H_R10, XOFF(x.target));
        emit_indirect(m);
    } else
        emit_jump(m, index, branch_target(m, index));
}

static void emit_ret(struct maker *m, unsigned index)
{
    const ZydisDecodedInstruction *zi = &m->insn[index].zi;
    unsigned extra = zi->raw.imm[0].size ? (unsigned)zi->raw.imm[0].value.u & 0xffff : 0;

    emit_pop_place(m, index);
    load_r10(m, H_R10);
    move_sp(m, 8 + (int)extra);
    emit_indirect(m);
}

static void emit_plain(struct maker *m, unsigned index)
{
    struct xinsn *x = &m->insn[index];
    struct xemit before = m->e;
    unsigned stubs = m->stubs;
    uint8_t state = m->state;

    if (x->mem)
        emit_memory(m, index);
    if (x->keep_cf) {
        restore_cf(m);
    } else if (x->reads)
        restore_flags(m);
    uint8_t *at = m->e.p;
    if (!xinsn_emit(&m->e, x) || m->e.p == at) {
        m->e = before;
        m->stubs = stubs;
        m->state = state;
        emit_interpreted(m, index, true);
        return;
    }
    if (x->writes)
        m->state = XF_HOST;
}

/* One instruction. False: the unit ends with it. */
static bool emit_insn(struct maker *m, unsigned index)
{
    unsigned first_stub = m->stubs;
    bool more = false;

    switch ((enum xkind)m->insn[index].kind) {
    case XK_PLAIN:
        emit_plain(m, index);
        more = true;
        break;
    case XK_NOTHING:
        more = true;
        break;
    case XK_LEA:
        emit_lea(m, index);
        more = true;
        break;
    case XK_PUSH:
        emit_push(m, index);
        more = true;
        break;
    case XK_POP:
        emit_pop(m, index);
        more = true;
        break;
    case XK_LEAVE:
        emit_leave(m, index);
        more = true;
        break;
    case XK_CALL:
    case XK_CALL_IND:
        emit_call(m, index);
        break;
    case XK_JMP:
        emit_jump(m, index, branch_target(m, index));
        break;
    case XK_JMP_IND:
        save_flags(m);
        emit_target(m, index);
        spoil_flags(m);
        emit_indirect(m);
        break;
    case XK_RET:
        emit_ret(m, index);
        break;
    case XK_JCC:
        emit_jcc(m, index, branch_target(m, index));
        more = true;
        break;
    case XK_STUB:
        emit_interpreted(m, index, true);
        more = true;
        break;
    case XK_STUB_END:
        emit_interpreted(m, index, false);
        break;
    }
    join(m, first_stub, index);
    return more;
}

/* ---- the unit ---- */

/* What the unit's first use of flags asks of its caller. XF_ANY: they are set anew before anybody can look.
 */
static enum xflags wanted(const struct maker *m)
{
    if (m->u->vec)
        return XF_SLOT; /* its check spoils flags */
    for (unsigned i = 0; i < m->count; i++) {
        const struct xinsn *x = &m->insn[i];
        switch ((enum xkind)x->kind) {
        case XK_NOTHING:
        case XK_LEA:
            continue;
        case XK_PLAIN:
            if (x->mem)
                return XF_SLOT;
            if (x->reads)
                return XF_HOST;
            if (x->writes)
                return XF_ANY;
            continue;
        case XK_JCC:
            return XF_HOST;
        default:
            return XF_SLOT;
        }
    }
    return XF_SLOT;
}

/* The ways in. In order: for indirect jumps, R10 to be checked; with flags in the host, saving them; then the
 * poll. */
static void emit_top(struct maker *m)
{
    struct xunit *u = m->u;
    struct xemit *e = &m->e;

    u->entry_checked = (uint16_t)(e->p - m->start);
    if (fits32((int64_t)u->linear)) {
        XB(e, 0x49, 0x81, 0xfa); /* cmp r10, imm32 */
        x32(e, (uint32_t)u->linear);
    } else {
        x_mov_imm(e, H_R11, u->linear);
        XB(e, 0x4d, 0x39, 0xda); /* cmp r10, r11 */
    }
    x_jcc_to(e, CC_NE, m->k->glue.miss);
    XB(e, 0xeb, 0x06); /* jmp over what follows */
    u->entry_saving = (uint16_t)(e->p - m->start);
    XB(e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    u->entry_poll = (uint16_t)(e->p - m->start);
    m->state = XF_SLOT;
    x_gs_cmp32(e, XOFF(x.poll), 0);
    x_jcc(e, CC_NE);
    add_stub(m, STUB_POLL, 0);
    u->entry_slot = (uint16_t)(e->p - m->start);
    if (u->vec) {
        x_gs_cmp32(e, XOFF(x.vec_live), u->vec);
        x_jcc(e, CC_B);
        add_stub(m, STUB_VEC, 0)->go_on = e->p;
    }
    if (u->want == XF_HOST) {
        restore_code(e);
        m->state = XF_HOST;
    }
    u->entry_body = (uint16_t)(e->p - m->start);
    if (u->want == XF_ANY)
        m->state = XF_ANY;
    if (m->k->counting) {
        x_load(e, H_R11, XOFF(icount));
        x_lea(e, true, H_R11, H_R11, 0xff, 1, u->insns);
        x_store(e, H_R11, XOFF(icount));
    }
}

static struct xlink *new_link(struct maker *m, const struct stub *s)
{
    struct xcache *k = m->k;

    if (k->meta_used + sizeof(struct xlink) > sizeof k->meta) {
        m->failed = true;
        return NULL;
    }
    struct xlink *l = (struct xlink *)(void *)(k->meta + k->meta_used);
    k->meta_used += (sizeof *l + 7) & ~(size_t)7;
    *l = (struct xlink){.site = s->from,
                        .target = s->target,
                        .state = s->state,
                        .backward = s->target <= m->u->linear + m->insn[s->index].at};
    return l;
}

static void emit_stub(struct maker *m, struct stub *s)
{
    x_patch(&m->e, s->from);
    switch ((enum stub_kind)s->kind) {
    case STUB_SLOW:
        emit_call_slow(m, XF_SLOT, s->index, s->go_on);
        return;
    case STUB_POLL:
        x_call_to(&m->e, m->k->glue.poll);
        emit_meta(m, 0, NULL);
        return;
    case STUB_VEC:
        x_call_to(&m->e, m->k->glue.vec);
        emit_meta(m, 0, s->go_on);
        return;
    case STUB_AWAY:
        m->state = s->state;
        emit_away(m, s->target);
        return;
    case STUB_LINK: {
        struct xlink *l = new_link(m, s);
        if (!l)
            return;
        memcpy(&l->unlinked, s->from - 4, 4);
        x_call_to(&m->e, m->k->glue.link[s->state != XF_HOST]);
        x32(&m->e, (uint32_t)(((uint8_t *)l - m->k->meta) / 8));
        return;
    }
    }
}

static unsigned decode(struct maker *m, const uint8_t *bytes, unsigned room)
{
    ZydisDecoder d;
    unsigned at = 0;

    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    while (m->count < XUNIT_INSNS && at < room) {
        struct xinsn *x = &m->insn[m->count];
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes + at, room - at, &x->zi, x->ops)))
            break; /* undefined, or runs into the next page: the interpreter sees to it */
        x->at = (uint16_t)at;
        x->bytes = bytes + at;
        xinsn_classify(m->c, x);
        at += x->zi.length;
        m->count++;
        if (x->vec > m->u->vec)
            m->u->vec = x->vec;
        enum xkind kind = (enum xkind)x->kind;
        if (kind == XK_CALL || kind == XK_CALL_IND || kind == XK_JMP || kind == XK_JMP_IND ||
            kind == XK_RET || kind == XK_STUB_END)
            break;
    }
    return at;
}

static void emit_code(struct maker *m, uint64_t end)
{
    bool more = true;

    emit_top(m);
    for (unsigned i = 0; i < m->count && more; i++)
        more = emit_insn(m, i);
    if (more)
        emit_jump(m, m->count - 1, end);
}

struct xunit *xlate_unit(struct cpu *c, struct xcache *k, uint64_t linear, const struct place *p)
{
    struct xinsn insn[XUNIT_INSNS];
    struct maker m = {.c = c, .k = k, .insn = insn};
    unsigned room = 4096 - (unsigned)(p->gpa & 0xfff);
    size_t used = k->meta_used;

    if (room > XUNIT_INSNS * 15)
        room = XUNIT_INSNS * 15;
    m.u = (struct xunit *)(void *)(k->meta + used);
    memset(m.u, 0, sizeof *m.u);
    host_copy(m.u->guest, p->host, room);
    m.u->gpa = p->gpa;
    m.u->linear = linear;
    m.u->set = c->tlb_user;
    unsigned bytes = decode(&m, m.u->guest, room);
    if (!m.count)
        return NULL;
    m.u->bytes = (uint16_t)bytes;
    m.u->insns = (uint8_t)m.count;
    m.u->want = (uint8_t)wanted(&m);
    k->meta_used += (sizeof *m.u + bytes + 7) & ~(size_t)7;

    while ((uintptr_t)k->next & 15)
        *k->next++ = 0xcc;
    m.e = (struct xemit){.p = k->next, .delta = k->delta};
    m.start = k->next;
    m.u->code = xhere(&m.e);
    emit_code(&m, linear + bytes);
    if (m.ambiguous) { /* an instruction before the first that sets flags turned out not to be plain */
        m.u->want = XF_SLOT;
        m.e.p = m.start;
        m.stubs = 0;
        emit_code(&m, linear + bytes);
    }
    for (unsigned i = 0; i < m.stubs; i++)
        emit_stub(&m, &m.stub[i]);
    if (m.failed) {
        k->meta_used = used;
        return NULL;
    }
    k->n_units++;
    k->n_guest_bytes += bytes;
    k->n_host_bytes += (uint64_t)(m.e.p - m.start);
    k->next = m.e.p;
    return m.u;
}
