/*
 * xinsn: what kind an instruction is for the translator, and plain instructions encoded again with other
 * registers.
 *
 * Plain are those of a list: they touch nothing but general and vector registers, status flags and at most
 * one memory operand, never fault but for that operand, and mean the same at every privilege level. What is
 * not on the list is left to the interpreter.
 */
#include "accel/soft/engine/xlate.h"

enum {
    STATUS = ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF |
             ZYDIS_CPUFLAG_OF
};

/* How a plain instruction treats status flags when Zydis' lists do not settle it: ALL writes every one
 * whatever the operands are (those that the manuals call undefined, too, on every processor we know), KEEP
 * may leave some as they were. */
enum { NO, ALL, KEEP };

static int integer_flags(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_TEST:
    case ZYDIS_MNEMONIC_NEG:
    case ZYDIS_MNEMONIC_XADD:
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_POPCNT:
        return ALL;
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_NOT:
    case ZYDIS_MNEMONIC_XCHG:
    case ZYDIS_MNEMONIC_CBW:
    case ZYDIS_MNEMONIC_CWDE:
    case ZYDIS_MNEMONIC_CDQE:
    case ZYDIS_MNEMONIC_CWD:
    case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CQO:
    case ZYDIS_MNEMONIC_BSWAP:
    case ZYDIS_MNEMONIC_MOVBE:
    case ZYDIS_MNEMONIC_CRC32:
    case ZYDIS_MNEMONIC_MULX:
    case ZYDIS_MNEMONIC_PDEP:
    case ZYDIS_MNEMONIC_PEXT:
    case ZYDIS_MNEMONIC_RORX:
    case ZYDIS_MNEMONIC_SARX:
    case ZYDIS_MNEMONIC_SHLX:
    case ZYDIS_MNEMONIC_SHRX:
    case ZYDIS_MNEMONIC_MOVNTI:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
        return NO;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_CMPXCHG16B:
    case ZYDIS_MNEMONIC_ADC:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
    case ZYDIS_MNEMONIC_MUL:
    case ZYDIS_MNEMONIC_IMUL:
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_LZCNT:
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_CLC:
    case ZYDIS_MNEMONIC_STC:
    case ZYDIS_MNEMONIC_CMC:
    case ZYDIS_MNEMONIC_ANDN:
    case ZYDIS_MNEMONIC_BEXTR:
    case ZYDIS_MNEMONIC_BLSI:
    case ZYDIS_MNEMONIC_BLSMSK:
    case ZYDIS_MNEMONIC_BLSR:
    case ZYDIS_MNEMONIC_BZHI:
    case ZYDIS_MNEMONIC_ADCX:
    case ZYDIS_MNEMONIC_ADOX:
    case ZYDIS_MNEMONIC_CMOVB:
    case ZYDIS_MNEMONIC_CMOVBE:
    case ZYDIS_MNEMONIC_CMOVL:
    case ZYDIS_MNEMONIC_CMOVLE:
    case ZYDIS_MNEMONIC_CMOVNB:
    case ZYDIS_MNEMONIC_CMOVNBE:
    case ZYDIS_MNEMONIC_CMOVNL:
    case ZYDIS_MNEMONIC_CMOVNLE:
    case ZYDIS_MNEMONIC_CMOVNO:
    case ZYDIS_MNEMONIC_CMOVNP:
    case ZYDIS_MNEMONIC_CMOVNS:
    case ZYDIS_MNEMONIC_CMOVNZ:
    case ZYDIS_MNEMONIC_CMOVO:
    case ZYDIS_MNEMONIC_CMOVP:
    case ZYDIS_MNEMONIC_CMOVS:
    case ZYDIS_MNEMONIC_CMOVZ:
    case ZYDIS_MNEMONIC_SETB:
    case ZYDIS_MNEMONIC_SETBE:
    case ZYDIS_MNEMONIC_SETL:
    case ZYDIS_MNEMONIC_SETLE:
    case ZYDIS_MNEMONIC_SETNB:
    case ZYDIS_MNEMONIC_SETNBE:
    case ZYDIS_MNEMONIC_SETNL:
    case ZYDIS_MNEMONIC_SETNLE:
    case ZYDIS_MNEMONIC_SETNO:
    case ZYDIS_MNEMONIC_SETNP:
    case ZYDIS_MNEMONIC_SETNS:
    case ZYDIS_MNEMONIC_SETNZ:
    case ZYDIS_MNEMONIC_SETO:
    case ZYDIS_MNEMONIC_SETP:
    case ZYDIS_MNEMONIC_SETS:
    case ZYDIS_MNEMONIC_SETZ:
        return KEEP;
    default:
        return -1;
    }
}

