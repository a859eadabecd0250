/*
 * vm: the life of one machine: create, run, pause, save, load.
 *
 * vm_new builds everything (memory, accelerator, board, backends) and loads the kernel; vm_run starts one
 * thread per vCPU and runs the main loop on the calling thread until the machine ends. Other threads may use
 * the functions marked "any thread".
 */
#ifndef VM_VM_H
#define VM_VM_H
#include <stdbool.h>
#include <stdint.h>
#include "accel/accel.h"
#include "vm/config.h"
struct err;
struct vm;
struct loop;
struct x86_state;

enum vm_end {
    VM_END_NONE, /* still running */
    VM_POWERED_OFF,
    VM_RESET,      /* with no_reboot */
    VM_CRASHED,    /* triple fault */
    VM_QUIT,       /* vm_quit */
    VM_DEBUG_EXIT, /* --debug-exit port written */
    VM_FAILED,
};

/* Where a saved machine lies (vm_save): state in the format of state/state.h; memory raw and sparse, RAM in
 * ascending addresses without holes. */
struct vm_saved {
    const char *state_path, *memory_path;
};

/* Build the machine and load its kernel; or, with `from` not NULL, take memory (mapped copy-on-write) and
 * state from there. */
struct vm *vm_new(const struct vm_config *cfg, const struct vm_saved *from, struct err *e);
void vm_free(struct vm *vm); /* NULL is fine */

/* Run to the end. `e` is set for VM_FAILED and describes VM_CRASHED. */
enum vm_end vm_run(struct vm *vm, struct err *e);
uint32_t vm_debug_exit_code(const struct vm *vm);

/* Press the power button (ACPI); false when the guest's board has none. Any thread. */
bool vm_power_button(struct vm *vm);
/* The terminal may have another size: a virtio console tells the guest. Loop thread. */
void vm_console_resized(struct vm *vm);
void vm_quit(struct vm *vm); /* end at once; any thread, async-signal safe */

/* Stop all vCPUs at an instruction boundary, quiesce devices, stop guest time; and the reverse. Loop thread.
 * Nestable by count. */
int vm_pause(struct vm *vm, struct err *e);
int vm_resume(struct vm *vm, struct err *e);
bool vm_paused(const struct vm *vm);

/* Write the whole machine to two new files, fsynced. Paused. On failure both are removed. */
int vm_save(struct vm *vm, const struct vm_saved *to, struct err *e);

/* For gdb, stats, tests. */
struct vcpu *vm_vcpu(struct vm *vm, unsigned index);
unsigned vm_cpus(const struct vm *vm);
struct accel *vm_accel(struct vm *vm);
struct mem_map *vm_mem(struct vm *vm);
struct loop *vm_loop(struct vm *vm);
const struct vm_config *vm_config(const struct vm *vm);
const char *vm_accel_reason(const struct vm *vm); /* why auto chose what it chose, "" otherwise */
/* Of the pty that the console, or the serial line beside it, is on; "" otherwise. */
const char *vm_console_path(const struct vm *vm);
const char *vm_serial_path(const struct vm *vm);
/* Called on the loop thread, machine paused, when a vCPU stops for the debugger; set before vm_run. */
void vm_on_debug(struct vm *vm, void (*fn)(void *opaque, unsigned cpu, const struct vcpu_exit_info *info),
                 void *opaque);
/* Keep one vCPU stopped while the others run (a debugger steps another); machine paused. */
void vm_hold_cpu(struct vm *vm, unsigned index, bool hold);
void vm_start_paused(struct vm *vm); /* before vm_run: do not let vCPUs start until vm_resume */

/* Guest physical memory and registers as text, one per line: a register dump for a crash. */
void vm_dump_registers(struct vm *vm, unsigned cpu, char *out, unsigned cap);

#endif
