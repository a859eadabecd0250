#include <errno.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/pci/internal.h"

int pci_add_msix(struct pci_function *f, unsigned count, unsigned bar, uint32_t table, uint32_t pba,
                 struct err *e)
{
    if (!count || count > PCI_MAX_MSIX)
        return err_set(e, EINVAL, "MSI-X with %u vectors: 1 to %u are possible", count,
                       (unsigned)PCI_MAX_MSIX);
    CHECK(bar < PCI_BARS && !f->msix_cap && !(table & 7) && !(pba & 7));
    CHECK(range_inside(table, count * PCI_MSIX_ENTRY, f->bar[bar].size) &&
          range_inside(pba, 8, f->bar[bar].size));
    CHECK(!range_overlap(table, count * PCI_MSIX_ENTRY, pba, 8));
    unsigned cap = pci_add_cap(f, PCI_CAP_MSIX, 12);
    f->msix_cap = (uint8_t)cap;
    f->msix_bar = (uint8_t)bar;
    f->msix_table = table;
    f->msix_pba = pba;
    f->msix_count = count;
    pci_put16(f->config, cap + PCI_MSIX_CONTROL, count - 1);
    pci_put16(f->wmask, cap + PCI_MSIX_CONTROL, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    pci_put32(f->config, cap + PCI_MSIX_TABLE, table | bar);
    pci_put32(f->config, cap + PCI_MSIX_PBA, pba | bar);
    for (unsigned i = 0; i < PCI_MAX_MSIX; i++)
        f->msix_control[i] = PCI_MSIX_VECTOR_MASKED;
    return 0;
}

static unsigned control(const struct pci_function *f)
{
    return f->msix_cap ? pci_get16(f->config, f->msix_cap + PCI_MSIX_CONTROL) : 0;
}

bool pci_msix_enabled(const struct pci_function *f)
{
    return control(f) & PCI_MSIX_ENABLE;
}

bool pci_msix_message(const struct pci_function *f, unsigned v, struct msi_message *out)
{
    CHECK(v < f->msix_count);
    *out = (struct msi_message){.address = f->msix_address[v], .data = f->msix_data[v]};
    return (control(f) & (PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL)) == PCI_MSIX_ENABLE &&
           !(f->msix_control[v] & PCI_MSIX_VECTOR_MASKED) && pci_bus_master(f);
}

static void send_if_pending(struct pci_function *f, unsigned v)
{
    struct msi_message m;
    if (!(f->msix_pending >> v & 1) || !pci_msix_message(f, v, &m))
        return;
    f->msix_pending &= ~(1ull << v);
    if (f->root && f->root->cfg.msi.send)
        f->root->cfg.msi.send(f->root->cfg.msi.opaque, m);
}

void pci_msix_raise(struct pci_function *f, unsigned vector)
{
    if (vector >= f->msix_count || !pci_msix_enabled(f))
        return;
    f->msix_pending |= 1ull << vector;
    send_if_pending(f, vector);
}

void pci_msix_control_written(struct pci_function *f)
{
    if (!pci_msix_enabled(f))
        f->msix_pending = 0; /* who enables it next did not ask for these */
    for (unsigned v = 0; v < f->msix_count; v++) {
        send_if_pending(f, v);
        if (f->msix_changed)
            f->msix_changed(f, v);
    }
}

/* ---- table and pending bits as memory ---- */

bool pci_msix_covers(const struct pci_function *f, uint64_t bar_offset)
{
    return f->msix_count && (range_inside(bar_offset - f->msix_table, 1, f->msix_count * PCI_MSIX_ENTRY) ||
                             range_inside(bar_offset - f->msix_pba, 1, 8));
}

static uint32_t table_dword(const struct pci_function *f, unsigned index)
{
    unsigned v = index / 4;
    switch (index % 4) {
    case 0:
        return (uint32_t)f->msix_address[v];
    case 1:
        return (uint32_t)(f->msix_address[v] >> 32);
    case 2:
        return f->msix_data[v];
    default:
        return f->msix_control[v];
    }
}

static uint8_t byte_at(const struct pci_function *f, uint64_t off)
{
    uint64_t t = off - f->msix_table, p = off - f->msix_pba;
    if (t < f->msix_count * PCI_MSIX_ENTRY)
        return (uint8_t)(table_dword(f, (unsigned)(t / 4)) >> (8 * (t & 3)));
    return p < 8 ? (uint8_t)(f->msix_pending >> (8 * p)) : 0;
}

uint64_t pci_msix_read(struct pci_function *f, uint64_t bar_offset, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)byte_at(f, bar_offset + i) << (8 * i);
    return v;
}

static void table_set_dword(struct pci_function *f, unsigned index, uint32_t value)
{
    unsigned v = index / 4;
    uint64_t a = f->msix_address[v];
    switch (index % 4) {
    case 0:
        f->msix_address[v] = (a & ~0xffffffffull) | (value & ~3u);
        break;
    case 1:
        f->msix_address[v] = (a & 0xffffffff) | (uint64_t)value << 32;
        break;
    case 2:
        f->msix_data[v] = value;
        break;
    default:
        f->msix_control[v] = value & PCI_MSIX_VECTOR_MASKED;
    }
}

void pci_msix_write(struct pci_function *f, uint64_t bar_offset, unsigned size, uint64_t value)
{
    uint64_t t = bar_offset - f->msix_table;
    uint64_t table_size = f->msix_count * PCI_MSIX_ENTRY;
    if (t >= table_size) /* pending bits are read-only */
        return;
    unsigned first = (unsigned)(t / 16), last = first;
    for (unsigned i = 0; i < size && t + i < table_size; i++) {
        unsigned index = (unsigned)((t + i) / 4), shift = 8 * (unsigned)((t + i) & 3);
        uint32_t old = table_dword(f, index);
        table_set_dword(f, index, (old & ~(0xffu << shift)) | (uint32_t)(value >> (8 * i) & 0xff) << shift);
        last = index / 4;
    }
    for (unsigned v = first; v <= last; v++) {
        send_if_pending(f, v);
        if (f->msix_changed)
            f->msix_changed(f, v);
    }
}
