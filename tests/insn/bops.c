/*
 * bops: instructions of a program: encoders, memory operands, and instructions of all forms the lab knows.
 */
#include <stdlib.h>
#include <string.h>
#include "bgen.h"

/* ---- encoding ---- */

struct item *op_bytes(struct builder *b, const void *bytes, unsigned n)
{
    static struct item full;
    struct prog *p = b->p;
    struct item *x = p->count < MAX_ITEMS - 1 ? &p->item[p->count++] : &full;

    memset(x, 0, sizeof *x);
    memcpy(x->bytes, bytes, n);
    x->len = (uint8_t)n;
    return x;
}

struct item *op_rm(struct builder *b, const struct op *o, const struct operand *m)
{
    uint8_t out[24];
    unsigned n = 0, rex = (o->rex_w ? 8u : 0) | (o->reg >> 3 & 1) << 2 | (m->x & 1u) << 1 | (m->rm >> 3 & 1);

    if (m->segment)
        out[n++] = m->segment;
    if (m->a32)
        out[n++] = 0x67;
    if (o->prefix)
        out[n++] = o->prefix;
    if (o->prefix2)
        out[n++] = o->prefix2;
    if (rex || o->small_rex)
        out[n++] = (uint8_t)(0x40 | rex);
    if (o->map)
        out[n++] = 0x0f;
    if (o->map == 2)
        out[n++] = 0x38;
    out[n++] = o->opcode;
    out[n++] = (uint8_t)(m->mod << 6 | (o->reg & 7) << 3 | (m->rm & 7));
    if (m->mod != 3 && (m->rm & 7) == 4)
        out[n++] = m->sib;
    unsigned disp_at = n;
    memcpy(out + n, &m->disp, 4);
    n += m->disp_len;
    memcpy(out + n, &o->imm, 4);
    n += o->imm_len;
    struct item *x = op_bytes(b, out, n);
    if (m->place) {
        x->fix = FIX_PLACE;
        x->fix_at = (uint8_t)disp_at;
        x->add = m->disp;
    }
    return x;
}

/* ---- operands ---- */

struct operand op_register(unsigned r)
{
    return (struct operand){.mod = 3, .rm = (uint8_t)r};
}

struct operand op_place(uint32_t at)
{
    return (struct operand){.rm = 5, .disp = (int32_t)at, .disp_len = 4, .place = 1};
}

struct operand op_base(unsigned r, int32_t disp)
{
    struct operand m = {.rm = (uint8_t)r, .disp = disp};

    m.disp_len = disp == 0 && (r & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 4;
    m.mod = m.disp_len == 0 ? 0 : m.disp_len == 1 ? 1 : 2;
    if ((r & 7) == 4)
        m.sib = 0x24;
    return m;
}

uint32_t op_data_at(struct builder *b, unsigned align)
{
    uint32_t page = draw(b, DATA_N);

    if (odds(b, 6))
        return (uint32_t)AT_MIRROR - AT_DATA + op_data_at(b, align);
    if (align < 2 && odds(b, 30) && (page < DATA_N - 1 || odds(b, 10))) /* on the border, or just before it */
        return AT_DATA + page * 4096 + 4096 - draw(b, 33);
    uint32_t at = 256 + draw(b, 4096 - 512);
    return AT_DATA + page * 4096 + (odds(b, 50) || align > 1 ? at & ~63u : at);
}

static int pick(struct builder *b, unsigned set)
{
    unsigned r = draw(b, 16);

    for (unsigned i = 0; i < 16; i++)
        if (set >> ((r + i) & 15) & 1)
            return (int)((r + i) & 15);
    return -1;
}

struct operand op_memory(struct builder *b, unsigned align)
{
    static const uint8_t overrides[] = {0x26, 0x2e, 0x36, 0x3e};
    int base = pick(b, b->ptr), index = pick(b, b->small & ~(1u << 4));
    struct operand m;

