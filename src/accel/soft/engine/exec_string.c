/*
 * exec_string: MOVS, CMPS, STOS, LODS, SCAS, alone and with REP, REPE, REPNE.
 *
 * Registers are committed after each element or piece, so a fault restarts exactly there; flags of CMPS and
 * SCAS are set at the end only (SDM 2B REP: a fault restores the flags of before). Between pieces a repeated
 * instruction yields to cpu->attention and to single-stepping by branching to itself. Pieces are what lies
 * within one page of plain RAM on both sides, forward; everything else goes element by element.
 */
#include <string.h>
#include "accel/soft/engine/exec_int.h"
#include "accel/soft/engine/mem_inline.h"
#include "accel/soft/engine/private.h"

enum { ELEMENTS_BETWEEN_CHECKS = 64 };

static inline uint64_t source(const struct cpu *c, const struct insn *in)
{
    return c->gpr[X86_RSI] & mask_size(in->adsize);
}

static inline uint64_t target(const struct cpu *c, const struct insn *in)
{
    return c->gpr[X86_RDI] & mask_size(in->adsize);
}

/* Moves an address register over n elements, by DF. */
static inline void advance(struct cpu *c, const struct insn *in, unsigned reg, uint64_t n)
{
    uint64_t bytes = n * in->opsize;
    cpu_set_gpr(c, reg, in->adsize, c->gpr[reg] + (c->rflags & X86_DF ? -bytes : bytes));
}

static inline uint64_t count(const struct cpu *c, const struct insn *in)
{
    return c->gpr[X86_RCX] & mask_size(in->adsize);
}

static inline void set_count(struct cpu *c, const struct insn *in, uint64_t n)
{
    cpu_set_gpr(c, X86_RCX, in->adsize, n);
}

/* What a repetition begins with. With 32-bit addresses in 64-bit mode Intel's processors cut the count to
 * them, and MOVS and STOS their pointers, even if no element is moved or the first faults. */
static inline void begin(struct cpu *c, const struct insn *in, bool source_too, bool target_too)
{
    if (in->adsize != 4)
        return;
    c->gpr[X86_RCX] = (uint32_t)c->gpr[X86_RCX];
    if (source_too)
        c->gpr[X86_RSI] = (uint32_t)c->gpr[X86_RSI];
    if (target_too)
        c->gpr[X86_RDI] = (uint32_t)c->gpr[X86_RDI];
}

/* Whether a repeated instruction with work left must let the loop look around. `*since` counts elements done
 * one by one. */
static bool must_yield(struct cpu *c, uint64_t left, unsigned *since, bool bulk)
{
    if (!left)
        return false;
    if (unlikely(c->db_pending | c->debug_exit)) {
        c->rflags |= X86_RF; /* the trap comes between iterations (SDM 3B 17.3.1.1) */
    } else if (!(c->rflags & X86_TF)) {
        if (!bulk && ++*since < ELEMENTS_BETWEEN_CHECKS)
            return false;
        *since = 0;
        if (!__atomic_load_n(&c->attention, __ATOMIC_RELAXED))
            return false;
    }
    insn_part_done(c);
    return true;
}

/* ---- pieces ---- */

static bool bulk_possible(const struct cpu *c, uint64_t n)
{
    return n > 1 && !(c->rflags & (X86_DF | X86_TF));
}

/* Host address of at most n elements at seg:off, and how many are there. 0: go element by element. */
static uint64_t piece(struct cpu *c, const struct insn *in, unsigned seg, uint64_t off, uint64_t n,
                      bool write, uint8_t **host)
{
    /* an element that crosses the segment's limit faults for that, whatever its page */
    if (c->mode != MODE_64 && off + in->opsize - 1 > c->seg[seg].limit)
        return 0;
    uint64_t bytes = cpu_bulk(c, seg, off, write, host), room = mask_size(in->adsize) - off;
    if (bytes > room)
        bytes = room + 1;
    return bytes / in->opsize < n ? bytes / in->opsize : n;
}

/* ---- MOVS ---- */

static void movs_one(struct cpu *c, const struct insn *in)
{
    cpu_store(c, X86_ES, target(c, in), in->opsize, cpu_load(c, in->seg, source(c, in), in->opsize));
    advance(c, in, X86_RSI, 1);
    advance(c, in, X86_RDI, 1);
}

