#include <errno.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/pci/internal.h"
#include "guest/bus.h"

/* BARs lie below RAM and the board's chips where a guest moves them on top: memory wins, as behind a real
 * host bridge. */
enum { BAR_PRIORITY = -1 };
#define BAR_ADDRESS_END (1ull << 52) /* the architecture's physical addresses */

void pci_function_init(struct pci_function *f, const struct device_ops *ops, unsigned instance,
                       uint16_t vendor, uint16_t device, uint32_t class_rev)
{
    device_init(&f->dev, ops, instance);
    pci_put16(f->config, PCI_REG_VENDOR, vendor);
    pci_put16(f->config, PCI_REG_DEVICE, device);
    pci_put32(f->config, PCI_REG_CLASS_REV, class_rev);
    f->cap_free = PCI_REG_HEADER_END;
    pci_put16(f->wmask, PCI_REG_COMMAND,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                  PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF);
    pci_put16(f->w1c, PCI_REG_STATUS, PCI_STATUS_W1C);
    f->wmask[PCI_REG_CACHE_LINE] = 0xff;
    f->wmask[PCI_REG_INTERRUPT_LINE] = 0xff;
}

void pci_set_bar(struct pci_function *f, unsigned index, const struct pci_bar *bar)
{
    CHECK(index < PCI_BARS && is_pow2(bar->size) && bar->size >= (bar->io ? 4 : 16) &&
          !(bar->io && bar->mem64));
    CHECK(!bar->mem64 || index + 1 < PCI_BARS);
    struct pci_bar *b = &f->bar[index];
    *b = *bar;
    b->addr = 0;
    b->mapped = false;
    b->region = NULL;
    if (!b->opaque)
        b->opaque = f;
    unsigned reg = PCI_REG_BAR0 + 4 * index;
    uint64_t mask = ~(b->size - 1);
    pci_put32(f->config, reg,
              (b->io ? PCI_BAR_IO : 0u) | (b->mem64 ? PCI_BAR_MEM64 : 0u) |
                  (b->prefetch ? PCI_BAR_PREFETCH : 0u));
    pci_put32(f->wmask, reg, (uint32_t)mask);
    if (b->mem64)
        pci_put32(f->wmask, reg + 4, (uint32_t)(mask >> 32));
}

unsigned pci_add_cap(struct pci_function *f, uint8_t id, unsigned len)
{
    unsigned at = (unsigned)align_up(f->cap_free, 4);
    CHECK(len >= 2 && range_inside(at, len, PCI_REG_EXTENDED));
    f->config[at] = id;
    f->config[f->cap_last ? f->cap_last + 1u : PCI_REG_CAPABILITIES] = (uint8_t)at;
    f->cap_last = (uint8_t)at;
    f->cap_free = (uint16_t)(at + len);
    pci_put16(f->config, PCI_REG_STATUS, pci_get16(f->config, PCI_REG_STATUS) | PCI_STATUS_CAPS);
    return at;
}

/* ---- BARs ---- */