    if (align > 1 && odds(b, 90))
        return op_place(op_data_at(b, align));
    if (odds(b, 5)) { /* fs:[..], gs:[..]: their bases are in data */
        m = (struct operand){.rm = 4, .sib = 0x25, .disp = (int32_t)draw(b, 64), .disp_len = 4};
        m.segment = odds(b, 50) ? 0x64 : 0x65;
        return m;
    }
    if (base < 0 || odds(b, 20))
        m = op_place(op_data_at(b, align));
    else {
        m = op_base((unsigned)base, odds(b, 25) ? 0 : (int32_t)draw(b, 160) - 80);
        if (odds(b, 10) && m.disp_len == 1) {
            m.disp_len = 4;
            m.mod = 2;
        }
        if (index >= 0 && (m.rm & 7) != 4 && odds(b, 25)) {
            m.sib = (uint8_t)(draw(b, 4) << 6 | (unsigned)(index & 7) << 3 | (m.rm & 7));
            m.x = (uint8_t)(index >> 3);
            m.rm = (uint8_t)((m.rm & 8) | 4);
        }
    }
    if (odds(b, 4))
        m.segment = overrides[draw(b, 4)];
    if (odds(b, b->p->region == 0 ? 8 : 1)) /* elsewhere nothing is mapped below 4 GiB */
        m.a32 = 1;
    if (odds(b, 1) && !m.place)
        m.rm ^= 1;
    return m;
}

/* An access at the borders of linear space. */
void op_corner(struct builder *b)
{
    static const uint64_t corner[] = {
        0,          0x1000,     0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xfffffffffffff000,
        0x10000000, 0x100000000};
    unsigned r = op_free(b);
    uint64_t v = corner[draw(b, sizeof corner / sizeof corner[0])] - draw(b, 20);
    uint8_t out[10] = {(uint8_t)(0x48 | r >> 3), (uint8_t)(0xb8 | (r & 7))};
    struct op o = {
        .opcode = odds(b, 50) ? 0x8b : 0x89, .reg = (uint8_t)op_free(b), .rex_w = (uint8_t)draw(b, 2)};

    memcpy(out + 2, &v, 8);
    op_bytes(b, out, 10);
    op_changed(b, r);
    struct operand m = op_base(r, (int32_t)draw(b, 16));
    if (o.opcode == 0x8b)
        op_changed(b, o.reg);
    op_rm(b, &o, &m);
}

/* ---- registers ---- */

void op_changed(struct builder *b, unsigned r)
{
    b->ptr &= (uint16_t) ~(1u << r);
    b->small &= (uint16_t) ~(1u << r);
}

unsigned op_free(struct builder *b)
{
    static const uint8_t special[] = {10, 11, 15, 4};
    unsigned r;

    do
        r = odds(b, 30) ? special[draw(b, odds(b, 4) ? 4 : 3)] : draw(b, 16);
    while (b->hold >> r & 1 || (r == 4 && odds(b, 97)) || (b->ptr >> r & 1 && odds(b, 60)));
    return r;
}

void op_pointer(struct builder *b, unsigned r)
{
    struct op o = {.rex_w = 1, .opcode = 0x8d, .reg = (uint8_t)r};
    struct operand m = op_place(r == 4 ? op_data_at(b, odds(b, 80) ? 16 : 1) : op_data_at(b, 1));

    op_rm(b, &o, &m);
    b->ptr |= (uint16_t)(1u << r);
    b->small &= (uint16_t) ~(1u << r);
}

void op_set(struct builder *b, unsigned r)
{
    bool tiny = odds(b, 50);
    uint64_t v = tiny ? draw(b, 128) : gen_integer(&b->r);
    uint8_t out[10] = {(uint8_t)(0x48 | r >> 3), (uint8_t)(0xb8 | (r & 7))};
    struct item *x;

    op_changed(b, r);
    if (tiny || odds(b, 60)) { /* mov r32, imm32 */
        struct op o = {.opcode = 0xc7, .imm = (uint32_t)v, .imm_len = 4, .rex_w = (uint8_t)odds(b, 30)};
        struct operand m = op_register(r);
        x = op_rm(b, &o, &m);
        x->imm_at = (uint8_t)(x->len - 4);
        x->imm_len = 4;
        if (tiny)
            b->small |= (uint16_t)(1u << r);
        return;
    }
    memcpy(out + 2, &v, 8);
    op_bytes(b, out, 10);
}

void op_define_flags(struct builder *b)
{
    struct op o = {.rex_w = (uint8_t)odds(b, 50), .reg = (uint8_t)draw(b, 16)};
    struct operand m = odds(b, 80) ? op_register(draw(b, 16)) : op_memory(b, 1);
    static const uint8_t codes[] = {0x39, 0x3b, 0x38, 0x85};

    if (!b->undefined)
        return;
    o.opcode = codes[draw(b, 4)];
    op_rm(b, &o, &m);
    b->undefined = false;
}

/* ---- all forms ---- */

enum { INTEGER, VECTOR, X87, LISTS };
static struct forms all;
static unsigned *list[LISTS], length[LISTS];

static bool wanted(const struct form *f, ZydisDecodedInstruction *zi)
{
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    struct operand_bits bits = {
        .mod = f->enc.mod3 ? 3 : 0, .reg = f->enc.reg, .rm = f->enc.rm, .vvvv = f->enc.vvvv};
    uint8_t bytes[15];

    if (f->verdict != FORM_TEST || f->enc.vsib || (!f->enc.mod3 && (f->enc.rm & 7) == 4))
        return false;
    forms_emit(&f->enc, MODE_64, &bits, bytes);
    if (!forms_decode(MODE_64, bytes, 15, zi, ops) || (zi->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
        return false;
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_STRINGOP:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_SEGOP:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
        return false;
    default:
        break;
    }
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_LDMXCSR: /* bgen.c has it */
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FLDCW:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_XLAT:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
        return false;
    case ZYDIS_MNEMONIC_BSWAP: /* of 16 bits: undefined */
    case ZYDIS_MNEMONIC_SHLD:  /* of 16 bits by more than that */
    case ZYDIS_MNEMONIC_SHRD:
        return zi->operand_width != 16;
    default:
        return true;
    }
}

void prog_forms(void)
{
    struct x86_cpuid cpuid;
    struct x86_features cpu;

    guest_cpuid(&cpuid);
    x86_cpuid_features(&cpuid, &cpu);
    forms_build(&all, MODE_64, &cpu);
    for (unsigned i = 0; i < LISTS; i++)
        if (!(list[i] = malloc(all.count * sizeof(unsigned))))
            abort();
    for (unsigned i = 0; i < all.count; i++) {
        ZydisDecodedInstruction zi;
        if (!wanted(&all.list[i], &zi))
            continue;
        bool x87 = strstr(all.list[i].text, "mm") || zi.meta.category == ZYDIS_CATEGORY_X87_ALU ||
                   zi.meta.category == ZYDIS_CATEGORY_MMX || zi.meta.isa_ext == ZYDIS_ISA_EXT_X87;
        bool vector = strstr(all.list[i].text, "xmm") || strstr(all.list[i].text, "ymm");
        unsigned k = vector ? VECTOR : x87 ? X87 : INTEGER;
        list[k][length[k]++] = i;
    }
}

/* What it does to our beliefs; false: it is not to be used here. */
static bool note_effects(struct builder *b, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    uint16_t changed = 0;

    for (unsigned i = 0; i < zi->operand_count; i++) {
        ZydisRegisterClass k = ZydisRegisterGetClass(ops[i].reg.value);
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || k < ZYDIS_REGCLASS_GPR8 ||
            k > ZYDIS_REGCLASS_GPR64)
            continue;
        ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, ops[i].reg.value);
        changed |= (uint16_t)(1u << (ZydisRegisterGetId(whole) & 15));
    }
    if (changed & b->hold || (changed & 1u << 4 && odds(b, 98)) || (changed & b->ptr && odds(b, 75)))
        return false;
    const ZydisAccessedFlags *f = zi->cpu_flags;
    uint32_t undefined = f ? f->undefined & X86_ARITH_FLAGS : 0;
    bool logic = zi->meta.category == ZYDIS_CATEGORY_LOGICAL;
    if (f && f->tested & X86_ARITH_FLAGS)
        op_define_flags(b);
    b->ptr &= (uint16_t)~changed;
    b->small &= (uint16_t)~changed;
    if (undefined && !logic)
        b->undefined = true;
    return true;
}

