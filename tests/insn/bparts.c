/*
 * bparts: what programs have beside plain instructions and branches: stack, flags, string instructions,
 * divisions, locked ones, stores into the code, and the kernel's own.
 */
#include "bgen.h"

/* ---- the stack ---- */

void part_stack(struct shape *s)
{
    struct builder *b = &s->b;
    unsigned r = draw(b, 16), f = op_free(b);
    struct operand m;

    switch (draw(b, 12)) {
    case 0:
    case 1:
    case 2: /* push, and pop something else */
        OP(b, (uint8_t)(0x40 | r >> 3), (uint8_t)(0x50 | (r & 7)));
        if (odds(b, 30))
            op_some(b);
        OP(b, (uint8_t)(0x40 | f >> 3), (uint8_t)(0x58 | (f & 7)));
        op_changed(b, f);
        return;
    case 3:
        OP(b, (uint8_t)(0x40 | r >> 3), (uint8_t)(0x50 | (r & 7)));
        return;
    case 4:
        if (odds(b, 50))
            OP(b, 0x6a, (uint8_t)draw(b, 256));
        else
            OP(b, 0x68, (uint8_t)draw(b, 256), 2, 3, (uint8_t)draw(b, 256));
        return;
    case 5: { /* push [..] */
        struct op o = {.opcode = 0xff, .reg = 6};
        m = odds(b, 30) ? op_base(4, (int32_t)draw(b, 4) * 8 - 8) : op_memory(b, 1);
        op_rm(b, &o, &m);
        return;
    }
    case 6: { /* pop [..] */
        struct op o = {.opcode = 0x8f};
        m = odds(b, 30) ? op_base(4, (int32_t)draw(b, 4) * 8 - 8) : op_memory(b, 1);
        op_rm(b, &o, &m);
        return;
    }
    case 7: { /* lea rsp, [rsp + ..] */
        struct op o = {.opcode = 0x8d, .rex_w = 1, .reg = 4};
        m = op_base(4, (int32_t)draw(b, 16) * 8 - 64);
        op_rm(b, &o, &m);
        return;
    }
    case 8: /* add or sub rsp */
        OP(b, 0x48, 0x83, odds(b, 50) ? 0xc4 : 0xec, (uint8_t)(draw(b, 8) * 8));
        b->undefined = false;
        return;
    case 9:
        op_pointer(b, 4);
        return;
    case 10: /* a frame */
        if (odds(b, 50))
            OP(b, 0xc8, (uint8_t)(draw(b, 5) * 8), 0, (uint8_t)draw(b, odds(b, 70) ? 1 : 4));
        else {
            OP(b, 0x55);
            OP(b, 0x48, 0x89, 0xe5);
        }
        op_changed(b, 5);
        if (odds(b, 50))
            op_some(b);
        if (odds(b, 80)) {
            OP(b, 0xc9);
            op_changed(b, 5);
        }
        return;
    default: { /* at the top of the stack */
        struct op o = {.opcode = odds(b, 50) ? 0x8b : 0x89, .rex_w = (uint8_t)odds(b, 60), .reg = (uint8_t)f};
        m = op_base(4, (int32_t)draw(b, 8) * 8 - 16);
        op_rm(b, &o, &m);
        if (o.opcode == 0x8b)
            op_changed(b, f);
    }
    }
}

