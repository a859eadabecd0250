/*
 * native_gen: the thunk generator.
 *
 * A thunk is called as fn(rdi = struct cpu *, rsi = struct native_frame *). Vector and MMX operands keep
 * their register numbers; general-purpose operands that the instruction names move to R8 (ModRM.reg or
 * opcode), R9 (ModRM.rm) and R10 (VEX.vvvv), so that RSP, RDI and RSI can be guest operands; implicit RAX,
 * RCX, RDX stay. The memory operand becomes [rsi]. Encodings: SDM 2A chapter 2. Everything is driven by the
 * decoder's operand table: what is named is loaded (also what is only written, because many writes are
 * partial), what is written is stored.
 *
 * The rewritten bytes are decoded again in 64-bit mode and must name the same operation on operands of the
 * same sizes; that catches what means something else there (VEX.W outside 64-bit mode, 16-bit operand size).
 */
#include "accel/soft/engine/native_gen.h"
#include <Zydis/Zydis.h>
#include <string.h>

enum { RAX = 0, RCX = 1, RDX = 2, RSI = 6, RDI = 7, R8 = 8, R9 = 9, R10 = 10, R11 = 11, NO_GPR = 0xff };
enum { SLOT_REG, SLOT_RM, SLOT_VVVV, SLOTS };

struct vec_use {
    uint8_t reg;
    bool mmx, write;
};
struct gpr_use {
    uint8_t guest, host;
    bool write;
};

struct gen {
    struct native_plan *p;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    const uint8_t *bytes;
    bool long_mode, vex, memory, flags_in;
    uint8_t slot[SLOTS]; /* guest register bound to it */
    unsigned vecs, gprs;
    struct vec_use vec[8];
    struct gpr_use gpr[8];
    uint8_t out[16]; /* the rewritten instruction */
    unsigned out_len;
};

/* ---- what the instruction uses ---- */

static bool add_gpr(struct gen *g, const ZydisDecodedOperand *o)
{
    ZydisRegister r = o->reg.value;
    uint8_t guest = (uint8_t)ZydisRegisterGetId(r), host;
    if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8) {
        if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
            return false;
        if (r >= ZYDIS_REGISTER_SPL)
            guest = (uint8_t)(r - ZYDIS_REGISTER_SPL + 4);
    }
    switch (o->encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
    case ZYDIS_OPERAND_ENCODING_OPCODE:
        g->slot[SLOT_REG] = guest;
        host = R8;
        break;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        g->slot[SLOT_RM] = guest;
        host = R9;
        break;
    case ZYDIS_OPERAND_ENCODING_NDSNDD:
        g->slot[SLOT_VVVV] = guest;
        host = R10;
        break;
    case ZYDIS_OPERAND_ENCODING_NONE:
        if (guest > RDX)
            return false;
        host = guest;
        break;
    default:
        return false;
    }
    if (g->gprs == 8)
        return false;
    g->gpr[g->gprs++] = (struct gpr_use){guest, host, (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0};
    return true;
}

