/*
 * map: every address, port, irq and slot of board microvm-1. Facts only; nothing here changes within a board
 * version.
 *
 * Guest-physical memory:
 *
 *     0          RAM, up to 3 GiB; 640 KiB..1 MiB is RAM too, but reserved in E820 where tables lie
 *     0xc0000000 PCI 32-bit window, 512 MiB
 *     0xe0000000 PCI ECAM, bus 0
 *     0xfeb00000 virtio-mmio slots, one page each
 *     0xfec00000 I/O APIC
 *     0xfee00000 local APICs (the accelerator's)
 *     0xff000000 kvm-unit-tests device (only with testdev)
 *     4 GiB      RAM beyond the first 3 GiB
 *     above      PCI 64-bit window, 16 GiB, at the next multiple of 16 GiB, 32 GiB at least
 */
#ifndef BOARD_MAP_H
#define BOARD_MAP_H

#define MICROVM_VERSION "microvm-1"

/* ---- memory ---- */
#define MAP_EBDA_BASE        0x9fc00ull /* reserved by custom; nothing lies there */
#define MAP_EBDA_SIZE        0x400ull
#define MAP_VGA_BASE         0xa0000ull /* no VGA here; reserved so that nobody puts anything there */
#define MAP_BIOS_BASE        0xe0000ull /* RSDP and ACPI tables: where a guest scans for them */
#define MAP_ACPI_SIZE        0x10000ull
#define MAP_MPTABLE_BASE     0xf0000ull /* MP floating pointer and table, likewise */
#define MAP_MPTABLE_SIZE     0xfff0ull
#define MAP_RESET_VECTOR     0xffff0ull    /* F000:FFF0, where a BIOS is entered: a program that resets */
#define MAP_LOW_RAM_MAX      0xc0000000ull /* the hole begins here */
#define MAP_HIGH_RAM_BASE    0x100000000ull
#define MAP_PCI_MMIO32_BASE  0xc0000000ull
#define MAP_PCI_MMIO32_SIZE  0x20000000ull
#define MAP_PCI_ECAM_BASE    0xe0000000ull
#define MAP_PCI_ECAM_SIZE    0x100000ull
#define MAP_VIRTIO_MMIO_BASE 0xfeb00000ull
#define MAP_VIRTIO_MMIO_STEP 0x1000ull
#define MAP_VIRTIO_MMIO_SIZE 0x200ull /* of the registers, as ACPI and the command line state it */
#define MAP_VIRTIO_SLOTS     28       /* devices at most, on either transport */
#define MAP_IOAPIC_BASE      0xfec00000ull
#define MAP_LAPIC_BASE       0xfee00000ull
#define MAP_TESTDEV_BASE     0xff000000ull
#define MAP_PCI_MMIO64_ALIGN 0x400000000ull
#define MAP_PCI_MMIO64_MIN   0x800000000ull
#define MAP_PCI_MMIO64_SIZE  0x400000000ull

/* ---- ports ---- */
#define PORT_PIC_MASTER   0x20
#define PORT_PIT          0x40
#define PORT_KBD_DATA     0x60
#define PORT_SYSTEM_B     0x61 /* speaker gate and counter 2's output */
#define PORT_KBD_COMMAND  0x64
#define PORT_RTC          0x70
#define PORT_SYSTEM_A     0x92 /* fast reset */
#define PORT_PIC_SLAVE    0xa0
#define PORT_TESTDEV      0xe0
#define PORT_DEBUG_EXIT   0xf4
#define PORT_COM1         0x3f8
#define PORT_ELCR         0x4d0
#define PORT_PVPANIC      0x505
#define PORT_ACPI         0x600 /* sleep control, sleep status, reset, event */
#define PORT_PCI_CONFIG   0xcf8 /* claimed by the PCI root; 0xcf9 within it is the reset control register */
#define PORT_PCI_IO_BASE  0x1000
#define PORT_PCI_IO_SIZE  0x1000
#define PORT_TESTDEV_IRQS 0x2000

/* ---- interrupts: ISA line = I/O APIC pin = GSI, but for the timer ---- */
#define IRQ_TIMER             0 /* I/O APIC pin 2 */
#define IRQ_KEYBOARD          1
#define IRQ_CASCADE           2
#define IRQ_COM1              4
#define IRQ_RTC               8
#define IRQ_GED               9 /* level: the power button */
#define IRQ_MOUSE             12
#define GSI_TIMER             2
#define GSI_PCI_INTA          16 /* INTA..INTD: 16..19, level, active low as PCI's are */
#define GSI_VIRTIO_MMIO       16 /* slot s: 16 + s % 8, level */
#define GSI_VIRTIO_MMIO_COUNT 8
#define IOAPIC_PINS           24
#define ISA_IRQS              16

/* ---- PCI bus 0: slot 0 is the host bridge; virtio devices follow in the order below ---- */
#define PCI_SLOT_BRIDGE 0
#define PCI_SLOT_VIRTIO 1

#endif
