/*
 * pit_counter: one counter of an 8254, as a function of time. Pure: time comes in as ticks of the counter's
 * clock, the caller locks.
 *
 * A counter runs from `start`: after d ticks, modes 0, 1, 4 and 5 stand at N - d and wrap; modes 2 and 3
 * repeat with period N. A gate that holds the count freezes d. A count written to a running mode 2 or 3
 * counter waits in `next` until the period (mode 3: half of it) ends. Source: Intel 8254 data sheet, "Mode
 * Definitions".
 */
#ifndef DEVICE_PIT_COUNTER_H
#define DEVICE_PIT_COUNTER_H
#include <stdbool.h>
#include <stdint.h>

struct pit_counter {
    uint64_t start;            /* tick at which the count was N; while held: ticks counted so far */
    uint64_t next_at;          /* tick at which `next` takes effect, when `next` is not 0 */
    uint32_t n, next;          /* 1..65536; n 0: no count was written */
    uint8_t mode, bcd, access; /* as in the control word; access 1 low, 2 high, 3 both */
    uint8_t gate;
    uint8_t running; /* false: held (gate), or waiting for a count or trigger */
    /* modes 1 and 5: a count is there, a gate edge starts it. Others: a count is there */
    uint8_t armed;
    uint8_t fired;               /* modes 1 and 5: triggered at least once, so the output follows the count */
    uint8_t low_byte, have_low;  /* the first of two bytes being written */
    uint8_t read_high;           /* the next read gives the high byte */
    uint8_t latched, latch_left; /* count latched; bytes of it not yet read */
    uint16_t latch;
    uint8_t status_latched, status;
};

void pit_counter_reset(struct pit_counter *c, uint8_t gate);
/* a control word that is for this counter and no latch command */
void pit_counter_control(struct pit_counter *c, uint64_t now, uint8_t word);
void pit_counter_latch(struct pit_counter *c, uint64_t now);
void pit_counter_latch_status(struct pit_counter *c, uint64_t now);
void pit_counter_write(struct pit_counter *c, uint64_t now, uint8_t v);
uint8_t pit_counter_read(struct pit_counter *c, uint64_t now);
void pit_counter_gate(struct pit_counter *c, uint64_t now, bool on);
bool pit_counter_out(struct pit_counter *c, uint64_t now);
/* The first tick after `now` at which the output rises or falls, UINT64_MAX if it stays as it is. */
uint64_t pit_counter_next_edge(struct pit_counter *c, uint64_t now);

#endif
