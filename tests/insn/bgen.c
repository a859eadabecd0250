/*
 * bgen: a random program. Straight pieces of instructions with what makes blocks of them: branches forward
 * and back, bounded loops, calls, jumps through registers and memory, stack use, string instructions, stores
 * into its own code, flags and the kernel's instructions in ring 0.
 */
#include <string.h>
#include "bgen.h"

enum { AT_COUNTERS = AT_DATA + 8 };

/* ---- branches ---- */

/* A jump over the next few instructions; clamped to the end later. */
static void jump_forward(struct shape *s)
{
    struct builder *b = &s->b;
    unsigned over = 2 + draw(b, 6);

    if (odds(b, 75))
        op_define_flags(b);
    if (b->undefined || odds(b, 15)) {
        struct item *x = OP(b, 0xe9, 0, 0, 0, 0);
        to_item(x, 1, (int)(here(s) + over));
        return;
    }
    if (odds(b, 35)) { /* short */
        struct item *x = odds(b, 85) ? OP(b, (uint8_t)(0x70 | draw(b, 16)), 0) : OP(b, 0xe3, 0);
        x->fix = FIX_ITEM8;
        x->fix_at = 1;
        x->to = (int16_t)(here(s) + over % 3);
        return;
    }
    struct item *x = OP(b, 0x0f, (uint8_t)(0x80 | draw(b, 16)), 0, 0, 0, 0);
    to_item(x, 2, (int)(here(s) + over));
}

static void open_loop(struct shape *s)
{
    struct builder *b = &s->b;

    if (s->loops == MAX_LOOPS || s->depth)
        return;
    unsigned k = s->loops++, n = 2 + draw(b, s->loops == 1 ? 9 : 3);
    s->loop[k].counter = odds(b, 50) ? AT_COUNTERS + k * 8 : 0;
    if (s->loop[k].counter) {
        struct op o = {.opcode = 0xc7, .imm = n, .imm_len = 4};
        struct operand m = op_place(s->loop[k].counter);
        op_rm(b, &o, &m);
    } else {
        do
            s->loop[k].reg = (uint8_t)op_free(b);
        while (s->loop[k].reg == 4);
        struct op o = {.opcode = 0xc7, .imm = n, .imm_len = 4, .rex_w = 1};
        struct operand m = op_register(s->loop[k].reg);
        op_rm(b, &o, &m);
        op_changed(b, s->loop[k].reg);
        b->hold |= (uint16_t)(1u << s->loop[k].reg);
    }
    s->loop[k].top = (int16_t)here(s);
}

static void close_loop(struct shape *s)
{
    struct builder *b = &s->b;
    unsigned k = --s->loops;
    bool memory = s->loop[k].counter;
    struct op o = {.opcode = 0xff, .reg = 1, .rex_w = (uint8_t)odds(b, 50)};
    struct operand m = memory ? op_place(s->loop[k].counter) : op_register(s->loop[k].reg);

    b->hold &= (uint16_t) ~(memory ? 0 : 1u << s->loop[k].reg);
    if (memory)
        o.rex_w = 0;
    op_define_flags(b); /* DEC leaves CF alone */
    if (!memory && s->loop[k].reg == 1 && odds(b, 50) && here(s) - (unsigned)s->loop[k].top < 12) {
        struct item *x = OP(b, 0xe2, 0);
        x->fix = FIX_ITEM8;
        x->fix_at = 1;
        x->to = s->loop[k].top;
        return;
    }
    op_rm(b, &o, &m);
    unsigned between = draw(b, 10); /* flags stay */
    if (between < 3)
        OP(b, 0x48, 0x8d, 0x40, 0x00); /* lea rax, [rax] */
    else if (between < 6) {
        struct op st = {.opcode = 0x89, .reg = (uint8_t)draw(b, 16), .rex_w = (uint8_t)draw(b, 2)};
        struct operand at = op_place(op_data_at(b, 1));
        op_rm(b, &st, &at);
    }
    if (odds(b, 25)) { /* out of the loop, or a jump back */
        struct item *out = OP(b, 0x0f, 0x84, 0, 0, 0, 0);
        to_item(out, 2, (int)here(s) + 1);
        to_item(OP(b, 0xe9, 0, 0, 0, 0), 1, s->loop[k].top);
        return;
    }
    struct item *x = OP(b, 0x0f, odds(b, 70) ? 0x85 : 0x8f, 0, 0, 0, 0);
    to_item(x, 2, s->loop[k].top);
}

