/*
 * boot_input: a machine of 8 MiB that is given one kernel image.
 */
#ifndef FUZZ_BOOT_INPUT_H
#define FUZZ_BOOT_INPUT_H
#include "base/err.h"
#include "boot/boot.h"
#include "fuzz.h"
#include "guest/mem.h"
#include "x86/state.h"
#include <stdlib.h>
#include <string.h>

static inline void boot_input(const uint8_t *data, size_t size, enum boot_entry entry, bool decompress)
{
    enum { MEMORY = 8 << 20 };
    static const struct boot_range range[] = {{0, 0xa0000, BOOT_RAM},
                                              {0x100000, MEMORY - 0x100000, BOOT_RAM}};
    static const struct boot_file initrd = {.path = "initrd", .data = "initrd", .len = 6, .args = "a b"};
    struct x86_state bsp;
    struct err e = {""};
    struct mem_map *mem = mem_map_new(&e);
    struct ram *ram = ram_new("ram", MEMORY, RAM_ANONYMOUS, &e);
    const struct mem_region region = {.name = "ram", .size = MEMORY, .kind = MEM_RAM, .ram = ram};
    if (!mem || !ram || !mem_add(mem, &region, &e))
        abort();
    x86_state_reset(&bsp, true, 0);
    const struct boot_config cfg = {.kernel = {.path = "kernel", .data = data, .len = size},
                                    .initrd = &initrd,
                                    .initrds = 1,
                                    .cmdline = "a=b",
                                    .rsdp = 0xe0000,
                                    .range = range,
                                    .ranges = 2,
                                    .decompress = decompress,
                                    .entry = entry};
    struct boot_info info;
    int r = size ? boot_load(&cfg, mem, &bsp, &info, &e) : -1;
    /* Whatever it said: a success has an entry in RAM, a failure a message of one line. */
    if (r ? size && (!e.msg[0] || strchr(e.msg, '\n')) : info.entry_gpa >= MEMORY)
        abort();
    mem_map_free(mem);
}

#endif