static bool add_vec(struct gen *g, const ZydisDecodedOperand *o, bool mmx)
{
    uint8_t reg = (uint8_t)ZydisRegisterGetId(o->reg.value);
    if (reg > 15 || g->vecs == 8)
        return false;
    if (mmx)
        g->p->attr |= NATIVE_MMX;
    g->vec[g->vecs++] = (struct vec_use){reg, mmx, (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0};
    return true;
}

static bool add_reg(struct gen *g, const ZydisDecodedOperand *o)
{
    switch ((int)ZydisRegisterGetClass(o->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return add_gpr(g, o);
    case ZYDIS_REGCLASS_MMX:
        return add_vec(g, o, true);
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
        return add_vec(g, o, false);
    case ZYDIS_REGCLASS_FLAGS:
        return true;
    case ZYDIS_REGCLASS_X87:
        return g->p->attr & NATIVE_X87;
    default: /* status, control and tag words of the x87 have no class */
        return g->p->attr & NATIVE_X87 && o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
    }
}

static bool add_mem(struct gen *g, const ZydisDecodedOperand *o)
{
    if (o->mem.type != ZYDIS_MEMOP_TYPE_MEM || o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM || g->memory ||
        o->size / 8 > 64 || o->size == 0)
        return false;
    g->memory = true;
    g->p->mem_size = (uint8_t)(o->size / 8);
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
        g->p->attr |= NATIVE_MEM_READ;
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        g->p->attr |= NATIVE_MEM_WRITE;
    return true;
}

static bool collect(struct gen *g)
{
    for (unsigned i = 0; i < g->zi.operand_count; i++) {
        const ZydisDecodedOperand *o = &g->op[i];
        bool ok = true;
        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
            ok = add_reg(g, o);
        else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
            ok = add_mem(g, o);
        else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            ok = !o->imm.is_relative;
        else
            ok = false;
        if (!ok)
            return false;
    }
    if (g->p->attr & NATIVE_MEM_WRITE) /* registers are stored before memory is: not both */
        for (unsigned i = 0; i < g->gprs; i++)
            if (g->gpr[i].write)
                return false;
    return true;
}

/* Does the operation depend on MXCSR? By exception class (SDM 2A 2.4, tables of classes): 2 and 3 raise SIMD
 * exceptions, 11 is F16C; the conversions between MMX and XMM registers have no class. */
static bool uses_mxcsr(const ZydisDecodedInstruction *zi)
{
    switch (zi->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
        return true;
    default:
        break;
    }
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_CVTPI2PS:
    case ZYDIS_MNEMONIC_CVTPI2PD:
    case ZYDIS_MNEMONIC_CVTPS2PI:
    case ZYDIS_MNEMONIC_CVTTPS2PI:
    case ZYDIS_MNEMONIC_CVTPD2PI:
    case ZYDIS_MNEMONIC_CVTTPD2PI:
        return true;
    default:
        return false;
    }
}

/* false: it writes flags that are not arithmetic. */
static bool collect_flags(struct gen *g)
{
    const ZydisAccessedFlags *f = g->zi.cpu_flags;
    uint32_t arith = X86_ARITH_FLAGS;
    if (!f)
        return true;
    if ((f->modified | f->set_0 | f->set_1) & ~arith)
        return false;
    g->p->flags_out = (f->modified | f->undefined | f->set_0 | f->set_1) & arith;
    if (g->zi.mnemonic == ZYDIS_MNEMONIC_VPTEST || g->zi.mnemonic == ZYDIS_MNEMONIC_VTESTPS ||
        g->zi.mnemonic == ZYDIS_MNEMONIC_VTESTPD)
        g->p->flags_out = arith; /* Zydis 4.0 tables no flags for these */
    /* Vector operations that write flags write all of them; others may leave some or all alone. */
    if (f->tested & arith || (g->p->flags_out && !g->vecs && !(g->p->attr & NATIVE_X87)))
        g->p->attr |= NATIVE_FLAGS_IN;
    return true;
}

/* ---- the instruction, rewritten ---- */

static uint8_t modrm_byte(const struct gen *g, bool *r, bool *b)
{
    const uint8_t old = g->bytes[g->zi.raw.modrm.offset];
    unsigned mod = old >> 6, reg = old >> 3 & 7, rm = old & 7;
    if (g->slot[SLOT_REG] != NO_GPR) {
        *r = true; /* R8 */
        reg = 0;
    }
    if (g->memory) {
        *b = false; /* [rsi] */
        mod = 0;
        rm = RSI;
    } else if (g->slot[SLOT_RM] != NO_GPR) {
        *b = true; /* R9 */
        rm = 1;
    }
    return (uint8_t)(mod << 6 | reg << 3 | rm);
}

static void put(struct gen *g, uint8_t b)
{
    if (g->out_len < sizeof g->out)
        g->out[g->out_len] = b;
    g->out_len++;
}

/* What follows the operand bytes: immediates. A register in one (is4) has three bits outside 64-bit mode. */
static void put_tail(struct gen *g, unsigned from)
{
    bool is4 = false;
    for (unsigned i = 0; i < g->zi.operand_count; i++)
        is4 |= g->op[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
    for (unsigned i = from; i < g->zi.length; i++)
        put(g, is4 && !g->long_mode ? g->bytes[i] & 0x7f : g->bytes[i]);
}

static unsigned after_modrm(const ZydisDecodedInstruction *zi)
{
    return zi->raw.modrm.offset + 1u + (zi->attributes & ZYDIS_ATTRIB_HAS_SIB ? 1u : 0u) +
           zi->raw.disp.size / 8u;
}

static void rewrite_vex(struct gen *g, bool drop_w)
{
    const uint8_t *v = g->bytes + g->zi.raw.vex.offset;
    bool three = v[0] == 0xc4;
    bool r = !(v[1] & 0x80), b = three && !(v[1] & 0x20);
    unsigned map = three ? v[1] & 0x1f : 1, last = three ? v[2] : v[1] & 0x7f;
    if (!g->long_mode) {
        r = b = false;
        last |= 0x40;
        drop_w |= g->zi.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRI ||
                  g->zi.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRM; /* lengths are EAX, EDX */
    }
    if (drop_w)
        last &= 0x7f;
    if (g->slot[SLOT_VVVV] != NO_GPR)
        last = (last & ~0x78u) | (~(unsigned)R10 & 15) << 3;
    uint8_t modrm = modrm_byte(g, &r, &b);
    put(g, 0xc4);
    put(g, (uint8_t)((r ? 0 : 0x80) | 0x40 | (b ? 0 : 0x20) | map));
    put(g, (uint8_t)last);
    put(g, g->zi.opcode);
    put(g, modrm);
    put_tail(g, after_modrm(&g->zi));
}

static bool rewrite_legacy(struct gen *g, bool flip_66)
{
    const ZydisDecodedInstruction *zi = &g->zi;
    bool w = g->long_mode && zi->raw.rex.W, r = g->long_mode && zi->raw.rex.R,
         b = g->long_mode && zi->raw.rex.B;
    bool has_modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    bool have_66 = false;
    for (unsigned i = 0; i < zi->raw.prefix_count; i++) {
        uint8_t v = zi->raw.prefixes[i].value;
        if (zi->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_IGNORED || (v != 0x66 && v != 0xf2 && v != 0xf3))
            continue;
        if (v == 0x66) {
            have_66 = true;
            if (flip_66)
                continue;
        }
        put(g, v);
    }
    if (flip_66 && !have_66)
        put(g, 0x66);
    uint8_t modrm = 0, opcode = zi->opcode;
    if (has_modrm)
        modrm = modrm_byte(g, &r, &b);
    else if (g->slot[SLOT_REG] != NO_GPR) { /* in the opcode: R8 */
        b = true;
        opcode &= 0xf8;
    }
    if (w || r || b)
        put(g, (uint8_t)(0x40 | w << 3 | r << 2 | (b ? 1 : 0)));
    switch (zi->opcode_map) {
    case ZYDIS_OPCODE_MAP_DEFAULT:
        break;
    case ZYDIS_OPCODE_MAP_0F:
        put(g, 0x0f);
        break;
    case ZYDIS_OPCODE_MAP_0F38:
        put(g, 0x0f);
        put(g, 0x38);
        break;
    case ZYDIS_OPCODE_MAP_0F3A:
        put(g, 0x0f);
        put(g, 0x3a);
        break;
    default:
        return false;
    }
    put(g, opcode);
    if (has_modrm)
        put(g, modrm);
    put_tail(g, has_modrm ? after_modrm(zi) : zi->raw.imm[0].size ? zi->raw.imm[0].offset : zi->length);
    return true;
}

/* Does the rewritten instruction mean the same in 64-bit mode? */
static bool same_meaning(const struct gen *g)
{
    ZydisDecoder d;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    if (g->out_len > 15 ||
        !ZYAN_SUCCESS(ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, g->out, g->out_len, &zi, op)))
        return false;
    if (zi.length != g->out_len || zi.mnemonic != g->zi.mnemonic || zi.operand_count != g->zi.operand_count)
        return false;
    for (unsigned i = 0; i < zi.operand_count; i++) {
        bool sized = op[i].type != ZYDIS_OPERAND_TYPE_IMMEDIATE &&
                     op[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;
        if (op[i].type != g->op[i].type || (sized && op[i].size != g->op[i].size))
            return false;
    }
    return true;
}

static bool rewrite(struct gen *g)
{
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        g->out_len = 0;
        if (g->vex)
            rewrite_vex(g, attempt);
        else if (!rewrite_legacy(g, attempt))
            return false;
        if (same_meaning(g))
            return true;
    }
    return false;
}

/* ---- the thunk ---- */

static void emit(struct native_plan *p, const void *bytes, unsigned n)
{
    if (p->code_size + n <= sizeof p->code)
        memcpy(p->code + p->code_size, bytes, n);
    p->code_size += n;
}
#define EMIT(p, ...) emit(p, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit32(struct native_plan *p, size_t v)
{
    uint32_t x = (uint32_t)v;
    emit(p, &x, 4);
}

/* op r64, [rdi+disp] or back: opcode 8B loads, 89 stores. */
static void emit_gpr(struct native_plan *p, uint8_t opcode, unsigned host, unsigned guest)
{
    EMIT(p, (uint8_t)(0x48 | (host >= 8 ? 4 : 0)), opcode, (uint8_t)(0x80 | (host & 7) << 3 | RDI));
    emit32(p, offsetof(struct cpu, gpr) + 8 * guest);
}

/* Load or store a vector register: MOVUPS keeps the upper half of the YMM register in memory as it is,
 * VMOVDQU moves all of it. */
static void emit_vec(const struct gen *g, const struct vec_use *v, bool store)
{
    struct native_plan *p = g->p;
    uint8_t modrm = (uint8_t)(0x80 | (v->reg & 7) << 3 | RDI);
    if (v->mmx) {
        size_t at = offsetof(struct cpu, fpu.st) + 16 * (v->reg & 7u);
        EMIT(p, 0x0f, store ? 0x7f : 0x6f, modrm);
        emit32(p, at);
        if (store) { /* an MMX write sets the exponent to all ones: SDM 1 9.2.1 */
            EMIT(p, 0x66, 0xc7, 0x80 | RDI);
            emit32(p, at + 8);
            EMIT(p, 0xff, 0xff);
        }
        return;
    }
    if (g->vex) {
        EMIT(p, 0xc5, (uint8_t)((v->reg >= 8 ? 0 : 0x80) | 0x78 | 4 | 2), store ? 0x7f : 0x6f, modrm);
    } else {
        if (v->reg >= 8)
            EMIT(p, 0x44);
        EMIT(p, 0x0f, store ? 0x11 : 0x10, modrm);
    }
    emit32(p, offsetof(struct cpu, fpu.ymm) + 32u * v->reg);
}

/* LDMXCSR (2) or STMXCSR (3) of a frame field. */
static void emit_mxcsr(struct native_plan *p, unsigned ext, size_t field)
{
    EMIT(p, 0x0f, 0xae, (uint8_t)(0x80 | ext << 3 | RSI));
    emit32(p, field);
}

static void emit_flags_in(struct native_plan *p)
{
    EMIT(p, 0xff, 0xb6); /* push [rsi+] */
    emit32(p, offsetof(struct native_frame, flags));
    EMIT(p, 0x9d); /* popfq */
}

static void emit_flags_out(struct native_plan *p)
{
    EMIT(p, 0x9c, 0x8f, 0x86); /* pushfq; pop [rsi+] */
    emit32(p, offsetof(struct native_frame, flags));
}

static void emit_body(struct gen *g)
{
    if (g->p->attr & NATIVE_FLAGS_IN)
        emit_flags_in(g->p);
    emit(g->p, g->out, g->out_len);
    if (g->p->flags_out)
        emit_flags_out(g->p);
}

static void emit_x87(struct gen *g)
{
    struct native_plan *p = g->p;
    emit_mxcsr(p, 3, offsetof(struct native_frame, fx) + 24);
    EMIT(p, 0x48, 0x0f, 0xae, 0x80 | 1 << 3 | RSI); /* fxrstor64 */
    emit32(p, offsetof(struct native_frame, fx));
    emit_body(g);
    EMIT(p, 0x48, 0x0f, 0xae, 0x80 | 0 << 3 | RSI); /* fxsave64 */
    emit32(p, offsetof(struct native_frame, fx));
    EMIT(p, 0xdb, 0xe3, 0xc3); /* fninit; ret */
}

static void emit_vector(struct gen *g)
{
    struct native_plan *p = g->p;
    bool mxcsr = p->attr & NATIVE_MXCSR;
    unsigned fix = 0;
    if (mxcsr) {
        emit_mxcsr(p, 3, offsetof(struct native_frame, host_mxcsr));
        emit_mxcsr(p, 2, offsetof(struct native_frame, mxcsr));
    }
    for (unsigned i = 0; i < g->vecs; i++)
        emit_vec(g, &g->vec[i], false);
    for (unsigned i = 0; i < g->gprs; i++)
        emit_gpr(p, 0x8b, g->gpr[i].host, g->gpr[i].guest);
    emit_body(g);
    if (mxcsr) {
        emit_mxcsr(p, 3, offsetof(struct native_frame, mxcsr_out));
        emit_mxcsr(p, 2, offsetof(struct native_frame, host_mxcsr));
        EMIT(p, 0x44, 0x8b, 0x9e); /* mov r11d, [rsi+] */
        emit32(p, offsetof(struct native_frame, mxcsr_out));
        EMIT(p, 0x44, 0x85, 0x9e); /* test [rsi+], r11d */
        emit32(p, offsetof(struct native_frame, stop));
        EMIT(p, 0x0f, 0x85, 0, 0, 0, 0); /* jnz past the stores */
        fix = p->code_size;
    }
    for (unsigned i = 0; i < g->vecs; i++)
        if (g->vec[i].write)
            emit_vec(g, &g->vec[i], true);
    for (unsigned i = 0; i < g->gprs; i++)
        if (g->gpr[i].write)
            emit_gpr(p, 0x89, g->gpr[i].host, g->gpr[i].guest);
    if (fix && p->code_size <= sizeof p->code) {
        uint32_t rel = p->code_size - fix;
        memcpy(p->code + fix - 4, &rel, 4);
    }
    if (p->attr & NATIVE_MMX)
        EMIT(p, 0x0f, 0x77); /* emms */
    if (g->vex && g->vecs)
        EMIT(p, 0xc5, 0xf8, 0x77); /* vzeroupper */
    EMIT(p, 0xc3);
}

bool native_plan(struct native_plan *p, const struct insn *in, enum cpu_mode mode)
{
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } how[] = {
        [MODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        [MODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        [MODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    struct gen g = {
        .p = p, .bytes = in->bytes, .long_mode = mode == MODE_64, .slot = {NO_GPR, NO_GPR, NO_GPR}};
    ZydisDecoder d;
    memset(p, 0, sizeof *p);
    if (!ZYAN_SUCCESS(ZydisDecoderInit(&d, how[mode].machine, how[mode].stack)) ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, in->bytes, in->len, &g.zi, g.op)))
        return false;
    g.vex = g.zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if ((!g.vex && g.zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) ||
        g.zi.attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_IS_PRIVILEGED))
        return false;
    if (g.zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && g.zi.opcode >= 0xd8 && g.zi.opcode <= 0xdf)
        p->attr |= NATIVE_X87;
    if (uses_mxcsr(&g.zi))
        p->attr |= NATIVE_MXCSR;
    if (!collect(&g) || !collect_flags(&g) || !rewrite(&g))
        return false;
    if (p->attr & NATIVE_X87)
        emit_x87(&g);
    else
        emit_vector(&g);
    if (p->code_size > sizeof p->code)
        return false;
    memcpy(p->key, g.out, g.out_len);
    memcpy(p->key + 16, g.slot, sizeof g.slot);
    p->key[19] = (uint8_t)g.out_len;
    return true;
}