static bool try_form(struct builder *b, const struct form *f, bool keep)
{
    const struct encoding *e = &f->enc;
    struct operand m = op_register(draw(b, 16));
    struct operand_bits bits = {.mod = 3, .short_vex = (uint8_t)draw(b, 2)};
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t bytes[15];
    char text[112];

    if (!e->mod3 && e->prefixes && e->prefix[0] == 0x67 && b->p->region && odds(b, 97))
        return false; /* nothing is mapped below 4 GiB */
    if (!e->mod3)
        m = op_memory(b, strstr(f->text, "m128") || strstr(f->text, "m256") ? 16 : 1);
    bits.reg = keep ? e->reg : (uint8_t)draw(b, 16);
    bits.rm = keep && e->mod3 ? e->rm : m.rm;
    bits.vvvv = e->vvvv == 15 ? 15 : (uint8_t)draw(b, 16);
    bits.mod = m.mod;
    bits.sib = m.sib;
    bits.x = m.x;
    bits.segment = m.segment;
    for (unsigned i = 0; i < sizeof bits.tail; i++)
        bits.tail[i] = (uint8_t)gen_integer(&b->r);
    memcpy(bits.tail, &m.disp, m.disp_len);
    forms_emit(e, MODE_64, &bits, bytes);
    if (!forms_decode(MODE_64, bytes, 15, &zi, ops) || forms_key(&zi, ops, text, sizeof text) != f->key)
        return false;
    if (!note_effects(b, &zi, ops))
        return false;
    struct item *x = op_bytes(b, bytes, zi.length);
    if (m.place && zi.raw.disp.size == 32) {
        x->fix = FIX_PLACE;
        x->fix_at = zi.raw.disp.offset;
        x->add = m.disp;
    }
    if (zi.raw.imm[0].size) {
        x->imm_at = zi.raw.imm[0].offset;
        x->imm_len = (uint8_t)(zi.raw.imm[0].size / 8);
        if (x->imm_len > 4)
            x->imm_len = 0;
    }
    return true;
}

