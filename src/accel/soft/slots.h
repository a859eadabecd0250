/*
 * slots: the guest's memory map as the engine wants it.
 */
#ifndef SOFT_SLOTS_H
#define SOFT_SLOTS_H
#include "accel/soft/engine/engine.h"
#include "guest/mem.h"

/* RAM, ROM and the readable side of ROM devices, merged where they touch. What is no whole page, or does not
 * fit into ENGINE_MAX_SLOTS, is left out: accesses to it go out by mmio_read and mmio_write, which serve
 * memory as well. */
unsigned soft_slots(const struct mem_view *v, struct engine_slot *out);

#endif
