/*
 * xlate: the translator (tier 1). Guest code of 64-bit mode becomes host code that is mostly the same
 * instructions; this header is what its files share.
 *
 *     xlate.c    one unit: guest instructions in, host instructions out; xops.c its instructions
 *     xinsn.c    one instruction: which kind it is; xencode.c: encoded again with other registers
 *     xsys.c     instructions of the kernel, and divisions
 *     xflags.c   status flags
 *     xprobe.c   memory operands
 *     xiret.c    IRET
 *     xstring.c  STOS and MOVS
 *     xgroup.c   accesses that share one probe
 *     xglue.c    the code around units: in, out, and the ways to C
 *     xout.c     the C side of the ways out
 *     xcache.c   units: found, linked, dropped
 *     xregion.c  room for them: the oldest give way
 *     ftlb.c     the fast TLB
 *
 * Registers. Guest registers are in the host registers of the same name, but for these: guest RSP is in R15;
 * guest R10, R11 and R15 stay in struct cpu; host R10 and R11 are scratch, host RSP is the engine's own
 * stack, and GS points at struct cpu. The word at [RSP] is the *flags slot*.
 *
 * Flags. The guest's status flags are in the host's (HOST), in the slot (SLOT), or in both. A memory access
 * looks up the fast TLB, which spoils the host's flags: they are saved in the slot before, once after each
 * instruction that sets them, so that a fault finds them; and brought back before an instruction that reads
 * them, which is rare. Or they are made anew where a fault wants them (xflags.c). DF of the host is always
 * clear; every other flag of the guest stays in cpu->rflags.
 *
 * What a unit cannot do itself (an access that misses, an instruction that is not plain) it leaves to the
 * interpreter for one instruction: the glue puts all registers back into struct cpu, C executes it, and the
 * unit goes on behind it. So every fault is raised by the interpreter, and state is precise by construction.
 *
 * Units. A unit is straight code on one page, entered before its first instruction (enum xentry), left at any
 * of its branches; made for one linear and one physical address and one TLB set. An instruction that runs
 * into the next page is a unit of its own, which looks whether that page's bytes are those that it was made
 * of. Branches within a page are linked directly: while one unit of a page may run, all of that page may.
 * Other branches go by the jump cache (xfast.h). Backward links and indirect jumps look at xfast.poll.
 */
#ifndef ENGINE_XLATE_H
#define ENGINE_XLATE_H
#include <Zydis/Zydis.h>
#include "accel/soft/engine/private.h"
#include "accel/soft/engine/seed.h"
#include "accel/soft/engine/xemit.h"

enum {
    XREGIONS_LEAST = 8,
    XREGIONS_MOST = 256,
    XREGION_SIZE = 1 << 20, /* of its code, between these */
    XUNIT_ROOM = 16 << 10,
    XCOLD_ROOM = 8 << 10,
    XMETA_ROOM = 16 << 10,
    XPAGE_PER_CODE = 1 << 10, /* pages of guest code that can be known: one for so many bytes of the cache */
    XENTRY_ROOM = 128,
    XALONE = 1 << 13,
    XCROSSED = 100,
    XSECOND = 16,
    XSINGLE = 1,
    XSINGLE_TO_STOP = 2,
    XUNIT_INSNS = 32,
    XPAGE_BUCKETS = 1 << 13,
    XUNIT_BUCKETS = 1 << 16
};

/* Where the guest's status flags are. XF_ANY: nobody will read them. XF_LAZY: nowhere, but they can be made
 * anew. */
enum xflags { XF_ANY, XF_HOST, XF_SLOT, XF_BOTH, XF_LAZY };

/* Ways into a unit. The first that is asked for lies before the body; others are made apart when they are
 * asked for, and jump to it. */
enum xentry {
    XE_BODY,      /* flags are where the unit wants them */
    XE_SAVE,      /* in the host, wanted in the slot */
    XE_RESTORE,   /* in the slot, wanted in the host */
    XE_POLL,      /* in the slot; polls */
    XE_SAVE_POLL, /* in the host; polls */
    XE_LOST_POLL, /* in the host, where polling spoils them, but the unit sets them anew: polls */
    XE_CHECK,     /* in the slot; R10 is the address that was wanted; polls */
    XE_KINDS
};

