/*
 * forms: what there is to test, found by decoding every prefix, opcode and ModRM pattern.
 *
 * Two encodings are one form when mnemonic, opcode, operand kinds and sizes and effective prefixes agree. A
 * form is compared with the host unless it is in a table below with the reason.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lab.h"

const char *const placement_name[PLACEMENTS] = {
    "rw",     "rw-straddle",    "straddle-ro",    "ro",           "straddle-absent",
    "absent", "absent-into-rw", "ro-into-absent", "noncanonical",
};

/* ---- which feature brings an ISA set ---- */

#define F(word, bit) X86_FEATURE(X86_W_##word, bit)

static const struct {
    ZydisISASet isa;
    uint32_t feature;
} isa_features[] = {
    {ZYDIS_ISA_SET_I86, 0},
    {ZYDIS_ISA_SET_I186, 0},
    {ZYDIS_ISA_SET_I286PROTECTED, 0},
    {ZYDIS_ISA_SET_I286REAL, 0},
    {ZYDIS_ISA_SET_I386, 0},
    {ZYDIS_ISA_SET_I486, 0},
    {ZYDIS_ISA_SET_I486REAL, 0},
    {ZYDIS_ISA_SET_PENTIUMREAL, 0},
    {ZYDIS_ISA_SET_PPRO, 0},
    {ZYDIS_ISA_SET_FAT_NOP, 0},
    {ZYDIS_ISA_SET_PREFETCH_NOP, 0},
    {ZYDIS_ISA_SET_PAUSE, 0},
    {ZYDIS_ISA_SET_LONGMODE, 0},
    {ZYDIS_ISA_SET_RDPMC, 0},
    {ZYDIS_ISA_SET_AMD, 0},
    {ZYDIS_ISA_SET_X87, F(1_EDX, 0)},
    {ZYDIS_ISA_SET_CMOV, F(1_EDX, 15)},
    {ZYDIS_ISA_SET_FCMOV, F(1_EDX, 15)},
    {ZYDIS_ISA_SET_PENTIUMMMX, F(1_EDX, 23)},
    {ZYDIS_ISA_SET_FXSAVE, F(1_EDX, 24)},
    {ZYDIS_ISA_SET_FXSAVE64, F(1_EDX, 24)},
    {ZYDIS_ISA_SET_SSE, F(1_EDX, 25)},
    {ZYDIS_ISA_SET_SSEMXCSR, F(1_EDX, 25)},
    {ZYDIS_ISA_SET_SSE_PREFETCH, F(1_EDX, 25)},
    {ZYDIS_ISA_SET_SSE2, F(1_EDX, 26)},
    {ZYDIS_ISA_SET_SSE2MMX, F(1_EDX, 26)},
    {ZYDIS_ISA_SET_CLFSH, F(1_EDX, 19)},
    {ZYDIS_ISA_SET_SSE3, X86_F_SSE3},
    {ZYDIS_ISA_SET_SSE3X87, X86_F_SSE3},
    {ZYDIS_ISA_SET_SSSE3, X86_F_SSSE3},
    {ZYDIS_ISA_SET_SSSE3MMX, X86_F_SSSE3},
    {ZYDIS_ISA_SET_SSE4, X86_F_SSE4_1},
    {ZYDIS_ISA_SET_SSE42, X86_F_SSE4_2},
    {ZYDIS_ISA_SET_POPCNT, X86_F_POPCNT},
    {ZYDIS_ISA_SET_AES, X86_F_AES},
    {ZYDIS_ISA_SET_PCLMULQDQ, X86_F_PCLMULQDQ},
    {ZYDIS_ISA_SET_CMPXCHG16B, X86_F_CX16},
    {ZYDIS_ISA_SET_LAHF, X86_F_LAHF_LM},
    {ZYDIS_ISA_SET_MOVBE, X86_F_MOVBE},
    {ZYDIS_ISA_SET_RDRAND, X86_F_RDRAND},
    {ZYDIS_ISA_SET_RDSEED, F(7_EBX, 18)},
    {ZYDIS_ISA_SET_ADOX_ADCX, F(7_EBX, 19)},
    {ZYDIS_ISA_SET_LZCNT, X86_F_ABM},
    {ZYDIS_ISA_SET_BMI1, X86_F_BMI1},
    {ZYDIS_ISA_SET_BMI2, X86_F_BMI2},
    {ZYDIS_ISA_SET_CLFLUSHOPT, F(7_EBX, 23)},
    {ZYDIS_ISA_SET_CLWB, F(7_EBX, 24)},
    {ZYDIS_ISA_SET_AVX, X86_F_AVX},
    {ZYDIS_ISA_SET_AVX2, X86_F_AVX2},
    {ZYDIS_ISA_SET_AVX2GATHER, X86_F_AVX2},
    {ZYDIS_ISA_SET_FMA, X86_F_FMA},
    {ZYDIS_ISA_SET_F16C, X86_F_F16C},
    {ZYDIS_ISA_SET_AVXAES, X86_F_AES},
    {ZYDIS_ISA_SET_VAES, F(7_ECX, 9)},
    {ZYDIS_ISA_SET_VPCLMULQDQ, F(7_ECX, 10)},
    {ZYDIS_ISA_SET_GFNI, F(7_ECX, 8)},
    {ZYDIS_ISA_SET_AVX_GFNI, F(7_ECX, 8)},
    {ZYDIS_ISA_SET_SHA, F(7_EBX, 29)},
    {ZYDIS_ISA_SET_AVX_VNNI, F(7_1_EAX, 4)},
    {ZYDIS_ISA_SET_XSAVE, X86_F_XSAVE},
    {ZYDIS_ISA_SET_XSAVEOPT, X86_F_XSAVEOPT},
    {ZYDIS_ISA_SET_XSAVEC, X86_F_XSAVEC},
    {ZYDIS_ISA_SET_XSAVES, X86_F_XSAVES},
    {ZYDIS_ISA_SET_RDWRFSGS, X86_F_FSGSBASE},
    {ZYDIS_ISA_SET_SMAP, X86_F_SMAP},
    {ZYDIS_ISA_SET_INVPCID, X86_F_INVPCID},
    {ZYDIS_ISA_SET_RDTSCP, X86_F_RDTSCP},
    {ZYDIS_ISA_SET_MONITOR, X86_F_MONITOR},
    {ZYDIS_ISA_SET_RDPID, X86_F_RDPID},
    {ZYDIS_ISA_SET_PKU, X86_F_PKU},
    {ZYDIS_ISA_SET_RTM, X86_F_RTM},
    {ZYDIS_ISA_SET_SVM, X86_F_SVM},
    {ZYDIS_ISA_SET_VTX, X86_F_VMX},
    {ZYDIS_ISA_SET_MPX, X86_F_MPX},
    {ZYDIS_ISA_SET_CET, X86_F_SHSTK},
    {ZYDIS_ISA_SET_SSE4A, F(80000001_ECX, 6)},
    {ZYDIS_ISA_SET_XOP, F(80000001_ECX, 11)},
    {ZYDIS_ISA_SET_FMA4, F(80000001_ECX, 16)},
    {ZYDIS_ISA_SET_TBM, F(80000001_ECX, 21)},
    {ZYDIS_ISA_SET_AMD3DNOW, F(80000001_EDX, 31)},
    {ZYDIS_ISA_SET_CLZERO, F(80000008_EBX, 0)},
    {ZYDIS_ISA_SET_MOVDIR, F(7_ECX, 27)},
    {ZYDIS_ISA_SET_SERIALIZE, F(7_EDX, 14)},
    {ZYDIS_ISA_SET_WAITPKG, F(7_ECX, 5)},
};

