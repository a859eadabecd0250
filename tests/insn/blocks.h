/*
 * blocks: random blocks of code, by the interpreter and by the translator from the same state, compared.
 *
 *   bgen, bops  a random program: a list of instructions with their branches and addresses still open
 *   bprog       the program laid out in memory; shown; made smaller
 *   bside       one engine with its guest: memory, page tables, registers put there and compared
 *   bref        the interpreter, one instruction at a time, with the state before each kept
 *   brun        the translator, its interruptions looked up among those states
 *   blocks      cases and their variants; main
 *
 * Both engines have guests of their own, equal to the byte. The translator's keeps its translations, links
 * and TLBs from run to run and from case to case, as they would be in use.
 */
#ifndef BLOCKS_H
#define BLOCKS_H
#include "accel/soft/engine/private.h"
#include "lab.h"

/* ---- linear addresses: there are four regions, all showing the same memory ---- */

enum { REGIONS = 4, REGION_KERNEL = 2 /* from here on supervisor pages */ };
extern const uint64_t region_base[REGIONS];
enum {
    AT_CODE = 0, /* two pages, writable; absent ones around */
    CODE_SIZE = 2 * 4096,
    AT_DATA = 0x100000, /* six pages, writable; absent ones around */
    DATA_N = 6,
    DATA_SIZE = DATA_N * 4096,
    AT_ALIAS = 0x139000,             /* the code pages once more */
    AT_NEAR = 1 << 21,               /* ends here; what random addresses are not to find is far away: */
    AT_MIRROR = AT_DATA + (1 << 28), /* the data pages once more, where they meet in the fast TLB */
    AT_POKE = 0x2e553000,  /* three pages of the engine's own: what other threads write to interrupt a vCPU */
    AT_TABLE = 0x2e569000, /* the page table of all that is near */
    AT_DEVICE = 0x2e57b000, /* not memory: a store makes the outside change the code (struct patch) */
};
enum { POKES = 3 };
enum { CODE_A, CODE_B, CODE_B2, CODE_PIECES }; /* physical pages; B2 may stand in B's place */

/* ---- programs ---- */

enum { MAX_ITEMS = 200, MAX_PATCHES = 16, ITEM_BYTES = 18 };
enum fix {
    FIX_NONE,
    FIX_ITEM,  /* 32 bits, relative: address of item `to` plus add */
    FIX_ITEM8, /* the same in 8 bits */
    FIX_ALIAS, /* as FIX_ITEM, through the alias */
    FIX_PLACE, /* 32 bits, relative: `add` in the region */
};
struct item { /* one instruction */
    uint8_t bytes[ITEM_BYTES], len;
    uint8_t fix, fix_at;
    uint8_t imm_at, imm_len; /* an immediate that may be rewritten; imm_len 0: none */
    uint8_t off;             /* left out, by what makes a program smaller */
    uint8_t glued;           /* belongs to the one before */
    int16_t to;
    int32_t add;
    uint16_t at; /* in the code pages */
};
struct patch { /* bytes that the outside writes over an instruction's immediate */
    int16_t item;
    uint8_t bytes[4];
};
struct prog {
    struct item item[MAX_ITEMS];
    unsigned count, patches;
    struct patch patch[MAX_PATCHES];
    uint16_t start, bytes;
    int16_t poke;  /* item that stores to the poll word, the attention word's and the IRR's before it; -1 */
    uint8_t event; /* what it puts into the attention word */
    uint8_t ring, region, smap;
    int16_t syscall; /* item that SYSCALL enters at; -1 */
    uint8_t system;  /* region in which */
    uint32_t sfmask;
    uint16_t pointers; /* registers that are relative to the region */
    uint64_t gpr[16], rflags, fs, gs, kernel_gs;
    struct x86_fpu fpu;
    uint64_t seed; /* of its variants */
};
struct image {
    uint8_t code[CODE_PIECES][4096], data[DATA_N][4096];
};

void prog_make(struct prog *p, uint64_t seed, uint64_t number); /* bgen.c */
void prog_forms(void);
bool prog_lay(struct prog *p, struct image *m); /* false: it does not fit */
void prog_show(struct prog *p);
static inline uint64_t item_rip(const struct prog *p, unsigned region, unsigned item)
{
    return region_base[region] + p->item[item].at;
}

/* ---- sides ---- */

enum {
    GPA_HANDLERS = 0x8000, /* one page, 16 bytes a vector, all HLT */
    GPA_CODE = 0x100000,
    GPA_DATA = 0x200000,
};
enum { VECTOR_END = 0x81, VECTOR_INTR = 0x40 };
#define KERNEL_BASE 0xffffffffd5a40000ull /* no number that programs like */

struct side {
    struct engine *en;
    struct cpu *c;
    uint8_t *ram, *notes, *dummy;
    uint32_t *gens;
    bool reference;
    uint64_t next_table, table[REGIONS], far_table[REGIONS], mirror_table[REGIONS];
    struct x86_state base;
    const struct prog *prog; /* whose patches the device makes */
    uint32_t device_writes;
};