/* Copies upward as the elements would: a target just above the source repeats a pattern. */
static void copy_up(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
    uint64_t bytes = n * size;
    if (dst <= src || dst >= src + bytes || SEED_BUG(13)) {
        memmove(dst, src, bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i += size)
        host_store((uintptr_t)(dst + i), size, host_load((uintptr_t)(src + i), size));
}

static uint64_t movs_bulk(struct cpu *c, const struct insn *in, uint64_t n)
{
    uint8_t *src, *dst;
    if (!bulk_possible(c, n))
        return 0;
    n = piece(c, in, in->seg, source(c, in), n, false, &src);
    if (n)
        n = piece(c, in, X86_ES, target(c, in), n, true, &dst);
    if (!n)
        return 0;
    copy_up(dst, src, n, in->opsize);
    cpu_bulk_written(c, X86_ES, target(c, in), (unsigned)(n * in->opsize));
    advance(c, in, X86_RSI, n);
    advance(c, in, X86_RDI, n);
    return n;
}

/* ---- STOS ---- */

static void stos_one(struct cpu *c, const struct insn *in)
{
    cpu_store(c, X86_ES, target(c, in), in->opsize, c->gpr[X86_RAX] & mask_size(in->opsize));
    advance(c, in, X86_RDI, 1);
}

static uint64_t stos_bulk(struct cpu *c, const struct insn *in, uint64_t n)
{
    uint8_t *dst;
    if (!bulk_possible(c, n))
        return 0;
    n = piece(c, in, X86_ES, target(c, in), n, true, &dst);
    if (!n)
        return 0;
    uint64_t v = c->gpr[X86_RAX];
    if (in->opsize == 1 || (v & mask_size(in->opsize)) == 0)
        memset(dst, (int)(v & 0xff), n * in->opsize);
    else
        for (uint64_t i = 0; i < n; i++)
            host_store((uintptr_t)(dst + i * in->opsize), in->opsize, v);
    cpu_bulk_written(c, X86_ES, target(c, in), (unsigned)(n * in->opsize));
    advance(c, in, X86_RDI, n);
    return n;
}

/* ---- LODS ---- */

static void lods_one(struct cpu *c, const struct insn *in)
{
    cpu_set_gpr(c, X86_RAX, in->opsize, cpu_load(c, in->seg, source(c, in), in->opsize));
    advance(c, in, X86_RSI, 1);
}

static uint64_t no_bulk(struct cpu *c, const struct insn *in, uint64_t n)
{
    (void)c;
    (void)in;
    (void)n;
    return 0;
}

/* ---- repetition of those that only count ---- */

typedef void one_fn(struct cpu *c, const struct insn *in);
typedef uint64_t bulk_fn(struct cpu *c, const struct insn *in, uint64_t n);

static inline void repeat(struct cpu *c, const struct insn *in, one_fn *one, bulk_fn *bulk)
{
    uint64_t n = count(c, in);
    unsigned since = 0;

    while (n) {
        uint64_t did = bulk(c, in, n);
        bool in_bulk = did != 0;
        if (!did) {
            one(c, in);
            did = 1;
        }
        n -= did;
        set_count(c, in, n);
        if (must_yield(c, n, &since, in_bulk))
            return;
    }
}

static void exec_rep_movs(struct cpu *c, const struct insn *in)
{
    begin(c, in, true, true);
    repeat(c, in, movs_one, movs_bulk);
}

static void exec_rep_stos(struct cpu *c, const struct insn *in)
{
    begin(c, in, false, true);
    repeat(c, in, stos_one, stos_bulk);
}

static void exec_rep_lods(struct cpu *c, const struct insn *in)
{
    begin(c, in, false, false);
    repeat(c, in, lods_one, no_bulk);
}

/* ---- CMPS, SCAS: a pair of values for each element ---- */

struct pair {
    uint64_t a, b;
};

/* The target is read first, as Intel's processors do: of two faults it is the target's. */
static struct pair cmps_one(struct cpu *c, const struct insn *in)
{
    struct pair p;
    p.b = cpu_load(c, X86_ES, target(c, in), in->opsize);
    p.a = cpu_load(c, in->seg, source(c, in), in->opsize);
    advance(c, in, X86_RSI, 1);
    advance(c, in, X86_RDI, 1);
    return p;
}

static struct pair scas_one(struct cpu *c, const struct insn *in)
{
    struct pair p;
    p.a = c->gpr[X86_RAX] & mask_size(in->opsize);
    p.b = cpu_load(c, X86_ES, target(c, in), in->opsize);
    advance(c, in, X86_RDI, 1);
    return p;
}

/* As many elements as keep the repetition going, and one more if it ends here; the last pair in *p. */
static uint64_t cmps_bulk(struct cpu *c, const struct insn *in, uint64_t n, bool while_equal, struct pair *p)
{
    uint8_t *a, *b;
    uint64_t i = 0;
    if (!bulk_possible(c, n))
        return 0;
    n = piece(c, in, X86_ES, target(c, in), n, false, &b);
    if (n)
        n = piece(c, in, in->seg, source(c, in), n, false, &a);
    while (i < n) {
        p->a = host_load((uintptr_t)(a + i * in->opsize), in->opsize);
        p->b = host_load((uintptr_t)(b + i * in->opsize), in->opsize);
        i++;
        if ((p->a == p->b) != while_equal)
            break;
    }
    /* of none, not even the upper halves of 32-bit addresses change: the element that follows may fault */
    if (i) {
        advance(c, in, X86_RSI, i);
        advance(c, in, X86_RDI, i);
    }
    return i;
}

static uint64_t scas_bulk(struct cpu *c, const struct insn *in, uint64_t n, bool while_equal, struct pair *p)
{
    uint8_t *b;
    uint64_t i = 0;
    if (!bulk_possible(c, n))
        return 0;
    n = piece(c, in, X86_ES, target(c, in), n, false, &b);
    p->a = c->gpr[X86_RAX] & mask_size(in->opsize);
    while (i < n) {
        p->b = host_load((uintptr_t)(b + i * in->opsize), in->opsize);
        i++;
        if ((p->a == p->b) != while_equal)
            break;
    }
    if (i)
        advance(c, in, X86_RDI, i);
    return i;
}

typedef struct pair pair_fn(struct cpu *c, const struct insn *in);
typedef uint64_t pair_bulk_fn(struct cpu *c, const struct insn *in, uint64_t n, bool while_equal,
                              struct pair *p);

static inline void repeat_while(struct cpu *c, const struct insn *in, pair_fn *one, pair_bulk_fn *bulk)
{
    bool while_equal = in->flags & INSN_REP, going = true;
    uint64_t n = count(c, in);
    unsigned since = 0;
    struct pair p = {0, 0};

    if (!n)
        return;
    while (going) {
        uint64_t did = bulk(c, in, n, while_equal, &p);
        bool in_bulk = did != 0;
        if (!did) {
            p = one(c, in);
            did = 1;
        }
        n -= did;
        set_count(c, in, n);
        going = n && (p.a == p.b) == while_equal;
        if (must_yield(c, going ? n : 0, &since, in_bulk))
            break;
    }
    if (!(SEED_BUG(14) && n == 0))
        flags_compare(c, p.a, p.b, in->opsize);
}

static void exec_rep_cmps(struct cpu *c, const struct insn *in)
{
    begin(c, in, false, false);
    repeat_while(c, in, cmps_one, cmps_bulk);
}

static void exec_rep_scas(struct cpu *c, const struct insn *in)
{
    begin(c, in, false, false);
    repeat_while(c, in, scas_one, scas_bulk);
}

static void exec_cmps(struct cpu *c, const struct insn *in)
{
    struct pair p = cmps_one(c, in);
    flags_compare(c, p.a, p.b, in->opsize);
}

static void exec_scas(struct cpu *c, const struct insn *in)
{
    struct pair p = scas_one(c, in);
    flags_compare(c, p.a, p.b, in->opsize);
}

bool exec_string_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    bool rep = out->flags & (INSN_REP | INSN_REPNE);

    if (zi->meta.category != ZYDIS_CATEGORY_STRINGOP)
        return false;
    switch (zi->opcode & ~1u) {
    case 0xa4:
        out->exec = rep ? exec_rep_movs : movs_one;
        return true;
    case 0xa6:
        out->exec = rep ? exec_rep_cmps : exec_cmps;
        return true;
    case 0xaa:
        out->exec = rep ? exec_rep_stos : stos_one;
        return true;
    case 0xac:
        out->exec = rep ? exec_rep_lods : lods_one;
        return true;
    case 0xae:
        out->exec = rep ? exec_rep_scas : exec_scas;
        return true;
    default:
        return false;
    }
}