/* Accesses at constant distances from one register, which one probe may serve; on two pages at times. */
void part_group(struct shape *s)
{
    static const uint8_t codes[] = {0x8b, 0x8b, 0x89, 0x89, 0x03, 0x01, 0x3b, 0x39, 0x88, 0x8a, 0x31, 0xff};
    struct builder *b = &s->b;
    unsigned base = odds(b, 30) ? 4 : op_free(b), spread = odds(b, 80) ? 64 : 300;

    if (base != 4 && !(b->ptr >> base & 1))
        op_pointer(b, base);
    b->hold |= (uint16_t)(1u << base);
    for (unsigned n = 2 + draw(b, 6); n; n--) {
        struct op o = {
            .opcode = codes[draw(b, sizeof codes)], .reg = (uint8_t)op_free(b), .rex_w = (uint8_t)draw(b, 2)};
        struct operand m = op_base(base, (int32_t)draw(b, spread) - (int32_t)spread / 2);
        bool changes = o.opcode == 0x8b || o.opcode == 0x03 || o.opcode == 0x8a;
        if (o.opcode == 0xff)
            o.reg &= 1;
        else if (base == 4 && odds(b, 30)) {
            OP(b, (uint8_t)(0x40 | o.reg >> 3), (uint8_t)((odds(b, 60) ? 0x50 : 0x58) | (o.reg & 7)));
            op_changed(b, o.reg);
            continue;
        }
        if (changes)
            op_changed(b, o.reg);
        op_rm(b, &o, &m);
        if (o.opcode != 0x8b && o.opcode != 0x89 && o.opcode != 0x8a && o.opcode != 0x88 && o.opcode != 0xff)
            b->undefined = false;
        if (odds(b, 15) && !b->undefined)
            to_item(OP(b, 0x0f, (uint8_t)(0x80 | draw(b, 16)), 0, 0, 0, 0), 2,
                    (int)(here(s) + 1 + draw(b, 4)));
        else if (odds(b, 15))
            OP(b, 0x48, 0x85, (uint8_t)(0xc0 | draw(b, 64))); /* test */
    }
    b->hold &= (uint16_t) ~(1u << base);
}

/* ---- flags ---- */

void part_flags(struct shape *s)
{
    struct builder *b = &s->b;
    static const uint8_t one[] = {0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0xfc, 0x9f};

    op_define_flags(b);
    switch (draw(b, 5)) {
    case 0: /* from an image; rarely with bits that make life hard */
        OP(b, 0x68, (uint8_t)draw(b, 256), (uint8_t)(odds(b, 6) ? draw(b, 256) : draw(b, 16) & ~5u),
           (uint8_t)(odds(b, 8) ? draw(b, 64) & ~0x12u : 0), 0);
        OP(b, 0x9d);
        return;
    case 1:
        OP(b, 0x9c);
        if (odds(b, 70))
            OP(b, 0x9d);
        return;
    case 2:
        OP(b, 0x9c);
        OP(b, 0x58); /* pop rax */
        op_changed(b, 0);
        return;
    case 3:
        if (odds(b, 30) && !(b->hold & 1)) {
            OP(b, 0x9e);
            return;
        }
        __attribute__((fallthrough));
    default: {
        uint8_t c = one[draw(b, sizeof one)];
        if (c == 0x9f && b->hold & 1)
            return;
        if (c == 0x9f)
            op_changed(b, 0);
        op_bytes(b, &c, 1);
    }
    }
}

/* ---- other shapes ---- */

void part_strings(struct shape *s)
{
    struct builder *b = &s->b;
    static const uint8_t what[] = {0xa4, 0xaa, 0xac, 0xa6, 0xae};
    uint8_t code = (uint8_t)(what[draw(b, 5)] | draw(b, 2)), out[3];
    unsigned n = 0;

    if (b->hold & (1u << 1 | 1u << 6 | 1u << 7 | 1))
        return;
    if (odds(b, 90))
        op_pointer(b, 6);
    if (odds(b, 90))
        op_pointer(b, 7);
    if (odds(b, 25)) { /* near each other: lea rdi, [rsi + ..], or the other way round */
        bool up = odds(b, 50);
        struct op o = {.opcode = 0x8d, .reg = up ? 7 : 6, .rex_w = 1};
        struct operand m = op_base(up ? 6 : 7, (int32_t)draw(b, 32));
        op_rm(b, &o, &m);
    }
    if (odds(b, 60)) {
        static const uint16_t most[] = {12, 12, 12, 12, 300, 300, 5000};
        struct op o = {.opcode = 0xc7, .imm = draw(b, most[draw(b, 7)]), .imm_len = 4};
        struct operand m = op_register(1);
        op_rm(b, &o, &m);
        op_changed(b, 1);
        out[n++] = odds(b, 70) ? 0xf3 : 0xf2;
    }
    if (odds(b, 40))
        out[n++] = 0x48;
    out[n++] = code;
    if ((code & 0xf6) == 0xa6) /* none repeated: flags stay */
        op_define_flags(b);
    op_bytes(b, out, n);
    op_changed(b, 6);
    op_changed(b, 7);
    if ((code & 0xfe) == 0xac)
        op_changed(b, 0);
    b->ptr |= odds(b, 60) ? 1u << 6 | 1u << 7 : 0;
}