static bool has_feature(const struct cpu *c, const ZydisDecodedInstruction *zi)
{
    if (zi->mnemonic == ZYDIS_MNEMONIC_POPCNT)
        return cpu_has(c, X86_F_POPCNT);
    if (zi->mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B || zi->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
        return zi->mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B || cpu_has(c, X86_F_CX16);
    switch (zi->meta.isa_ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
        return true;
    case ZYDIS_ISA_EXT_SSE3:
        return cpu_has(c, X86_F_SSE3);
    case ZYDIS_ISA_EXT_SSSE3:
        return cpu_has(c, X86_F_SSSE3);
    case ZYDIS_ISA_EXT_SSE4:
        return cpu_has(c, X86_F_SSE4_1) && cpu_has(c, X86_F_SSE4_2);
    case ZYDIS_ISA_EXT_AES:
        return cpu_has(c, X86_F_AES);
    case ZYDIS_ISA_EXT_PCLMULQDQ:
        return cpu_has(c, X86_F_PCLMULQDQ);
    case ZYDIS_ISA_EXT_AVX:
        return cpu_has(c, X86_F_AVX);
    case ZYDIS_ISA_EXT_AVX2:
        return cpu_has(c, X86_F_AVX2);
    case ZYDIS_ISA_EXT_AVXAES:
        return cpu_has(c, X86_F_AVX) && cpu_has(c, X86_F_AES);
    case ZYDIS_ISA_EXT_FMA:
        return cpu_has(c, X86_F_FMA);
    case ZYDIS_ISA_EXT_F16C:
        return cpu_has(c, X86_F_F16C);
    case ZYDIS_ISA_EXT_BMI1:
        return cpu_has(c, X86_F_BMI1);
    case ZYDIS_ISA_EXT_BMI2:
        return cpu_has(c, X86_F_BMI2);
    case ZYDIS_ISA_EXT_LZCNT:
        return cpu_has(c, X86_F_ABM);
    case ZYDIS_ISA_EXT_MOVBE:
        return cpu_has(c, X86_F_MOVBE);
    case ZYDIS_ISA_EXT_ADOX_ADCX:
        return cpu_has(c, X86_FEATURE(X86_W_7_EBX, 19));
    case ZYDIS_ISA_EXT_SHA:
        return cpu_has(c, X86_FEATURE(X86_W_7_EBX, 29));
    default:
        return false;
    }
}

static bool is_vector(ZydisRegisterClass k)
{
    return k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM;
}

static bool is_gpr(ZydisRegisterClass k)
{
    return k == ZYDIS_REGCLASS_GPR8 || k == ZYDIS_REGCLASS_GPR16 || k == ZYDIS_REGCLASS_GPR32 ||
           k == ZYDIS_REGCLASS_GPR64;
}

/* Registers that a plain instruction may name, hidden operands included. */
static bool plain_operands(struct xinsn *x)
{
    x->mem = 0;
    for (unsigned i = 0; i < x->zi.operand_count; i++) {
        const ZydisDecodedOperand *op = &x->ops[i];
        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            if (x->mem || op->mem.type == ZYDIS_MEMOP_TYPE_VSIB ||
                op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
                return false;
            if (op->mem.type == ZYDIS_MEMOP_TYPE_MEM && (op->size == 0 || op->size > 256))
                return false;
            x->mem = (uint8_t)(i + 1);
        } else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            ZydisRegisterClass k = ZydisRegisterGetClass(op->reg.value);
            if (is_vector(k))
                x->vec = 1;
            else if (!is_gpr(k) && k != ZYDIS_REGCLASS_FLAGS && op->reg.value != ZYDIS_REGISTER_MXCSR)
                return false;
            if (is_gpr(k) && op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
                x_host((unsigned)ZydisRegisterGetId(op->reg.value)) == X_IN_MEMORY)
                return false;
        } else if (op->type == ZYDIS_OPERAND_TYPE_POINTER)
            return false;
    }
    return true;
}

static bool vector_listed(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return false;
    default:
        return true;
    }
}