bool forms_isa_feature(ZydisISASet isa, uint32_t *feature)
{
    for (unsigned i = 0; i < sizeof(isa_features) / sizeof(isa_features[0]); i++) {
        if (isa_features[i].isa != isa)
            continue;
        *feature = isa_features[i].feature;
        return true;
    }
    return false;
}

/* ---- what is not compared with the host, and why ---- */

static const struct {
    ZydisMnemonic mnemonic;
    const char *why;
} elsewhere[] = {
    {ZYDIS_MNEMONIC_SYSCALL, "enters the host's kernel; system suite"},
    {ZYDIS_MNEMONIC_SYSENTER, "enters the host's kernel; system suite"},
    {ZYDIS_MNEMONIC_SYSRET, "control transfer between privileges; system suite"},
    {ZYDIS_MNEMONIC_SYSEXIT, "control transfer between privileges; system suite"},
    {ZYDIS_MNEMONIC_INT, "software interrupt; system suite"},
    {ZYDIS_MNEMONIC_INT1, "software interrupt; system suite"},
    {ZYDIS_MNEMONIC_INT3, "software interrupt; system suite"},
    {ZYDIS_MNEMONIC_INTO, "software interrupt; system suite"},
    {ZYDIS_MNEMONIC_IRET, "control transfer between privileges; system suite"},
    {ZYDIS_MNEMONIC_IRETD, "control transfer between privileges; system suite"},
    {ZYDIS_MNEMONIC_IRETQ, "control transfer between privileges; system suite"},
    {ZYDIS_MNEMONIC_RDTSC, "answers differ by nature; system suite"},
    {ZYDIS_MNEMONIC_RDTSCP, "answers differ by nature; system suite"},
    {ZYDIS_MNEMONIC_RDPMC, "depends on CR4.PCE of the host's kernel; system suite"},
    {ZYDIS_MNEMONIC_CPUID, "answers differ by CPU model; system suite"},
    {ZYDIS_MNEMONIC_RDRAND, "answers differ by nature; unit test"},
    {ZYDIS_MNEMONIC_RDSEED, "answers differ by nature; unit test"},
    {ZYDIS_MNEMONIC_XGETBV, "the host's XCR0 has more; system suite"},
    {ZYDIS_MNEMONIC_SGDT, "the host's kernel emulates it under UMIP; system suite"},
    {ZYDIS_MNEMONIC_SIDT, "the host's kernel emulates it under UMIP; system suite"},
    {ZYDIS_MNEMONIC_SLDT, "the host's kernel emulates it under UMIP; system suite"},
    {ZYDIS_MNEMONIC_STR, "the host's kernel emulates it under UMIP; system suite"},
    {ZYDIS_MNEMONIC_SMSW, "the host's kernel emulates it under UMIP; system suite"},
    {ZYDIS_MNEMONIC_VMCALL, "calls the host's hypervisor; system suite"},
    {ZYDIS_MNEMONIC_VMMCALL, "calls the host's hypervisor; system suite"},
    {ZYDIS_MNEMONIC_HLT, "privileged; system suite"},
    {ZYDIS_MNEMONIC_LAR, "answers depend on the host's descriptor tables; system suite"},
    {ZYDIS_MNEMONIC_LSL, "answers depend on the host's descriptor tables; system suite"},
    {ZYDIS_MNEMONIC_VERR, "answers depend on the host's descriptor tables; system suite"},
    {ZYDIS_MNEMONIC_VERW, "answers depend on the host's descriptor tables; system suite"},
    {ZYDIS_MNEMONIC_LES, "loads a segment; system suite"},
    {ZYDIS_MNEMONIC_LDS, "loads a segment; system suite"},
    {ZYDIS_MNEMONIC_LSS, "loads a segment; system suite"},
    {ZYDIS_MNEMONIC_LFS, "loads a segment; system suite"},
    {ZYDIS_MNEMONIC_LGS, "loads a segment; system suite"},
};

