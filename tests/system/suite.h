/*
 * suite: what the suite's C files share. There are two images, one that goes to long mode and one that stays
 * in 32-bit protected mode; WIDE tells which.
 */
#ifndef SUITE_H
#define SUITE_H

enum {
#define CONSTANT(name, value) name = value,
#include "constants.h"
#undef CONSTANT
};

/* Modes of a case, as asm.inc makes them: width, privilege, v8086. */
#define MODE_BITS(m) ((m) >> 4)
#define MODE_CPL(m)  ((m)&3)
#define MODE_V86(m)  (((m)&15) == 11)
#define MODE_REAL(m) (((m)&15) == 8)

#define FL_RF 0x10000ul

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;

/* A processor's state, as a case begins or as an exception found it; asm.inc knows the offsets. */
struct regs {
    word gpr[16], ip, fl, cs, ss, ds, es, fs, gs, cr0, cr2, cr4, dr6, vector, error;
    word tr, ldt, cr3, dr7; /* the 32-bit image's only */
};
extern struct regs begin;
extern volatile struct regs caught;

/* What case.inc makes of a line. */
struct row {
    const char *name;
    word code, end;
    void (*setup)(void);
    word mode, need, ax, bx, cx, dx, fl, bed;
};
extern const struct row rows[], rows_end[];

/* start*.S: run what `begin` says until an exception, which is in `caught` then. */
void enter(void (*setup)(void));
/* Multiboot's; NULL: there is none. */
extern const char *command_line;

/* log.c: to the first serial line. */
void log_init(void);
void put(char ch);
void print(const char *s);
void hex(word v);
void log_flush(void);

/* machine*.c: all of the processor's state that cases may have changed, and `begin`, as the row says. */
void machine_reset(const struct row *row);
/* What else a case has changed, after it, each by changed(). */
void machine_report(void);
void changed(const char *name, word was, word is);

/* features.c */
int feature_here(word need);
const char *feature_name(word need);
void features_print(void);

#endif
