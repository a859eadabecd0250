/*
 * bref: a block by the interpreter, one instruction at a time as run.c's careful() does it, with the state
 * before each kept.
 *
 * Flags that the manuals call undefined may differ between the two sides. They are followed here: a case in
 * which an instruction reads one says nothing and is thrown away; elsewhere they are left out of the
 * comparison.
 */
#include <string.h>
#include "blocks.h"

struct known { /* a decoded instruction, by where its bytes are */
    const uint8_t *host;
    struct insn in;
    uint32_t undefined, written, tested;
    uint8_t keeps;  /* it may leave all flags alone */
    uint8_t branch; /* enum */
};
enum { NO_BRANCH, DIRECT, INDIRECT };
enum { KNOWN = 1 << 13 };

static bool is_shift(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        return true;
    default:
        return false;
    }
}

/* AF behind these is clear, here and everywhere. */
static bool is_logic(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_AND || m == ZYDIS_MNEMONIC_OR || m == ZYDIS_MNEMONIC_XOR ||
           m == ZYDIS_MNEMONIC_TEST;
}

static void find_out(struct known *k)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

    k->undefined = k->written = k->tested = 0;
    k->keeps = k->branch = 0;
    if (!forms_decode(MODE_64, k->in.bytes, k->in.len, &zi, ops))
        return;
    if (zi.cpu_flags) {
        k->undefined = zi.cpu_flags->undefined & X86_ARITH_FLAGS;
        k->written = (zi.cpu_flags->modified | zi.cpu_flags->set_0 | zi.cpu_flags->set_1) & X86_ARITH_FLAGS;
        k->tested = zi.cpu_flags->tested & X86_ARITH_FLAGS;
    }
    if (is_logic(zi.mnemonic))
        k->undefined = 0;
    k->keeps = is_shift(zi.mnemonic) || (k->in.flags & (INSN_REP | INSN_REPNE));
    switch (zi.meta.category) {
    case ZYDIS_CATEGORY_PUSH:
        if (zi.mnemonic == ZYDIS_MNEMONIC_PUSHF || zi.mnemonic == ZYDIS_MNEMONIC_PUSHFQ)
            k->tested = X86_ARITH_FLAGS;
        break;
    case ZYDIS_CATEGORY_SYSCALL: /* R11 */
        k->tested = X86_ARITH_FLAGS;
        break;
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
        k->branch = ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && zi.meta.category != ZYDIS_CATEGORY_RET
                        ? DIRECT
                        : INDIRECT;
        break;
    default:
        break;
    }
}

static struct known once; /* runs across a border, or is not to be kept */

/* The instruction at RIP. Fetch faults do not return. */
static const struct known *fetch(struct side *s)
{
    static struct known known[KNOWN];
    struct cpu *c = s->c;
    struct place p;

    if (!is_canonical(c, c->rip))
        cpu_gp(c, 0);
    cpu_place(c, c->rip, TLB_FETCH, c->tlb_user, &p);
    unsigned room = 4096 - (unsigned)(c->rip & 0xfff);
    struct known *k = &known[((uintptr_t)p.host ^ (uintptr_t)p.host >> 13) & (KNOWN - 1)];
    if (p.host && k->host == p.host && k->in.len <= room && !memcmp(k->in.bytes, p.host, k->in.len))
        return k;
    if (!p.host || insn_decode(p.host, room < 15 ? room : 15, MODE_64, &k->in)) { /* runs across the border */
        k->host = NULL;
        k = &once;
        block_decode_one(c, &k->in);
    } else
        k->host =
            k->in.exec == exec_ud || k->in.exec == exec_gp ? NULL : p.host; /* not known by their length */
    find_out(k);
    return k;
}

/* What the instruction does to our knowledge of flags. False: it reads what has no value. */
static bool follow(struct trace *t, const struct known *k)
{
    if (k->tested & t->undefined)
        return false;
    if (!k->keeps)
        t->undefined &= ~k->written;
    t->undefined |= k->undefined;
    return true;
}

static void keep(const struct cpu *c, struct trace *t, bool polled, bool sets)
{
    struct snap *n = &t->snap[t->steps];

    memcpy(n->gpr, c->gpr, sizeof n->gpr);
    n->rip = c->rip;
    n->rflags = c->rflags;
    n->undefined = t->undefined;
    n->shadow = c->shadow;
    n->polled = polled;
    n->sets = sets;
}

static bool is_compare(const struct insn *in)
{
    unsigned code = in->bytes[in->len - 1] & 0xfe;

    return code == 0xa6 || code == 0xae;
}

static void execute(struct side *s, struct trace *t)
{
    struct cpu *c = s->c;
    bool step = c->rflags & X86_TF;

    if (c->mode != MODE_64) {
        t->discard = "it leaves 64-bit mode";
        return;
    }

    c->rflags &= ~(uint64_t)X86_RF;
    c->shadow_set = 0;
    const struct known *k = fetch(s);
    const struct insn *in = &k->in;
    uint64_t from = c->rip, next = from + in->len;
    c->leave_block = 0;
    c->next_rip = next;
    if (k->tested & t->undefined) {
        t->discard = "it reads an undefined flag";
        return;
    }
    in->exec(c, in);
    follow(t, k);
    step = step && !(in->flags & INSN_OWN_STEP);
    bool again = c->next_rip == c->rip && (in->flags & (INSN_REP | INSN_REPNE));
    if (again && (k == &once || memcmp(k->host, in->bytes, in->len)))
        t->discard = "a string instruction overwrites itself";
    c->rip = c->next_rip;
    c->icount++;
    if (!c->shadow_set)
        c->shadow = 0;
    t->steps++;
    t->executed += !again;
    t->repeated |= again;
    t->comparing = again && is_compare(in);
    t->branches += k->branch == DIRECT;
    keep(c, t,
         !again && k->branch && (k->branch == INDIRECT || c->rip != next) &&
             (k->branch == INDIRECT || c->rip <= from || (c->rip ^ from) >> 12),
         !k->keeps && (k->written | k->undefined) == X86_ARITH_FLAGS);
    if (!(c->shadow & 2) && (step || c->db_pending)) {
        t->snap[t->steps].shadow |= SNAP_TRAP;
        debug_after(c, step);
    }
}

/* One instruction and what it raises. */
static void step_one(struct side *s, struct trace *t)
{
    struct cpu *c = s->c;
    int why = _setjmp(c->fault_env);

    if (why == LEAVE_EXIT)
        t->discard = "it left the machine";
    else if (why == LEAVE_FAULT) {
        if (t->comparing) /* a fault brings back the flags of where it began, or was last interrupted */
            t->undefined |= X86_ARITH_FLAGS;
        cpu_deliver_fault(c);
    } else
        execute(s, t);
}

void ref_run(struct side *s, struct trace *t, unsigned limit)
{
    struct cpu *c = s->c;

    t->steps = t->executed = t->branches = 0;
    t->comparing = t->repeated = false;
    t->discard = NULL;
    c->attention = ATT_STOP; /* so that repeated string instructions stop wherever they may */
    cpu_enter(c);
    keep(c, t, false, false);
    while (!t->discard && t->steps < limit && !c->halted && side_vector(s) < 0)
        step_one(s, t);
    if (c->priv->holds_world) {
        c->priv->holds_world = 0;
        world_go(s->en);
    }
    cpu_leave(c);
    c->attention = 0;
    t->vector = side_vector(s);
    if (!t->discard && limit == MAX_STEPS && t->vector < 0 && !c->halted)
        t->discard = "it does not end";
}