static bool loads_segment(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    return (zi->mnemonic == ZYDIS_MNEMONIC_MOV || zi->mnemonic == ZYDIS_MNEMONIC_POP) &&
           ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER && ops[0].reg.value >= ZYDIS_REGISTER_ES &&
           ops[0].reg.value <= ZYDIS_REGISTER_GS;
}

static const char *tested_elsewhere(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return "far transfer; system suite";
    if (zi->meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP && ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
        return "a register form of 0F 0D: NOP on Intel's processors, #UD on AMD's; unit test";
    if (loads_segment(zi, ops))
        return "loads a segment; system suite";
    for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        if (elsewhere[i].mnemonic == zi->mnemonic)
            return elsewhere[i].why;
    return NULL;
}

/* ---- names ---- */

struct text {
    char *at;
    size_t left;
};

static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->at, t->left, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= t->left)
        n = (int)t->left - 1;
    t->at += n;
    t->left -= (size_t)n;
}

static void put_register(struct text *t, const ZydisDecodedOperand *op)
{
    ZydisRegister r = op->reg.value;

    if (op->visibility == ZYDIS_OPERAND_VISIBILITY_IMPLICIT) {
        put(t, "%s", ZydisRegisterGetString(r));
        return;
    }
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        put(t, "r%u", op->size);
        break;
    case ZYDIS_REGCLASS_XMM:
        put(t, "xmm");
        break;
    case ZYDIS_REGCLASS_YMM:
        put(t, "ymm");
        break;
    case ZYDIS_REGCLASS_MMX:
        put(t, "mm");
        break;
    case ZYDIS_REGCLASS_X87:
        put(t, "st(i)");
        break;
    case ZYDIS_REGCLASS_SEGMENT:
        put(t, "sreg");
        break;
    case ZYDIS_REGCLASS_CONTROL:
        put(t, "cr");
        break;
    case ZYDIS_REGCLASS_DEBUG:
        put(t, "dr");
        break;
    default:
        put(t, "%s", ZydisRegisterGetString(r));
        break;
    }
}

