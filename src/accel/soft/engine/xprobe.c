/*
 * xprobe: memory operands: their addresses, and how the fast TLB is asked for them.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

void xmake_address(struct maker *m, const struct xinsn *x, const ZydisDecodedOperand *op)
{
    struct xemit *e = &m->e;
    bool wide = x->zi.address_width == 64;
    int64_t disp = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
    unsigned base = 0xff, index = 0xff;

    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP) {
        uint64_t at = m->u->linear + x->at + x->zi.length + (uint64_t)disp;
        x_mov_imm(e, H_R10, wide ? at : (uint32_t)at);
        return;
    }
    /* SIB base 101 with mod 00 is a displacement alone; Zydis 4.0.0 makes it R13D where REX.B comes with
     * 32-bit addresses */
    bool no_base =
        (x->zi.attributes & ZYDIS_ATTRIB_HAS_SIB) && x->zi.raw.modrm.mod == 0 && x->zi.raw.sib.base == 5;
    if (no_base)
        disp = x->zi.raw.disp.value;
    if (op->mem.base != ZYDIS_REGISTER_NONE && !no_base) {
        unsigned g = (unsigned)ZydisRegisterGetId(op->mem.base);
        base = x_host(g);
        if (base == X_IN_MEMORY) {
            x_load(e, H_R10, x_gpr(g));
            base = H_R10;
        }
    }
    if (op->mem.index != ZYDIS_REGISTER_NONE) {
        unsigned g = (unsigned)ZydisRegisterGetId(op->mem.index);
        index = x_host(g);
        if (index == X_IN_MEMORY) {
            x_load(e, H_R11, x_gpr(g));
            index = H_R11;
        }
    }
    if (base == 0xff && index == 0xff)
        x_mov_imm(e, H_R10, wide ? (uint64_t)disp : (uint32_t)disp);
    else if (base != 0xff && index == 0xff && disp == 0 && wide) {
        if (base != H_R10)
            x_mov(e, H_R10, base);
    } else
        x_lea(e, wide, H_R10, base, index, op->mem.scale ? op->mem.scale : 1, (int32_t)disp);
}

void xprobe_begin(struct xemit *e, const struct xcache *k, unsigned set, unsigned n, bool write)
{
    uint32_t f = XOFF(x.ftlb) + set * (uint32_t)sizeof(struct ftlb) + (uint32_t)offsetof(struct ftlb, e);

    if (k->rorx)
        XB(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, 12 - FTLB_SHIFT); /* rorx r11, r10, .. */
    else
        XB(e, 0x4d, 0x89, 0xd3, 0x49, 0xc1, 0xeb, 12 - FTLB_SHIFT); /* mov r11, r10; shr r11, .. */
    XB(e, 0x41, 0x81, 0xe3);                                        /* and r11d, .. */
    x32(e, (FTLB_SIZE - 1) << FTLB_SHIFT);
    x_gs_base(e, 0x2b, H_R10, H_R11,
              f + (uint32_t)(write ? offsetof(struct ftlb_entry, write) : offsetof(struct ftlb_entry, read)));
    XB(e, 0x49, 0x81, 0xfa); /* cmp r10, 4096 - n */
    x32(e, 4096 - n + (SEED_BUG(26) && n == 4));
}

void xprobe_end(struct xemit *e, unsigned set)
{
    x_gs_base(e, 0x03, H_R10, H_R11,
              XOFF(x.ftlb) + set * (uint32_t)sizeof(struct ftlb) + (uint32_t)offsetof(struct ftlb, e) +
                  (uint32_t)offsetof(struct ftlb_entry, host));
}

void xmake_probe_direct(struct maker *m, unsigned index, unsigned n, bool write)
{
    xmake_spoil_flags(m);
    xprobe_begin(&m->e, m->k, m->u->set, n, write);
    x_jcc(&m->e, CC_A);
    xmake_stub(m, STUB_SLOW, index)->access = 1;
    x_gs_base(&m->e, 0x8b, H_R11, H_R11,
              XOFF(x.ftlb) + m->u->set * (uint32_t)sizeof(struct ftlb) + (uint32_t)offsetof(struct ftlb, e) +
                  (uint32_t)offsetof(struct ftlb_entry, addend));
}

/* R10: linear address in, host address out, for an access of n bytes; by the stub when the fast TLB does not
 * know it. */
void xmake_probe(struct maker *m, unsigned index, unsigned n, bool write, unsigned align)
{
    struct xemit *e = &m->e;

    if (SEED_BUG(21) && align > 1)
        m->state = XF_SLOT;
    xmake_spoil_flags(m);
    xprobe_begin(e, m->k, m->u->set, n, write);
    x_jcc(e, CC_A);
    xmake_stub(m, STUB_SLOW, index)->access = 1;
    if (align > 1) {
        XB(e, 0x41, 0xf6, 0xc2, (uint8_t)(align - 1)); /* test r10b, align-1 */
        x_jcc(e, CC_NE);
        xmake_stub(m, STUB_SLOW, index);
    }
    xprobe_end(e, m->u->set);
}

