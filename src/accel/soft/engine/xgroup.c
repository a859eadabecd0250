/*
 * xgroup: several accesses that one probe serves.
 *
 * Pushes in a row, fields of one structure, a frame's slots: instructions that follow each other and access
 * memory at constant distances from one register. The first of them probes for all the bytes from the lowest
 * to the highest, as one access that must lie on one page and may be written if any of them writes. Until the
 * last has used it, R11 then leads from the register's addresses to the host's; or, where the register is the
 * stack pointer or not in a host register, R10 holds the host address of the lowest byte. When the probe
 * fails, the interpreter executes all instructions up to the last (xout.c).
 */
#include "accel/soft/engine/xmake.h"

enum { MOST_BYTES = 256, MOST_INSNS = 24, FARTHEST = 16384 };

/* One access at `off` from what the base register holds there. */
struct access {
    unsigned base; /* guest register */
    int32_t off;
    unsigned size;
    bool write;
};

static bool is_rsp(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->reg.value == ZYDIS_REGISTER_RSP;
}

static bool simple_memory(const struct xinsn *x, struct access *a)
{
    const ZydisDecodedOperand *op = &x->ops[x->mem - 1];
    bool no_base =
        (x->zi.attributes & ZYDIS_ATTRIB_HAS_SIB) && x->zi.raw.modrm.mod == 0 && x->zi.raw.sib.base == 5;
    int64_t disp = op->mem.disp.has_displacement ? op->mem.disp.value : 0;

    if (x->zi.address_width != 64 || no_base || op->mem.index != ZYDIS_REGISTER_NONE ||
        ZydisRegisterGetClass(op->mem.base) != ZYDIS_REGCLASS_GPR64 || op->mem.segment == ZYDIS_REGISTER_FS ||
        op->mem.segment == ZYDIS_REGISTER_GS || disp < -FARTHEST || disp > FARTHEST)
        return false;
    *a = (struct access){.base = (unsigned)ZydisRegisterGetId(op->mem.base),
                         .off = (int32_t)disp,
                         .size = op->size / 8u,
                         .write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE};
    return true;
}

/* Guest registers that an instruction names, of those that lie in memory: each needs a scratch register. */
static unsigned in_memory(const struct xinsn *x)
{
    unsigned found = 0;

    for (unsigned i = 0; i < x->zi.operand_count_visible; i++) {
        const ZydisDecodedOperand *op = &x->ops[i];
        if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegisterClass k = ZydisRegisterGetClass(op->reg.value);
        if (k != ZYDIS_REGCLASS_GPR8 && k != ZYDIS_REGCLASS_GPR16 && k != ZYDIS_REGCLASS_GPR32 &&
            k != ZYDIS_REGCLASS_GPR64)
            continue;
        unsigned g = (unsigned)ZydisRegisterGetId(
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->reg.value));
        if (x_host(g) == X_IN_MEMORY)
            found |= 1u << g;
    }
    return found;
}

/* It can be written, and with no more than one scratch register. */
static bool writable(const struct xinsn *x)
{
    uint8_t nowhere[128];
    struct xemit e = {.p = nowhere};
    unsigned m = in_memory(x);

    return !(m & (m - 1)) && xinsn_emit(&e, x) && e.p != nowhere;
}

/* The access of an instruction that a group can have, stack pointer as it is before it. */
static bool access_of(const struct xinsn *x, struct access *a)
{
    switch ((enum xkind)x->kind) {
    case XK_PLAIN:
        return x->mem && xmake_alignment(x) == 1 && simple_memory(x, a) && writable(x);
    case XK_PUSH:
        *a = (struct access){.base = 4, .off = -8, .size = 8, .write = true};
        return !is_rsp(&x->ops[0]);
    case XK_CALL:
        *a = (struct access){.base = 4, .off = -8, .size = 8, .write = true};
        return true;
    case XK_POP:
        *a = (struct access){.base = 4, .off = 0, .size = 8};
        return !is_rsp(&x->ops[0]);
    case XK_RET:
        *a = (struct access){.base = 4, .off = 0, .size = 8};
        return true;
    default:
        return false;
    }
}

