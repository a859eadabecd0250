/*
 * gen: a random case of a form: operand registers, addressing mode, where memory operands lie, and what makes
 * the instruction do something interesting (a compare that matches, a quotient that fits, a branch target
 * that can be reached).
 */
#include <string.h>
#include "gen.h"

struct gen {
    struct rng *r;
    const struct form *f;
    struct lab_case *k;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
};

/* ---- where ---- */

/* Linear address for an access of `size` bytes. */
static uint64_t place(struct rng *r, enum placement p, unsigned size)
{
    unsigned n = size ? size : 1, cut = n > 1 ? 1 + (unsigned)rng_below(r, n - 1) : 0;
    uint64_t rw_end = DATA_BASE + DATA_RW * PAGE, at;

    switch (p) {
    case PLACE_RW_STRADDLE:
        return DATA_BASE + PAGE * (1 + rng_below(r, DATA_RW - 1)) - cut;
    case PLACE_STRADDLE_RO:
        return rw_end - cut;
    case PLACE_RO:
        return DATA_BASE + DATA_RO * PAGE + rng_below(r, (PAGE - n) / 16 + 1) * 16 % (PAGE - n + 1);
    case PLACE_STRADDLE_HOLE:
        return DATA_BASE + (DATA_LONE + 1) * PAGE - cut;
    case PLACE_HOLE:
        return DATA_BASE + DATA_HOLE * PAGE + rng_below(r, 64) * 16;
    case PLACE_STRADDLE_INTO_RW:
        return (chance(r, 50) ? DATA_BASE : DATA_BASE + DATA_LONE * PAGE) - cut;
    case PLACE_STRADDLE_RO_HOLE:
        return DATA_BASE + DATA_HOLE * PAGE - cut;
    case PLACE_NONCANONICAL:
        return chance(r, 50) ? 0x0000800000000000ull + rng_below(r, 0x1000)
                             : 0x8000000000000000ull | rng_next(r) >> 2;
    default:
        at = DATA_BASE + rng_below(r, DATA_RW * PAGE - n - 64);
        return chance(r, n >= 16 ? 75 : 40) ? (at + 63) & ~63ull : at;
    }
}

/* ---- what it accesses ---- */

static bool is_push(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_PUSH || m == ZYDIS_MNEMONIC_CALL || m == ZYDIS_MNEMONIC_PUSHF ||
           m == ZYDIS_MNEMONIC_PUSHFD || m == ZYDIS_MNEMONIC_PUSHFQ || m == ZYDIS_MNEMONIC_PUSHA ||
           m == ZYDIS_MNEMONIC_PUSHAD || m == ZYDIS_MNEMONIC_ENTER;
}

static bool restores_image(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_FXRSTOR || m == ZYDIS_MNEMONIC_FXRSTOR64 || m == ZYDIS_MNEMONIC_XRSTOR ||
           m == ZYDIS_MNEMONIC_XRSTOR64;
}

static bool is_xsave_family(const ZydisDecodedInstruction *zi)
{
    return zi->meta.category == ZYDIS_CATEGORY_XSAVE || zi->meta.category == ZYDIS_CATEGORY_XSAVEOPT;
}

static unsigned address_register(ZydisRegister r)
{
    ZyanI8 id = ZydisRegisterGetId(r);
    return (unsigned)id & 15;
}

/* Set where the case has memory there. */
static void patch(struct lab_case *k, uint64_t at, const void *bytes, unsigned n)
{
    uint64_t off = at - DATA_BASE;
    if (n > LAB_MAX_PATCH || at < DATA_BASE || off + n > DATA_PAGES * PAGE ||
        !data_page_present((unsigned)(off / PAGE)) || !data_page_present((unsigned)((off + n - 1) / PAGE)))
        return;
    k->patch_at = at;
    k->patch_len = (uint8_t)n;
    memcpy(k->patch, bytes, n);
}

static uint64_t segment_base(const struct gen *g, const ZydisDecodedOperand *op)
{
    if (g->k->ldt && (op->mem.segment == ZYDIS_REGISTER_DS || op->mem.segment == ZYDIS_REGISTER_ES ||
                      op->mem.segment == ZYDIS_REGISTER_SS))
        return LDT_BASE;
    return op->mem.segment == ZYDIS_REGISTER_FS   ? g->k->in.fs_base
           : op->mem.segment == ZYDIS_REGISTER_GS ? g->k->in.gs_base
                                                  : 0;
}

