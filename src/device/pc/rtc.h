/*
 * rtc: a Motorola MC146818 real-time clock with 128 bytes of CMOS memory, at an index and a data port.
 *
 * The time is the host's real time plus an offset which the guest moves by setting the clock; it goes on
 * while the machine is paused, as a battery would have it. Periodic interrupts count in guest time.
 * Update-in-progress is computed from the time of day (the last 244 us of each second), so it can never
 * stick.
 */
#ifndef DEVICE_RTC_H
#define DEVICE_RTC_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct bus;
struct clock;
struct err;
struct loop;
struct rtc;

enum { RTC_CENTURY = 0x32 }; /* CMOS byte of the century, for the FADT */

struct rtc_config {
    struct bus *bus;
    uint16_t port; /* of the index; data is the next one */
    struct irq_line irq;
    struct clock *clock;
    struct loop *loop;
    uint64_t (*realtime_ns)(void *opaque); /* since 1970; NULL: host_realtime_ns */
    void *opaque;
};

struct rtc *rtc_new(const struct rtc_config *cfg, struct err *e);
struct device *rtc_device(struct rtc *r);

/* What a firmware would have left in a byte above the clock's own (index 0x0e..0x7f). Before the guest
 * runs. */
void rtc_set_cmos(struct rtc *r, uint8_t index, uint8_t value);

#endif
