/*
 * lab: one instruction on the host CPU and on the interpreter, from the same state, compared.
 *
 *   forms    what there is to test: every encoding that decodes, one form for each mnemonic, operand kinds
 * and sizes, prefixes gen      a random case of a form: instruction bytes, registers, memory, where its
 * memory operand lies host     runs cases on this CPU in a child process (host_asm.S is the trampoline) guest
 * runs cases on the interpreter through engine_step_state compare  what must be equal, and how a difference
 * is shown
 *
 * Both sides see the same linear addresses. Memory is made pristine before each case, so a case stands for
 * itself.
 */
#ifndef LAB_H
#define LAB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <Zydis/Zydis.h>
#include "accel/soft/engine/insn.h"
#include "x86/cpuid.h"

/* ---- linear addresses. The trampoline (host_asm.S) knows STATE ---- */

#define CODE_BASE                                                                                            \
    0x10000000ul /* two pages: instructions under test, else INT3; the page after them is absent */
#define CODE_PAGES 2u
#define STUB_BASE  0x10010000ul /* host only: way out of an instruction under test */
#define STATE_BASE 0x10020000ul /* host only: struct lab_state of the running case */
#define DATA_BASE                                                                                            \
    0x20001000ul /* 4 pages read-write, 1 read-only, 1 absent, 1 read-write, 1 absent; the page before is    \
                    absent */
#define DATA_PAGES 8u
#define DATA_RW    4u
#define DATA_RO    4u /* index of the read-only page */
#define DATA_HOLE  5u
#define DATA_LONE  6u
#define PAGE       4096u

static inline bool data_page_present(unsigned page)
{
    return page != DATA_HOLE && page < DATA_LONE + 1;
}

/* Bytes that the host puts behind the instruction: its way out. */
enum { LAB_EXIT_BYTES = 8 };

/* ---- selectors, those of Linux user space ---- */

#define SEL_CODE64 0x33u
#define SEL_CODE32 0x23u
#define SEL_DATA   0x2bu

/* Segments with a base and a limit, for 32-bit and 16-bit code: LDT entries on the host, hidden parts in the
 * guest. */
#define SEL_LDT_CODE16  0x07u /* base CODE_BASE, limit LDT_CODE_LIMIT */
#define SEL_LDT_DATA    0x0fu /* base LDT_BASE, limit LDT_LIMIT */
#define SEL_LDT_STACK16 0x17u /* the same with a 16-bit stack pointer */
#define LDT_CODE_LIMIT  0x2fffu
#define LDT_BASE        (DATA_BASE - PAGE)
#define LDT_LIMIT       0x77ffu /* ends within the lone page */

/* x87, SSE and AVX in XSAVE's standard format (SDM 1 13.4): AVX at 576. */
struct lab_fpu {
    uint8_t image[832] __attribute__((aligned(64)));
};

struct lab_state {
    uint64_t gpr[16];
    uint64_t rip, rflags, fs_base, gs_base;
    uint64_t host_rsp, host_fs, host_gs;
    uint32_t enter[2]; /* far pointer to rip for 16- and 32-bit code */
    struct lab_fpu fpu;
    uint32_t data_sel, stack_sel; /* DS and ES; SS */
};
_Static_assert(offsetof(struct lab_state, rip) == 128 && offsetof(struct lab_state, fpu) == 192,
               "host_asm.S relies on it");

/* Where a memory operand was put. */
enum placement {
    PLACE_RW,
    PLACE_RW_STRADDLE,
    PLACE_STRADDLE_RO,
    PLACE_RO,
    PLACE_STRADDLE_HOLE,
    PLACE_HOLE,
    PLACE_STRADDLE_INTO_RW,
    PLACE_STRADDLE_RO_HOLE,
    PLACE_NONCANONICAL,
    PLACEMENTS,
};
extern const char *const placement_name[PLACEMENTS];

enum { LAB_MAX_PATCH = 64 };

struct lab_case {
    uint32_t form;
    uint8_t bytes[15], len;
    uint8_t mode;      /* enum cpu_mode */
    uint8_t ldt;       /* data and stack segments are those of the LDT, else flat; always in 16-bit code */
    uint8_t placement; /* enum placement */
    uint8_t patch_len; /* bytes to put at patch_at before the case, in a present data page */
    uint8_t fetch_cut; /* bytes of the instruction that lie in the absent page after the code; 0: none */
    uint64_t patch_at;
    uint8_t patch[LAB_MAX_PATCH];
    struct lab_state in;
};

enum { LAB_LINE = 64, LAB_LINES = 16 };

struct lab_line {
    uint64_t at;
    uint8_t bytes[LAB_LINE];
};

enum {
    LAB_NO_FAULT = 0xff,
    LAB_LOST = 0xfe /* the child died in this case */,
    LAB_ASTRAY = 0xfd /* a branch came to bytes that are no INT3 and something else ran: says nothing */
};

struct lab_result {
    struct lab_state out; /* at the fault, or after the instruction */
    uint8_t vector;       /* LAB_NO_FAULT: none */
    uint32_t error;
    uint64_t cr2;
    uint32_t lines;  /* 64-byte lines of data memory that changed; the first LAB_LINES are in line[] */
    uint64_t hash;   /* over all of them */
    uint64_t before; /* interpreter only: what hash would be had it stored nothing (a case's own patch counts
                        as a change) */
    struct lab_line line[LAB_LINES];
};

/* ---- forms ---- */