static void put_operand(struct text *t, const ZydisDecodedOperand *op)
{
    switch (op->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        put_register(t, op);
        break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        put(t, "%s%u", op->mem.type == ZYDIS_MEMOP_TYPE_VSIB ? "vm" : "m", op->size);
        if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
            put(t, "offs");
        break;
    case ZYDIS_OPERAND_TYPE_POINTER:
        put(t, "ptr");
        break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        put(t,
            op->visibility == ZYDIS_OPERAND_VISIBILITY_IMPLICIT ? "1"
            : op->imm.is_relative                               ? "rel%u"
                                                                : "imm%u",
            op->size);
        break;
    default:
        break;
    }
}

static bool uses_memory(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < zi->operand_count; i++)
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY && ops[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
            ops[i].mem.type != ZYDIS_MEMOP_TYPE_MIB)
            return true;
    return false;
}

/* Whether the address size shows in what the instruction does. */
static bool uses_address(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < zi->operand_count_visible; i++)
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return true;
    return zi->meta.category == ZYDIS_CATEGORY_STRINGOP || zi->meta.category == ZYDIS_CATEGORY_IOSTRINGOP ||
           zi->mnemonic == ZYDIS_MNEMONIC_LOOP || zi->mnemonic == ZYDIS_MNEMONIC_LOOPE ||
           zi->mnemonic == ZYDIS_MNEMONIC_LOOPNE || zi->mnemonic == ZYDIS_MNEMONIC_XLAT ||
           zi->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || zi->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
           zi->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