void op_form(struct builder *b)
{
    unsigned k = odds(b, 65) ? INTEGER : odds(b, 75) ? VECTOR : X87;

    for (unsigned tries = 0; tries < 12; tries++)
        if (try_form(b, &all.list[list[k][draw(b, length[k])]], tries >= 8))
            return;
}

/* ---- the everyday ones, more often than their share of all forms ---- */

void op_some(struct builder *b)
{
    static const uint8_t alu[] = {0x01, 0x03, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x23, 0x29, 0x2b,
                                  0x31, 0x33, 0x39, 0x3b, 0x85, 0x89, 0x8b, 0x00, 0x02, 0x28,
                                  0x2a, 0x30, 0x32, 0x38, 0x3a, 0x84, 0x88, 0x8a, 0x63, 0x87};
    struct op o = {.opcode = alu[draw(b, sizeof alu)], .rex_w = (uint8_t)odds(b, 50)};
    bool to_reg = o.opcode & 2 || o.opcode == 0x87, from_memory = odds(b, 60);
    bool compares = (o.opcode & 0xf8) == 0x38 || (o.opcode & 0xfe) == 0x84;
    unsigned r = op_free(b), other = draw(b, 16);
    struct operand m = from_memory ? op_memory(b, 1) : op_register(to_reg ? other : op_free(b));

    if ((o.opcode & 0xf0) == 0x10) /* ADC, SBB */
        op_define_flags(b);
    o.reg = (uint8_t)(to_reg ? r : draw(b, 16));
    if (odds(b, 8))
        o.prefix = 0x66;
    if (!(o.opcode & 1))
        o.small_rex = (uint8_t)odds(b, 50);
    if (o.opcode == 0x87 && m.mod == 3)
        op_changed(b, m.rm);
    if (from_memory && !compares && !to_reg && odds(b, 6) && o.opcode != 0x88 && o.opcode != 0x89)
        o.prefix2 = 0xf0;
    if (!compares)
        op_changed(b, to_reg ? o.reg : m.mod == 3 ? m.rm : 16);
    op_rm(b, &o, &m);
    if (o.opcode != 0x88 && o.opcode != 0x89 && o.opcode != 0x8a && o.opcode != 0x8b && o.opcode != 0x63 &&
        o.opcode != 0x87)
        b->undefined = false;
}

