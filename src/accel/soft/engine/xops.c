/*
 * xops: instructions of a unit: the stack, branches, and the plain ones.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

/* INC and DEC keep CF alone. */
static void restore_cf(struct maker *m)
{
    if (m->state == XF_SLOT && !SEED_BUG(34))
        XB(&m->e, 0x0f, 0xba, 0x24, 0x24, 0x00); /* bt dword [rsp], 0 */
}

/* The successor of instruction `index` begins here: its slow ways join. */
static void join(struct maker *m, unsigned first_stub, unsigned index)
{
    for (unsigned i = first_stub; i < m->stubs; i++)
        if ((m->stub[i].kind == STUB_SLOW || m->stub[i].kind == STUB_STACK) && m->stub[i].index == index &&
            !m->stub[i].group)
            m->stub[i].go_on = m->e.p;
}

/* The same behind a group's last. */
static void join_groups(struct maker *m, unsigned index)
{
    for (unsigned i = 0; i < m->stubs; i++)
        if (m->stub[i].group && m->group[m->stub[i].group - 1].last == index)
            m->stub[i].go_on = m->e.p;
}

/* ---- instructions ---- */

static unsigned reg_of(const ZydisDecodedOperand *op)
{
    return (unsigned)ZydisRegisterGetId(op->reg.value);
}

/* to = guest register g */
void xmake_get_reg(struct maker *m, unsigned to, unsigned g)
{
    if (x_host(g) == X_IN_MEMORY)
        x_load(&m->e, to, x_gpr(g));
    else
        x_mov(&m->e, to, x_host(g));
}

void xmake_put_reg(struct maker *m, unsigned g, unsigned from)
{
    if (x_host(g) == X_IN_MEMORY)
        x_store(&m->e, from, x_gpr(g));
    else
        x_mov(&m->e, x_host(g), from);
}

void xmake_move_sp(struct maker *m, int by)
{
    x_lea(&m->e, true, H_R15, H_R15, 0xff, 1, by);
}

/* R10 = host address of the 8 bytes below the stack pointer. */
void xmake_push_place(struct maker *m, unsigned index)
{
    x_lea(&m->e, true, H_R10, H_R15, 0xff, 1, -8);
    xmake_probe_stack(m, index, 8, true, false);
}

void xmake_pop_place(struct maker *m, unsigned index)
{
    x_mov(&m->e, H_R10, H_R15);
    xmake_probe_stack(m, index, 8, false, false);
}

/* op reg, [r10 + at] */
static void r10_operand(struct maker *m, unsigned op, unsigned reg, int32_t at)
{
    struct xemit *e = &m->e;

    XB(e, (uint8_t)(0x49 | (reg >> 3) << 2), (uint8_t)op);
    if (!at)
        x8(e, 0x02 | (reg & 7) << 3);
    else if (at == (int8_t)at)
        XB(e, (uint8_t)(0x42 | (reg & 7) << 3), (uint8_t)at);
    else {
        x8(e, 0x82 | (reg & 7) << 3);
        x32(e, (uint32_t)at);
    }
}
static void store_r10(struct maker *m, unsigned reg, int32_t at)
{
    r10_operand(m, 0x89, reg, at);
}
static void load_r10(struct maker *m, unsigned reg, int32_t at)
{
    r10_operand(m, 0x8b, reg, at);
}
static void store_r10_imm(struct maker *m, int32_t at, uint64_t v)
{
    if (fits32((int64_t)v)) {
        r10_operand(m, 0xc7, 0, at);
        x32(&m->e, (uint32_t)v);
    } else {
        x_mov_imm(&m->e, H_R11, v);
        store_r10(m, H_R11, at);
    }
}

/* The probe of the group that begins here: R10 = host address of its lowest byte. */
static void emit_group(struct maker *m, unsigned index)
{
    const struct xgroup *g = &m->group[m->insn[index].group - 1];
    unsigned stubs = m->stubs, base = x_host(g->base);
    uint8_t *from = m->e.p;

    if (base == X_IN_MEMORY) {
        x_load(&m->e, H_R10, x_gpr(g->base));
        base = H_R10;
    }
    x_lea(&m->e, true, H_R10, base, 0xff, 1, g->low);
    if (g->base == X86_RSP)
        xmake_probe_stack(m, index, g->bytes, g->write, false);
    else if (xgroup_direct(g))
        xmake_probe_direct(m, index, g->bytes, g->write);
    else
        xmake_probe(m, index, g->bytes, g->write, 1);
    m->spare = xgroup_direct(g) ? H_R10 : H_R11;
    for (; stubs < m->stubs; stubs++) {
        m->stub[stubs].group = m->insn[index].group;
        m->stub[stubs].probe = from;
    }
}

