/*
 * regs: offsets and bits of PCI configuration space that this room uses (PCI Local Bus 3.0 chapter 6).
 */
#ifndef DEVICE_PCI_REGS_H
#define DEVICE_PCI_REGS_H

enum {
    PCI_REG_VENDOR = 0x00,
    PCI_REG_DEVICE = 0x02,
    PCI_REG_COMMAND = 0x04,
    PCI_REG_STATUS = 0x06,
    PCI_REG_CLASS_REV = 0x08,
    PCI_REG_CACHE_LINE = 0x0c,
    PCI_REG_HEADER_TYPE = 0x0e,
    PCI_REG_BAR0 = 0x10,
    PCI_REG_SUBSYSTEM_VENDOR = 0x2c,
    PCI_REG_SUBSYSTEM = 0x2e,
    PCI_REG_CAPABILITIES = 0x34,
    PCI_REG_INTERRUPT_LINE = 0x3c,
    PCI_REG_INTERRUPT_PIN = 0x3d,
    PCI_REG_HEADER_END = 0x40,
    PCI_REG_EXTENDED = 0x100,

    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_PARITY = 1 << 6,
    PCI_COMMAND_SERR = 1 << 8,
    PCI_COMMAND_INTX_OFF = 1 << 10,

    PCI_STATUS_INTX = 1 << 3,
    PCI_STATUS_CAPS = 1 << 4,
    PCI_STATUS_W1C = 0xf900,

    PCI_BAR_IO = 1,
    PCI_BAR_MEM64 = 4,
    PCI_BAR_PREFETCH = 8,

    PCI_CAP_VENDOR = 0x09,
    PCI_CAP_MSIX = 0x11,

    PCI_MSIX_CONTROL = 2, /* within the capability: table size - 1, function mask, enable */
    PCI_MSIX_TABLE = 4,
    PCI_MSIX_PBA = 8,
    PCI_MSIX_MASK_ALL = 1 << 14,
    PCI_MSIX_ENABLE = 1 << 15,
    PCI_MSIX_ENTRY = 16,
    PCI_MSIX_VECTOR_MASKED = 1,
};

static inline unsigned pci_get16(const unsigned char *config, unsigned off)
{
    return config[off] | (unsigned)config[off + 1] << 8;
}

static inline void pci_put16(unsigned char *config, unsigned off, unsigned value)
{
    config[off] = (unsigned char)value;
    config[off + 1] = (unsigned char)(value >> 8);
}

static inline unsigned pci_get32(const unsigned char *config, unsigned off)
{
    return pci_get16(config, off) | pci_get16(config, off + 2) << 16;
}

static inline void pci_put32(unsigned char *config, unsigned off, unsigned value)
{
    pci_put16(config, off, value);
    pci_put16(config, off + 2, value >> 16);
}

#endif