void part_divide(struct shape *s)
{
    struct builder *b = &s->b;
    struct op o = {
        .opcode = odds(b, 85) ? 0xf7 : 0xf6, .reg = (uint8_t)(6 + draw(b, 2)), .rex_w = (uint8_t)draw(b, 2)};
    struct operand m;

    if (b->hold & (1 | 1u << 2))
        return;
    m = odds(b, 40) ? op_memory(b, 1) : op_register(draw(b, 16));
    if (o.reg == 6 && odds(b, 85)) {
        OP(b, 0x31, 0xd2); /* xor edx, edx */
        if (o.opcode == 0xf6)
            OP(b, 0x0f, 0xb6, 0xc0);
    } else if (odds(b, 85)) {
        if (o.rex_w)
            OP(b, 0x48, 0x99);
        else
            OP(b, 0x99);
    }
    if (m.mod == 3 && odds(b, 60) && !(b->hold >> m.rm & 1) && m.rm != 4)
        op_set(b, m.rm);
    op_rm(b, &o, &m);
    op_changed(b, 0);
    op_changed(b, 2);
    b->undefined = true;
}

void part_locked(struct shape *s)
{
    struct builder *b = &s->b;
    struct op o = {.prefix = 0xf0, .map = 1, .rex_w = (uint8_t)draw(b, 2), .reg = (uint8_t)op_free(b)};
    struct operand m = op_memory(b, 1);

    switch (draw(b, 5)) {
    case 0: /* xadd */
        o.opcode = 0xc1;
        op_changed(b, o.reg);
        break;
    case 1: /* cmpxchg; at times with a comparand that is there */
        if (b->hold & 1)
            return;
        if (odds(b, 50) && !m.a32) {
            struct op ld = {.opcode = 0x8b, .rex_w = o.rex_w};
            op_rm(b, &ld, &m);
        }
        o.opcode = 0xb1;
        op_changed(b, 0);
        break;
    case 2: /* cmpxchg8b, cmpxchg16b */
        if (b->hold & (1 | 1u << 2))
            return;
        m = op_place(op_data_at(b, 16));
        o.opcode = 0xc7;
        o.reg = 1;
        op_changed(b, 0);
        op_changed(b, 2);
        break;
    case 3: /* bts and others, by a constant */
        o.opcode = 0xba;
        o.reg = (uint8_t)(5 + draw(b, 3));
        o.imm = draw(b, 64);
        o.imm_len = 1;
        b->undefined = true;
        break;
    default: /* xchg */
        o.map = 0;
        o.opcode = 0x87;
        op_changed(b, o.reg);
        break;
    }
    op_rm(b, &o, &m);
    if (o.opcode == 0xc1 || o.opcode == 0xb1)
        b->undefined = false;
}

/* A store into the code: over an immediate, as a rule. Which one is chosen at the end. */
void part_store_to_code(struct shape *s)
{
    struct builder *b = &s->b;
    struct op o = {.reg = (uint8_t)draw(b, 16)};
    struct operand m = op_place(0);

    if (s->stores == MAX_STORES)
        return;
    switch (draw(b, 6)) {
    case 0:
    case 1:
        o.opcode = 0xc7;
        o.reg = 0;
        o.imm = (uint32_t)gen_integer(&b->r);
        o.imm_len = 4;
        break;
    case 2:
        o.opcode = 0xc6;
        o.reg = 0;
        o.imm = (uint32_t)gen_integer(&b->r);
        o.imm_len = 1;
        break;
    case 3:
        o.opcode = 0x01;
        b->undefined = false;
        break;
    case 4:
        o.opcode = 0x87;
        o.reg = (uint8_t)op_free(b);
        op_changed(b, o.reg);
        break;
    default:
        o.opcode = 0x89;
        break;
    }
    struct item *x = op_rm(b, &o, &m);
    s->store[s->stores++] = (int16_t)(x - b->p->item);
}

