/* internal: what the files of this room share. */
#ifndef GDB_INTERNAL_H
#define GDB_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "gdb/gdb.h"
#include "x86/state.h"
struct loop_fd;

enum { PACKET_MAX = 16384, BREAKS_MAX = 256, HW_MAX = 4 };

/* A breakpoint planted in guest memory. */
struct soft_break {
    uint64_t linear, gpa;
    uint8_t was; /* the byte that 0xcc stands in for */
};

struct hw_break {
    uint64_t addr;
    uint8_t len, type; /* DR7's R/W: 0 execute, 1 write, 3 access */
    bool on;
};

struct gdb {
    struct vm *vm;
    int listen_fd, fd;
    struct loop_fd *listen_source, *source;
    char *unix_path;

    char in[PACKET_MAX + 4]; /* bytes of a packet so far, from its '$' */
    size_t in_len;
    struct buf out; /* not yet taken by the socket */
    bool no_ack, swbreak, hwbreak;

    bool stopped;      /* the machine is paused for the client */
    unsigned thread;   /* 0-based vCPU for g, m, ... (Hg) */
    int run_thread;    /* vCPU that c and s mean (Hc), -1: all */
    unsigned stop_cpu; /* whose stop was last reported */
    bool phys;         /* memory commands take physical addresses */

    struct soft_break soft[BREAKS_MAX];
    unsigned softs;
    struct hw_break hw[HW_MAX];
    int step_cpu;    /* vCPU that single-steps, -1: none */
    bool step_alone; /* the others stay stopped meanwhile */
};

/* packet.c: bytes on the wire */
void gdb_input(struct gdb *g); /* the socket is readable */
void gdb_flush(struct gdb *g);
void gdb_reply(struct gdb *g, const char *text); /* a whole packet */
void gdb_reply_hex(struct gdb *g, const void *p, size_t n);
void gdb_reply_bytes(struct gdb *g, char first, const void *p, size_t n); /* binary, escaped */
int hex_digit(char c);
uint64_t hex_u64(const char **p);                      /* reads digits, moves p behind them */
bool hex_bytes(const char *p, uint8_t *out, size_t n); /* exactly 2n digits */

/* commands.c */
void gdb_packet(struct gdb *g, char *p, size_t n); /* one packet's content, NUL-terminated; may hold binary */
void gdb_stop_reply(struct gdb *g, const struct vcpu_exit_info *info, int signal);

/* gdb.c */
void gdb_disconnect(struct gdb *g);
void gdb_go(struct gdb *g); /* let the machine run with what is planted */

/* memory.c */
int gdb_mem_read(struct gdb *g, uint64_t addr, uint8_t *out, size_t n);
int gdb_mem_write(struct gdb *g, uint64_t addr, const uint8_t *in, size_t n);
int gdb_break_add(struct gdb *g, unsigned type, uint64_t addr, unsigned len);
int gdb_break_remove(struct gdb *g, unsigned type, uint64_t addr, unsigned len);
void gdb_break_clear(struct gdb *g);

/* regs.c: the register file as target.xml orders it */
void gdb_target_xml(struct buf *b);
unsigned gdb_reg_count(void);
size_t gdb_reg_get(const struct x86_state *s, unsigned reg, uint8_t out[16]); /* bytes, 0: no such register */
size_t gdb_reg_set(struct x86_state *s, unsigned reg, const uint8_t *in);
size_t gdb_reg_size(unsigned reg);

#endif
