/*
 * xflags: the guest's status flags around what spoils the host's.
 *
 * Before a memory access they are saved in the slot; often for nothing but that a fault would show them, as
 * they are set anew soon after. Where they come from a comparison or a sum whose operands are still there
 * (XF_LAZY), nothing is saved: the slow way, which alone wants them, makes them anew first.
 */
#include "accel/soft/engine/xmake.h"

void xmake_save_flags(struct maker *m)
{
    if (m->state != XF_HOST)
        return;
    XB(&m->e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    m->state = XF_BOTH;
}

void xmake_restore_code(struct xemit *e)
{
    x_store(e, H_RAX, XOFF(x.save));
    XB(e, 0x8a, 0x44, 0x24, 0x01, 0x04, 0x78, 0x8a, 0x24, 0x24, 0x9e); /* as in xglue.c: flags_from_slot */
    x_load(e, H_RAX, XOFF(x.save));
}

void xmake_restore_flags(struct maker *m)
{
    if (m->state != XF_SLOT)
        return;
    xmake_restore_code(&m->e);
    m->state = XF_BOTH;
}

/* Instructions that leave flags alone but for what `x->reads` and `x->writes` say, and go on behind them. */
static bool simple(const struct xinsn *x)
{
    switch ((enum xkind)x->kind) {
    case XK_PLAIN:
    case XK_NOTHING:
    case XK_LEA:
    case XK_PUSH:
    case XK_POP:
        return true;
    default:
        return false;
    }
}

static unsigned whole_register(ZydisRegister r)
{
    return (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r));
}

/* Its flags can be made anew from its operands: the registers that must not change. 0: they cannot. */
static unsigned needs(const struct xinsn *x)
{
    unsigned found = 0;

    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_TEST:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
        break;
    default:
        return 0;
    }
    if (x->kind != XK_PLAIN || x->mem || x->zi.operand_count_visible != 2)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        ZydisRegister r = x->ops[i].reg.value;
        if (x->ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        unsigned g = whole_register(r);
        if ((r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) || x_host(g) == X_IN_MEMORY || g == X86_RSP)
            return 0;
        if ((found >> g & 1) &&
            (x->zi.mnemonic == ZYDIS_MNEMONIC_ADD || x->zi.mnemonic == ZYDIS_MNEMONIC_SUB))
            return 0;
        found |= 1u << g;
    }
    return found;
}

static bool changes(const struct xinsn *x, unsigned registers)
{
    for (unsigned g = 0; g < 16; g++)
        if ((registers >> g & 1) && xinsn_writes(x, g))
            return true;
    return false;
}

/* Which instruction the flags come from when they need not be saved before instruction m->index: number + 1,
 * else 0. */
static unsigned lazy(const struct maker *m)
{
    unsigned from = m->index, registers;

    while (from && simple(&m->insn[from - 1]) && !m->insn[from - 1].writes)
        from--;
    if (!from || !(registers = needs(&m->insn[from - 1])))
        return 0;
    for (unsigned i = from; i < m->index; i++)
        if (!SEED_BUG(44) && changes(&m->insn[i], registers))
            return 0;
    for (unsigned i = m->index; i < m->count; i++) {
        const struct xinsn *x = &m->insn[i];
        if (!simple(x) || (x->reads && x->kind == XK_PLAIN) || x->keep_cf)
            return 0;
        if (x->writes && x->kind == XK_PLAIN)
            return from;
        if (changes(x, registers))
            return 0;
    }
    return 0;
}

void xmake_spoil_flags(struct maker *m)
{
    if (m->state == XF_LAZY)
        return;
    m->recipe = m->state == XF_HOST ? (uint8_t)lazy(m) : 0;
    if (m->recipe) {
        m->state = XF_LAZY;
        return;
    }
    xmake_save_flags(m);
    m->state = XF_SLOT;
}

/* test reg, reg of the operand's size: as AND, OR and XOR leave the flags */
static void test_itself(struct xemit *e, const ZydisDecodedOperand *op)
{
    unsigned h = x_host(whole_register(op->reg.value));

    if (op->size == 16)
        x8(e, 0x66);
    XB(e, (uint8_t)(0x40 | (op->size == 64 ? 8 : 0) | (h >> 3) * 5), op->size == 8 ? 0x84 : 0x85,
       (uint8_t)(0xc0 | (h & 7) << 3 | (h & 7)));
}

void xmake_recipe(struct maker *m, unsigned recipe)
{
    const struct xinsn *x = &m->insn[recipe - 1];
    ZydisMnemonic mnemonic = x->zi.mnemonic;

    if (mnemonic == ZYDIS_MNEMONIC_AND || mnemonic == ZYDIS_MNEMONIC_OR || mnemonic == ZYDIS_MNEMONIC_XOR) {
        test_itself(&m->e, &x->ops[0]);
        return;
    }
    if (mnemonic == ZYDIS_MNEMONIC_ADD ||
        mnemonic == ZYDIS_MNEMONIC_SUB) { /* the sum is undone, and made again */
        struct xinsn undo = *x;
        if (undo.zi.opcode < 0x40 && !SEED_BUG(45))
            undo.zi.opcode ^= 0x28;
        else
            undo.zi.raw.modrm.reg ^= 5;
        xinsn_emit(&m->e, &undo);
    }
    xinsn_emit(&m->e, x);
}
