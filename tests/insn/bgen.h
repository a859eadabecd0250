/* bgen: what bgen.c (the program's shape) and bops.c (single instructions) share. */
#ifndef BGEN_H
#define BGEN_H
#include "blocks.h"
#include "gen.h"

struct builder {
    struct rng r;
    struct prog *p;
    uint16_t ptr;   /* registers that are believed to point into data */
    uint16_t small; /* that hold less than 128 */
    uint16_t hold;  /* that are not to be changed */
    bool undefined; /* some flag has no defined value */
};

static inline unsigned draw(struct builder *b, unsigned n)
{
    return (unsigned)rng_below(&b->r, n);
}
static inline bool odds(struct builder *b, unsigned percent)
{
    return draw(b, 100) < percent;
}

/* A memory operand, or a register when `reg`. */
struct operand {
    uint8_t mod, rm, sib, x, segment, disp_len, a32, place;
    int32_t disp; /* or, place: where in the region, relative to RIP */
};
/* Opcode and what stands around ModRM. */
struct op {
    uint8_t prefix, prefix2, rex_w, map, opcode, reg, imm_len, small_rex;
    uint32_t imm;
};

struct item *op_bytes(struct builder *b, const void *bytes, unsigned n);
#define OP(b, ...) op_bytes(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
struct item *op_rm(struct builder *b, const struct op *o, const struct operand *m);
struct operand op_place(uint32_t at); /* [rip + ..]: a place in the region */
struct operand op_register(unsigned r);
struct operand op_base(unsigned r, int32_t disp);
struct operand op_memory(struct builder *b, unsigned align); /* some place in data */
uint32_t op_data_at(struct builder *b, unsigned align);
void op_pointer(struct builder *b, unsigned r); /* r points into data */
void op_set(struct builder *b, unsigned r);     /* r = a number */
void op_changed(struct builder *b, unsigned r); /* r is anything now */
void op_define_flags(struct builder *b);        /* when one is undefined */
void op_form(struct builder *b);                /* one of all instructions */
void op_corner(struct builder *b);              /* an access at the borders of linear space */
void op_odd(struct builder *b);                 /* any bytes */
void op_some(struct builder *b);                /* an instruction that just computes */
unsigned op_free(struct builder *b);            /* a register that may be changed */

/* A program in the making. */
enum { MAX_FUNCTIONS = 4, MAX_STORES = 8, MAX_LOOPS = 3 };

struct shape {
    struct builder b;
    int16_t call[MAX_FUNCTIONS * 4]; /* items that refer to a function */
    uint8_t callee[MAX_FUNCTIONS * 4];
    unsigned calls, functions;
    int16_t store[MAX_STORES]; /* items that write into the code; where is chosen at the end */
    unsigned stores;
    struct {
        int16_t top;
        uint32_t counter; /* in data; 0: in `reg` */
        uint8_t reg;
    } loop[MAX_LOOPS];
    unsigned loops;
    unsigned depth; /* within a function */
    bool system;    /* there is a SYSCALL */
};

static inline unsigned here(const struct shape *s)
{
    return s->b.p->count;
}

static inline void to_item(struct item *x, unsigned at, int target)
{
    x->fix = FIX_ITEM;
    x->fix_at = (uint8_t)at;
    x->to = (int16_t)target;
}

/* bparts.c */
void part_stack(struct shape *s);
void part_group(struct shape *s);
void part_flags(struct shape *s);
void part_strings(struct shape *s);
void part_divide(struct shape *s);
void part_locked(struct shape *s);
void part_store_to_code(struct shape *s);
void part_to_device(struct shape *s);
void part_vector_control(struct shape *s);
void part_kernel(struct shape *s);
void part_syscall(struct shape *s);
void part_system(struct shape *s); /* what it comes to */

#endif