static bool shifts_by_cl(const struct xinsn *x)
{
    const ZydisDecodedOperand *last = &x->ops[x->zi.operand_count_visible - 1];
    return last->type == ZYDIS_OPERAND_TYPE_REGISTER && last->reg.value == ZYDIS_REGISTER_CL;
}

static void find_flags(struct xinsn *x, int how)
{
    const ZydisAccessedFlags *f = x->zi.cpu_flags;
    uint32_t tested = f ? f->tested & STATUS : 0;
    uint32_t written = f ? (f->modified | f->set_0 | f->set_1 | f->undefined) & STATUS : 0;

    x->keep_cf = x->zi.mnemonic == ZYDIS_MNEMONIC_INC || x->zi.mnemonic == ZYDIS_MNEMONIC_DEC;
    x->writes = written != 0;
    x->reads = tested != 0;
    if (how == ALL)
        return;
    if (how == KEEP && written)
        x->reads = 1;
    ZydisMnemonic m = x->zi.mnemonic;
    /* shifts by a constant that is not zero, and multiplications: every flag */
    if (m == ZYDIS_MNEMONIC_SHL || m == ZYDIS_MNEMONIC_SHR || m == ZYDIS_MNEMONIC_SAR) {
        unsigned width = x->zi.operand_width == 64 ? 63 : 31;
        if (!shifts_by_cl(x) && (x->zi.raw.imm[0].size == 0 || (x->zi.raw.imm[0].value.u & width) != 0))
            x->reads = 0;
    } else if (m == ZYDIS_MNEMONIC_MUL || m == ZYDIS_MNEMONIC_IMUL)
        x->reads = 0;
}