static uint64_t stack_base(const struct gen *g)
{
    return g->k->ldt ? LDT_BASE : 0;
}

static void set_displacement(struct gen *g, uint64_t value)
{
    unsigned n = g->zi.raw.disp.size / 8;
    if (n)
        memcpy(g->k->bytes + g->zi.raw.disp.offset, &value, n);
}

/* Makes the memory operand's address come out at `at` (as far as its form allows). */
static void aim(struct gen *g, const ZydisDecodedOperand *op, uint64_t at)
{
    struct lab_state *s = &g->k->in;
    uint64_t want = at - segment_base(g, op),
             disp = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
    bool base = op->mem.base != ZYDIS_REGISTER_NONE,
         index = op->mem.index != ZYDIS_REGISTER_NONE && op->mem.type != ZYDIS_MEMOP_TYPE_VSIB;

    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
        set_displacement(g, want - (s->rip + g->k->len));
        return;
    }
    if (!base) {
        if (index) {
            uint64_t *x = &s->gpr[address_register(op->mem.index)];
            *x = rng_below(g->r, 256);
            want -= *x * op->mem.scale;
        }
        set_displacement(g, want);
        return;
    }
    unsigned b = address_register(op->mem.base);
    uint64_t mul = 1;
    want -= disp;
    if (op->mem.index == ZYDIS_REGISTER_AL) {
        want -= s->gpr[X86_RAX] & 0xff; /* XLAT */
    } else if (index) {
        unsigned x = address_register(op->mem.index);
        if (x == b) {
            mul += op->mem.scale;
        } else {
            if (chance(g->r, 70))
                s->gpr[x] = (uint64_t)0 - (rng_next(g->r) & 0xffff) + (rng_next(g->r) & 0xffff);
            want -= s->gpr[x] * op->mem.scale;
        }
    }
    s->gpr[b] = mul == 1 ? want : want / mul;
    if (g->zi.address_width == 16)
        s->gpr[b] = (s->gpr[b] & 0xffff) | (rng_next(g->r) & 0xffff0000);
    /* bits above the address size are not looked at */
    if (g->zi.address_width == 32 && g->k->mode == MODE_64 && b != X86_RSP)
        s->gpr[b] ^= rng_next(g->r) << 32;
}

/* Indices of a gather near its base. */
static void set_gather_index(struct gen *g, const ZydisDecodedOperand *op)
{
    unsigned v = address_register(op->mem.index);
    bool quad = strchr(ZydisMnemonicGetString(g->f->mnemonic), 'q') != NULL &&
                strstr(ZydisMnemonicGetString(g->f->mnemonic), "erq");
    uint8_t *lo = g->k->in.fpu.image + 160 + v * 16, *hi = g->k->in.fpu.image + 576 + v * 16;
    for (unsigned i = 0; i < 32; i += quad ? 8 : 4) {
        int64_t x = (int64_t)rng_below(g->r, 64) - 16;
        memcpy((i < 16 ? lo : hi) + i % 16, &x, quad ? 8 : 4);
    }
}

static void set_memory(struct gen *g, enum placement p)
{
    for (unsigned i = 0; i < g->zi.operand_count; i++) {
        const ZydisDecodedOperand *op = &g->ops[i];
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        bool first = i < g->zi.operand_count_visible || g->zi.operand_count_visible == 0;
        unsigned size = op->size / 8;
        uint64_t at = place(g->r, first || chance(g->r, 20) ? p : PLACE_RW, size);
        if (is_push(g->zi.mnemonic) && i >= g->zi.operand_count_visible)
            at += size;
        if ((restores_image(g->zi.mnemonic) || is_xsave_family(&g->zi)) && p == PLACE_RW && chance(g->r, 80))
            at = DATA_BASE + (chance(g->r, 50) ? IMAGE_AT_1 : IMAGE_AT_2);
        if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            set_gather_index(g, op);
        aim(g, op, at);
        if (i < g->zi.operand_count_visible && size && size <= 32 && chance(g->r, 50)) {
            uint8_t v[32];
            gen_numbers(g->r, v, size);
            patch(g->k, at, v, size);
        }
    }
}

