/*
 * xmake: a unit in the making; what the files that write units share.
 */
#ifndef ENGINE_XMAKE_H
#define ENGINE_XMAKE_H
#include "accel/soft/engine/xlate.h"

enum { MAX_STUBS = 6 * XUNIT_INSNS };

struct stub {
    uint8_t *from;  /* behind the displacement of the jump that leads here */
    uint8_t *at;    /* where it is, once it is */
    uint8_t kind;   /* enum stub_kind */
    uint8_t state;  /* enum xflags */
    uint8_t recipe; /* of XF_LAZY: number of the instruction + 1 */
    uint8_t index;  /* of the instruction */
    uint8_t *go_on; /* STUB_SLOW: where its successor begins */
    uint8_t *probe; /* of a group: where the probe begins */
    uint8_t group;  /* number + 1 */
    uint8_t access; /* the fast TLB does not know its bytes */
    uint8_t write;  /* STUB_STACK: a store, of so many bytes; where the unit goes on */
    uint16_t bytes;
    uint8_t *back;
    uint64_t target; /* STUB_LINK, STUB_AWAY */
};
enum stub_kind { STUB_SLOW, STUB_LINK, STUB_AWAY, STUB_VEC, STUB_ONCE, STUB_STACK, STUB_DONE };

/* Accesses that one probe serves (xgroup.c): bytes [low, low + bytes) from guest register `base` as it is
 * before instruction `first`. */
struct xgroup {
    int32_t low;
    uint16_t bytes;
    uint8_t first, last, base, write;
};

struct maker {
    struct xemit e;
    struct cpu *c;
    struct xcache *k;
    struct xunit *u;
    uint8_t *start;
    uint8_t *poll; /* of the way in that lies before the body */
    struct xinsn *insn;
    unsigned count, most, stubs; /* instructions; at most so many */
    unsigned counting;           /* bytes of code that counts instructions */
    uint8_t state;               /* enum xflags */
    bool failed;                 /* no room for what belongs to it */
    bool ambiguous;              /* state XF_ANY where it must be known */
    uint8_t recipe;              /* XF_LAZY: of which instruction they are, number + 1 */
    unsigned index;              /* of the instruction that is being written */
    uint8_t spare;               /* R11, or R10 while R11 is in use */
    int sp_late;                 /* bytes that R15 has yet to be moved by: pushes and pops of a group */
    unsigned groups;
    struct xgroup group[XUNIT_INSNS / 2];
    struct stub stub[MAX_STUBS];
};

/* ---- xflags.c ---- */

void xmake_save_flags(struct maker *m);    /* they are in the slot, whatever else */
void xmake_restore_flags(struct maker *m); /* they are in the host */
void xmake_spoil_flags(struct maker *m);   /* what comes next spoils the host's */
/* Flags from the slot to the host, code only. */
void xmake_restore_code(struct xemit *e);
void xmake_recipe(struct maker *m, unsigned recipe); /* in the host, of XF_LAZY; code only */

/* ---- xlate.c ---- */

struct stub *xmake_stub(struct maker *m, enum stub_kind kind, unsigned index);
/* Count the instructions from `from` to the next branch that may leave the unit. Spoils R11. */
void xmake_count(struct maker *m, unsigned from);
/* Instruction `index` is interpreted; more: the unit goes on behind it. */
void xmake_interpreted(struct maker *m, unsigned index, bool more);
void xmake_jump(struct maker *m, unsigned index, uint64_t target);
void xmake_jcc(struct maker *m, unsigned index, uint64_t target);
void xmake_away(struct maker *m, uint64_t target);
void xmake_away_set(struct maker *m, uint64_t target, unsigned set); /* to code of another TLB set */
/* To the linear address in R10; flags are in the slot. */
void xmake_indirect(struct maker *m);

/* ---- xops.c ---- */

/* One instruction. False: the unit ends with it. */
bool xmake_insn(struct maker *m, unsigned index);

/* R10 = host address of instruction `index`'s memory operand; of the 8 bytes below the stack pointer; at it.
 * What the fast TLB does not know goes the slow way. Spoils flags and R11. */
void xmake_memory(struct maker *m, unsigned index);
void xmake_push_place(struct maker *m, unsigned index);
void xmake_pop_place(struct maker *m, unsigned index);
void xmake_move_sp(struct maker *m, int by);
void xmake_get_reg(struct maker *m, unsigned to, unsigned g);   /* to = guest register g */
void xmake_put_reg(struct maker *m, unsigned g, unsigned from); /* guest register g = from */
/* Its parts. R10 = effective address of operand op, without the segment's base; that added; R10, linear
 * address, becomes the host address of n bytes, aligned to `align`. */
void xmake_address(struct maker *m, const struct xinsn *x, const ZydisDecodedOperand *op);
void xmake_add_base(struct maker *m, ZydisRegister seg);
void xmake_probe_direct(struct maker *m, unsigned index, unsigned n,
                        bool write); /* R11 = what leads to the host */
void xmake_probe(struct maker *m, unsigned index, unsigned n, bool write, unsigned align);
/* Most likely the stack's page; direct: as above. */
void xmake_probe_stack(struct maker *m, unsigned index, unsigned n, bool write, bool direct);
/* The same for the glue. R10 = offset in the page of the linear address R10, R11 what xprobe_end wants; above
 * (unsigned): not known. Then R10 = host address. */
void xprobe_begin(struct xemit *e, const struct xcache *k, unsigned set, unsigned n, bool write);
void xprobe_end(struct xemit *e, unsigned set);

/* Alignment that its memory operand must have, 1: any. */
unsigned xmake_alignment(const struct xinsn *x);
/* LEA that is one host instruction, without scratch registers. */
bool xmake_direct_lea(const struct xinsn *x);

/* ---- xgroup.c ---- */

void xgroup_plan(struct maker *m);
/* Its operands are found by R11 and its base, which does not change before its last access; else by R10. */
bool xgroup_direct(const struct xgroup *g);

/* ---- xsys.c ---- */

static inline uint32_t xseg(unsigned seg, size_t field)
{
    return XOFF(seg) + seg * (uint32_t)sizeof(struct x86_seg) + (uint32_t)field;
}
/* Jump to the code of `set` for the address in R10; flags are in the slot. The second: the set is another
 * one. */
void xglue_indirect(struct xemit *e, const struct xcache *k, unsigned set);
void xglue_enter_set(struct xemit *e, const struct xcache *k, unsigned set);

void xmake_system(struct maker *m, unsigned index);
/* Those that lead to code of another TLB set. True: the unit goes on. */
bool xmake_away_system(struct maker *m, unsigned index);

/* ---- xstring.c ---- */

void xmake_string(struct maker *m, unsigned index);

#endif