struct xlink {
    struct xlink *next; /* of those that lead to the same unit */
    struct xunit *from;
    uint8_t *site;    /* behind the jump's displacement, in the writable view */
    uint64_t target;  /* linear */
    int32_t unlinked; /* the displacement that leads to the stub */
    uint8_t state;    /* enum xflags at the jump */
    uint8_t backward;
};

/* A slow way: which instruction, and where its successor begins in the unit's code; 0: it is looked up. */
struct xslow {
    uint16_t at, go_on;
    uint8_t count;  /* so many instructions, up to a group's last: xgroup.c */
    uint8_t access; /* the fast TLB did not know its bytes */
    /* of the instructions that are counted together with the first, those from it on; together with the last,
     * those behind it */
    uint8_t ahead, behind;
    /* of a group: its bytes begin at guest register `base` + low; where its probe begins in the unit's code
     */
    uint8_t base, write;
    int16_t low;
    uint16_t bytes, probe;
};

struct xunit {
    uint64_t gpa, linear;
    struct xunit *next_hash, *next_page, *next_made;
    struct xpage *page;
    struct xlink *in;
    uint32_t code;            /* where its code begins: offset in the code */
    uint32_t entry[XE_KINDS]; /* the same; 0: not made */
    uint32_t slow;            /* its struct xslow, in the order of their calls: offset in meta, in 8 bytes */
    uint16_t go_on;           /* behind the check of vectors */
    uint16_t bytes;
    uint8_t set, want, vec, dead;
    uint8_t crossed; /* so often a group lay on two pages, or it was not what was made of its second page */
    uint8_t second;  /* so many of its bytes, which are of one instruction, lie on the next page */
    uint8_t lost;    /* after so many instructions flags are set whatever they were: want is XF_ANY */
    uint8_t n_slow;
    uint8_t guest[]; /* the instructions' bytes */
};

/* A page of guest memory of which there are units. */
struct xpage {
    uint64_t gpa;
    struct xpage *next;
    struct xunit *units;
    uint32_t *gen; /* of a page that is known no more, too: who has it from a dropped unit may look */
    uint8_t *note;
    uint32_t gen_at;
    uint32_t swept;
};

enum { XSTRINGS = 8 }; /* STOS, MOVS; by log2 of the element's size */

struct xglue {
    uint64_t enter;
    uint64_t slow[2]; /* interpret one instruction; flags in the host, in the slot. A unit's calls of it stand
                         together, XTRAILER behind them and the offset of the unit */
    uint64_t link[2]; /* followed by the offset of a struct xlink */
    uint64_t miss;    /* jumped to: R10 is the target, flags in the slot */
    uint64_t poll;    /* followed by the offset of the unit; flags in the slot */
    uint64_t lost;    /* the same, flags nowhere */
    uint64_t vec;     /* as poll */
    uint64_t once;    /* as poll: the run loop interprets what is here */
    /* jumped to; flags in the slot: xsys.c */
    uint64_t syscall, sysret;
    uint64_t iret[FTLB_SETS];             /* called; R10 is the frame's host address; back: the slow way */
    uint64_t rdtsc;                       /* called; CF set: go the slow way; spoils flags, R10 and R11 */
    uint64_t stack[FTLB_SETS][2];         /* called: xprobe.c */
    uint64_t string[FTLB_SETS][XSTRINGS]; /* called; CF set: go the slow way: xstring.c */
};

enum { XCALL = 0xe8, XCALL_BYTES = 5, XTRAILER = 0xcc };

struct xcode {
    uint64_t exec; /* address of this in the executable view */
    uint8_t code[];
};

/* One of the pieces that the cache is cut into. They are filled in turn, a unit's code and all that is known
 * of it in one region; when the last is full, the first gives up its units: xregion.c. */
struct xregion {
    /* units; what is rarely run of them begins at `cold`, so that the rest of many is close together */
    uint8_t *code, *cold, *code_end;
    size_t meta, meta_end;
    uint8_t *code_used, *cold_used; /* when it was full */
    struct xunit *units;            /* by next_made; dropped ones, too */
    uint64_t emptied;               /* n_flush then */
};