void part_to_device(struct shape *s)
{
    struct op o = {.opcode = 0x89, .reg = (uint8_t)draw(&s->b, 16)};
    struct operand m = op_place(AT_DEVICE + draw(&s->b, 64) * 4);

    op_rm(&s->b, &o, &m);
}

/* MXCSR from memory: exceptions masked as a rule */
void part_vector_control(struct shape *s)
{
    struct builder *b = &s->b;
    uint32_t at = AT_DATA + 64;
    struct op st = {
        .opcode = 0xc7, .imm = odds(b, 80) ? 0x1f80 | (draw(b, 4) << 13) : draw(b, 0x10000), .imm_len = 4};
    struct op ld = {.opcode = 0xae, .map = 1, .reg = 2};
    struct operand m = op_place(at);

    op_rm(b, &st, &m);
    op_rm(b, &ld, &m);
}

/* ---- the kernel's own ---- */

/* iretq to the next instruction, or a few behind */
static void return_from_interrupt(struct shape *s)
{
    struct builder *b = &s->b;

    op_define_flags(b);
    if (b->hold & 1)
        return;
    OP(b, 0x48, 0x89, 0xe0); /* mov rax, rsp */
    OP(b, 0x6a, b->p->ring ? 0x2b : 0x18);
    OP(b, 0x50); /* push rax */
    OP(b, 0x9c); /* pushfq */
    OP(b, 0x6a, b->p->ring ? 0x33 : 0x10);
    struct item *x = OP(b, 0x48, 0x8d, 0x05, 0, 0, 0, 0);
    to_item(x, 3, (int)(here(s) + 2 + draw(b, 3)));
    OP(b, 0x50);
    OP(b, 0x48, 0xcf);
    op_changed(b, 0);
}

/* Another page is put where a data page was, or its rights change, and the TLB is told. */
static void remap(struct shape *s)
{
    struct builder *b = &s->b;
    uint32_t page = AT_DATA + draw(b, DATA_N) * 4096, other = AT_DATA + draw(b, DATA_N) * 4096;
    struct op ld = {.opcode = 0x8b, .rex_w = 1}, st = {.opcode = 0x89, .rex_w = 1};
    struct operand m = op_place(AT_TABLE + (other >> 12) * 8);

    if (b->hold & 1)
        return;
    op_changed(b, 0);
    unsigned first = here(s);
    op_rm(b, &ld, &m);
    if (odds(b, 30)) /* read-only (CR0.WP is set) */
        OP(b, 0x48, 0x83, 0xe0, 0xfd);
    else if (odds(b, 30)) /* neither accessed nor dirty */
        OP(b, 0x48, 0x83, 0xe0, 0x9f);
    m = op_place(AT_TABLE + (page >> 12) * 8);
    op_rm(b, &st, &m);
    if (odds(b, 60)) {
        struct op invlpg = {.opcode = 0x01, .map = 1, .reg = 7};
        m = op_place(page + draw(b, 4096));
        op_rm(b, &invlpg, &m);
    } else {
        OP(b, 0x0f, 0x20, 0xd8); /* mov rax, cr3 */
        OP(b, 0x0f, 0x22, 0xd8);
    }
    for (unsigned i = first + 1; i < here(s); i++)
        b->p->item[i].glued = 1;
    b->undefined = false;
}