/* Where BAR i is decoded with the config space as it is; UINT64_MAX: nowhere. */
static uint64_t bar_decoded(const struct pci_function *f, unsigned i)
{
    const struct pci_bar *b = &f->bar[i];
    unsigned command = pci_get16(f->config, PCI_REG_COMMAND);
    if (!b->size || !(command & (b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return UINT64_MAX;
    unsigned reg = PCI_REG_BAR0 + 4 * i;
    uint64_t a = pci_get32(f->config, reg) & (b->io ? ~3u : ~15u);
    if (b->mem64)
        a |= (uint64_t)pci_get32(f->config, reg + 4) << 32;
    /* Zero is "not assigned"; all ones is a driver sizing the BAR with decoding on. */
    uint64_t end = b->io ? 0x10000 : b->mem64 ? BAR_ADDRESS_END : 1ull << 32;
    if (!a || !range_inside(a, b->size, end) || a == end - b->size)
        return UINT64_MAX;
    return a;
}

uint64_t pci_bar_address(const struct pci_function *f, unsigned bar)
{
    CHECK(bar < PCI_BARS);
    return f->bar[bar].mapped ? f->bar[bar].addr : UINT64_MAX;
}

static void bar_move_io(struct pci_function *f, struct pci_bar *b, uint64_t at)
{
    if (b->mapped)
        bus_release(f->root->cfg.bus, (uint16_t)b->addr, (uint16_t)b->size);
    /* A guest may put it where other ports are: then it is decoded by them, and not by us. */
    b->mapped = at != UINT64_MAX && !bus_claim(f->root->cfg.bus, f->dev.ops->kind, (uint16_t)at,
                                               (uint16_t)b->size, b->io_ops, b->opaque, &f->dev.lock, NULL);
}

static void bar_move_mem(struct pci_function *f, struct pci_bar *b, uint64_t at)
{
    struct mem_map *m = f->root->cfg.mem;
    mem_begin(m);
    if (at == UINT64_MAX) {
        mem_set_enabled(m, b->region, false);
    } else {
        mem_set_base(m, b->region, at);
        if (!b->mapped)
            mem_set_enabled(m, b->region, true);
    }
    mem_commit(m);
    b->mapped = at != UINT64_MAX;
}

void pci_update_bars(struct pci_function *f)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *b = &f->bar[i];
        uint64_t at = bar_decoded(f, i);
        if (!b->size || (b->mapped ? at == b->addr : at == UINT64_MAX))
            continue;
        if (b->io)
            bar_move_io(f, b, at);
        else
            bar_move_mem(f, b, at);
        b->addr = at;
    }
}

/* ---- access ---- */

uint32_t pci_function_read(struct pci_function *f, unsigned off, unsigned size)
{
    uint32_t v = 0;
    if (f->config_reading)
        f->config_reading(f, off, size);
    for (unsigned i = 0; i < size; i++)
        v |= (uint32_t)f->config[off + i] << (8 * i);
    return v;
}

static bool touches(unsigned off, unsigned size, unsigned reg, unsigned len)
{
    return range_overlap(off, size, reg, len);
}

void pci_function_write(struct pci_function *f, unsigned off, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++) {
        unsigned at = off + i;
        uint8_t v = (uint8_t)(value >> (8 * i));
        uint8_t now = (uint8_t)((f->config[at] & ~f->wmask[at]) | (v & f->wmask[at]));
        f->config[at] = (uint8_t)(now & ~(v & f->w1c[at]));
    }
    bool command = touches(off, size, PCI_REG_COMMAND, 2);
    if (command || touches(off, size, PCI_REG_BAR0, 4 * PCI_BARS))
        pci_update_bars(f);
    if (command)
        pci_update_intx(f);
    if (f->msix_cap && (command || touches(off, size, f->msix_cap + PCI_MSIX_CONTROL, 2)))
        pci_msix_control_written(f);
    if (f->config_written)
        f->config_written(f, off, size);
}

void pci_intx(struct pci_function *f, bool level)
{
    f->intx_level = level;
    unsigned status = pci_get16(f->config, PCI_REG_STATUS);
    pci_put16(f->config, PCI_REG_STATUS, level ? status | PCI_STATUS_INTX : status & ~PCI_STATUS_INTX);
    pci_update_intx(f);
}

bool pci_bus_master(const struct pci_function *f)
{
    return pci_get16(f->config, PCI_REG_COMMAND) & PCI_COMMAND_MASTER;
}

/* ---- life ---- */