/* It leaves R10 or R11 alone when it is not an access of the group. */
static bool spares_scratch(const struct xinsn *x)
{
    switch ((enum xkind)x->kind) {
    case XK_PLAIN:
        return !x->mem && writable(x);
    case XK_NOTHING:
    case XK_JCC:
        return true;
    case XK_LEA:
        return xmake_direct_lea(x);
    default:
        return false;
    }
}

/* The stack pointer moves by a constant. */
static bool moves_sp(const struct xinsn *x, int32_t *by)
{
    ZydisMnemonic m = x->zi.mnemonic;
    const ZydisDecodedOperand *last = &x->ops[1];

    switch ((enum xkind)x->kind) {
    case XK_PUSH:
        *by = -8;
        return true;
    case XK_POP:
        *by = 8;
        return true;
    case XK_LEA:
        if (!is_rsp(&x->ops[0]) || last->mem.base != ZYDIS_REGISTER_RSP || x->zi.address_width != 64 ||
            last->mem.index != ZYDIS_REGISTER_NONE || last->mem.disp.value < -FARTHEST ||
            last->mem.disp.value > FARTHEST)
            return false;
        *by = last->mem.disp.has_displacement ? (int32_t)last->mem.disp.value : 0;
        return true;
    case XK_PLAIN:
        if ((m != ZYDIS_MNEMONIC_ADD && m != ZYDIS_MNEMONIC_SUB) || !is_rsp(&x->ops[0]) ||
            last->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || last->imm.value.s < -FARTHEST ||
            last->imm.value.s > FARTHEST)
            return false;
        *by = (int32_t)(m == ZYDIS_MNEMONIC_ADD ? last->imm.value.s : -last->imm.value.s);
        return true;
    default:
        return false;
    }
}

bool xgroup_direct(const struct xgroup *g)
{
    return g->base != X86_RSP && x_host(g->base) != X_IN_MEMORY;
}

/* The group that begins with instruction `first`; false: it would be of one. */
static bool find(struct maker *m, unsigned first)
{
    struct access a;
    struct xgroup g = {.first = (uint8_t)first, .last = (uint8_t)first};
    unsigned base, members = 0;
    int32_t moved = 0, off[MOST_INSNS];
    bool branched = false;

    if (!access_of(&m->insn[first], &a))
        return false;
    base = a.base;
    for (unsigned i = first; i < m->count && i - first < MOST_INSNS; i++) {
        const struct xinsn *x = &m->insn[i];
        int32_t by = 0;
        bool moves = base == 4 && moves_sp(x, &by);
        off[i - first] = INT32_MIN;
        if (access_of(x, &a) && a.base == base) {
            int32_t low = moved + a.off, high = low + (int32_t)a.size;
            int32_t new_low = members && g.low < low ? g.low : low;
            int32_t new_high = members && g.low + g.bytes > high ? g.low + g.bytes : high;
            if (new_high - new_low > MOST_BYTES || new_low < INT16_MIN || new_high > INT16_MAX ||
                (branched && a.write && !g.write)) /* who only reads need not have the right to write */
                break;
            g.low = new_low;
            g.bytes = (uint16_t)(new_high - new_low);
            g.write |= a.write;
            g.last = (uint8_t)i;
            off[i - first] = low;
            members++;
        } else if (!spares_scratch(x))
            break;
        branched |= x->kind == XK_JCC;
        if (moves)
            moved += by;
        else if (xinsn_writes(x, base))
            break;
    }
    if (members < 2)
        return false;
    g.base = (uint8_t)base;
    bool direct = xgroup_direct(&g);
    for (unsigned i = first; i <= g.last; i++) {
        struct xinsn *x = &m->insn[i];
        x->spare = direct ? H_R10 : H_R11;
        if (off[i - first] == INT32_MIN)
            continue;
        x->grouped = 1;
        x->direct = direct;
        x->base = (uint8_t)x_host(base);
        x->disp = direct ? off[i - first] : off[i - first] - g.low;
    }
    m->group[m->groups++] = g;
    m->insn[first].group = (uint8_t)m->groups;
    return true;
}

void xgroup_plan(struct maker *m)
{
    m->groups = 0;
    for (unsigned i = 0; i < m->count; i++)
        if (find(m, i))
            i = m->group[m->groups - 1].last;
}
