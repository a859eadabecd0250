#include <errno.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "board/microvm.h"

enum { E820_RAM = 1, E820_RESERVED = 2 };

#define MIN_MEMORY 0x100000ull
#define MAX_MEMORY (1ull << 40)

static int add_block(struct board *b, const char *name, uint64_t gpa, uint64_t size, uint64_t file_offset,
                     struct err *e)
{
    const struct board_config *c = &b->cfg;
    uint64_t at = c->ram_fd_offset + file_offset;
    struct ram *ram = c->backing == RAM_FILE_PRIVATE            ? ram_new_file(name, c->ram_fd, at, size, e)
                      : c->backing == RAM_MEMFD && c->ram_saved ? ram_new_copy(name, c->ram_fd, at, size, e)
                                                                : ram_new(name, size, c->backing, e);
    if (!ram)
        return -ENOMEM;
    struct mem_region r = {.name = name, .base = gpa, .size = size, .kind = MEM_RAM, .ram = ram};
    if (!mem_add(c->mem, &r, e)) {
        ram_free(ram);
        return -ENOMEM;
    }
    return 0;
}

int board_add_ram(struct board *b, struct err *e)
{
    uint64_t memory = b->cfg.memory;
    if (memory < MIN_MEMORY || memory > MAX_MEMORY || memory % MEM_PAGE)
        return err_set(e, EINVAL, "memory of %llu bytes: give 1 MiB to 1 TiB, in whole pages",
                       (unsigned long long)memory);
    b->low_ram = memory < MAP_LOW_RAM_MAX ? memory : MAP_LOW_RAM_MAX;
    b->high_ram = memory - b->low_ram;
    b->mmio64_base = align_up(MAP_HIGH_RAM_BASE + b->high_ram, MAP_PCI_MMIO64_ALIGN);
    if (b->mmio64_base < MAP_PCI_MMIO64_MIN)
        b->mmio64_base = MAP_PCI_MMIO64_MIN;
    int r = add_block(b, "ram", 0, b->low_ram, 0, e);
    if (!r && b->high_ram)
        r = add_block(b, "ram above 4G", MAP_HIGH_RAM_BASE, b->high_ram, b->low_ram, e);
    return r;
}

static void range(struct board *b, uint64_t base, uint64_t end, uint32_t type)
{
    if (end <= base)
        return;
    CHECK(b->e820_count < BOARD_MAX_E820);
    b->e820[b->e820_count++] = (struct board_e820){.base = base, .size = end - base, .type = type};
}

/* 640 KiB..1 MiB is not offered: the tables lie there, and old software expects devices. */
void board_map_memory(struct board *b)
{
    range(b, 0, MAP_EBDA_BASE, E820_RAM);
    range(b, MAP_EBDA_BASE, MAP_EBDA_BASE + MAP_EBDA_SIZE, E820_RESERVED);
    range(b, MAP_BIOS_BASE, MIN_MEMORY, E820_RESERVED);
    range(b, MIN_MEMORY, b->low_ram, E820_RAM);
    if (b->pci)
        range(b, MAP_PCI_ECAM_BASE, MAP_PCI_ECAM_BASE + MAP_PCI_ECAM_SIZE, E820_RESERVED);
    range(b, MAP_HIGH_RAM_BASE, MAP_HIGH_RAM_BASE + b->high_ram, E820_RAM);
}
