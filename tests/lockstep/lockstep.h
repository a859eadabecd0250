/*
 * lockstep: a whole guest by the interpreter and by the translator, compared again and again.
 *
 *   side     one machine: a board, or a flat image's few ports; its engine; a clock that moves at stops
 *   compare  two sides: every register, all memory, all that went out
 *   run      both together from stop to stop; what differs is looked for in further runs, finer each time
 *   isolate  the one instruction
 *   main     options
 */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H
#include <stdbool.h>
#include <stdint.h>
#include "accel/accel.h"
#include "accel/soft/engine/private.h"
#include "backend/chr/chr.h"
#include "guest/mem.h"

struct board;
struct bus;
struct clock;
struct err;
struct loop;

/* ---- what runs ---- */

struct guest {
    const char *flat; /* an image of tests/guests; NULL: a kernel on a board */
    const char *kernel, *initrd, *cmdline;
    uint64_t memory;
    size_t code_cache; /* bytes for translated code; 0: as usual */
};

enum { CONSOLE_SIZE = 1 << 16 };

struct side {
    struct accel accel; /* first: what the board gives interrupts to */
    const char *name;
    bool translates, translator_here;
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct loop *loop;
    struct board *board; /* NULL: a flat image */
    struct chr serial;
    struct accel_callbacks cb;
    struct mem_listener listener;
    struct x86_cpuid cpuid;
    struct engine *en;
    struct cpu *c;
    struct engine_slot slot[ENGINE_MAX_SLOTS];
    unsigned slots;
    uint64_t now;     /* ns of guest time */
    uint64_t counted; /* instructions that `now` has in it */
    uint64_t out;     /* what was written to ports and devices, as a hash */
    uint64_t writes;
    bool ended; /* power-off, reset, verdict, or asleep for ever: `why` */
    char why[96];
    uint8_t echo[4], stream;
    char console[CONSOLE_SIZE + 1]; /* what the serial port said */
    unsigned console_len;
};

struct side *side_open(const struct guest *g, bool translates, struct err *e);
/* Run until `count` instructions are retired, or the guest ends; and let time catch up. False: the engine
 * failed. */
bool side_run(struct side *s, uint64_t count);
/* Only run; time stays. */
bool side_go(struct side *s, uint64_t count);
void side_pass_time(struct side *s);

/* ---- comparing ---- */

/* Each prints what differs where `tell`. */
bool same_cpu(struct side *ref, struct side *sut, bool tell);
bool same_memory(struct side *ref, struct side *sut, bool tell);
/* The instruction at RIP, disassembled, with its address. */
void show_instruction(struct side *s, const char *prefix);

/* ---- runs ---- */

/* Coarse stops come each `stride` instructions or so, and always at the same counts. */
struct plan {
    const struct guest *guest;
    const char *expect; /* the console must say so at the end */
    uint64_t limit;     /* instructions */
    uint64_t stride;
    uint64_t memory_each;                /* instructions between comparisons of memory */
    uint64_t memory_from;                /* from here on at each stop, */
    uint64_t memory_skip;                /* or each so many */
    uint64_t fine_from;                  /* stop wherever the translator looks */
    uint64_t straight_from, straight_to; /* from the one to the other without a stop, and then no further */
    uint64_t isolate_at;                 /* the bad place is in the result */
    unsigned seed;
    bool verbose;
};
struct result {
    bool differs, ended, failed;
    bool unsupported;   /* the host has no translator */
    bool found;         /* isolate: the instruction was */
    uint64_t good, bad; /* instructions retired: still the same, no longer */
    uint64_t count, stops, memories, interpreted, interrupts;
    char why[96];
};
/* In a process of its own. */
void run_plan(const struct plan *p, struct result *r);
/* Both sides stand at the same place and are the same; at `bad` they are not. */
void isolate(struct side *ref, struct side *sut, uint64_t bad, struct result *r);

#endif