/* ---- any bytes: what is an instruction, and which, the two sides must agree on ---- */

static bool unwanted(const struct builder *b, const ZydisDecodedInstruction *zi)
{
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_RDRAND:
    case ZYDIS_CATEGORY_RDSEED:
        return true; /* they differ */
    default:
        return b->p->ring == 0 && (zi->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
    }
}

static unsigned odd_bytes(struct builder *b, uint8_t out[24], unsigned *modrm)
{
    static const uint8_t prefixes[] = {0x66, 0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0,
                                       0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
    unsigned n = 0, kind = draw(b, 20);

    for (unsigned i = draw(b, odds(b, 60) ? 1 : 4); i; i--)
        out[n++] = prefixes[draw(b, sizeof prefixes)];
    if (kind < 4) { /* VEX */
        if (kind < 2) {
            out[n++] = 0xc4;
            out[n++] = (uint8_t)((draw(b, 8) << 5) | (odds(b, 95) ? 1 + draw(b, 3) : draw(b, 32)));
        } else
            out[n++] = 0xc5;
        out[n++] = (uint8_t)(odds(b, 50) ? 0x78 | draw(b, 256) : draw(b, 256));
    } else {
        if (odds(b, 40))
            out[n++] = (uint8_t)(0x40 | draw(b, 16));
        if (kind < 14)
            out[n++] = 0x0f;
        if (kind < 7)
            out[n++] = kind < 6 ? 0x38 : 0x3a;
    }
    out[n++] = (uint8_t)draw(b, 256);
    *modrm = n;
    out[n++] = (uint8_t)(odds(b, 50) ? 0xc0 | draw(b, 64) : odds(b, 60) ? 5 | draw(b, 8) << 3 : draw(b, 256));
    for (unsigned i = 0; i < 10; i++)
        out[n++] = (uint8_t)(odds(b, 50) ? draw(b, 256) : draw(b, 4));
    return n;
}

void op_odd(struct builder *b)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t bytes[24];
    unsigned modrm, n = odd_bytes(b, bytes, &modrm);
    bool known = forms_decode(MODE_64, bytes, 15, &zi, ops);

    if (known && unwanted(b, &zi))
        return;
    if (known &&
        (zi.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || zi.meta.category == ZYDIS_CATEGORY_INTERRUPT) &&
        odds(b, 90))
        return;
    op_define_flags(b);
    b->undefined = known && zi.cpu_flags && (zi.cpu_flags->undefined & X86_ARITH_FLAGS);
    struct item *x = op_bytes(b, bytes, known ? zi.length : n > ITEM_BYTES ? ITEM_BYTES : n);
    if (known && (zi.attributes & ZYDIS_ATTRIB_HAS_MODRM) && zi.raw.modrm.mod == 0 && zi.raw.modrm.rm == 5) {
        x->fix = FIX_PLACE;
        x->fix_at = zi.raw.disp.offset;
        x->add = (int32_t)op_data_at(b, odds(b, 50) ? 16 : 1);
    }
}