static void read_control(struct shape *s)
{
    static const uint8_t which[] = {0, 2, 3, 4, 8};
    struct builder *b = &s->b;
    unsigned r = op_free(b), cr = which[draw(b, 5)];

    OP(b, (uint8_t)(0x40 | (cr >> 3) << 2 | r >> 3), 0x0f, 0x20, (uint8_t)(0xc0 | (cr & 7) << 3 | (r & 7)));
    op_changed(b, r);
}

void part_kernel(struct shape *s)
{
    struct builder *b = &s->b;

    switch (draw(b, 17)) {
    case 0:
    case 1:
    case 2:
        OP(b, 0xfa);
        return;
    case 3:
    case 4:
    case 5:
        OP(b, 0xfb);
        return;
    case 6:
    case 7: /* swapgs, and back, as a rule */
        OP(b, 0x0f, 0x01, 0xf8);
        return;
    case 8: /* mov ss: a shadow */
        if (b->hold & 1)
            return;
        OP(b, 0x8c, 0xd0);
        OP(b, 0x8e, 0xd0);
        op_changed(b, 0);
        return;
    case 9:
        OP(b, 0x0f, 0x01, odds(b, 50) ? 0xca : 0xcb); /* clac, stac */
        return;
    case 10:
        remap(s);
        return;
    case 11: { /* invlpg of anything */
        struct op o = {.opcode = 0x01, .map = 1, .reg = 7};
        struct operand m = op_place(odds(b, 50) ? draw(b, CODE_SIZE) : op_data_at(b, 1));
        op_rm(b, &o, &m);
        return;
    }
    case 12: /* interrupts off and on again around something */
        OP(b, 0x9c);
        OP(b, 0xfa);
        op_some(b);
        OP(b, 0x9d);
        return;
    case 13:
    case 14:
        read_control(s);
        return;
    case 15:
        if (!odds(b, 30) || b->hold & 1)
            return;
        OP(b, 0x0f, 0x20, 0xc0); /* mov rax, cr0; or eax, TS; mov cr0, rax: no vectors from here on */
        OP(b, 0x83, 0xc8, 0x08);
        OP(b, 0x0f, 0x22, 0xc0);
        op_changed(b, 0);
        b->undefined = false;
        if (odds(b, 70))
            OP(b, 0x0f, 0x06); /* clts */
        return;
    default:
        return_from_interrupt(s);
    }
}

/* ---- system calls ---- */

enum { SYSCALL_CHANGES = 1u << 1 | 1u << 11 };

void part_syscall(struct shape *s)
{
    struct builder *b = &s->b;

    if (b->hold & SYSCALL_CHANGES)
        return;
    op_define_flags(b); /* they are in R11 then */
    OP(b, 0x0f, 0x05);
    op_changed(b, 1);
    op_changed(b, 11);
    s->system = true;
}

void part_system(struct shape *s)
{
    struct builder *b = &s->b;

    b->p->syscall = (int16_t)here(s);
    b->p->system = (uint8_t)(REGION_KERNEL + draw(b, 2));
    b->p->sfmask = (odds(b, 80) ? X86_IF : 0) | (odds(b, 80) ? X86_DF : 0) | (odds(b, 50) ? X86_AC : 0) |
                   (odds(b, 50) ? draw(b, 256) & X86_ARITH_FLAGS : 0) | X86_TF;
    b->hold = SYSCALL_CHANGES | 1u << 4;
    b->ptr = 1u << 4;
    bool swap = odds(b, 50);
    if (swap)
        OP(b, 0x0f, 0x01, 0xf8);
    for (unsigned n = draw(b, 6); n; n--)
        switch (draw(b, 8)) {
        case 0:
            op_form(b);
            break;
        case 1:
            part_flags(s);
            break;
        case 2:
            read_control(s);
            break;
        case 3:
            OP(b, 0x0f, 0x01, odds(b, 50) ? 0xca : 0xcb);
            break;
        case 4:
            op_pointer(b, op_free(b));
            break;
        default:
            op_some(b);
            break;
        }
    if (swap)
        OP(b, 0x0f, 0x01, 0xf8);
    if (odds(b, 90))
        OP(b, 0x48, 0x0f, 0x07);
}
