/*
 * The PVH entry (Xen docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): flat 32-bit protected mode, EBX
 * = hvm_start_info.
 */
#include "base/buf.h"
#include "base/err.h"
#include "boot/load.h"
#include "x86/state.h"
#include <errno.h>

enum { START_MAGIC = 0x336ec578, START_VERSION = 1, START_SIZE = 56, MODULE_SIZE = 32, MEMMAP_SIZE = 24 };

static void put_memmap(struct buf *b, const struct boot_config *cfg)
{
    for (unsigned i = 0; i < cfg->ranges; i++) {
        buf_u64(b, cfg->range[i].base);
        buf_u64(b, cfg->range[i].size);
        buf_u32(b, cfg->range[i].type);
        buf_u32(b, 0);
    }
}

/* One block: start info, module list, memory map. */
static void put_start_info(struct buf *b, const struct load *l, uint64_t at, uint64_t cmdline)
{
    bool module = l->info->initrd_size;
    buf_u32(b, START_MAGIC);
    buf_u32(b, START_VERSION);
    buf_u32(b, 0); /* flags */
    buf_u32(b, module);
    buf_u64(b, module ? at + START_SIZE : 0);
    buf_u64(b, cmdline);
    buf_u64(b, l->cfg->rsdp);
    buf_u64(b, at + START_SIZE + MODULE_SIZE);
    buf_u32(b, l->cfg->ranges);
    buf_u32(b, 0);
    buf_u64(b, l->info->initrd_base);
    buf_u64(b, l->info->initrd_size);
    buf_u64(b, 0); /* the module's command line: none */
    buf_u64(b, 0);
    put_memmap(b, l->cfg);
}

int pvh_boot(struct load *l, const char *name, uint64_t entry, size_t cmdline_max)
{
    struct buf b = {0};
    uint64_t cmdline, at;
    if (entry < l->info->kernel_base || entry >= l->info->kernel_end)
        return err_set(
            l->e, ENOEXEC,
            "%s: malformed ELF: its PVH entry 0x%llx lies outside what it loads; give an x86 kernel image",
            name, (unsigned long long)entry);
    int r = load_cmdline(l, NULL, cmdline_max, &cmdline);
    r = r ? r : load_initrd(l, PLACE_4G);
    r = r ? r : load_low(l, START_SIZE + MODULE_SIZE + (uint64_t)l->cfg->ranges * MEMMAP_SIZE, 8, &at);
    if (r)
        return r;
    put_start_info(&b, l, at, cmdline);
    r = b.failed ? err_set(l->e, ENOMEM, "no memory for the PVH start information")
                 : load_write(l, at, b.data, b.len);
    buf_free(&b);
    r = r ? r : cpu_flat32(l, entry);
    if (r)
        return r;
    l->bsp->gpr[X86_RBX] = at;
    l->info->entry = BOOT_ENTRY_PVH;
    l->info->info_gpa = at;
    return 0;
}
