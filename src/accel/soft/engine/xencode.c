/*
 * xencode: a plain instruction, encoded again with other registers and the address that its operand has on
 * the host.
 */
#include "accel/soft/engine/xlate.h"

/* ModRM, SIB and displacement: the operand in memory, or the register. */
static void emit_modrm(struct xemit *e, const struct xinsn *x, unsigned reg, unsigned rm)
{
    if (!x->mem) {
        x8(e, 0xc0u | (reg & 7) << 3 | (rm & 7));
    } else if (x->direct) {
        unsigned mod = !x->disp && (rm & 7) != 5 ? 0 : x->disp == (int8_t)x->disp ? 1 : 2;
        XB(e, (uint8_t)(mod << 6 | (reg & 7) << 3 | 4), (uint8_t)((H_R11 & 7) << 3 | (rm & 7)));
        if (mod == 1)
            x8(e, (uint8_t)x->disp);
        else if (mod == 2)
            x32(e, (uint32_t)x->disp);
    } else if (!x->disp) {
        x8(e, (reg & 7) << 3 | (rm & 7));
    } else if (x->disp == (int8_t)x->disp) {
        XB(e, (uint8_t)(0x40u | (reg & 7) << 3 | (rm & 7)), (uint8_t)x->disp);
    } else {
        x8(e, 0x80u | (reg & 7) << 3 | (rm & 7));
        x32(e, (uint32_t)x->disp);
    }
}

/* Host numbers for the fields of one instruction. */
struct fields {
    unsigned reg, rm, v, op; /* 0..15, of ModRM.reg, ModRM.rm, VEX.vvvv, the opcode's low bits */
    unsigned scratch[2], guest[2], count, room, spare;
    bool high, write[2];
};

/* The host register for guest register g; a scratch one is bound when it lies in memory. 0xff: none is left.
 */
static unsigned bind(struct fields *f, unsigned g, bool write)
{
    unsigned h = x_host(g);
    if (h != X_IN_MEMORY)
        return h;
    unsigned i;
    for (i = 0; i < f->count; i++)
        if (f->guest[i] == g)
            break;
    if (i == f->count) {
        if (f->count == f->room)
            return 0xff;
        f->guest[f->count] = g;
        f->scratch[f->count] = f->count ? H_R10 + H_R11 - f->spare : f->spare;
        f->write[f->count++] = false;
    }
    f->write[i] |= write;
    return f->scratch[i];
}

