/*
 * xinsn: what kind an instruction is for the translator.
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
        return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && cpu_has(c, X86_F_POPCNT);
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

static bool is_gpr(ZydisRegisterClass k)
{
    return k == ZYDIS_REGCLASS_GPR8 || k == ZYDIS_REGCLASS_GPR16 || k == ZYDIS_REGCLASS_GPR32 ||
           k == ZYDIS_REGCLASS_GPR64;
}

/* Vector instructions that name no vector register; the conversions, when they read from memory. */
static bool vector_unnamed(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VZEROUPPER:
    case ZYDIS_MNEMONIC_VZEROALL:
    case ZYDIS_MNEMONIC_CVTSD2SI:
    case ZYDIS_MNEMONIC_CVTSS2SI:
    case ZYDIS_MNEMONIC_CVTTSD2SI:
    case ZYDIS_MNEMONIC_CVTTSS2SI:
    case ZYDIS_MNEMONIC_VCVTSD2SI:
    case ZYDIS_MNEMONIC_VCVTSS2SI:
    case ZYDIS_MNEMONIC_VCVTTSD2SI:
    case ZYDIS_MNEMONIC_VCVTTSS2SI:
        return true;
    default:
        return false;
    }
}

/* Registers that a plain instruction may name, hidden operands included. */
static bool plain_operands(struct xinsn *x)
{
    x->mem = 0;
    x->vec = vector_unnamed(x->zi.mnemonic);
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
            if (xinsn_is_vector(k))
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

/* BT and its kin with a bit string in memory. */
static enum xkind bit_kind(struct xinsn *x)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(x->ops[1].reg.value);

    return x->zi.address_width == 64 && (k == ZYDIS_REGCLASS_GPR64 || k == ZYDIS_REGCLASS_GPR32) &&
                   x->ops[1].reg.value != ZYDIS_REGISTER_RSP && x->ops[1].reg.value != ZYDIS_REGISTER_ESP
               ? XK_BIT
               : XK_STUB;
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
    return bit_string(x) ? bit_kind(x) : XK_PLAIN;
}

/* A near branch whose operands are 64 bits wide and without a 66 prefix, which vendors treat differently; but
 * not where REX.W overrides it (calls of __tls_get_addr are padded so). */
static bool plain_branch(const ZydisDecodedInstruction *zi)
{
    return zi->operand_width == 64 && (!(zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) || zi->raw.rex.W) &&
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

static enum xkind string_kind(const struct xinsn *x)
{
    const ZydisDecodedInstruction *zi = &x->zi;

    for (unsigned i = 0; i < zi->operand_count; i++)
        if (x->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (x->ops[i].mem.segment == ZYDIS_REGISTER_FS || x->ops[i].mem.segment == ZYDIS_REGISTER_GS))
            return XK_STUB;
    return zi->address_width == 64 ? XK_STRING : XK_STUB;
}

/* MOV from a control register that is nothing but a word in struct cpu. */
static bool reads_control(const struct xinsn *x)
{
    ZydisRegister r = x->ops[1].reg.value;

    return x->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           (r == ZYDIS_REGISTER_CR0 || r == ZYDIS_REGISTER_CR2 || r == ZYDIS_REGISTER_CR3 ||
            r == ZYDIS_REGISTER_CR4);
}

static enum xkind mov_kind(const struct xinsn *x)
{
    const ZydisDecodedOperand *op = x->ops;

    return op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && op[1].reg.value >= ZYDIS_REGISTER_ES &&
                   op[1].reg.value <= ZYDIS_REGISTER_GS
               ? XK_MOV_SEG
               : XK_STUB;
}

/* Instructions of the kernel; XK_STUB also for those of others. */
static enum xkind kernel_kind(const struct cpu *c, const struct xinsn *x)
{
    if (c->tlb_user == TLB_USER)
        return XK_STUB;
    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
        return XK_CLI;
    case ZYDIS_MNEMONIC_STI:
        return XK_STI;
    case ZYDIS_MNEMONIC_POPFQ:
        return XK_POPF;
    case ZYDIS_MNEMONIC_SWAPGS:
        return XK_SWAPGS;
    case ZYDIS_MNEMONIC_MOV:
        return XK_MOV_CR;
    case ZYDIS_MNEMONIC_STAC:
        return cpu_has(c, X86_F_SMAP) ? XK_STAC : XK_STUB;
    case ZYDIS_MNEMONIC_CLAC:
        if (!cpu_has(c, X86_F_SMAP))
            return XK_STUB;
        return c->tlb_user == TLB_SUPER_SMAP ? XK_NOTHING : XK_CLAC; /* it is clear */
    case ZYDIS_MNEMONIC_SYSRET:
        return x->zi.operand_width == 64 ? XK_SYSRET : XK_STUB_END;
    case ZYDIS_MNEMONIC_IRETQ:
        return XK_IRET;
    default:
        return XK_STUB;
    }
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
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_STAC:
    case ZYDIS_MNEMONIC_CLAC:
        return kernel_kind(c, x);
    case ZYDIS_MNEMONIC_SYSRET:
        return kernel_kind(c, x) == XK_SYSRET ? XK_SYSRET : XK_STUB_END;
    case ZYDIS_MNEMONIC_IRETQ:
        return kernel_kind(c, x) == XK_IRET ? XK_IRET : XK_STUB_END;
    case ZYDIS_MNEMONIC_SYSCALL:
        return c->tlb_user == TLB_USER ? XK_SYSCALL : XK_STUB_END;
    case ZYDIS_MNEMONIC_CLD:
        return XK_CLD;
    case ZYDIS_MNEMONIC_PUSHFQ:
        return XK_PUSHF;
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSQ:
        return string_kind(x);
    case ZYDIS_MNEMONIC_MOVSD: /* also of SSE2 */
        if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP)
            return string_kind(x);
        break;
    case ZYDIS_MNEMONIC_MOV:
        if (reads_control(x))
            return kernel_kind(c, x);
        if (op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(op[1].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return mov_kind(x);
        break;
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
        return XK_RD_BASE;
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
        return XK_WR_BASE;
    case ZYDIS_MNEMONIC_RDTSC:
        return XK_RDTSC;
    case ZYDIS_MNEMONIC_RDTSCP:
        return cpu_has(c, X86_F_RDTSCP) ? XK_RDTSC : XK_STUB;
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
        jcc = jcc && zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY; /* JKZD is no branch here */
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

bool xinsn_writes(const struct xinsn *x, unsigned g)
{
    for (unsigned i = 0; i < x->zi.operand_count; i++) {
        const ZydisDecodedOperand *op = &x->ops[i];
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) {
            ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->reg.value);
            if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64 &&
                (unsigned)ZydisRegisterGetId(whole) == g)
                return true;
        }
    }
    return false;
}

void xinsn_classify(const struct cpu *c, struct xinsn *x)
{
    x->mem = x->vec = x->reads = x->writes = x->keep_cf = x->grouped = x->group = x->direct = 0;
    x->spare = H_R11;
    x->disp = 0;
    x->kind = (uint8_t)kind_of(c, x);
    if (x->kind == XK_STUB || x->kind == XK_STUB_END)
        x->vec = 0;
}
