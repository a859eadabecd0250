/*
 * gdb: a server of the GDB remote serial protocol for a whole machine, its vCPUs as threads 1..N.
 *
 * It runs on the vm's loop thread. gdb_new opens the socket and keeps the machine paused from its first
 * instruction until a client has connected and continues. Registers, memory by virtual address (and physical,
 * by qemu.PhyMemMode), software and hardware breakpoints, watchpoints, single step. A client that goes away
 * leaves the machine running with nothing planted.
 */
#ifndef GDB_GDB_H
#define GDB_GDB_H
#include "vm/vm.h"
struct err;
struct gdb;

/* Before vm_run. `where`: "tcp:PORT" (loopback), "tcp:ADDR:PORT" or "unix:PATH". NULL with `e`: port in use,
 * path taken, malformed. */
struct gdb *gdb_new(struct vm *vm, const char *where, struct err *e);
void gdb_end(struct gdb *g, enum vm_end end); /* after vm_run: tell the client how it ended; NULL is fine */
void gdb_free(struct gdb *g);                 /* NULL is fine */

#endif