static void refer(struct shape *s, struct item *x, unsigned at)
{
    if (s->calls == MAX_FUNCTIONS * 4)
        return;
    to_item(x, at, 0);
    s->callee[s->calls] = (uint8_t)draw(&s->b, MAX_FUNCTIONS);
    s->call[s->calls++] = (int16_t)(x - s->b.p->item);
}

/* reg = address behind the next instruction, or of a function */
static unsigned code_pointer(struct shape *s, bool function)
{
    struct builder *b = &s->b;
    unsigned r;

    do
        r = op_free(b);
    while (r == 4);
    struct item *x = OP(b, (uint8_t)(0x48 | (r >> 3) << 2), 0x8d, (uint8_t)(5 | (r & 7) << 3), 0, 0, 0, 0);
    if (function)
        refer(s, x, 3);
    else
        to_item(x, 3, (int)(here(s) + 1 + draw(b, 4)));
    op_changed(b, r);
    return r;
}

static void call_or_jump(struct shape *s)
{
    struct builder *b = &s->b;
    bool call = s->depth == 0 && odds(b, 60) && s->calls < MAX_FUNCTIONS * 4;

    if (s->depth == 0 && call && odds(b, 50)) {
        refer(s, OP(b, 0xe8, 0, 0, 0, 0), 1);
        return;
    }
    if (!call && odds(b, 20)) { /* call the next instruction */
        struct item *x = OP(b, 0xe8, 0, 0, 0, 0);
        to_item(x, 1, (int)here(s));
        return;
    }
    unsigned r = code_pointer(s, call);
    struct op o = {.opcode = 0xff, .reg = call ? 2 : 4};
    struct operand m = op_register(r);
    if (!call && odds(b, 20)) { /* push it and return there */
        struct op p = {.opcode = 0xff, .reg = 6};
        op_rm(b, &p, &m);
        if (odds(b, 70))
            OP(b, 0xc3);
        else
            OP(b, 0xc2, (uint8_t)(draw(b, 4) * 8), 0);
        return;
    }
    if (odds(b, 40)) { /* through memory */
        struct op st = {.opcode = 0x89, .rex_w = 1, .reg = (uint8_t)r};
        struct operand at = odds(b, 20) ? op_base(4, -8 * (int)draw(b, 4) - 8) : op_place(op_data_at(b, 1));
        op_rm(b, &st, &at);
        m = at;
    }
    op_rm(b, &o, &m);
}

/* ---- the program ---- */

static void poke(struct shape *s)
{
    static const uint8_t events[] = {ATT_INTR, ATT_INTR, ATT_INTR, ATT_INTR,  ATT_KICK,
                                     ATT_KICK, ATT_NMI,  ATT_CODE, ATT_TIMER, ATT_STOP};
    struct prog *p = s->b.p;
    struct op o = {.opcode = 0xc7, .imm_len = 4};

    p->event = events[draw(&s->b, sizeof events)];
    const uint32_t value[POKES] = {p->event == ATT_INTR ? 1u << VECTOR_INTR % 32 : 0, p->event, 1};
    for (unsigned i = 0; i < POKES; i++) {
        struct operand m = op_place(AT_POKE + i * 4096 + side_poke_at(i));
        o.imm = value[i];
        op_rm(&s->b, &o, &m);
    }
    p->poke = (int16_t)(p->count - 1);
}

