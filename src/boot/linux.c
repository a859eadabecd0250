/*
 * The zero page (struct boot_params; Documentation/arch/x86/zero-page.rst and boot.rst, "64-bit BOOT
 * PROTOCOL" and "32-bit") and the way into a Linux kernel that lies in memory already.
 */
#include "boot/linux.h"
#include "boot/load.h"
#include "guest/mem.h"
#include "x86/state.h"
#include <assert.h>
#include <string.h>

enum {
    /* offsets in the zero page, beside those of the setup header */
    ZP_ACPI_RSDP = 0x070,
    ZP_EXT_RAMDISK_IMAGE = 0x0c0,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_E820_TABLE = 0x2d0,
    E820_SIZE = 20,
    E820_MAX = 128,
    LOADER_UNDEFINED = 0xff,
    CMDLINE_OLD_MAX = 255,  /* before 2.06 */
    CMDLINE_ELF_MAX = 2047, /* COMMAND_LINE_SIZE of arch/x86, without the NUL */
    CMDLINE_LIMIT = 0xffff,
};

static_assert((int)BOOT_MAX_RANGES <= (int)E820_MAX, "the board's ranges fit the zero page");

static void set32(uint8_t *zp, unsigned at, uint64_t v)
{
    uint32_t low = (uint32_t)v;
    memcpy(zp + at, &low, 4);
}

static void put_e820(uint8_t *zp, const struct boot_config *cfg)
{
    uint8_t *p = zp + ZP_E820_TABLE;
    for (unsigned i = 0; i < cfg->ranges; i++, p += E820_SIZE) {
        memcpy(p, &cfg->range[i].base, 8);
        memcpy(p + 8, &cfg->range[i].size, 8);
        memcpy(p + 16, &cfg->range[i].type, 4);
    }
    zp[ZP_E820_ENTRIES] = (uint8_t)cfg->ranges;
}

/* A vmlinux came without a header: the least a kernel looks at. */
static void put_plain_header(uint8_t *zp)
{
    static const uint8_t magic[] = {'H', 'd', 'r', 'S'};
    zp[SETUP_BOOT_FLAG] = 0x55;
    zp[SETUP_BOOT_FLAG + 1] = 0xaa;
    memcpy(zp + SETUP_MAGIC, magic, sizeof magic);
    zp[SETUP_VERSION] = 0x0c;
    zp[SETUP_VERSION + 1] = 0x02;
    zp[SETUP_LOADFLAGS] = LOADED_HIGH;
}

void linux_fill_header(const struct load *l, uint8_t *zp, uint64_t cmdline, uint64_t load_at)
{
    static const uint8_t normal_mode[] = {0xff, 0xff};
    memcpy(zp + SETUP_VID_MODE, normal_mode, sizeof normal_mode);
    zp[SETUP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    set32(zp, SETUP_CODE32_START, load_at);
    set32(zp, SETUP_RAMDISK_IMAGE, l->info->initrd_base);
    set32(zp, SETUP_RAMDISK_SIZE, l->info->initrd_size);
    set32(zp, SETUP_CMD_LINE_PTR, cmdline);
}

size_t linux_cmdline_max(const struct setup_header *h)
{
    uint32_t max = CMDLINE_ELF_MAX;
    if (h && h->version >= 0x0206)
        memcpy(&max, h->raw + SETUP_CMDLINE_SIZE, 4);
    else if (h)
        max = CMDLINE_OLD_MAX;
    return max < CMDLINE_LIMIT ? max : CMDLINE_LIMIT;
}

uint64_t linux_initrd_max(const struct setup_header *h, enum boot_entry mode)
{
    uint32_t last = mode == BOOT_ENTRY_LINUX64 && !h ? 0xffffffff : 0x37ffffff;
    if (h && h->version >= 0x0203)
        memcpy(&last, h->raw + SETUP_INITRD_ADDR_MAX, 4);
    return (uint64_t)last + 1;
}

int linux_boot(struct load *l, const struct setup_header *h, enum boot_entry mode, uint64_t entry,
               uint64_t load_at)
{
    uint8_t zp[MEM_PAGE] = {0};
    uint64_t at, cmdline;
    int r = load_cmdline(l, NULL, linux_cmdline_max(h), &cmdline);
    r = r ? r : load_initrd(l, linux_initrd_max(h, mode));
    r = r ? r : load_low(l, sizeof zp, MEM_PAGE, &at);
    if (r)
        return r;
    if (h)
        memcpy(zp + SETUP_FIRST, h->raw + SETUP_FIRST, h->len - SETUP_FIRST);
    else
        put_plain_header(zp);
    linux_fill_header(l, zp, cmdline, load_at);
    set32(zp, ZP_EXT_RAMDISK_IMAGE, l->info->initrd_base >> 32);
    memcpy(zp + ZP_ACPI_RSDP, &l->cfg->rsdp, 8);
    put_e820(zp, l->cfg);
    r = load_write(l, at, zp, sizeof zp);
    r = r ? r : mode == BOOT_ENTRY_LINUX64 ? cpu_long64(l, entry) : cpu_flat32(l, entry);
    if (r)
        return r;
    l->bsp->gpr[X86_RSI] = at; /* EBP, EDI and EBX are zero already, as 32-bit entry asks */
    l->info->entry = mode;
    l->info->info_gpa = at;
    return 0;
}
