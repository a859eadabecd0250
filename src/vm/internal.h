/* internal: what the files of this room share. */
#ifndef VM_INTERNAL_H
#define VM_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>
#include "backend/block/disk.h"
#include "backend/chr/chr.h"
#include "backend/net/net.h"
#include "base/err.h"
#include "board/board.h"
#include "vm/vm.h"
struct bus;
struct clock;

/* What a vCPU thread is doing. Changed by that thread only, under vm->mutex. */
enum cpu_state { CPU_PARKED, CPU_RUNNING, CPU_GONE };

enum { VM_PTY_NAME = 64 };

struct vm_cpu {
    struct vm *vm;
    unsigned index;
    struct vcpu *vcpu;
    pthread_t thread;
    bool started;
    enum cpu_state state;
    bool hold;                   /* stays parked when the others run */
    struct vcpu_exit_info debug; /* of the last VCPU_DEBUG */
};

/* Requests from vCPU threads to the loop, as bits of vm->requests. */
enum {
    REQUEST_POWER_OFF = 1,
    REQUEST_RESET = 2,
    REQUEST_CRASH = 4,
    REQUEST_FAIL = 8,
    REQUEST_DEBUG_EXIT = 16,
    REQUEST_DEBUG = 32
};

struct vm {
    struct vm_config cfg; /* strings are shared with the caller's: it outlives the vm */
    struct loop *loop;
    struct clock *clock;
    struct mem_map *mem;
    struct bus *bus;
    struct mem_reader *reader; /* the loop thread's */
    struct board *board;
    struct accel *accel;
    struct chr *serial, *console; /* console: the virtio console's, may be NULL */
    struct disk *disks[VM_MAX_DISKS];
    struct net *nets[VM_MAX_NETS];
    char accel_reason[600];
    char console_path[VM_PTY_NAME], serial_path[VM_PTY_NAME];

    struct vm_cpu cpu[VM_MAX_CPUS];
    pthread_mutex_t mutex; /* guards cpu[].state, stop, ending */
    pthread_cond_t changed;
    unsigned stop; /* pause count: vCPUs park while it is not 0 */
    bool ending;   /* vCPU threads leave */
    bool held;     /* one of `stop` is a vCPU's that cannot go on: the loop has yet to see to it */
    bool stopped;  /* devices and guest time are stopped as well */

    atomic_bool asked; /* the guest asked for an end: vCPUs park until the loop has seen to it */
    atomic_uint requests;
    int request_fd; /* eventfd: requests has bits */
    struct loop_fd *request_source;
    _Atomic(const char *) reset_by; /* what the guest wrote to */
    _Atomic uint32_t debug_exit;
    unsigned bad_cpu; /* which crashed or failed */
    struct err bad;   /* why */
    atomic_int end;   /* enum vm_end */
    bool start_paused;
    void (*on_debug)(void *opaque, unsigned cpu, const struct vcpu_exit_info *info);
    void *on_debug_opaque;
};

/* cpus.c */
int cpus_start(struct vm *vm, struct err *e);
void cpus_end(struct vm *vm); /* stop and join all threads */
void cpus_kick(struct vm *vm);
void vm_request(struct vm *vm, unsigned bits); /* any thread, also in device callbacks */
void cpus_ask(struct vm *vm, unsigned bits);   /* a request after which no vCPU goes on; likewise */

/* load.c */
int vm_load_kernel(struct vm *vm, struct err *e); /* tables, kernel, boot CPU; all vCPUs at reset */

/* save.c */
int vm_open_memory(struct vm *vm, const struct vm_saved *from, int *fd, struct err *e);
int vm_restore_state(struct vm *vm, const struct vm_saved *from, struct err *e);

#endif
