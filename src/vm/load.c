/* Load the kernel and set all vCPUs to their reset state: at creation and again at each guest reset. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "boot/boot.h"
#include "vm/internal.h"
#include "x86/msr.h"
#include "x86/state.h"

static int load_into(struct vm *vm, const char *cmdline, struct x86_state *bsp, struct err *e)
{
    const struct board_e820 *map;
    struct boot_range range[BOARD_MAX_E820];
    struct boot_file initrd[VM_MAX_INITRDS] = {{0}};
    struct boot_info info;
    unsigned n = board_e820(vm->board, &map);
    for (unsigned i = 0; i < n; i++)
        range[i] = (struct boot_range){.base = map[i].base, .size = map[i].size, .type = map[i].type};
    for (unsigned i = 0; i < vm->cfg.initrds; i++)
        initrd[i].path = vm->cfg.initrd[i];
    struct boot_config bc = {.kernel = {.path = vm->cfg.kernel},
                             .initrd = initrd,
                             .initrds = vm->cfg.initrds,
                             .cmdline = cmdline,
                             .rsdp = board_rsdp(vm->board),
                             .range = range,
                             .ranges = n,
                             .decompress = vm->cfg.kernel_decompress};
    int r = boot_load(&bc, vm->mem, bsp, &info, e);
    if (!r && info.entry == BOOT_ENTRY_MULTIBOOT)
        board_bios_interrupts(vm->board);
    if (!r)
        log_guest(NULL, LOG_INFO, "%s: %s entry at 0x%llx, %s", vm->cfg.kernel, boot_entry_name(info.entry),
                  (unsigned long long)info.entry_gpa, info.packed ? info.packed : "not packed");
    return r;
}

/* With two, the last is /dev/console. */
static const char *default_cmdline(const struct vm_config *c)
{
    if (!vm_config_virtio_console(c))
        return "console=ttyS0";
    return c->serial ? "console=ttyS0 console=hvc0" : "console=hvc0";
}

/* RESET, and then what firmware would have left: the local APIC on, in virtual wire mode (the PIC reaches
 * LINT0, NMI is LINT1). */
static void reset_cpu(struct vm *vm, unsigned i, struct x86_state *s)
{
    const struct x86_cpuid *cpuid = accel_cpuid(vm->accel, i);
    x86_state_reset(s, i == 0, i);
    x86_state_reset_msrs(s, cpuid);
    s->gpr[X86_RDX] = x86_cpuid_get(cpuid, 1, 0).eax;
    s->tsc_khz = accel_tsc_khz(vm->accel);
    s->lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    s->lapic.regs[X86_LAPIC_LVT_LINT0] = i == 0 ? 0x700 : 0x10700;
    s->lapic.regs[X86_LAPIC_LVT_LINT1] = 0x400;
}

int vm_load_kernel(struct vm *vm, struct err *e)
{
    struct buf cmdline = {0};
    struct x86_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ENOMEM, "out of memory");
    int r = board_write_blobs(vm->board, e);
    buf_printf(&cmdline, "%s", vm->cfg.cmdline ? vm->cfg.cmdline : default_cmdline(&vm->cfg));
    board_cmdline_extra(vm->board, &cmdline);
    buf_u8(&cmdline, 0);
    if (!r && cmdline.failed)
        r = err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; !r && i < vm->cfg.cpus; i++) {
        reset_cpu(vm, i, s);
        if (i == 0)
            r = load_into(vm, (const char *)cmdline.data, s, e);
        if (!r)
            r = vcpu_set(vm->cpu[i].vcpu, s, e);
    }
    buf_free(&cmdline);
    free(s);
    return r;
}
