/*
 * acpi_pm: the registers of a hardware-reduced ACPI platform (ACPI 6.4 sections 4.8.3.7, 4.8.3.8, 5.6.9), in
 * four ports:
 *
 *     +0 sleep control   SLP_TYP 4..2, SLP_EN 5: writing type 5 enabled powers the machine off
 *     +1 sleep status    WAK_STS 7, write one to clear (nothing sets it: there is no waking here)
 *     +2 reset           writing 1 resets
 *     +3 events          pending events; reading clears them and lowers the wire. Bit 0: power button.
 *
 * The wire is level-triggered, the interrupt of the generic event device whose _EVT method reads +3.
 */
#ifndef DEVICE_ACPI_PM_H
#define DEVICE_ACPI_PM_H
#include <stdint.h>
#include "device/core/device.h"
#include "guest/irq.h"
struct acpi_pm;
struct bus;
struct err;

enum { ACPI_PM_SLEEP_CONTROL, ACPI_PM_SLEEP_STATUS, ACPI_PM_RESET, ACPI_PM_EVENTS, ACPI_PM_PORTS };
enum { ACPI_PM_S5_TYPE = 5, ACPI_PM_RESET_VALUE = 1, ACPI_PM_EVENT_POWER = 1 };

struct acpi_pm_config {
    struct bus *bus;
    uint16_t port;
    struct irq_line irq;
    void (*power_off)(void *opaque); /* lock held */
    void (*reset)(void *opaque);     /* lock held */
    void *opaque;
};

struct acpi_pm *acpi_pm_new(const struct acpi_pm_config *cfg, struct err *e);
struct device *acpi_pm_device(struct acpi_pm *a);
void acpi_pm_power_button(struct acpi_pm *a); /* any thread */

#endif