int pci_function_plug(struct pci_root *r, struct pci_function *f, unsigned slot, struct err *e)
{
    if (slot >= PCI_SLOTS || f->fn >= PCI_FUNCTIONS)
        return err_set(e, EINVAL, "PCI slot %u.%u: there are slots 0 to 31 of functions 0 to 7", slot, f->fn);
    if (atomic_load(&r->fn[slot][f->fn]))
        return err_set(e, EBUSY, "PCI slot %u.%u is taken", slot, f->fn);
    f->slot = (uint8_t)slot;
    f->root = r;
    int rc = pci_assign_bars(r, f, e);
    for (unsigned i = 0; !rc && i < PCI_BARS; i++) {
        struct pci_bar *b = &f->bar[i];
        if (!b->size || b->io)
            continue;
        struct mem_region region = {.name = f->dev.ops->kind,
                                    .base = b->addr,
                                    .size = b->size,
                                    .priority = BAR_PRIORITY,
                                    .kind = MEM_MMIO,
                                    .ops = b->ops,
                                    .opaque = b->opaque,
                                    .lock = &f->dev.lock,
                                    .bells = b->bells};
        memcpy(region.bell, b->bell, sizeof(region.bell));
        b->region = mem_add(r->cfg.mem, &region, e);
        b->mapped = true;
        if (!b->region)
            rc = err_prefix(e, ENOMEM, "PCI slot %u, BAR %u", slot, i);
    }
    if (rc)
        return rc; /* the constructor's pci_function_unplug removes what there is */
    pci_update_bars(f);
    memcpy(f->fixed, f->config, sizeof(f->fixed));
    atomic_store_explicit(&r->fn[slot][f->fn], f, memory_order_release);
    return 0;
}

void pci_function_unplug(struct pci_function *f)
{
    struct pci_root *r = f->root;
    if (r) {
        if (atomic_load(&r->fn[f->slot][f->fn]) == f) {
            pci_intx(f, false);
            atomic_store(&r->fn[f->slot][f->fn], NULL);
        }
        for (unsigned i = 0; i < PCI_BARS; i++) {
            struct pci_bar *b = &f->bar[i];
            if (b->region)
                mem_remove(r->cfg.mem, b->region);
            else if (b->io && b->mapped)
                bus_release(r->cfg.bus, (uint16_t)b->addr, (uint16_t)b->size);
            b->region = NULL;
            b->mapped = false;
        }
        f->root = NULL;
    }
    device_fini(&f->dev);
}

void pci_function_reset(struct pci_function *f)
{
    pci_intx(f, false);
    memcpy(f->config, f->fixed, sizeof(f->config));
    for (unsigned i = 0; i < PCI_MAX_MSIX; i++) {
        f->msix_address[i] = 0;
        f->msix_data[i] = 0;
        f->msix_control[i] = PCI_MSIX_VECTOR_MASKED;
    }
    f->msix_pending = 0;
    pci_update_bars(f);
    if (f->msix_cap)
        pci_msix_control_written(f);
}

/* ---- saved state ---- */

static const struct field function_fields[] = {
    FIELD_BLOB(struct pci_function, config),
    FIELD_ARRAY(struct pci_function, msix_address),
    FIELD_ARRAY(struct pci_function, msix_data),
    FIELD_ARRAY(struct pci_function, msix_control, .dflt = PCI_MSIX_VECTOR_MASKED,
                .max = PCI_MSIX_VECTOR_MASKED),
    FIELD(struct pci_function, msix_pending),
    FIELD(struct pci_function, intx_level, .max = 1),
};

/* What software cannot change must be what this function has: else the state is of another device, or was
 * tampered with. */
static int function_post_load(void *obj, struct err *e)
{
    struct pci_function *f = obj;
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
        uint8_t free_bits = f->wmask[i] | f->w1c[i];
        if (i == PCI_REG_STATUS)
            free_bits |= PCI_STATUS_INTX;
        if ((f->config[i] ^ f->fixed[i]) & ~free_bits)
            return err_set(e, EINVAL,
                           "PCI slot %u: saved configuration byte 0x%x is 0x%02x, the device's is 0x%02x",
                           f->slot, i, f->config[i], f->fixed[i]);
    }
    for (unsigned i = 0; i < PCI_MAX_MSIX; i++)
        f->msix_address[i] &= ~3ull;
    f->msix_pending &= f->msix_count >= 64 ? UINT64_MAX : (1ull << f->msix_count) - 1;
    return 0;
}

const struct field_table pci_function_table = {.name = "pci",
                                               .version = 1,
                                               .fields = function_fields,
                                               .count = ARRAY_LEN(function_fields),
                                               .post_load = function_post_load};

int pci_function_loaded(struct pci_function *f, struct err *e)
{
    (void)e;
    pci_update_bars(f);
    pci_intx(f, f->intx_level);
    if (f->msix_changed)
        for (unsigned v = 0; v < f->msix_count; v++)
            f->msix_changed(f, v);
    return 0;
}