static const char *repeat_of(const ZydisDecodedInstruction *zi)
{
    if (zi->meta.category != ZYDIS_CATEGORY_STRINGOP && zi->meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
        return "";
    for (unsigned i = zi->raw.prefix_count; i-- > 0;)
        if (zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3)
            return zi->raw.prefixes[i].value == 0xf2 ? "repne " : "rep ";
    return "";
}

uint64_t forms_key(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops, char *text, size_t cap)
{
    static const char *const maps[] = {"", "0f ", "0f38 ", "0f3a "};
    struct text t = {text, cap};
    unsigned map = zi->opcode_map == ZYDIS_OPCODE_MAP_0F     ? 1
                   : zi->opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2
                   : zi->opcode_map == ZYDIS_OPCODE_MAP_0F3A ? 3
                                                             : 0;

    put(&t, "%s%s%s", zi->attributes & ZYDIS_ATTRIB_HAS_LOCK ? "lock " : "", repeat_of(zi),
        ZydisMnemonicGetString(zi->mnemonic));
    for (unsigned i = 0; i < zi->operand_count_visible; i++) {
        put(&t, i ? ", " : " ");
        put_operand(&t, &ops[i]);
    }
    if (uses_address(zi, ops))
        put(&t, " a%u", zi->address_width);
    put(&t, " o%u [%s%s%02x", zi->operand_width, zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? "vex " : "",
        maps[map], zi->opcode);
    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        put(&t, " l%u w%u", zi->raw.vex.L, zi->raw.vex.W);
    put(&t, "]");
    uint64_t h = 14695981039346656037ull;
    for (const char *p = text; *p; p++)
        h = (h ^ (uint8_t)*p) * 1099511628211ull;
    return h;
}

bool forms_decode(enum cpu_mode mode, const uint8_t *bytes, unsigned len, ZydisDecodedInstruction *zi,
                  ZydisDecodedOperand *ops)
{
    static ZydisDecoder decoder[3];
    static bool ready;

    if (!ready) {
        ZydisDecoderInit(&decoder[MODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
        ZydisDecoderInit(&decoder[MODE_32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&decoder[MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (unsigned m = 0; m < 3; m++) {
            ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
            ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
            ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
        }
        ready = true;
    }
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder[mode], bytes, len, zi, ops));
}

/* ---- bytes ---- */

static unsigned emit_vex(const struct encoding *e, enum cpu_mode mode, const struct operand_bits *b,
                         uint8_t *out)
{
    if (b->short_vex && e->map == 1 && !e->w && !b->x && !(b->rm >> 3)) {
        out[0] = 0xc5;
        out[1] =
            (uint8_t)((mode == MODE_64 && b->reg >> 3 ? 0 : 0x80) | (b->vvvv & 15) << 3 | e->l << 2 | e->pp);
        return 2;
    }
    unsigned r = mode == MODE_64 ? (b->reg >> 3) & 1 : 0, rm = mode == MODE_64 ? (b->rm >> 3) & 1 : 0,
             x = mode == MODE_64 ? b->x : 0;
    out[0] = 0xc4;
    out[1] = (uint8_t)((r ? 0 : 0x80) | (x ? 0 : 0x40) | (rm ? 0 : 0x20) | e->map);
    out[2] = (uint8_t)(e->w << 7 | (b->vvvv & 15) << 3 | e->l << 2 | e->pp);
    return 3;
}

static unsigned emit_legacy(const struct encoding *e, enum cpu_mode mode, const struct operand_bits *b,
                            uint8_t *out)
{
    unsigned n = 0, rex = e->w << 3 | (b->reg >> 3 & 1) << 2 | (b->x & 1u) << 1 | (b->rm >> 3 & 1);
    if (mode == MODE_64 && rex)
        out[n++] = (uint8_t)(0x40 | rex);
    if (e->map)
        out[n++] = 0x0f;
    if (e->map >= 2)
        out[n++] = e->map == 2 ? 0x38 : 0x3a;
    return n;
}

unsigned forms_emit(const struct encoding *e, enum cpu_mode mode, const struct operand_bits *b,
                    uint8_t out[15])
{
    uint8_t buf[40];
    unsigned n = 0;

    if (b->segment)
        buf[n++] = b->segment;
    for (unsigned i = 0; i < e->prefixes; i++)
        buf[n++] = e->prefix[i];
    n += e->vex ? emit_vex(e, mode, b, buf + n) : emit_legacy(e, mode, b, buf + n);
    buf[n++] = e->opcode;
    buf[n++] = (uint8_t)(b->mod << 6 | (b->reg & 7) << 3 | (b->rm & 7));
    if (b->mod != 3 && (b->rm & 7) == 4)
        buf[n++] = b->sib;
    memcpy(buf + n, b->tail, sizeof(b->tail));
    memcpy(out, buf, 15);
    return 15;
}

/* ---- enumeration ---- */

enum { HASH = 1 << 16 };

struct builder {
    struct forms *f;
    unsigned capacity;
    unsigned first; /* of this mode */
    enum cpu_mode mode;
    const struct x86_features *cpu;
    int *hash;
};

static bool known(const struct builder *b, uint64_t key)
{
    for (unsigned i = (unsigned)key % HASH; b->hash[i] >= 0; i = (i + 1) % HASH)
        if (b->f->list[b->hash[i]].key == key)
            return true;
    return false;
}

static struct form *add(struct builder *b, uint64_t key)
{
    if (b->f->count == b->capacity) {
        b->capacity = b->capacity ? b->capacity * 2 : 4096;
        b->f->list = realloc(b->f->list, b->capacity * sizeof(struct form));
        if (!b->f->list)
            abort();
    }
    unsigned i = (unsigned)key % HASH;
    while (b->hash[i] >= 0)
        i = (i + 1) % HASH;
    b->hash[i] = (int)b->f->count;
    struct form *form = &b->f->list[b->f->count++];
    memset(form, 0, sizeof(*form));
    form->key = key;
    return form;
}

static void judge(struct form *form, const struct builder *b, const ZydisDecodedInstruction *zi,
                  const ZydisDecodedOperand *ops)
{
    uint32_t feature;
    const char *why = tested_elsewhere(zi, ops);

    if (!forms_isa_feature(zi->meta.isa_set, &feature) || (feature && !x86_features_has(b->cpu, feature))) {
        form->verdict = FORM_UNADVERTISED;
        form->why = "not advertised";
    } else if (why) {
        form->verdict = FORM_OTHER_TEST;
        form->why = why;
    } else {
        form->verdict = FORM_TEST;
        form->why = zi->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED
                        ? "privileged: here that it faults; the rest in the system suite"
                        : "";
    }
}

/* #UD is what these do (RSM: outside of system-management mode, which our CPUs never enter). */
static bool undefined_by_definition(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_UD0 || m == ZYDIS_MNEMONIC_UD1 || m == ZYDIS_MNEMONIC_UD2 ||
           m == ZYDIS_MNEMONIC_RSM;
}

static void consider(struct builder *b, const struct encoding *e, const struct operand_bits *bits)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t bytes[15];
    char text[112];

    forms_emit(e, b->mode, bits, bytes);
    if (!forms_decode(b->mode, bytes, 15, &zi, ops) || zi.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
        zi.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || zi.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
        (zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) != e->vex)
        return;
    uint64_t key = forms_key(&zi, ops, text, sizeof(text));
    if (known(b, key))
        return;
    struct form *form = add(b, key);
    struct insn in;
    memcpy(form->text, text, sizeof(text));
    form->mnemonic = zi.mnemonic;
    form->isa = zi.meta.isa_set;
    form->mode = (uint8_t)b->mode;
    form->enc = *e;
    form->enc.mod3 = bits->mod == 3;
    form->enc.reg = bits->reg;
    form->enc.rm = bits->rm;
    form->enc.vvvv = bits->vvvv;
    form->enc.vsib = bits->mod != 3 && bits->rm == 4;
    form->has_memory = uses_memory(&zi, ops);
    form->implemented = insn_decode(bytes, zi.length, b->mode, &in) == 0 &&
                        (in.exec != exec_ud || undefined_by_definition(zi.mnemonic));
    judge(form, b, &zi, ops);
}

/* All ModRM bytes that can matter: each reg field, a memory form, one with SIB, and each register rm. */
static void all_modrm(struct builder *b, const struct encoding *e, uint8_t vvvv)
{
    struct operand_bits bits = {.sib = 0x0b, .vvvv = vvvv};

    for (unsigned reg = 0; reg < 8; reg++) {
        bits.reg = (uint8_t)reg;
        bits.mod = 0;
        bits.rm = 3;
        consider(b, e, &bits);
        bits.rm = 4;
        consider(b, e, &bits);
        bits.mod = 3;
        for (unsigned rm = 0; rm < 8; rm++) {
            bits.rm = (uint8_t)rm;
            consider(b, e, &bits);
        }
    }
}

/* A byte that is no opcode in this map but a prefix or an escape. */
static bool is_prefix(enum cpu_mode mode, unsigned map, unsigned opcode)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
                                       0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f};

    if (map == 1)
        return opcode == 0x38 || opcode == 0x3a;
    return map == 0 &&
           (memchr(prefixes, (int)opcode, sizeof(prefixes)) || (mode == MODE_64 && (opcode & 0xf0) == 0x40));
}

static void all_legacy(struct builder *b)
{
    static const uint8_t prefixes[][3] = {
        {0},
        {0x66},
        {0xf2},
        {0xf3},
        {0x67},
        {0xf0},
        {0x66, 0xf2},
        {0x66, 0xf3},
        {0x66, 0xf0},
        {0x67, 0x66},
        {0x67, 0xf2},
        {0x67, 0xf3},
        {0x67, 0x66, 0xf2},
        {0x67, 0x66, 0xf3},
        {0x67, 0xf0},
        {0x67, 0x66, 0xf0},
    };

    for (unsigned map = 0; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            unsigned widths = is_prefix(b->mode, map, opcode) ? 0 : b->mode == MODE_64 ? 2 : 1;
            for (unsigned p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++)
                for (unsigned w = 0; w < widths; w++) {
                    struct encoding e = {.map = (uint8_t)map, .opcode = (uint8_t)opcode, .w = (uint8_t)w};
                    for (e.prefixes = 0; e.prefixes < 3 && prefixes[p][e.prefixes]; e.prefixes++)
                        e.prefix[e.prefixes] = prefixes[p][e.prefixes];
                    all_modrm(b, &e, 0);
                }
        }
}

static void all_vex(struct builder *b)
{
    for (unsigned i = 0; i < 3 * 256 * 4 * 2 * 2 * 2; i++) {
        unsigned n = i;
        struct encoding e = {.vex = 1};
        e.map = (uint8_t)(1 + n % 3);
        n /= 3;
        e.opcode = (uint8_t)n;
        n >>= 8;
        e.pp = n & 3;
        n >>= 2;
        e.l = n & 1;
        n >>= 1;
        e.w = n & 1;
        n >>= 1;
        e.prefixes = n & 1;
        e.prefix[0] = 0x67;
        all_modrm(b, &e, 15);
        all_modrm(b, &e, 9);
    }
}

void forms_build(struct forms *f, enum cpu_mode mode, const struct x86_features *cpu)
{
    struct builder b = {.f = f, .capacity = f->count, .first = f->count, .mode = mode, .cpu = cpu};

    b.hash = malloc(HASH * sizeof(int));
    if (!b.hash)
        abort();
    memset(b.hash, 0xff, HASH * sizeof(int));
    all_legacy(&b);
    all_vex(&b);
    free(b.hash);
}