struct xcache {
    uint32_t lock, enabled, counting;
    struct engine *engine;
    uint32_t rorx;         /* the host has BMI2 */
    uint8_t alone[XALONE]; /* by hash of linear address: units without groups, which often lay on two pages */
    uint32_t single;       /* units of one instruction, left behind it (xstep.c), or those up to stop_at */
    uint32_t slots_seen;
    uint32_t stale; /* memory may have changed behind our back: empty it before the next use */
    uint64_t delta; /* from the writable view to the executable one */
    uint8_t *next;  /* code; meta_used in the same way: where what comes next is put, in the present region */
    uint8_t *code_end;
    uint8_t *cold, *cold_end; /* the same for what is rarely run */
    size_t meta_used, meta_end;
    uint8_t *first;            /* behind the glue */
    unsigned regions, filling; /* how many; which */
    uint32_t sweep;
    size_t code_size, meta_size;
    struct xglue glue;
    uint64_t n_units, n_guest_bytes, n_host_bytes, n_count_bytes, n_flush, n_dead, n_evicted;
    struct xregion region[XREGIONS_MOST];
    struct xunit *unit[XUNIT_BUCKETS];
    struct xpage *page[XPAGE_BUCKETS];
    struct xpage *page_free, *pages; /* xpages without a page; all */
    uint8_t *meta;
    struct xcode *code; /* both views have it at a page's beginning */
};

/* One decoded instruction of a unit being made. */
enum xkind {
    XK_PLAIN, /* re-encoded */
    XK_NOTHING,
    XK_LEA,
    XK_PUSH,
    XK_POP,
    XK_LEAVE,
    XK_CALL, /* direct */
    XK_CALL_IND,
    XK_JMP,
    XK_JMP_IND,
    XK_RET,
    XK_JCC,
    XK_PUSH_MEM, /* here to XK_SYSRET: xsys.c */
    XK_CLI,
    XK_STI,
    XK_CLD,
    XK_PUSHF,
    XK_POPF,
    XK_SWAPGS,
    XK_STAC,
    XK_CLAC,
    XK_MOV_CR,
    XK_MOV_SEG, /* from a segment register */
    XK_RD_BASE, /* of FS, GS */
    XK_WR_BASE,
    XK_RDTSC, /* RDTSCP, too */
    XK_DIV,
    XK_BIT, /* BT, BTS, BTR, BTC of a bit string in memory */
    XK_SYSCALL,
    XK_SYSRET,
    XK_IRET,
    XK_STRING,   /* STOS, MOVS, repeated or not: xstring.c */
    XK_STUB,     /* interpreted */
    XK_STUB_END, /* interpreted; what follows is looked up anew */
};

struct xinsn {
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    const uint8_t *bytes;
    uint16_t at; /* byte offset in the unit */
    uint8_t kind, vec;
    uint8_t mem;     /* index of the memory operand + 1, 0: none */
    uint8_t reads;   /* status flags are read, or some are kept */
    uint8_t writes;  /* status flags are written */
    uint8_t keep_cf; /* INC, DEC: of the flags only CF is kept */
    uint8_t grouped; /* its access is one of a group's, at R10 + disp */
    uint8_t group;   /* a group begins with it: number + 1 */
    uint8_t
        direct; /* its memory operand is at [base + R11 + disp], base a host register; else at [R10 + disp] */
    uint8_t base;
    uint8_t
        spare; /* the host register that it may use, where one is enough: R11, or R10 while R11 is in use */
    int32_t disp;
};

/* xinsn.c */
static inline bool xinsn_is_vector(ZydisRegisterClass k)
{
    return k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM;
}
void xinsn_classify(const struct cpu *c, struct xinsn *x);
bool xinsn_writes(const struct xinsn *x, unsigned g); /* guest register g, or a part of it */
/* xencode.c: emit a plain instruction; its memory operand, if any, is at [R10 + disp]. False: it cannot be
 * done; nothing was emitted. */
bool xinsn_emit(struct xemit *e, const struct xinsn *x);
/* Where guest register `g` lies: a host register, or X_IN_MEMORY. */
enum { X_IN_MEMORY = 0xff };
unsigned x_host(unsigned g);
uint32_t x_gpr(unsigned g); /* offset in struct cpu */

/* xlate.c: make the unit for code at `p`, which link `by` led to (NULL: the jump cache), or NULL: nothing
 * here can be translated, or there is no room. The caller holds the lock. */
struct xunit *xlate_unit(struct cpu *c, struct xcache *k, uint64_t linear, const struct place *p,
                         const struct xlink *by);
