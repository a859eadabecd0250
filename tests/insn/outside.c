/*
 * outside: of an engine in a test of instructions: there is none. No ports, no device memory, a clock that
 * stands.
 */
#include "outside.h"
#include <stdio.h>

static uint32_t out_pio_read(void *o, uint16_t port, unsigned size)
{
    (void)o, (void)port, (void)size;
    return ~0u;
}
static void out_pio_write(void *o, uint16_t port, unsigned size, uint32_t value)
{
    (void)o, (void)port, (void)size, (void)value;
}
static uint64_t out_mmio_read(void *o, uint64_t gpa, unsigned size)
{
    (void)o, (void)gpa, (void)size;
    return ~0ull;
}
static void out_mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    (void)o, (void)gpa, (void)size, (void)value;
}
static int out_ack(void *o)
{
    (void)o;
    return -1;
}
static void out_eoi(void *o, uint8_t vector)
{
    (void)o, (void)vector;
}
static uint64_t out_now(void *o)
{
    (void)o;
    return 1000000000;
}
static void out_sleep(void *o, unsigned cpu, uint64_t deadline)
{
    (void)o, (void)cpu, (void)deadline;
}
static void out_cpu(void *o, unsigned cpu)
{
    (void)o, (void)cpu;
}
static void out_barrier(void *o)
{
    (void)o;
}
static void out_log(void *o, int level, const char *text)
{
    (void)o, (void)level;
    fprintf(stderr, "engine: %s\n", text);
}

const struct engine_outside no_outside = {
    .pio_read = out_pio_read,
    .pio_write = out_pio_write,
    .mmio_read = out_mmio_read,
    .mmio_write = out_mmio_write,
    .ack_extint = out_ack,
    .eoi = out_eoi,
    .now_ns = out_now,
    .wall_ns = out_now,
    .sleep = out_sleep,
    .wake = out_cpu,
    .barrier = out_barrier,
    .quiescent = out_cpu,
    .log = out_log,
};
