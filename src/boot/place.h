/*
 * place: who lies where while a guest is loaded: the RAM ranges that the board told, less what was taken
 * already. Everything that the loader puts beside the kernel (zero page, tables, command line, initrd) is
 * placed around it, so a kernel may load anywhere. Pure.
 */
#ifndef BOOT_PLACE_H
#define BOOT_PLACE_H
#include <stdbool.h>
#include <stdint.h>
struct boot_config;

enum { PLACE_MAX = 128 };

#define PLACE_NONE UINT64_MAX

/* Loader structures go below the top of conventional memory, and below where Linux puts its own trampoline;
 * page 0 stays free. */
#define PLACE_LOW_MIN 0x1000ull
#define PLACE_LOW_MAX 0x90000ull
#define PLACE_4G      0x100000000ull

struct place {
    const struct boot_config *cfg;
    struct {
        uint64_t base, size;
    } taken[PLACE_MAX];
    unsigned count;
};

/* [base, base+size) lies in one RAM range. */
bool place_is_ram(const struct place *p, uint64_t base, uint64_t size);
bool place_is_free(const struct place *p, uint64_t base, uint64_t size); /* of what was taken */
/* false when the table is full */
bool place_take(struct place *p, uint64_t base, uint64_t size);
/* Find and take `size` bytes of free RAM in [min, max) on a multiple of `align` (a power of two), lowest or
 * highest first. PLACE_NONE: no room. */
uint64_t place_low(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t max);
uint64_t place_high(struct place *p, uint64_t size, uint64_t align, uint64_t min, uint64_t max);
uint64_t place_ram_top(const struct place *p, uint64_t max); /* end of the highest RAM below max */

#endif