/* The way into `u` for link `l`; NULL: for the jump cache. */
enum xentry xentry_for(const struct xunit *u, const struct xlink *l);
/* Address of that way in, made if need be; 0: there is no room. The caller holds the lock. */
uint64_t xentry_address(struct xcache *k, struct xunit *u, enum xentry kind);

/* xglue.c, and parts of it */
void xglue_make(struct xcache *k, const struct engine_clock *clock);
void xglue_system(struct xcache *k, struct xemit *e, const struct engine_clock *clock);
void xglue_strings(struct xcache *k, struct xemit *e);
void xglue_stack(struct xcache *k, struct xemit *e);
void xglue_iret(struct xcache *k, struct xemit *e);
static inline uint64_t xglue_align(struct xemit *e)
{
    while (xhere(e) & 15)
        x8(e, 0xcc);
    return xhere(e);
}

/* xcache.c. The unit for RIP, with the lock held, or NULL and the lock free: this is for the interpreter.
 * Fetch faults do not return; they are met before the lock is taken. */
struct xunit *xcache_lock_unit(struct cpu *c, struct xcache *k, const struct xlink *by);
void xcache_unlock(struct xcache *k);
struct xpage **xcache_page(struct xcache *k, uint64_t gpa); /* where the page is, or would be, in its chain */
void xcache_unlist(struct xcache *k, struct xunit *u);      /* nobody finds or reaches it any more */
void xcache_drop(struct cpu *c, struct xunit *u);           /* a unit that shall be made anew */
/* Of code at `linear`, as the soft TLB has it, without a walk. */
bool xcache_known_place(struct cpu *c, uint64_t linear, struct place *p);
bool jc_fill(struct cpu *c, struct xunit *u); /* put it into this vCPU's jump cache */
/* One aligned store of four bytes into code that others may be running: the displacement that ends at `site`.
 */
void xcache_set_site(uint8_t *site, int32_t displacement);

/* Code for this unit was made; NULL: for none. */
void xunit_tell(const struct xcache *k, const struct xunit *u, const uint8_t *from, const uint8_t *to);

/* xregion.c. Before a unit is made or found, the lock held: there is room for one, and for ways into others.
 * May stop the world, as the next may; all units are dropped there. */
void xregion_room(struct cpu *c, struct xcache *k);
void xregion_empty(struct cpu *c, struct xcache *k);
struct xpage *xregion_page(struct xcache *k); /* a fresh one */
void xregion_free_page(struct xcache *k, struct xpage *page);
void xregion_begin(struct xcache *k); /* the glue is made: what follows it is for units */

/* xout.c: what the glue calls. Each returns where to go on, 0: back to the run loop. */
uint64_t xlate_slow(struct cpu *c, const uint8_t *at); /* behind the call */
uint64_t xlate_link(struct cpu *c, const void *at);
uint64_t xlate_miss(struct cpu *c);
uint64_t xlate_poll(struct cpu *c, const void *at);
uint64_t xlate_lost(struct cpu *c, const void *at);
uint64_t xlate_vec(struct cpu *c, const void *at);
uint64_t xlate_once(struct cpu *c, const void *at);

static inline unsigned xalone_index(uint64_t linear)
{
    return (unsigned)((linear ^ linear >> 13) & (XALONE - 1));
}
static inline uint64_t xcode_at(const struct xcache *k, uint32_t offset)
{
    return k->code->exec + offset;
}
/* Offsets in meta, in 8 bytes, as they stand in the code. */
static inline uint32_t xmeta_of(const struct xcache *k, const void *p)
{
    return (uint32_t)((size_t)((const uint8_t *)p - k->meta) / 8);
}
static inline void *xmeta_at(struct xcache *k, const void *where)
{
    uint32_t offset;
    __builtin_memcpy(&offset, where, sizeof offset);
    return k->meta + (size_t)offset * 8;
}

/* It is not dropped, and its page not written. For anybody, without the lock. */
static inline bool xunit_good(const struct xunit *u)
{
    const struct xpage *page = u->page;

    return !__atomic_load_n(&u->dead, __ATOMIC_RELAXED) &&
           __atomic_load_n(__atomic_load_n(&page->gen, __ATOMIC_RELAXED), __ATOMIC_SEQ_CST) ==
               __atomic_load_n(&page->gen_at, __ATOMIC_RELAXED);
}

#define XOFF(field) ((uint32_t)offsetof(struct cpu, field))

#endif
