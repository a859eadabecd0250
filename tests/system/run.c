/*
 * run: goes through the rows and prints a line for each: its name and what came of it. "ok" is the end of the
 * body; otherwise the exception with its error code and where it struck: +N from the begin of the body, or
 * the address when it is elsewhere. Behind that stands every register that is not what it was.
 */
#include "suite.h"

void suite_main(void);

struct regs begin;
volatile struct regs caught;

static const char *const registers[] = {"ax", "cx", "dx",  "bx",  "sp",  "bp",  "si",  "di",
                                        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const names[] = {"de", "db", "nmi", "bp", "of", "br", "ud", "nm", "df", "9",
                                    "ts", "np", "ss",  "gp", "pf", "15", "mf", "ac", "mc", "xm"};

static int has_error(word vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Exceptions that push RF set (SDM 3B 17.3.1.1; #DF in practice); what does otherwise shows. */
static int is_fault(word vector)
{
    return vector == 0 || (vector >= 5 && vector <= 19 && vector != 18);
}

void changed(const char *name, word was, word is)
{
    if (was == is)
        return;
    put(' ');
    print(name);
    put('=');
    hex(is);
}

static void report_where(const struct row *row, word at)
{
    if (at - row->code <= row->end - row->code + 2) {
        print(" +");
        hex(at - row->code);
    } else {
        print(" at ");
        hex(at);
    }
}

static void report(const struct row *row)
{
    word v = caught.vector & ~(word)LOST, at = caught.ip;

    if (MODE_BITS(row->mode) == 16 && caught.cs == begin.cs)
        at += row->code - begin.ip;
    if (v == 6 && at == row->end) {
        print(": ok");
    } else {
        print(": ");
        if (caught.vector & LOST)
            print("lost ");
        if (v < sizeof(names) / sizeof(names[0]))
            print(names[v]);
        else
            hex(v);
        if (has_error(v)) {
            put(' ');
            hex(caught.error);
        }
        if (v == 14) {
            put('@');
            hex(caught.cr2);
        }
        report_where(row, at);
    }
    for (unsigned i = 0; i < (sizeof(word) == 8 ? 16 : 8); i++)
        changed(registers[i], begin.gpr[i], caught.gpr[i]);
    changed("cs", begin.cs, caught.cs);
    changed("ss", begin.ss, caught.ss);
    changed("ds", begin.ds, caught.ds);
    changed("es", begin.es, caught.es);
    changed("fs", begin.fs, caught.fs);
    changed("gs", begin.gs, caught.gs);
    changed("fl", begin.fl & ~FL_RF, caught.fl & ~FL_RF);
    changed("rf", is_fault(v), caught.fl / FL_RF & 1);
    changed("cr0", begin.cr0, caught.cr0);
    changed("cr4", begin.cr4, caught.cr4);
    changed("dr6", begin.dr6, caught.dr6);
    machine_report();
    put('\n');
}

static void leave(void)
{
    const char *farewell = "Shutdown";
    word n = 8;

    __asm__ volatile("outl %0, $0xf4" : : "a"(5));                         /* ends Liege */
    __asm__ volatile("rep outsb" : "+S"(farewell), "+c"(n) : "d"(0x8900)); /* ends Bochs */
}

/* The command line ends with "bed". */
static int run_in_bed(void)
{
    const char *s = command_line;

    while (s && *s)
        if (s++[0] == 'b' && s[0] == 'e' && s[1] == 'd' && !s[2])
            return 1;
    return 0;
}

void suite_main(void)
{
    int in_bed = run_in_bed();

    log_init();
    print("system: begin\n");
    features_print();
    for (const struct row *row = rows; row != rows_end; row++) {
        print(row->name);
        if (!row->code) {
            put('\n');
        } else if (!feature_here(row->need)) {
            print(": no ");
            print(feature_name(row->need));
            put('\n');
        } else if (in_bed && !row->bed) {
            print(": not in the bed\n");
        } else {
            log_flush(); /* should this be the last one, it shows */
            machine_reset(row);
            enter(row->setup);
            report(row);
        }
    }
    print("system: end\n");
    log_flush();
    leave();
}