/* Before an instruction that is not one of a group's pushes and pops. */
static void settle_sp(struct maker *m)
{
    if (m->sp_late)
        xmake_move_sp(m, m->sp_late);
    m->sp_late = 0;
}

/* R10 + the result is the place of a grouped push or pop; of another, R10 is made so. */
static int32_t stack_place(struct maker *m, unsigned index, bool push)
{
    const struct xinsn *x = &m->insn[index];

    if (x->grouped)
        return x->disp;
    if (push)
        xmake_push_place(m, index);
    else
        xmake_pop_place(m, index);
    return 0;
}

static void move_sp_for(struct maker *m, unsigned index, int by)
{
    if (m->insn[index].grouped)
        m->sp_late += by;
    else
        xmake_move_sp(m, by);
}

static void emit_push(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    int32_t at = stack_place(m, index, true);

    if (SEED_BUG(38) && x->ops[0].reg.value == ZYDIS_REGISTER_RSP)
        xmake_move_sp(m, -8);

    if (x->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        store_r10_imm(m, at, (uint64_t)x->ops[0].imm.value.s);
    else if (x_host(reg_of(&x->ops[0])) == X_IN_MEMORY) {
        x_load(&m->e, H_R11, x_gpr(reg_of(&x->ops[0])));
        store_r10(m, H_R11, at);
    } else
        store_r10(m, x_host(reg_of(&x->ops[0])), at);
    move_sp_for(m, index, -8);
}

static void emit_pop(struct maker *m, unsigned index)
{
    unsigned g = reg_of(&m->insn[index].ops[0]);
    int32_t at = stack_place(m, index, false);

    if (x_host(g) == X_IN_MEMORY) {
        load_r10(m, H_R11, at);
        x_store(&m->e, H_R11, x_gpr(g));
    } else
        load_r10(m, x_host(g), at);
    if (g != 4)
        move_sp_for(m, index, 8);
}

static void emit_leave(struct maker *m, unsigned index)
{
    x_mov(&m->e, H_R10, H_RBP);
    xmake_probe_stack(m, index, 8, false, false);
    x_lea(&m->e, true, H_R15, H_RBP, 0xff, 1, 8);
    load_r10(m, H_RBP, 0);
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

bool xmake_direct_lea(const struct xinsn *x)
{
    const ZydisDecodedOperand *op = &x->ops[1];
    unsigned base = address_host(op->mem.base), index = address_host(op->mem.index);

    return x_host(reg_of(&x->ops[0])) != X_IN_MEMORY && base < 16 &&
           !(x->zi.raw.modrm.mod == 0 && x->zi.raw.sib.base == 5) && (index < 16 || index == 0xff);
}

static void emit_lea(struct maker *m, unsigned index)
{
    const struct xinsn *x = &m->insn[index];
    const ZydisDecodedOperand *op = &x->ops[1];
    unsigned g = reg_of(&x->ops[0]);

    if (xmake_direct_lea(x)) {
        x_lea(&m->e, x->zi.operand_width == 64 && x->zi.address_width == 64, x_host(g),
              address_host(op->mem.base), address_host(op->mem.index), op->mem.scale ? op->mem.scale : 1,
              op->mem.disp.has_displacement ? (int32_t)op->mem.disp.value : 0);
        return;
    }
    xmake_address(m, x, op);
    if (x->zi.operand_width == 32 && !SEED_BUG(29))
        XB(&m->e, 0x45, 0x89, 0xd2); /* mov r10d, r10d */
    xmake_put_reg(m, g, H_R10);
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
        xmake_memory(m, index);
        load_r10(m, H_R10, 0);
    } else
        xmake_get_reg(m, H_R10, reg_of(&m->insn[index].ops[0]));
}

/* The target in R10 is canonical, or the branch itself faults (SDM 2A, CALL: #GP(0)): before it has done
 * anything. */
static void check_target(struct maker *m, unsigned index)
{
    xmake_spoil_flags(m);
    XB(&m->e, 0x4d, 0x89, 0xd3, 0x49, 0xc1, 0xfb, 0x2f); /* mov r11, r10; sar r11, 47 */
    XB(&m->e, 0x49, 0xff, 0xc3, 0x49, 0x83, 0xfb, 0x01); /* inc r11; cmp r11, 1 */
    x_jcc(&m->e, CC_A);
    xmake_stub(m, STUB_SLOW, index);
}

static void emit_call(struct maker *m, unsigned index)
{
    bool indirect = m->insn[index].kind == XK_CALL_IND;

    if (indirect) {
        emit_target(m, index);
        check_target(m, index);
        x_store(&m->e, H_R10, XOFF(x.target));
    }
    int32_t at = stack_place(m, index, true);
    store_r10_imm(m, at,
                  next_linear(m, index) +
                      (SEED_BUG(33) && m->insn[index].mem ? 6 - m->insn[index].zi.length : 0));
    move_sp_for(m, index, -8);
    settle_sp(m);
    if (indirect) {
        x_load(&m->e, H_R10, XOFF(x.target));
        xmake_indirect(m);
    } else
        xmake_jump(m, index, branch_target(m, index));
}

static void emit_ret(struct maker *m, unsigned index)
{
    const ZydisDecodedInstruction *zi = &m->insn[index].zi;
    unsigned extra = zi->raw.imm[0].size ? (unsigned)zi->raw.imm[0].value.u & 0xffff : 0;

    int32_t at = stack_place(m, index, false);
    settle_sp(m);
    load_r10(m, H_R10, at);
    check_target(m, index);
    xmake_move_sp(m, 8 + (int)(SEED_BUG(35) ? extra & ~8u : extra));
    xmake_indirect(m);
}

static void emit_plain(struct maker *m, unsigned index)
{
    struct xinsn *x = &m->insn[index];
    struct xemit before = m->e;
    unsigned stubs = m->stubs;
    uint8_t state = m->state;

    if (x->mem && !x->grouped) {
        m->spare = H_R11;
        xmake_memory(m, index);
    }
    if (x->keep_cf) {
        restore_cf(m);
    } else if (x->reads)
        xmake_restore_flags(m);
    uint8_t *at = m->e.p;
    if (!xinsn_emit(&m->e, x) || m->e.p == at) {
        m->e = before;
        m->stubs = stubs;
        m->state = state;
        xmake_interpreted(m, index, true);
        return;
    }
    if (x->writes)
        m->state = XF_HOST;
}

/* One instruction. False: the unit ends with it. */
bool xmake_insn(struct maker *m, unsigned index)
{
    unsigned first_stub = m->stubs;
    enum xkind kind = (enum xkind)m->insn[index].kind;
    bool more = false;

    m->index = index;
    if (!m->insn[index].grouped || kind == XK_PLAIN)
        settle_sp(m);
    if (m->insn[index].group)
        emit_group(m, index);
    switch (kind) {
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
        xmake_jump(m, index, branch_target(m, index));
        break;
    case XK_JMP_IND:
        xmake_save_flags(m);
        emit_target(m, index);
        check_target(m, index);
        xmake_indirect(m);
        break;
    case XK_RET:
        emit_ret(m, index);
        break;
    case XK_JCC:
        xmake_jcc(m, index, branch_target(m, index));
        xmake_count(m, index + 1);
        more = true;
        break;
    case XK_PUSH_MEM:
    case XK_CLI:
    case XK_STI:
    case XK_CLD:
    case XK_PUSHF:
    case XK_POPF:
    case XK_SWAPGS:
    case XK_MOV_CR:
    case XK_MOV_SEG:
    case XK_RD_BASE:
    case XK_WR_BASE:
    case XK_RDTSC:
    case XK_DIV:
    case XK_BIT:
        xmake_system(m, index);
        more = true;
        break;
    case XK_STAC:
    case XK_CLAC:
    case XK_SYSCALL:
    case XK_SYSRET:
    case XK_IRET:
        more = xmake_away_system(m, index);
        break;
    case XK_STRING:
        xmake_string(m, index);
        more = true;
        break;
    case XK_STUB:
        xmake_interpreted(m, index, true);
        more = true;
        break;
    case XK_STUB_END:
        xmake_interpreted(m, index, false);
        break;
    }
    if (!more) /* nothing follows here, even where what is next in memory comes next */
        return false;
    join(m, first_stub, index);
    if (m->insn[index].grouped && m->groups) {
        settle_sp(m);
        join_groups(m, index);
    }
    return true;
}