static bool bit_string(const struct xinsn *x) /* BT with a register reaches beyond its operand */
{
    ZydisMnemonic m = x->zi.mnemonic;
    return x->mem &&
           (m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
            m == ZYDIS_MNEMONIC_BTC) &&
           x->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static enum xkind plain_kind(const struct cpu *c, struct xinsn *x)
{
    const ZydisDecodedInstruction *zi = &x->zi;

    if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return XK_STUB;
    if (!has_feature(c, zi) || !plain_operands(x))
        return XK_STUB;
    int how = integer_flags(zi->mnemonic);
    if (how < 0) {
        if (!x->vec || !vector_listed(zi->mnemonic))
            return XK_STUB;
        how = ALL;
    }
    if ((zi->attributes & ZYDIS_ATTRIB_HAS_LOCK) && !x->mem)
        return XK_STUB;
    if (x->vec)
        x->vec = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? XVEC_AVX : XVEC_SSE;
    find_flags(x, how);
    return bit_string(x) ? XK_STUB : XK_PLAIN;
}

/* A near branch whose operands are 64 bits wide and without a 66 prefix, which vendors treat differently. */
static bool plain_branch(const ZydisDecodedInstruction *zi)
{
    return zi->operand_width == 64 && !(zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) &&
           zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

static bool is_reg64(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_GPR64;
}

static bool is_mem64(struct xinsn *x)
{
    if (x->ops[0].type != ZYDIS_OPERAND_TYPE_MEMORY || x->ops[0].size != 64)
        return false;
    x->mem = 1;
    return true;
}

static enum xkind kind_of(const struct cpu *c, struct xinsn *x)
{
    const ZydisDecodedInstruction *zi = &x->zi;
    const ZydisDecodedOperand *op = x->ops;

    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_ENDBR64:
        return XK_NOTHING;
    case ZYDIS_MNEMONIC_LEA:
        x->mem = 2;
        return zi->operand_width == 16 ? XK_STUB : XK_LEA;
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        return plain_operands(x) && zi->operand_width >= 32 && op[0].size >= 32 ? XK_DIV : XK_STUB;
    case ZYDIS_MNEMONIC_CLI:
        return c->tlb_user == TLB_USER ? XK_STUB : XK_CLI;
    case ZYDIS_MNEMONIC_STI:
        return c->tlb_user == TLB_USER ? XK_STUB : XK_STI;
    case ZYDIS_MNEMONIC_CLD:
        return XK_CLD;
    case ZYDIS_MNEMONIC_PUSHFQ:
        return XK_PUSHF;
    case ZYDIS_MNEMONIC_POPFQ:
        return c->tlb_user == TLB_USER ? XK_STUB : XK_POPF;
    case ZYDIS_MNEMONIC_SWAPGS:
        return c->tlb_user == TLB_USER ? XK_STUB : XK_SWAPGS;
    case ZYDIS_MNEMONIC_PUSH:
        if (zi->operand_width == 64 && is_mem64(x))
            return XK_PUSH_MEM;
        if (zi->operand_width != 64 || (op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE && !is_reg64(op)))
            return XK_STUB;
        return XK_PUSH;
    case ZYDIS_MNEMONIC_POP:
        return is_reg64(op) ? XK_POP : zi->opcode == 0x8f ? XK_STUB : XK_STUB_END;
    case ZYDIS_MNEMONIC_LEAVE:
        return zi->operand_width == 64 ? XK_LEAVE : XK_STUB;
    case ZYDIS_MNEMONIC_CALL:
        if (!plain_branch(zi))
            return XK_STUB_END;
        if (op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return XK_CALL;
        return is_mem64(x) || (is_reg64(op) && op[0].reg.value != ZYDIS_REGISTER_RSP) ? XK_CALL_IND
                                                                                      : XK_STUB_END;
    case ZYDIS_MNEMONIC_JMP:
        if (!plain_branch(zi))
            return XK_STUB_END;
        if (op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return XK_JMP;
        return is_mem64(x) || is_reg64(op) ? XK_JMP_IND : XK_STUB_END;
    case ZYDIS_MNEMONIC_RET:
        return plain_branch(zi) ? XK_RET : XK_STUB_END;
    default:
        break;
    }
    if (zi->meta.category == ZYDIS_CATEGORY_COND_BR) {
        unsigned b = zi->opcode;
        bool jcc = zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? b >= 0x70 && b < 0x80 : b >= 0x80 && b < 0x90;
        return jcc && plain_branch(zi) ? XK_JCC : XK_STUB_END;
    }
    if (zi->meta.category == ZYDIS_CATEGORY_PREFETCH)
        return zi->meta.isa_ext == ZYDIS_ISA_EXT_SSE ||
                       (zi->meta.isa_ext == ZYDIS_ISA_EXT_AMD3DNOW_PREFETCH &&
                        cpu_has(c, X86_FEATURE(X86_W_80000001_ECX, 8)))
                   ? XK_NOTHING
                   : XK_STUB;
    return plain_kind(c, x);
}

void xinsn_classify(const struct cpu *c, struct xinsn *x)
{
    x->mem = x->vec = x->reads = x->writes = x->keep_cf = x->grouped = x->group = 0;
    x->disp = 0;
    x->kind = (uint8_t)kind_of(c, x);
    if (x->kind == XK_STUB || x->kind == XK_STUB_END)
        x->vec = 0;
}

/* ---- encoding ---- */

/* ModRM and displacement: the operand at [R10 + disp], or the register. */
static void emit_modrm(struct xemit *e, const struct xinsn *x, unsigned reg, unsigned rm)
{
    if (!x->mem) {
        x8(e, 0xc0u | (reg & 7) << 3 | (rm & 7));
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
    unsigned scratch[2], guest[2], count, room;
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
        f->scratch[f->count] = f->count ? H_R10 : H_R11;
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
    if (is_vector(k)) {
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
        return is_vector(k) || (n < 4 && !f->high);
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
    unsigned rex = (had_rex && zi->raw.rex.W ? 8u : 0) | (f->reg >> 3) << 2 | f->rm >> 3 | f->op >> 3;
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
    XB(e, 0xc4, (uint8_t)((f->reg >> 3 ? 0 : 0x80) | 0x40 | (f->rm >> 3 ? 0 : 0x20) | map), (uint8_t)last,
       zi->opcode);
    if (zi->attributes & ZYDIS_ATTRIB_HAS_MODRM) /* VZEROUPPER has none */
        emit_modrm(e, x, f->reg, f->rm);
}

bool xinsn_emit(struct xemit *e, const struct xinsn *x)
{
    const ZydisDecodedInstruction *zi = &x->zi;
    struct fields f = {.room = x->mem ? 1 : 2};

    if (zi->attributes & ZYDIS_ATTRIB_HAS_MODRM) { /* an opcode extension stays; a field unused is copied */
        f.reg = zi->raw.modrm.reg;
        f.rm = x->mem ? H_R10 : zi->raw.modrm.rm;
    }
    for (unsigned i = 0; i < zi->operand_count_visible; i++)
        if (!bind_operand(&f, &x->ops[i]))
            return false;
    if (x->mem)
        f.rm = H_R10;
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
        if (f.write[i])
            x_store(e, f.scratch[i], x_gpr(f.guest[i]));
    return true;
}