struct side *side_open(bool reference);
uint32_t side_poke_at(unsigned i); /* offset in its page */
void side_memory(struct side *s, const struct image *m);
void side_registers(struct side *s, const struct prog *p, unsigned region, unsigned ring);
void side_patch(struct side *s, const struct patch *t); /* by the outside */
void side_read(const struct side *s, struct image *m);
uint64_t *side_pte(struct side *s, unsigned region, uint32_t at);
void side_tables(struct side *s, unsigned region); /* as they were; the TLB is told what changed */
void side_flush(struct side *s, unsigned region, uint32_t at);
uint64_t side_code_gpa(unsigned piece);
static inline uint8_t *side_page(const struct side *s, uint64_t gpa)
{
    return s->ram + gpa;
}
uint64_t side_data_gpa(unsigned page);
/* Has the handler of some vector been reached? Its number, or -1. */
int side_vector(const struct side *s);
/* The frame that delivery pushed: RIP, CS, RFLAGS, RSP, SS. */
uint64_t *side_frame(const struct side *s); /* an error code lies before it */
void side_forget_frame(struct side *s);     /* SYSCALL comes to a handler, too, and pushes none */
bool vector_has_error(unsigned vector);
void side_unwind(struct side *s, bool keep_rf); /* registers as they were before delivery */

/* All that a program can see. */
enum { POINT_PTES = 2 + DATA_N };
uint32_t point_pte(unsigned i); /* which page's that is */
struct point {
    uint64_t gpr[16], rip, rflags, kernel_gs, cr0, cr2, dr6, cr4;
    struct x86_seg seg[X86_SEGS];
    struct x86_fpu fpu;
    uint8_t cpl, shadow;
    uint32_t device_writes;
    uint64_t pte[POINT_PTES]; /* of the region's code and data */
    struct image memory;
};
void point_take(struct side *s, unsigned region, struct point *p);
void point_put(struct side *s, unsigned region, const struct point *p);

/* ---- the reference ---- */

enum { MAX_STEPS = 1200 };
enum { SNAP_TRAP = 4 }; /* a debug trap follows, before any interrupt (SDM 3A table 6-2) */
struct snap {           /* state before an instruction */
    uint64_t gpr[16], rip, rflags;
    uint32_t undefined; /* flags without a defined value */
    uint8_t shadow;     /* and SNAP_TRAP */
    uint8_t sets;       /* by an instruction that sets all status flags */
    uint8_t polled;     /* come here by a branch at which translated code looks at the poll word */
};
struct trace {
    struct snap snap[MAX_STEPS + 1];
    unsigned steps;    /* snap[steps] is the last: behind it the handler has been entered */
    unsigned executed; /* instructions */
    unsigned branches;
    uint32_t undefined;
    bool repeated;       /* a string instruction came back to itself */
    bool comparing;      /* in the middle of a repeated CMPS or SCAS */
    int vector;          /* -1: halted */
    const char *discard; /* why this case says nothing; NULL */
};
/* Run from the present state to the end, at most `limit` instructions. */
void ref_run(struct side *s, struct trace *t, unsigned limit);

/* ---- running and comparing ---- */

enum { NUMBERS = 16 };
struct counts {
    uint64_t instructions, interpreted, runs, discarded, ended[256], interrupted, kicked, faulted, patched,
        remapped, stepped;
};
struct bench {
    struct side *ref, *sut; /* the interpreter; the translator */
    struct prog prog;
    struct image image; /* memory at the program's start */
    unsigned ring, region;
    struct trace trace;
    struct point from, end; /* of the last run */
    uint32_t from_undefined;
    uint64_t end_frame[6];          /* error code, RIP, CS, RFLAGS, RSP, SS */
    bool stepping;                  /* interrupt by the host's trap flag: brun.c */
    unsigned step_target;           /* at which host instruction */
    unsigned step_percent;          /* of cases that have such a run */
    uint8_t numbers[NUMBERS][4096]; /* pages of data */
    const char *what;               /* variant */
    char why[400];                  /* first difference; empty: none */
    struct counts n;
};
/* Both from the program's start; from where they stand, which is the same state; the translator alone,
 * against the last run of the reference. False: they differ, and b->why says how. */
void bench_start(struct bench *b); /* both at the program's start */
bool bench_run(struct bench *b, const char *what);
bool bench_here(struct bench *b, const char *what);
bool bench_again(struct bench *b, const char *what);
bool bench_discarded(const struct bench *b);
bool bench_differs(struct bench *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bench_traps(struct bench *b);

/* One case; false: a difference. */
bool case_run(struct bench *b);
struct bench *bench_open(uint64_t seed, unsigned step_percent);

/* Die by SIGPROF after so much time on the CPU: hosts may be busy. */
void patience(unsigned seconds);

/* Make a failing program smaller, and show it. */
void small_show(struct bench *b, uint64_t seed, uint64_t number); /* bsmall.c */

#endif
