/*
 * decode: instruction bytes to struct insn, on Zydis.
 *
 * Zydis knows the encodings; what it leaves open is settled here: which of its instructions exist on our CPUs
 * at all (those that no family claims raise #UD), hint space that older decoders call by newer names (MPX,
 * CET and CLDEMOTE encodings are NOPs where the feature is absent, SDM 2B NOP), REP prefixes on string
 * instructions, and what ends a block.
 */
#include <string.h>
#include <Zydis/Zydis.h>
#include "accel/soft/engine/insn.h"
#include "accel/soft/engine/seed.h"

void exec_ud(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_ud(c);
}

void exec_gp(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_gp(c, 0);
}

static void decoder_init(ZydisDecoder *d, enum cpu_mode mode)
{
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } modes[] = {
        [MODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        [MODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        [MODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    ZydisDecoderInit(d, modes[mode].machine, modes[mode].stack);
    ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
}

static bool in_range(ZydisRegister r, ZydisRegister first, ZydisRegister last)
{
    return r >= first && r <= last;
}

/* Number of a register as the instruction encodes it; `high` is set for AH, CH, DH, BH. */
static uint8_t register_number(ZydisRegister r, bool *high)
{
    *high = false;
    if (in_range(r, ZYDIS_REGISTER_AL, ZYDIS_REGISTER_R15B)) {
        unsigned n = (unsigned)(r - ZYDIS_REGISTER_AL);
        *high = n >= 4 && n < 8;
        return (uint8_t)(n < 4 ? n : n - 4);
    }
    if (in_range(r, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15))
        return (uint8_t)((unsigned)(r - ZYDIS_REGISTER_AX) & 15);
    ZyanI8 id = ZydisRegisterGetId(r);
    return id < 0 ? INSN_NO_REG : (uint8_t)id;
}

static uint8_t address_register(ZydisRegister r)
{
    bool high;
    if (r == ZYDIS_REGISTER_NONE)
        return INSN_NO_REG;
    if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
        return INSN_RIP_BASE;
    return register_number(r, &high);
}

static uint8_t segment_number(ZydisRegister r)
{
    return in_range(r, ZYDIS_REGISTER_ES, ZYDIS_REGISTER_GS) ? (uint8_t)(r - ZYDIS_REGISTER_ES) : X86_DS;
}

/* SIB base 101 with mod 00 is a displacement alone, with or without REX.B (SDM 2A table 2-3, note 1).
 * Zydis 4.0.0 makes it R13D when REX.B comes with a 32-bit address size. */
static bool sib_without_base(const ZydisDecodedInstruction *zi)
{
    return (zi->attributes & ZYDIS_ATTRIB_HAS_SIB) && zi->raw.modrm.mod == 0 && zi->raw.sib.base == 5;
}

static void set_memory(struct insn *out, unsigned slot, const ZydisDecodedInstruction *zi,
                       const ZydisDecodedOperand *op)
{
    out->kind[slot] = OPD_MEM;
    out->seg = segment_number(op->mem.segment);
    out->base = address_register(op->mem.base);
    out->disp = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
    if (sib_without_base(zi)) {
        out->base = INSN_NO_REG;
        out->disp = zi->raw.disp.value;
    }
    out->memsize =
        op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ? 0 : (uint8_t)(op->size / 8 > 255 ? 255 : op->size / 8);
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
        /* the index is a vector: its number lies in the operand's own slot */
        out->reg[slot] = address_register(op->mem.index);
        out->scale = op->mem.scale;
        return;
    }
    if (op->mem.type == ZYDIS_MEMOP_TYPE_MIB)
        return;
    out->index = address_register(op->mem.index);
    out->scale = op->mem.scale ? op->mem.scale : 1;
}

static void set_operands(struct insn *out, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    unsigned immediates = 0, vector = 0;

    for (unsigned i = 0; i < zi->operand_count; i++) {
        const ZydisDecodedOperand *op = &ops[i];
        bool high, visible = i < zi->operand_count_visible;
        switch (op->type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            if (in_range(op->reg.value, ZYDIS_REGISTER_MM0, ZYDIS_REGISTER_ZMM31) && op->size / 8 > vector)
                vector = op->size / 8;
            if (!visible || i >= 3)
                break;
            out->reg[i] = register_number(op->reg.value, &high);
            out->kind[i] = high ? OPD_REG_HIGH : OPD_REG;
            break;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            if (visible && i < 3)
                set_memory(out, i, zi, op);
            break;
        case ZYDIS_OPERAND_TYPE_POINTER:
            out->kind[0] = OPD_IMM;
            out->imm = op->ptr.offset;
            out->sel = op->ptr.segment;
            break;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            if (!visible)
                break;
            if (i < 3)
                out->kind[i] = OPD_IMM;
            if (immediates++ == 0)
                out->imm = op->imm.value.u;
            else
                out->sel = (uint16_t)op->imm.value.u;
            break;
        default:
            break;
        }
    }
    if (vector)
        out->opsize = (uint8_t)vector;
}

/* Instructions whose memory operand is implied (strings, XLAT, MASKMOV): the segment is that of the operand
 * which an override can move. */
static void set_implied_segment(struct insn *out, const ZydisDecodedInstruction *zi,
                                const ZydisDecodedOperand *ops)
{
    bool found = false;

    for (unsigned i = 0; i < zi->operand_count; i++) {
        const ZydisDecodedOperand *op = &ops[i];
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        if (i < zi->operand_count_visible)
            return;
        if (SEED_BUG(5) && op->mem.segment >= ZYDIS_REGISTER_FS)
            continue;
        if (!found || address_register(op->mem.base) == X86_RSI)
            out->seg = segment_number(op->mem.segment);
        found = true;
    }
}

/* LOCK, and the last of F2/F3 on a string instruction: the processor takes either as REP where only REP is
 * defined. */
static void set_prefixes(struct insn *out, const ZydisDecodedInstruction *zi)
{
    if (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        out->flags |= INSN_LOCK;
    if (zi->meta.category != ZYDIS_CATEGORY_STRINGOP && zi->meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
        return;
    for (unsigned i = zi->raw.prefix_count; i-- > 0;) {
        uint8_t p = zi->raw.prefixes[i].value;
        if (p == 0xf2 || p == 0xf3) {
            out->flags |= (uint8_t)((p == 0xf3 ? INSN_REP : INSN_REPNE) | INSN_END);
            return;
        }
    }
}

/* What may branch, fault for control, or change how following bytes are fetched. Whatever changes mode or
 * mapping in rarer ways sets cpu->leave_block when it does. */
static bool ends_block(const ZydisDecodedInstruction *zi)
{
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_VTX:
        return true;
    default:
        break;
    }
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_MWAIT:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_WRMSR:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_INVPCID:
    case ZYDIS_MNEMONIC_WBINVD:
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_XSETBV:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL:
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LSS:
        return true;
    case ZYDIS_MNEMONIC_MOV: /* MOV CRn and DRn: 0F 22, 0F 23; MOV Sreg: 8E */
        return (zi->opcode_map == ZYDIS_OPCODE_MAP_0F && (zi->opcode == 0x22 || zi->opcode == 0x23)) ||
               (zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && zi->opcode == 0x8e);
    case ZYDIS_MNEMONIC_POP: /* POP ES, SS, DS */
        return zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
               (zi->opcode == 0x07 || zi->opcode == 0x17 || zi->opcode == 0x1f);
    default:
        return false;
    }
}

static bool has_condition(const ZydisDecodedInstruction *zi)
{
    return zi->meta.category == ZYDIS_CATEGORY_COND_BR || zi->meta.category == ZYDIS_CATEGORY_SETCC ||
           zi->meta.category == ZYDIS_CATEGORY_CMOV;
}

/* Of a processor that was no other's like (Knights Corner): everywhere else their VEX form is undefined. */
static bool foreign(const ZydisDecodedInstruction *zi)
{
    return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
           (zi->mnemonic == ZYDIS_MNEMONIC_POPCNT || zi->mnemonic == ZYDIS_MNEMONIC_TZCNT ||
            zi->mnemonic == ZYDIS_MNEMONIC_LZCNT);
}

static int refuse(struct insn *out, exec_fn *why, const uint8_t *bytes, unsigned avail)
{
    out->exec = why;
    out->len = 1;
    out->flags = INSN_END;
    memcpy(out->bytes, bytes, avail);
    return 0;
}

int insn_decode(const uint8_t *bytes, unsigned avail, enum cpu_mode mode, struct insn *out)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

    memset(out, 0, sizeof(*out));
    out->base = out->index = INSN_NO_REG;
    out->seg = X86_DS;
    out->scale = 1;
    if (avail > sizeof(out->bytes))
        avail = sizeof(out->bytes);

    decoder_init(&decoder, mode);
    ZyanStatus st = ZydisDecoderDecodeFull(&decoder, bytes, avail, &zi, ops);
    if (st == ZYDIS_STATUS_NO_MORE_DATA)
        return avail < sizeof(out->bytes) ? 1 : refuse(out, exec_gp, bytes, avail);
    if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return refuse(out, exec_gp, bytes, avail);
    if (!ZYAN_SUCCESS(st) || foreign(&zi))
        return refuse(out, exec_ud, bytes, avail);

    out->len = zi.length;
    memcpy(out->bytes, bytes, zi.length);
    out->opsize = zi.operand_width / 8;
    out->adsize = zi.address_width / 8;
    out->op = (uint16_t)zi.mnemonic;
    if (has_condition(&zi))
        out->cond = zi.opcode & 15;
    set_operands(out, &zi, ops);
    set_implied_segment(out, &zi, ops);
    set_prefixes(out, &zi);
    if (ends_block(&zi))
        out->flags |= INSN_END;

    if (!exec_int_setup(out, &zi, ops, mode) && !exec_system_setup(out, &zi, ops, mode) &&
        !exec_fp_setup(out, &zi, ops, mode))
        out->exec = NULL;
    if (!out->exec) {
        out->exec = exec_ud;
        out->flags |= INSN_END;
    }
    return 0;
}