enum verdict {
    FORM_TEST,         /* on both sides, compared */
    FORM_OTHER_TEST,   /* implemented; tested elsewhere, `why` says where and why not here */
    FORM_UNADVERTISED, /* of a CPUID feature that the default model lacks: must raise #UD */
};

/* One encoding, as the enumeration and the generator make bytes of it. */
struct encoding {
    uint8_t prefix[3], prefixes; /* legacy prefixes: LOCK, REP, operand and address size, or mandatory ones */
    uint8_t vex;                 /* a three-byte VEX prefix instead of prefixes, REX and escape bytes */
    uint8_t w, l, pp, vvvv;      /* REX.W or VEX.W; the others of VEX, vvvv as encoded (inverted) */
    uint8_t map;                 /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
    uint8_t opcode;
    uint8_t mod3, reg, rm; /* the ModRM byte that decoded: register form or memory */
    uint8_t vsib;
};

struct form {
    ZydisMnemonic mnemonic;
    ZydisISASet isa;
    uint8_t mode; /* enum cpu_mode */
    struct encoding enc;
    uint8_t has_memory;
    uint8_t implemented; /* exec is not exec_ud */
    enum verdict verdict;
    const char *why;
    char text[112]; /* "add r32, m32 [03]" */
    uint64_t key;
    uint64_t ran, faulted, failed;
    uint64_t by_place[PLACEMENTS];
};

struct forms {
    struct form *list;
    unsigned count;
};

/* Adds the forms of a mode; `cpu` decides what is advertised. */
void forms_build(struct forms *f, enum cpu_mode mode, const struct x86_features *cpu);
/* Text table and JSON; returns the number of forms that are advertised, testable and were not run, or not
 * implemented. */
unsigned forms_report(const struct forms *f, const char *text_path, const char *json_path);
/* Feature bit that brings an ISA set, 0: always there; UINT32_MAX: none of ours. */
bool forms_isa_feature(ZydisISASet isa,
                       uint32_t *feature); /* false: none that we know; 0: part of every 64-bit CPU */
bool forms_decode(enum cpu_mode mode, const uint8_t *bytes, unsigned len, ZydisDecodedInstruction *zi,
                  ZydisDecodedOperand *ops);
/* The form's name and its hash: mnemonic, prefixes that matter, operand kinds and sizes, opcode. */
uint64_t forms_key(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops, char *text, size_t cap);

/* ModRM and what follows, drawn at random or fixed. */
struct operand_bits {
    uint8_t mod, reg, rm; /* reg, rm: 0..15 in 64-bit mode; rm 4 with mod < 3 brings sib */
    uint8_t sib, x;       /* x: bit 3 of the index */
    uint8_t vvvv;
    uint8_t short_vex; /* the two-byte VEX prefix where it can say the same */
    uint8_t segment;   /* an override prefix, 0: none */
    uint8_t tail[12];  /* displacement and immediate bytes */
};
unsigned forms_emit(const struct encoding *e, enum cpu_mode mode, const struct operand_bits *b,
                    uint8_t out[15]);

/* ---- random ---- */

struct rng {
    uint64_t s[2];
};
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

/* ---- cases ---- */

/* Pristine data memory of a batch: DATA_PAGES pages. */
void gen_memory(struct rng *r, uint8_t *data);
/* false: no case of this form came out (tried several times). `place`: where its memory operand is to lie. */
bool gen_case(struct rng *r, const struct form *f, enum placement place, struct lab_case *k);

/* ---- the two sides ---- */

struct host;
struct host *host_open(unsigned batch);
void host_close(struct host *h);
/* Cases go in and results come out here: arrays of `batch`. */
struct lab_case *host_cases(struct host *h);
const struct lab_result *host_results(struct host *h);
uint8_t *host_pristine(struct host *h); /* DATA_PAGES pages */
void host_start(struct host *h, unsigned n);
void host_wait(struct host *h); /* cases the child died in have LAB_LOST */

struct guest;
/* The CPU under test: all that the engine implements and this host has. */
void guest_cpuid(struct x86_cpuid *out);
struct guest *guest_open(void);
void guest_translate(struct guest *g); /* from here on by translated code, where there is any */
void guest_close(struct guest *g);
void guest_run(struct guest *g, const uint8_t *pristine, const struct lab_case *k, struct lab_result *r);

/* Fills r->line, lines and hash from what differs between data and pristine, and restores data. */
void lab_collect(uint8_t *data, const uint8_t *pristine, struct lab_result *r);

/* What lies behind the instruction, unless its end is cut off. */
void lab_exit_bytes(const struct lab_case *k, uint8_t out[LAB_EXIT_BYTES]);

/* ---- comparison ---- */

/* Whether the results agree; else the difference is printed when `f` is given. */
bool compare_results(const struct form *form, const struct lab_case *k, const struct lab_result *host,
                     const struct lab_result *guest, bool print);
/* Documented differences among processors are taken out of the host's result. */
enum tolerance {
    TOLERATE_NOTHING, /* what is left must be equal */
    TOLERATE_FAULT,   /* whatever the host raised, the interpreter raised another fault and changed nothing */
    TOLERATE_ANYTHING, /* the host took another way: says nothing */
};
enum tolerance tolerate(const struct form *form, const struct lab_case *k, struct lab_result *host,
                        const struct lab_result *guest);
/* Linear address of the visible memory operand. */
uint64_t tolerate_address(const struct lab_case *k, const struct insn *in);
void compare_print_case(const struct form *form, const struct lab_case *k);

#endif