static bool bind_operand(struct fields *f, const ZydisDecodedOperand *op)
{
    if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return true;
    ZydisRegisterClass k = ZydisRegisterGetClass(op->reg.value);
    unsigned n;
    if (xinsn_is_vector(k)) {
        n = (unsigned)ZydisRegisterGetId(op->reg.value);
    } else if (op->reg.value >= ZYDIS_REGISTER_AH && op->reg.value <= ZYDIS_REGISTER_BH) {
        f->high = true;
        n = 4 + (unsigned)(op->reg.value - ZYDIS_REGISTER_AH);
    } else {
        unsigned g = k == ZYDIS_REGCLASS_GPR8 ? (unsigned)(op->reg.value - ZYDIS_REGISTER_AL) -
                                                    (op->reg.value > ZYDIS_REGISTER_BH ? 4 : 0)
                                              : (unsigned)ZydisRegisterGetId(op->reg.value);
        if (k == ZYDIS_REGCLASS_GPR8 && op->reg.value <= ZYDIS_REGISTER_BL)
            g = (unsigned)(op->reg.value - ZYDIS_REGISTER_AL);
        n = bind(f, g, op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
        if (n == 0xff)
            return false;
    }
    switch (op->encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        f->reg = n;
        return true;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        f->rm = n;
        return true;
    case ZYDIS_OPERAND_ENCODING_NDSNDD:
        f->v = n;
        return true;
    case ZYDIS_OPERAND_ENCODING_OPCODE:
        f->op = n;
        return true;
    case ZYDIS_OPERAND_ENCODING_IS4:
        return true;
    default: /* a fixed register */
        return xinsn_is_vector(k) || (n < 4 && !f->high);
    }
}

static unsigned tail_offset(const ZydisDecodedInstruction *zi)
{
    return zi->raw.imm[0].size ? zi->raw.imm[0].offset : zi->length;
}

static void emit_legacy(struct xemit *e, const struct xinsn *x, const struct fields *f)
{
    const ZydisDecodedInstruction *zi = &x->zi;
    bool modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM, had_rex = zi->attributes & ZYDIS_ATTRIB_HAS_REX;

    for (unsigned i = 0; i < zi->raw.prefix_count; i++) {
        unsigned b = zi->raw.prefixes[i].value;
        bool mandatory = zi->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY;
        if (b == 0x66 || (b == 0xf0 && (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)) ||
            ((b == 0xf2 || b == 0xf3) && mandatory))
            x8(e, b);
    }
    unsigned rex = (had_rex && zi->raw.rex.W ? 8u : 0) | (f->reg >> 3) << 2 | f->rm >> 3 | f->op >> 3 |
                   (x->mem && x->direct ? 2u : 0);
    if (rex || had_rex)
        x8(e, 0x40 | rex);
    if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        x8(e, 0x0f);
    if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F38)
        x8(e, 0x38);
    else if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        x8(e, 0x3a);
    unsigned op = zi->opcode;
    for (unsigned i = 0; i < zi->operand_count_visible; i++)
        if (x->ops[i].encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
            op = (op & ~7u) | (f->op & 7);
    x8(e, op);
    if (modrm)
        emit_modrm(e, x, f->reg, f->rm);
}

static void emit_vex(struct xemit *e, const struct xinsn *x, const struct fields *f)
{
    const ZydisDecodedInstruction *zi = &x->zi;
    const uint8_t *b = x->bytes + zi->raw.vex.offset;
    unsigned map = 1, last = b[1];

    if (b[0] == 0xc4) {
        map = b[1] & 0x1f;
        last = b[2];
    } else
        last &= 0x7f;
    bool has_v = false;
    for (unsigned i = 0; i < zi->operand_count_visible; i++)
        has_v |= x->ops[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD;
    if (has_v)
        last = (last & ~0x78u) | (~f->v & 15) << 3;
    XB(e, 0xc4,
       (uint8_t)((f->reg >> 3 ? 0 : 0x80) | (x->mem && x->direct ? 0 : 0x40) | (f->rm >> 3 ? 0 : 0x20) | map),
       (uint8_t)last, zi->opcode);
    if (zi->attributes & ZYDIS_ATTRIB_HAS_MODRM) /* VZEROUPPER has none */
        emit_modrm(e, x, f->reg, f->rm);
}

bool xinsn_emit(struct xemit *e, const struct xinsn *x)
{
    const ZydisDecodedInstruction *zi = &x->zi;
    unsigned operand = x->direct ? x->base : H_R10;
    struct fields f = {.room = x->mem ? 1 : 2, .spare = x->spare};

    if (zi->attributes & ZYDIS_ATTRIB_HAS_MODRM) { /* an opcode extension stays; a field unused is copied */
        f.reg = zi->raw.modrm.reg;
        f.rm = x->mem ? operand : zi->raw.modrm.rm;
    }
    for (unsigned i = 0; i < zi->operand_count_visible; i++)
        if (!bind_operand(&f, &x->ops[i]))
            return false;
    if (x->mem)
        f.rm = operand;
    if (f.high && (x->mem || f.reg >= 8 || f.rm >= 8 || (zi->attributes & ZYDIS_ATTRIB_HAS_REX)))
        return false;
    for (unsigned i = 0; i < f.count; i++)
        x_load(e, f.scratch[i], x_gpr(f.guest[i]));
    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        emit_vex(e, x, &f);
    else
        emit_legacy(e, x, &f);
    unsigned tail = tail_offset(zi);
    xbytes(e, x->bytes + tail, zi->length - tail);
    for (unsigned i = 0; i < f.count; i++)
        if (f.write[i] && !(SEED_BUG(25) && i == 1))
            x_store(e, f.scratch[i], x_gpr(f.guest[i]));
    return true;
}