/* ---- what makes it interesting ---- */

static uint64_t visible_address(const struct gen *g)
{
    for (unsigned i = 0; i < g->zi.operand_count_visible; i++) {
        const ZydisDecodedOperand *op = &g->ops[i];
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        uint64_t a = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
        if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP)
            a += g->k->in.rip + g->k->len;
        else if (op->mem.base != ZYDIS_REGISTER_NONE)
            a += g->k->in.gpr[address_register(op->mem.base)];
        if (op->mem.index != ZYDIS_REGISTER_NONE && op->mem.type != ZYDIS_MEMOP_TYPE_VSIB)
            a += g->k->in.gpr[address_register(op->mem.index)] * op->mem.scale;
        if (g->zi.address_width < 64)
            a &= mask_size(g->zi.address_width / 8);
        return a + segment_base(g, op);
    }
    return 0;
}

/* Somewhere a branch can arrive: an INT3 away from the instruction, or an absent page. */
static uint64_t branch_target(struct gen *g)
{
    uint64_t from = g->k->in.rip, t;
    switch (rng_below(g->r, 12)) {
    case 0:
        return (g->k->mode == MODE_16 ? CODE_BASE + 0x2800 : 0x30000000ull) + rng_below(g->r, 0x1000);
    case 1:
        return g->k->mode == MODE_64 ? place(g->r, PLACE_NONCANONICAL, 1) : CODE_BASE + 0x2ffe;
    default:
        do {
            t = CODE_BASE + rng_below(g->r, CODE_PAGES * PAGE);
        } while (t + 1 > from && t < from + g->k->len + LAB_EXIT_BYTES * 2);
        return t;
    }
}

/* false: this displacement would land in the instruction or its way out. */
static bool set_relative(struct gen *g)
{
    unsigned n = g->zi.raw.imm[0].size / 8;
    uint64_t next = g->k->in.rip + g->k->len, t = 0;

    for (unsigned tries = 0; tries < 64; tries++) {
        t = n == 4 && chance(g->r, 10)
                ? (g->k->mode == MODE_16 ? CODE_BASE + 0x2800 : 0x30000000ull) + rng_below(g->r, 0x1000)
                : CODE_BASE + rng_below(g->r, CODE_PAGES * PAGE);
        if (n < 4)
            t = next + (n == 1 ? (uint64_t)(int64_t)(int8_t)rng_next(g->r)
                               : (uint64_t)(int64_t)(int16_t)rng_next(g->r));
        bool lands = t >= CODE_BASE && t < CODE_BASE + CODE_PAGES * PAGE;
        if (n == 4 || lands) {
            if (t + 1 > g->k->in.rip && t < next + LAB_EXIT_BYTES * 2)
                continue;
            uint64_t rel = t - next;
            memcpy(g->k->bytes + g->zi.raw.imm[0].offset, &rel, n);
            return true;
        }
    }
    return false;
}

