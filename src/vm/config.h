/*
 * config: everything that decides what a machine is. The only input of vm_new; the command line, the API, a
 * config file and a snapshot all produce it. Has a JSON form (config_to_json, config_from_json). Owns its
 * strings.
 */
#ifndef VM_CONFIG_H
#define VM_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct err;

enum { VM_MAX_DISKS = 16, VM_MAX_NETS = 8, VM_MAX_FORWARDS = 16, VM_MAX_CPUS = 64, VM_MAX_INITRDS = 16 };
#define VM_CODE_CACHE_MIN (1ull << 20)
#define VM_CODE_CACHE_MAX (1ull << 30)

struct vm_disk_config {
    char *path, *format, *serial; /* format "raw"; serial may be NULL */
    bool readonly, direct;
};

struct vm_forward {
    bool udp;
    char host_addr[46]; /* "" = 127.0.0.1 */
    uint16_t host_port, guest_port;
};

enum vm_net_kind { VM_NET_USER, VM_NET_TAP };

struct vm_net_config {
    enum vm_net_kind kind;
    char *tap; /* interface name, TAP only */
    uint8_t mac[6];
    bool mac_set;
    bool restricted; /* USER: no way out but the forwards */
    struct vm_forward forward[VM_MAX_FORWARDS];
    unsigned forwards;
};

struct vm_config {
    char *name;                   /* "" when none */
    char *board;                  /* "microvm-1" */
    char *accel;                  /* "auto", "kvm", "soft" */
    char *cpu;                    /* CPU model */
    char *kernel, *cmdline;       /* cmdline may be NULL */
    char *initrd[VM_MAX_INITRDS]; /* one behind the other for Linux; modules for multiboot */
    unsigned initrds;
    bool kernel_decompress; /* let the guest unpack its own bzImage */
    uint64_t memory;        /* bytes, multiple of 1 MiB */
    unsigned cpus;
    struct vm_disk_config disk[VM_MAX_DISKS];
    unsigned disks;
    struct vm_net_config net[VM_MAX_NETS];
    unsigned nets;
    char *console;        /* where it is: "stdio", "pty", "none", or "file=PATH" */
    char *console_device; /* what the guest sees there: "serial" (ttyS0) or "virtio" (hvc0) */
    char *serial;         /* with a virtio console: where the serial line goes; NULL: nowhere */
    bool rng;
    bool virtio_mmio; /* virtio over MMIO instead of PCI */
    bool no_acpi;
    bool no_reboot; /* a guest reset ends the run */
    bool stats;
    bool perf_map, profile; /* soft: tell perf of translated code; sample it */
    char *symbols;          /* names of guest code for these, or NULL */
    uint64_t code_cache;    /* soft: bytes for translated code */
    bool engine_process;    /* soft: the engine in a process of its own */
    bool debug_exit, testdev;
    char *gdb; /* "tcp:PORT", "unix:PATH" or NULL */
};

void vm_config_init(struct vm_config *c); /* defaults; -> vm_config_fini */
void vm_config_fini(struct vm_config *c);
int vm_config_set(char **field, const char *value); /* replace an owned string; -ENOMEM */

/* Sizes as people write them: "512M", "1G", "65536K", plain bytes. 0 or -EINVAL with a clear message naming
 * `what`. */
int vm_parse_size(const char *text, const char *what, uint64_t *out, struct err *e);
/* --disk, --net and --initrd values, as the manual describes. Append to c. */
int vm_config_add_disk(struct vm_config *c, const char *text, struct err *e);
int vm_config_add_net(struct vm_config *c, const char *text, struct err *e);
int vm_config_add_initrd(struct vm_config *c, const char *path, struct err *e);

bool vm_config_virtio_console(const struct vm_config *c);

/* Everything that can be judged without touching the host: ranges, contradictions. One line on the first
 * fault. */
int vm_config_check(const struct vm_config *c, struct err *e);

/* malloc'ed JSON text, ends with a newline; NULL on out of memory. */
char *vm_config_to_json(const struct vm_config *c);
/* Replace what `text` names; unknown keys are refused with the nearest known one. `source` names the file in
 * messages. */
int vm_config_from_json(struct vm_config *c, const char *text, size_t len, const char *source, struct err *e);

#endif