static uint32_t stack_entry(unsigned set, size_t field)
{
    return XOFF(x.ftlb) + set * (uint32_t)sizeof(struct ftlb) +
           (uint32_t)(offsetof(struct ftlb, stack) + field);
}

static size_t tag_field(bool write)
{
    return write ? offsetof(struct ftlb_entry, write) : offsetof(struct ftlb_entry, read);
}

void xmake_probe_stack(struct maker *m, unsigned index, unsigned n, bool write, bool direct)
{
    struct xemit *e = &m->e;

    xmake_spoil_flags(m);
    x_gs(e, true, 0x2b, H_R10, stack_entry(m->u->set, tag_field(write))); /* sub r10, gs:[..] */
    XB(e, 0x49, 0x81, 0xfa);                                              /* cmp r10, 4096 - n */
    x32(e, 4096 - n + (SEED_BUG(43) && n > 8));
    x_jcc(e, CC_A);
    struct stub *s = xmake_stub(m, STUB_STACK, index);
    s->access = 1;
    s->write = write;
    s->bytes = (uint16_t)n;
    s->back = e->p;
    if (direct)
        x_load(e, H_R11, stack_entry(m->u->set, offsetof(struct ftlb_entry, addend)));
    else
        x_gs(e, true, 0x03, H_R10, stack_entry(m->u->set, offsetof(struct ftlb_entry, host))); /* add */
}

/* R10 = linear address - the tag of the stack's entry, R11 = bytes. When the table knows the page it becomes
 * the stack's, and R10 the offset in it; else CF is set. */
static uint64_t find_stack(struct xemit *e, unsigned set, bool write)
{
    static const size_t fields[] = {offsetof(struct ftlb_entry, host), offsetof(struct ftlb_entry, addend)};
    uint32_t table = XOFF(x.ftlb) + set * (uint32_t)sizeof(struct ftlb) + (uint32_t)offsetof(struct ftlb, e);
    uint64_t at = xglue_align(e);

    x_store(e, H_RAX, XOFF(x.scratch[0]));
    x_gs(e, true, 0x03, H_R10, stack_entry(set, tag_field(write)));   /* add r10, gs:[..] */
    XB(e, 0x4c, 0x89, 0xd0, 0x48, 0xc1, 0xe8, 12 - FTLB_SHIFT, 0x25); /* mov rax, r10; shr; and eax, .. */
    x32(e, (FTLB_SIZE - 1) << FTLB_SHIFT);
    x_gs_base(e, 0x2b, H_R10, H_RAX, table + (uint32_t)tag_field(write)); /* sub r10, gs:[rax + ..] */
    XB(e, 0x49, 0xf7, 0xdb, 0x49, 0x81, 0xc3);                            /* neg r11; add r11, 4096 */
    x32(e, 4096);
    XB(e, 0x4d, 0x39, 0xda); /* cmp r10, r11 */
    uint8_t *fail = x_jcc(e, CC_A);
    x_gs_base(e, 0x8b, H_R11, H_RAX, table + (uint32_t)tag_field(write));
    x_store(e, H_R11, stack_entry(set, tag_field(write)));
    x_gs_base(e, 0x3b, H_R11, H_RAX, table + (uint32_t)tag_field(!write)); /* cmp r11, gs:[rax + ..] */
    uint8_t *both = x_jcc(e, CC_E);
    x_mov_imm(e, H_R11, FTLB_NO_STACK); /* the table's tag for none is one for its place there */
    x_patch(e, both);
    x_store(e, H_R11, stack_entry(set, tag_field(!write)));
    for (unsigned i = 0; i < 2; i++) {
        x_gs_base(e, 0x8b, H_R11, H_RAX, table + (uint32_t)fields[i]);
        x_store(e, H_R11, stack_entry(set, fields[i]));
    }
    x_load(e, H_RAX, XOFF(x.scratch[0]));
    XB(e, 0xf8, 0xc3); /* clc; ret */
    x_patch(e, fail);
    x_load(e, H_RAX, XOFF(x.scratch[0]));
    XB(e, 0xf9, 0xc3); /* stc; ret */
    return at;
}

void xglue_stack(struct xcache *k, struct xemit *e)
{
    for (unsigned set = 0; set < FTLB_SETS; set++)
        for (unsigned write = 0; write < 2; write++)
            k->glue.stack[set][write] = find_stack(e, set, write);
}

void xmake_add_base(struct maker *m, ZydisRegister seg)
{
    if (seg != ZYDIS_REGISTER_FS && seg != ZYDIS_REGISTER_GS)
        return;
    unsigned s = seg == ZYDIS_REGISTER_FS ? X86_FS : X86_GS;
    xmake_spoil_flags(m);
    x_gs(&m->e, true, 0x03, H_R10, XOFF(fast_base) + 8 * s);
}