static bool set_branch(struct gen *g)
{
    uint64_t t = branch_target(g) - (g->k->mode == MODE_16 ? CODE_BASE : 0);

    if (g->zi.attributes & ZYDIS_ATTRIB_IS_RELATIVE)
        return set_relative(g);
    if (g->zi.meta.category == ZYDIS_CATEGORY_RET) {
        patch(g->k, g->k->in.gpr[X86_RSP] + stack_base(g), &t, g->zi.operand_width / 8);
        return true;
    }
    if (g->zi.mnemonic != ZYDIS_MNEMONIC_JMP && g->zi.mnemonic != ZYDIS_MNEMONIC_CALL)
        return true;
    if (g->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
        g->k->in.gpr[address_register(g->ops[0].reg.value)] = t;
    else
        patch(g->k, visible_address(g), &t, g->zi.operand_width / 8);
    return true;
}

static bool is_divide(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_DIV || m == ZYDIS_MNEMONIC_IDIV;
}

/* A dividend whose quotient mostly fits. */
static void set_dividend(struct gen *g)
{
    struct lab_state *s = &g->k->in;
    if (!chance(g->r, 70))
        return;
    if (g->zi.operand_width == 8)
        s->gpr[X86_RAX] &= chance(g->r, 50) ? 0x7f : 0x3ff;
    else
        s->gpr[X86_RDX] = chance(g->r, 50) ? rng_below(g->r, 16)
                                           : (uint64_t)0 - (s->gpr[X86_RAX] >> (g->zi.operand_width - 1) & 1);
}

/* The compare of CMPXCHG and its wide forms holds half of the time. */
static void set_comparand(struct gen *g)
{
    uint64_t pair[2] = {g->k->in.gpr[X86_RAX], g->k->in.gpr[X86_RDX]};

    if (!chance(g->r, 50))
        return;
    switch (g->zi.mnemonic) {
    case ZYDIS_MNEMONIC_CMPXCHG:
        if (g->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
            patch(g->k, visible_address(g), pair, g->zi.operand_width / 8);
        else if (g->ops[0].size > 8)
            g->k->in.gpr[address_register(g->ops[0].reg.value)] = pair[0];
        break;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        pair[0] = (uint32_t)pair[0] | pair[1] << 32;
        patch(g->k, visible_address(g), pair, 8);
        break;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        patch(g->k, visible_address(g), pair, 16);
        break;
    default:
        break;
    }
}

static void set_special(struct gen *g)
{
    struct lab_state *s = &g->k->in;
    ZydisMnemonic m = g->zi.mnemonic;

    if (g->zi.meta.category == ZYDIS_CATEGORY_STRINGOP || g->zi.meta.category == ZYDIS_CATEGORY_IOSTRINGOP) {
        /* short runs, some across pages, with equal elements for the comparing ones */
        s->gpr[X86_RCX] = chance(g->r, 80) ? rng_below(g->r, 20) : rng_below(g->r, 1500);
        if (g->zi.address_width == 32 && chance(g->r, 50))
            s->gpr[X86_RCX] |= rng_next(g->r) << 32;
        if (chance(g->r, 40)) {
            s->gpr[X86_RAX] = 0;
            uint8_t zero[LAB_MAX_PATCH] = {0};
            patch(g->k, (s->gpr[X86_RDI] & mask_size(g->zi.address_width / 8)) + stack_base(g), zero,
                  sizeof(zero));
        }
        if (chance(g->r, 25))
            s->gpr[X86_RSI] = s->gpr[X86_RDI] + rng_below(g->r, 64) - 32;
    }
    if (is_divide(m))
        set_dividend(g);
    set_comparand(g);
    if ((m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
         m == ZYDIS_MNEMONIC_BTC) &&
        g->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY && g->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        chance(g->r, 80)) {
        unsigned bit = address_register(g->ops[1].reg.value);
        if (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, g->ops[0].mem.base) !=
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, g->ops[1].reg.value))
            s->gpr[bit] = rng_below(g->r, 4096) - 2048;
    }
    if (m == ZYDIS_MNEMONIC_ENTER && chance(g->r, 85)) {
        g->k->bytes[g->zi.raw.imm[0].offset + 1] = 0;
        if (chance(g->r, 60))
            g->k->bytes[g->zi.raw.imm[1].offset] &= 7;
    }
    if (m == ZYDIS_MNEMONIC_ENTER && chance(g->r, 80))
        s->gpr[X86_RBP] = place(g->r, chance(g->r, 80) ? PLACE_RW : PLACE_RW_STRADDLE, 8) - stack_base(g);
    if (m == ZYDIS_MNEMONIC_LDMXCSR || m == ZYDIS_MNEMONIC_VLDMXCSR) {
        uint32_t v = (uint32_t)rng_next(g->r) & (chance(g->r, 80) ? 0xffff : 0xffffffff);
        patch(g->k, visible_address(g), &v, 4);
    }
    if (is_xsave_family(&g->zi)) {
        s->gpr[X86_RAX] = (s->gpr[X86_RAX] & ~0xffffffffull) | rng_below(g->r, 8);
        s->gpr[X86_RDX] &= ~0xffffffffull;
    }
    if (g->zi.meta.category == ZYDIS_CATEGORY_COND_BR && chance(g->r, 50))
        s->gpr[X86_RCX] = rng_below(g->r, 3);
}

/* ---- the instruction ---- */

static bool uses_stack(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_PUSH || m == ZYDIS_MNEMONIC_POP || m == ZYDIS_MNEMONIC_CALL;
}

