#include "vm/config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

void vm_config_init(struct vm_config *c)
{
    *c = (struct vm_config){.memory = 512ull << 20, .cpus = 1, .code_cache = 64ull << 20};
    vm_config_set(&c->name, "");
    vm_config_set(&c->board, "microvm-1");
    vm_config_set(&c->accel, "auto");
    vm_config_set(&c->cpu, "default");
    vm_config_set(&c->console, "stdio");
    vm_config_set(&c->console_device, "serial");
}

void vm_config_fini(struct vm_config *c)
{
    char **own[] = {&c->name,    &c->board,          &c->accel,  &c->cpu, &c->kernel, &c->cmdline,
                    &c->console, &c->console_device, &c->serial, &c->gdb, &c->symbols};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        vm_config_set(own[i], NULL);
    for (unsigned i = 0; i < c->disks; i++) {
        free(c->disk[i].path);
        free(c->disk[i].format);
        free(c->disk[i].serial);
    }
    for (unsigned i = 0; i < c->nets; i++)
        free(c->net[i].tap);
    for (unsigned i = 0; i < c->initrds; i++)
        free(c->initrd[i]);
    c->disks = c->nets = c->initrds = 0;
}

int vm_config_set(char **field, const char *value)
{
    char *copy = value ? strdup(value) : NULL;
    if (value && !copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int check_name(const struct vm_config *c, struct err *e)
{
    if (!c->name || strlen(c->name) > 64)
        return err_set(e, EINVAL, "name: longer than 64 characters");
    for (const char *p = c->name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *p) ||
            c->name[0] == '.')
            return err_set(e, EINVAL, "name: '%s' may hold only letters, digits, '-', '_' and '.', not first",
                           c->name);
    return 0;
}

static int check_place(const char *what, const char *place, struct err *e)
{
    if (!strcmp(place, "stdio") || !strcmp(place, "pty") || !strcmp(place, "none") ||
        (!strncmp(place, "file=", 5) && place[5]))
        return 0;
    return err_set(e, EINVAL, "%s: '%s' is none of stdio, pty, none, file=PATH", what, place);
}

bool vm_config_virtio_console(const struct vm_config *c)
{
    return !strcmp(c->console_device, "virtio");
}

static int check_console(const struct vm_config *c, struct err *e)
{
    int r = check_place("console", c->console, e);
    if (!r && c->serial)
        r = check_place("serial", c->serial, e);
    if (r)
        return r;
    if (!vm_config_virtio_console(c) && strcmp(c->console_device, "serial") != 0)
        return err_set(e, EINVAL, "console-device: '%s' is neither serial nor virtio", c->console_device);
    if (c->serial && !vm_config_virtio_console(c))
        return err_set(e, EINVAL,
                       "serial: the serial line is the console, and goes where --console says; --serial is "
                       "for --console-device virtio");
    if (c->serial && !strcmp(c->serial, "stdio") && !strcmp(c->console, "stdio"))
        return err_set(e, EINVAL, "serial: the console is on stdio already; put one of them elsewhere");
    return 0;
}

int vm_config_check(const struct vm_config *c, struct err *e)
{
    int r = check_name(c, e);
    if (!r)
        r = check_console(c, e);
    if (r)
        return r;
    if (strcmp(c->board, "microvm-1") != 0)
        return err_set(e, EINVAL, "board: '%s' is not known (microvm, microvm-1)", c->board);
    if (strcmp(c->accel, "auto") != 0 && strcmp(c->accel, "kvm") != 0 && strcmp(c->accel, "soft") != 0)
        return err_set(e, EINVAL, "accel: '%s' is none of auto, kvm, soft", c->accel);
    if (!c->kernel)
        return err_set(e, EINVAL,
                       "kernel: none given; use --kernel FILE (a bzImage, ELF vmlinux or multiboot image)");
    if (c->cpus < 1 || c->cpus > VM_MAX_CPUS)
        return err_set(e, EINVAL, "cpus: %u is outside 1 to %d", c->cpus, VM_MAX_CPUS);
    if (c->memory < (2ull << 20))
        return err_set(e, EINVAL, "memory: %llu bytes is too little for any guest; give at least 2M",
                       (unsigned long long)c->memory);
    if (c->memory % 4096)
        return err_set(e, EINVAL, "memory: %llu is not a multiple of 4096 bytes",
                       (unsigned long long)c->memory);
    if (c->memory > (1ull << 42))
        return err_set(e, EINVAL, "memory: %llu GiB is more than the 4096 GiB that the board can address",
                       (unsigned long long)(c->memory >> 30));
    if (c->symbols && !c->profile && !c->perf_map)
        return err_set(e, EINVAL, "symbols: names are for --profile and --perf-map, and neither is given");
    if (c->code_cache < VM_CODE_CACHE_MIN || c->code_cache > VM_CODE_CACHE_MAX)
        return err_set(e, EINVAL, "code-cache: %llu bytes is outside 1M to 1G",
                       (unsigned long long)c->code_cache);
    return 0;
}