static void step(struct shape *s)
{
    struct builder *b = &s->b;
    unsigned k = draw(b, 100);

    if (k < 4)
        part_group(s);
    else if (k < 22)
        op_some(b);
    else if (k < 50)
        op_form(b);
    else if (k < 54)
        op_set(b, op_free(b));
    else if (k < 59)
        op_pointer(b, op_free(b));
    else if (k < 66)
        part_stack(s);
    else if (k < 73)
        jump_forward(s);
    else if (k < 77)
        open_loop(s);
    else if (k < 81)
        call_or_jump(s);
    else if (k < 85)
        part_flags(s);
    else if (k < 87)
        part_strings(s);
    else if (k < 90)
        part_divide(s);
    else if (k < 92)
        part_locked(s);
    else if (k < 95)
        part_store_to_code(s);
    else if (k < 96 && odds(b, 80))
        part_vector_control(s);
    else if (k < 96)
        op_corner(b);
    else if (odds(b, 15))
        op_odd(b);
    else if (s->depth == 0 && odds(b, b->p->ring ? 60 : 8))
        part_syscall(s);
    else if (b->p->ring == 0 || odds(b, 5))
        part_kernel(s);
    else
        op_some(b);
    if (s->loops && odds(b, 18))
        close_loop(s);
}

static void functions(struct shape *s)
{
    struct builder *b = &s->b;
    unsigned at[MAX_FUNCTIONS];

    s->depth = 1;
    for (unsigned f = 0; f < MAX_FUNCTIONS; f++) {
        at[f] = here(s);
        if (!s->calls)
            continue;
        for (unsigned n = 1 + draw(b, 4); n; n--)
            step(s);
        if (odds(b, 5))
            part_store_to_code(s);
        if (odds(b, 85))
            OP(b, 0xc3);
        else
            OP(b, 0xc2, (uint8_t)(8 * draw(b, 3)), 0);
    }
    for (unsigned i = 0; i < s->calls; i++)
        b->p->item[s->call[i]].to = (int16_t)at[s->callee[i]];
}

static int some_immediate(struct shape *s)
{
    struct prog *p = s->b.p;
    unsigned from = draw(&s->b, p->count);

    for (unsigned i = 0; i < p->count; i++) {
        unsigned k = (from + i) % p->count;
        bool before_poke = p->poke >= 0 && (int)k <= p->poke && (int)k > p->poke - 6;
        if (p->item[k].imm_len && p->item[k].fix == FIX_NONE && !before_poke)
            return (int)k;
    }
    return -1;
}

/* It refers to an instruction, and is neither a call of a function nor a store. */
static bool is_jump(const struct shape *s, int item)
{
    uint8_t fix = s->b.p->item[item].fix;
    bool other = fix != FIX_ITEM && fix != FIX_ITEM8;

    for (unsigned k = 0; k < s->calls; k++)
        other |= s->call[k] == item;
    for (unsigned k = 0; k < s->stores; k++)
        other |= s->store[k] == item;
    return !other;
}

/* Where stores into the code go, and what the outside may write. */
static void choose_targets(struct shape *s, unsigned end)
{
    struct builder *b = &s->b;
    struct prog *p = b->p;

    for (unsigned i = 0; i < s->stores; i++) {
        struct item *x = &p->item[s->store[i]];
        int target = some_immediate(s);
        x->fix = odds(b, 75) ? FIX_ITEM : FIX_ALIAS;
        if (target < 0 || odds(b, 12)) { /* beside the code, on its page */
            x->to = (int16_t)p->count;
            x->add = (int32_t)draw(b, 64);
            continue;
        }
        x->to = (int16_t)target;
        x->add = p->item[target].imm_at + (odds(b, 4) ? (int32_t)draw(b, 4) - 2 : 0);
        /* not over what follows */
        int room = p->item[target].imm_len;
        if (x->bytes[x->fix_at - 2] == 0xc7 && room < 4 && odds(b, 95))
            x->add = p->item[target].len - 4 < 0 ? 0 : p->item[target].imm_at;
    }
    for (unsigned i = 0; i < MAX_PATCHES && odds(b, 80); i++) {
        int target = some_immediate(s);
        if (target < 0)
            break;
        p->patch[p->patches].item = (int16_t)target;
        uint32_t v = (uint32_t)gen_integer(&b->r);
        memcpy(p->patch[p->patches++].bytes, &v, 4);
    }
    for (unsigned i = 0; i < p->count; i++) {
        struct item *x = &p->item[i];
        if (!is_jump(s, (int)i))
            continue;
        if (i < end && x->to > (int)end) /* it was to go further than there is code */
            x->to = (int16_t)end;
        while (p->item[x->to].glued)
            x->to++;
    }
}