static bool draw_bytes(struct gen *g, bool keep)
{
    static const uint8_t overrides[] = {0x64, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};
    const struct encoding *e = &g->f->enc;
    struct operand_bits b = {0};
    unsigned registers = g->f->mode == MODE_64 ? 16 : 8;
    uint64_t key;
    char text[112];

    b.mod = e->mod3 ? 3 : (uint8_t)rng_below(g->r, 3);
    b.reg = keep ? e->reg : (uint8_t)rng_below(g->r, registers);
    b.rm = keep ? e->rm : (uint8_t)rng_below(g->r, registers);
    if (e->vsib)
        b.rm = (uint8_t)((b.rm & 8) | 4);
    b.sib = (uint8_t)rng_next(g->r);
    b.x = g->f->mode == MODE_64 ? rng_next(g->r) & 1 : 0;
    b.vvvv = e->vvvv == 15 ? 15 : (uint8_t)rng_below(g->r, registers);
    if (g->f->mode != MODE_64 && e->vex && e->vvvv != 15)
        b.vvvv |= 8;
    /* a push or pop whose memory operand is itself relative to the stack pointer: before or after it moves?
     */
    if (!e->mod3 && g->f->has_memory && g->f->mode != MODE_16 && uses_stack(g->f->mnemonic) &&
        chance(g->r, 20)) {
        b.mod = 1;
        b.rm = 4;
        b.sib = 0x24;
        b.x = 0;
    }
    b.short_vex = chance(g->r, 50);
    if (g->f->has_memory && chance(g->r, 8))
        b.segment = overrides[rng_below(g->r, sizeof(overrides))];
    for (unsigned i = 0; i < sizeof(b.tail); i++)
        b.tail[i] = (uint8_t)(chance(g->r, 30) ? gen_integer(g->r) : rng_next(g->r));
    forms_emit(e, g->f->mode, &b, g->k->bytes);
    if (!forms_decode(g->f->mode, g->k->bytes, 15, &g->zi, g->ops))
        return false;
    key = forms_key(&g->zi, g->ops, text, sizeof(text));
    g->k->len = g->zi.length;
    return key == g->f->key;
}

static void choose_rip(struct gen *g)
{
    struct lab_case *k = g->k;
    uint64_t end = CODE_BASE + CODE_PAGES * PAGE;

    /* processors differ in whether UD0 and UD1 have a ModRM byte to fetch */
    bool cut = g->zi.mnemonic != ZYDIS_MNEMONIC_UD0 && g->zi.mnemonic != ZYDIS_MNEMONIC_UD1;
    if (cut && k->len > 1 && chance(g->r, 2)) {
        k->fetch_cut = (uint8_t)(1 + rng_below(g->r, k->len - 1u));
        k->in.rip = end - (k->len - k->fetch_cut);
    } else if (k->len > 1 && chance(g->r, 10)) {
        k->in.rip = CODE_BASE + PAGE - 1 - rng_below(g->r, k->len - 1u);
    } else {
        k->in.rip = CODE_BASE + 16 + rng_below(g->r, CODE_PAGES * PAGE - 64);
    }
}

bool gen_case(struct rng *r, const struct form *f, enum placement p, struct lab_case *k)
{
    struct gen g = {.r = r, .f = f, .k = k};
    bool drawn = false;

    memset(k, 0, offsetof(struct lab_case, in));
    k->mode = f->mode;
    k->placement = (uint8_t)p;
    k->ldt = f->mode == MODE_16 || (f->mode == MODE_32 && chance(r, 50));
    gen_registers(r, &k->in);
    k->in.gpr[X86_RSP] -= stack_base(&g);
    for (unsigned tries = 0; tries < 48 && !drawn; tries++)
        drawn = draw_bytes(&g, tries >= 24);
    if (!drawn)
        return false;
    choose_rip(&g);
    if (f->mode != MODE_64 && p == PLACE_NONCANONICAL)
        p = PLACE_HOLE;
    set_memory(&g, p);
    /* the displacement may have been rewritten */
    if (!forms_decode(f->mode, k->bytes, 15, &g.zi, g.ops))
        return false;
    set_special(&g);
    if (f->mode != MODE_64)
        for (unsigned i = 0; i < 16; i++)
            k->in.gpr[i] = i < 8 ? (uint32_t)k->in.gpr[i] : 0;
    if (!set_branch(&g))
        return false;
    return g.zi.length == k->len;
}