/* Alignment that a vector access demands (SDM 1 14.9, table 14-22; 2A exceptions type 1 and 4), else 1. */
unsigned xmake_alignment(const struct xinsn *x)
{
    unsigned n = x->ops[x->mem - 1].size / 8u;

    if (x->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
        return 16;
    if (!x->vec || n < 16)
        return 1;
    bool legacy = x->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return 1;
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return n;
    default:
        return legacy ? 16 : 1;
    }
}

/* The linear address of an operand that depends on no register. */
static bool constant_address(const struct maker *m, const struct xinsn *x, uint64_t *at)
{
    const ZydisDecodedOperand *op = &x->ops[x->mem - 1];
    bool sib = x->zi.attributes & ZYDIS_ATTRIB_HAS_SIB;

    if (op->mem.segment == ZYDIS_REGISTER_FS || op->mem.segment == ZYDIS_REGISTER_GS ||
        x->zi.address_width != 64 || op->mem.index != ZYDIS_REGISTER_NONE)
        return false;
    if (op->mem.base == ZYDIS_REGISTER_RIP)
        *at = m->u->linear + x->at + x->zi.length + (uint64_t)op->mem.disp.value;
    else if (op->mem.base == ZYDIS_REGISTER_NONE && sib && x->zi.raw.modrm.mod == 0)
        *at = (uint64_t)x->zi.raw.disp.value;
    else
        return false;
    return true;
}

/* Its probe: the entry of the fast TLB is known, and that the access stays on one page. */
static void probe_constant(struct maker *m, unsigned index, uint64_t at, bool write)
{
    struct xemit *e = &m->e;
    uint64_t page = at & ~0xfffull;
    uint32_t entry = XOFF(x.ftlb) + m->u->set * (uint32_t)sizeof(struct ftlb) +
                     (uint32_t)offsetof(struct ftlb, e) +
                     (uint32_t)(at >> 12 & (FTLB_SIZE - 1)) * (uint32_t)sizeof(struct ftlb_entry);
    uint32_t tag =
        entry + (uint32_t)(write ? offsetof(struct ftlb_entry, write) : offsetof(struct ftlb_entry, read));

    xmake_spoil_flags(m);
    if (fits32((int64_t)page)) {
        XB(e, 0x65, 0x48, 0x81, 0x3c, 0x25); /* cmp qword gs:[tag], imm32 */
        x32(e, tag);
        x32(e, (uint32_t)page);
    } else {
        x_mov_imm(e, H_R10, page);
        x_gs(e, true, 0x39, H_R10, tag); /* cmp gs:[tag], r10 */
    }
    x_jcc(e, CC_NE);
    xmake_stub(m, STUB_SLOW, index)->access = 1;
    x_load(e, H_R10, entry + (uint32_t)offsetof(struct ftlb_entry, host));
}

/* The address is one register, which is in a host register, and a displacement. */
static bool one_register(const struct xinsn *x, const ZydisDecodedOperand *op)
{
    bool no_base = /* as in xmake_address */
        (x->zi.attributes & ZYDIS_ATTRIB_HAS_SIB) && x->zi.raw.modrm.mod == 0 && x->zi.raw.sib.base == 5;

    return x->zi.address_width == 64 && op->mem.index == ZYDIS_REGISTER_NONE && !no_base &&
           op->mem.segment != ZYDIS_REGISTER_FS && op->mem.segment != ZYDIS_REGISTER_GS &&
           ZydisRegisterGetClass(op->mem.base) == ZYDIS_REGCLASS_GPR64 &&
           x_host((unsigned)ZydisRegisterGetId(op->mem.base)) != X_IN_MEMORY;
}

void xmake_memory(struct maker *m, unsigned index)
{
    struct xinsn *x = &m->insn[index];
    const ZydisDecodedOperand *op = &x->ops[x->mem - 1];
    unsigned n = op->size / 8u;
    uint64_t at;

    if (x->kind == XK_PLAIN && xmake_alignment(x) == 1 && constant_address(m, x, &at) &&
        (at & 0xfff) + n <= 4096) {
        probe_constant(m, index, at, op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
        x->disp = (int32_t)(at & 0xfff);
        return;
    }
    bool write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    bool stack = op->mem.base == ZYDIS_REGISTER_RSP;
    xmake_address(m, x, op);
    if (x->kind == XK_PLAIN && xmake_alignment(x) == 1 && one_register(x, op)) {
        x->direct = 1;
        x->base = (uint8_t)x_host((unsigned)ZydisRegisterGetId(op->mem.base));
        x->spare = H_R10;
        x->disp = op->mem.disp.has_displacement ? (int32_t)op->mem.disp.value : 0;
        if (stack)
            xmake_probe_stack(m, index, n, write, true);
        else
            xmake_probe_direct(m, index, n, write);
        return;
    }
    xmake_add_base(m, op->mem.segment);
    xmake_probe(m, index, n, write, xmake_alignment(x));
}