static void registers(struct builder *b)
{
    struct prog *p = b->p;

    for (unsigned i = 0; i < 16; i++)
        if (i == 4 || odds(b, 30)) {
            p->gpr[i] = op_data_at(b, i == 4 ? 16 : 1);
            p->pointers |= (uint16_t)(1u << i);
        } else {
            p->gpr[i] = gen_integer(&b->r);
            if (p->gpr[i] < 128)
                b->small |= (uint16_t)(1u << i);
        }
    b->ptr = p->pointers;
    p->rflags =
        2 | (rng_next(&b->r) & X86_ARITH_FLAGS) | (odds(b, 70) ? X86_IF : 0) | (odds(b, 15) ? X86_DF : 0);
    if (odds(b, 2))
        p->rflags |= X86_AC;
    if (odds(b, 2))
        p->rflags |= X86_ID;
    p->fs = op_data_at(b, 1);
    p->gs = op_data_at(b, 1);
    p->kernel_gs = op_data_at(b, 1);
}

static void vectors(struct builder *b)
{
    struct x86_fpu *f = &b->p->fpu;

    memset(f, 0, sizeof *f);
    f->fcw = 0x37f;
    f->mxcsr = 0x1f80;
    if (odds(b, 10))
        f->mxcsr &= ~(draw(b, 64) << 7);
    if (odds(b, 20))
        f->mxcsr |= draw(b, 4) << 13;
    for (unsigned i = 0; i < 16; i++)
        gen_numbers(&b->r, f->ymm[i], 32);
    for (unsigned i = 0; i < 8; i++)
        gen_numbers(&b->r, f->st[i], 10);
    f->ftw = (uint8_t)draw(b, 256);
}

/* Where the code begins: near the end of the first page, as a rule. */
static void choose_start(struct builder *b)
{
    struct prog *p = b->p;
    unsigned bytes = 0;

    for (unsigned i = 0; i < p->count; i++)
        bytes += p->item[i].len;
    if (odds(b, 60))
        p->start = (uint16_t)(4096 - draw(b, bytes < 4000 ? bytes + 1 : 4000));
    else
        p->start = (uint16_t)draw(b, CODE_SIZE - bytes - 64);
}

void prog_make(struct prog *p, uint64_t seed, uint64_t number)
{
    struct shape s = {.b = {.p = p}};
    struct builder *b = &s.b;

    memset(p, 0, sizeof *p);
    rng_seed(&b->r, seed * 0x9e3779b97f4a7c15ull + number);
    p->seed = rng_next(&b->r);
    p->poke = p->syscall = -1;
    p->ring = odds(b, 50) ? 3 : 0;
    p->region = (uint8_t)(p->ring ? draw(b, 2) : REGION_KERNEL + draw(b, 2));
    p->smap = p->ring == 0 && odds(b, 50);
    registers(b);
    vectors(b);
    unsigned n = 4 + draw(b, odds(b, 70) ? 16 : 42), when = draw(b, 2 * n);
    for (unsigned i = 0; i < n && p->count < MAX_ITEMS - 60; i++) {
        if (i == when)
            poke(&s);
        step(&s);
        if (odds(b, 1))
            part_to_device(&s);
    }
    while (s.loops)
        close_loop(&s);
    unsigned end = p->count;
    OP(b, 0xcd, VECTOR_END);
    b->undefined = false;
    functions(&s);
    OP(b, 0xcd, VECTOR_END);
    if (s.system)
        part_system(&s);
    OP(b, 0xcd, VECTOR_END);
    choose_targets(&s, end);
    choose_start(b);
}
