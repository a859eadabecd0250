#include "boot/boot.h"
#include "base/err.h"
#include "base/range.h"
#include "boot/elf_image.h"
#include "boot/load.h"
#include <errno.h>

const char *boot_entry_name(enum boot_entry entry)
{
    static const char *const names[] = {
        [BOOT_ENTRY_AUTO] = "auto",       [BOOT_ENTRY_LINUX64] = "linux64",
        [BOOT_ENTRY_LINUX32] = "linux32", [BOOT_ENTRY_LINUX16] = "linux16",
        [BOOT_ENTRY_PVH] = "pvh",         [BOOT_ENTRY_MULTIBOOT] = "multiboot",
    };
    return (unsigned)entry < sizeof names / sizeof names[0] ? names[entry] : "unknown";
}

static int check_config(const struct boot_config *cfg, struct err *e)
{
    if (cfg->initrds > BOOT_MAX_INITRDS)
        return err_set(e, EINVAL, "%u initrds, at most %d are taken", cfg->initrds, BOOT_MAX_INITRDS);
    if (!cfg->ranges || cfg->ranges > BOOT_MAX_RANGES)
        return err_set(e, EINVAL, "%u memory ranges, there must be 1 to %d", cfg->ranges, BOOT_MAX_RANGES);
    for (unsigned i = 0; i < cfg->ranges; i++)
        if (!cfg->range[i].size || !range_no_wrap(cfg->range[i].base, cfg->range[i].size))
            return err_set(e, EINVAL, "memory range %u is empty or wraps", i);
    return 0;
}

static int load_kernel(struct load *l, const struct src *s)
{
    struct setup_header h;
    if (elf_probe(s))
        return elf_boot(l, s, NULL);
    if (!bzimage_probe(s, &h))
        return bzimage_load(l, s, &h);
    int64_t mb = multiboot_probe(s);
    if (mb >= 0 && load_allows(l, BOOT_ENTRY_MULTIBOOT))
        return multiboot_boot(l, s, (uint32_t)mb);
    return err_set(
        l->e, ENOEXEC,
        "%s: not a kernel: neither bzImage, ELF nor multiboot at offset 0; give a Linux bzImage or vmlinux",
        s->name);
}

int boot_load(const struct boot_config *cfg, struct mem_map *mem, struct x86_state *bsp,
              struct boot_info *info, struct err *e)
{
    struct boot_info ignored;
    struct src s;
    struct load l = {
        .cfg = cfg, .mem = mem, .bsp = bsp, .info = info ? info : &ignored, .place = {.cfg = cfg}, .e = e};
    *l.info = (struct boot_info){0};
    int r = check_config(cfg, e);
    r = r ? r : src_open(&s, &cfg->kernel, "kernel", e);
    if (r)
        return r;
    r = load_kernel(&l, &s);
    src_close(&s);
    return r;
}
