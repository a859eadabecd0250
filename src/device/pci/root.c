#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "device/pci/internal.h"
#include "guest/bus.h"

/* Identity of a generic PCI Express host bridge; no driver binds to it, but operating systems look for one of
 * its class in slot 0. */
enum { BRIDGE_VENDOR = 0x1b36, BRIDGE_DEVICE = 0x0008, BRIDGE_CLASS_REV = 0x06000000 };

enum { PORT_ADDRESS = 0xcf8, PORT_COUNT = 8, PORT_RESET = 1, PORT_DATA = 4 };
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK   0x80fffffcu
enum { RESET_CPU = 4, RESET_WRITABLE = 0x0e };

static struct pci_function *function_at(struct pci_root *r, unsigned slot, unsigned fn)
{
    if (slot >= PCI_SLOTS || fn >= PCI_FUNCTIONS)
        return NULL;
    return atomic_load_explicit(&r->fn[slot][fn], memory_order_acquire);
}

static uint32_t ones(unsigned size)
{
    return size >= 4 ? UINT32_MAX : (1u << (size * 8)) - 1;
}

uint32_t pci_config_read(struct pci_root *r, unsigned slot, unsigned fn, unsigned off, unsigned size)
{
    struct pci_function *f = function_at(r, slot, fn);
    if (!f || !range_inside(off, size, PCI_CONFIG_SIZE))
        return ones(size);
    lock_take(&f->dev.lock);
    uint32_t v = pci_function_read(f, off, size);
    lock_drop(&f->dev.lock);
    return v;
}

void pci_config_write(struct pci_root *r, unsigned slot, unsigned fn, unsigned off, unsigned size,
                      uint32_t value)
{
    struct pci_function *f = function_at(r, slot, fn);
    if (!f || !range_inside(off, size, PCI_CONFIG_SIZE))
        return;
    lock_take(&f->dev.lock);
    pci_function_write(f, off, size, value);
    lock_drop(&f->dev.lock);
}

/* ---- ECAM: 4 KiB a function (PCI Express Base 4.0, 7.2.2) ---- */

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
    return pci_config_read(opaque, (unsigned)(offset >> 15), offset >> 12 & 7, offset & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    pci_config_write(opaque, (unsigned)(offset >> 15), offset >> 12 & 7, offset & 0xfff, size,
                     (uint32_t)value);
}

static const struct mem_ops ecam_ops = {.read = ecam_read, .write = ecam_write, .max_size = 4};

/* ---- ports 0xcf8 and 0xcfc: configuration mechanism #1 (PCI 3.0, 3.2.2.3.2) ---- */

/* The function and register that the address register selects; false: none. */
static bool selected(struct pci_root *r, unsigned *slot, unsigned *fn, unsigned *reg)
{
    uint32_t a = __atomic_load_n(&r->address, __ATOMIC_RELAXED);
    if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff))
        return false;
    *slot = a >> 11 & 31;
    *fn = a >> 8 & 7;
    *reg = a & 0xfc;
    return true;
}

static uint32_t port_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pci_root *r = opaque;
    unsigned slot, fn, reg;
    if (offset >= PORT_DATA)
        return selected(r, &slot, &fn, &reg) ? pci_config_read(r, slot, fn, reg + (offset & 3u), size)
                                             : ones(size);
    if (offset == 0 && size == 4)
        return __atomic_load_n(&r->address, __ATOMIC_RELAXED);
    if (offset == PORT_RESET && size == 1)
        return __atomic_load_n(&r->reset_control, __ATOMIC_RELAXED);
    return ones(size);
}

static void port_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct pci_root *r = opaque;
    unsigned slot, fn, reg;
    if (offset >= PORT_DATA) {
        if (selected(r, &slot, &fn, &reg))
            pci_config_write(r, slot, fn, reg + (offset & 3u), size, value);
    } else if (offset == 0 && size == 4) {
        __atomic_store_n(&r->address, value & ADDRESS_MASK, __ATOMIC_RELAXED);
    } else if (offset == PORT_RESET && size == 1) {
        /* A reset happens when the bit goes from 0 to 1 (ICH9 datasheet, 13.7.5 RST_CNT). */
        uint8_t was =
            __atomic_exchange_n(&r->reset_control, (uint8_t)(value & RESET_WRITABLE), __ATOMIC_RELAXED);
        if ((value & RESET_CPU) && !(was & RESET_CPU) && r->cfg.reset)
            r->cfg.reset(r->cfg.reset_opaque);
    }
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write, .max_size = 4};

/* ---- INTx ---- */

void pci_update_intx(struct pci_function *f)
{
    struct pci_root *r = f->root;
    unsigned pin = f->config[PCI_REG_INTERRUPT_PIN];
    if (!r || !pin || pin > PCI_PINS)
        return;
    bool wire = f->intx_level && !(pci_get16(f->config, PCI_REG_COMMAND) & PCI_COMMAND_INTX_OFF);
    unsigned line = (f->slot + pin - 1) & 3;
    lock_take(&r->intx_lock);
    if (wire != f->intx_wire) {
        f->intx_wire = wire;
        r->intx_count[line] += wire ? 1u : -1u;
        if (r->intx_count[line] == wire) /* 0 to 1, or 1 to 0: the shared wire changes */
            irq_set(&r->cfg.intx[line], wire);
    }
    lock_drop(&r->intx_lock);
}

/* ---- windows ---- */

static int window_take(struct pci_window *w, uint64_t size, uint64_t *addr)
{
    uint64_t a = align_up(w->next, size);
    if (a < w->next || !range_inside(a, size, w->end))
        return -ENOSPC;
    w->next = a + size;
    *addr = a;
    return 0;
}

int pci_assign_bars(struct pci_root *r, struct pci_function *f, struct err *e)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *b = &f->bar[i];
        if (!b->size)
            continue;
        /* Below 4 GiB while it fits, so that 32-bit guests reach it. */
        int rc = window_take(b->io ? &r->io : &r->mmio32, b->size, &b->addr);
        if (rc && b->mem64)
            rc = window_take(&r->mmio64, b->size, &b->addr);
        if (rc)
            return err_set(e, ENOSPC,
                           "PCI slot %u: no room in the host bridge's windows for BAR %u of 0x%llx bytes",
                           f->slot, i, (unsigned long long)b->size);
        unsigned reg = PCI_REG_BAR0 + 4 * i;
        pci_put32(f->config, reg, (pci_get32(f->config, reg) & (b->io ? 3u : 15u)) | (uint32_t)b->addr);
        if (b->mem64)
            pci_put32(f->config, reg + 4, (uint32_t)(b->addr >> 32));
        pci_put16(f->config, PCI_REG_COMMAND,
                  pci_get16(f->config, PCI_REG_COMMAND) | (b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
    }
    return 0;
}

/* ---- the root as a device ---- */

static const struct field root_fields[] = {
    FIELD(struct pci_root, address, .max = ADDRESS_MASK),
    FIELD(struct pci_root, reset_control, .max = RESET_WRITABLE),
};

static int root_post_load(void *obj, struct err *e)
{
    struct pci_root *r = obj;
    (void)e;
    r->address &= ADDRESS_MASK;
    r->reset_control &= RESET_WRITABLE;
    return 0;
}

static const struct field_table root_table = {.name = "pci-root",
                                              .version = 1,
                                              .fields = root_fields,
                                              .count = ARRAY_LEN(root_fields),
                                              .post_load = root_post_load};

static struct pci_root *root_of(struct device *d)
{
    return CONTAINER_OF(d, struct pci_root, bridge.dev);
}

static void root_reset(struct device *d)
{
    struct pci_root *r = root_of(d);
    __atomic_store_n(&r->address, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&r->reset_control, 0, __ATOMIC_RELAXED);
    if (r->bridge.root)
        pci_function_reset(&r->bridge);
}

static unsigned root_saved(struct device *d, struct saved *out, unsigned max)
{
    struct pci_root *r = root_of(d);
    CHECK(max >= 2);
    out[0] = (struct saved){.table = &root_table, .obj = r};
    if (!r->bridge.root)
        return 1;
    out[1] = (struct saved){.table = &pci_function_table, .obj = &r->bridge};
    return 2;
}

static int root_loaded(struct device *d, struct err *e)
{
    struct pci_root *r = root_of(d);
    return r->bridge.root ? pci_function_loaded(&r->bridge, e) : 0;
}

static void root_device_free(struct device *d)
{
    (void)d; /* pci_root_free does, after the functions have gone */
}

static const struct device_ops root_ops = {.kind = "pci-root",
                                           .reset = root_reset,
                                           .saved = root_saved,
                                           .loaded = root_loaded,
                                           .free = root_device_free};

struct device *pci_root_device(struct pci_root *r)
{
    return &r->bridge.dev;
}

static int root_connect(struct pci_root *r, struct err *e)
{
    const struct mem_region ecam = {.name = "pci-ecam",
                                    .base = r->cfg.ecam_base,
                                    .size = 1 << 20,
                                    .kind = MEM_MMIO,
                                    .ops = &ecam_ops,
                                    .opaque = r};
    if (r->cfg.ecam_base) {
        r->ecam = mem_add(r->cfg.mem, &ecam, e);
        if (!r->ecam)
            return err_prefix(e, ENOMEM, "PCI ECAM");
    }
    int rc = bus_claim(r->cfg.bus, "pci-config", PORT_ADDRESS, PORT_COUNT, &port_ops, r, NULL, e);
    if (rc)
        return rc;
    r->ports_claimed = true;
    return r->cfg.bare ? 0 : pci_function_plug(r, &r->bridge, 0, e);
}

struct pci_root *pci_root_new(const struct pci_root_config *cfg, struct err *e)
{
    struct pci_root *r = calloc(1, sizeof(*r));
    if (!r) {
        err_set(e, ENOMEM, "PCI host bridge: out of memory");
        return NULL;
    }
    r->cfg = *cfg;
    r->mmio32 = (struct pci_window){cfg->mmio32_base, cfg->mmio32_base + cfg->mmio32_size};
    r->mmio64 = (struct pci_window){cfg->mmio64_base, cfg->mmio64_base + cfg->mmio64_size};
    r->io = (struct pci_window){cfg->io_base, (uint64_t)cfg->io_base + cfg->io_size};
    lock_init(&r->intx_lock, LOCK_MAP);
    pci_function_init(&r->bridge, &root_ops, 0, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS_REV);
    if (root_connect(r, e)) {
        pci_root_free(r);
        return NULL;
    }
    return r;
}

void pci_root_free(struct pci_root *r)
{
    if (!r)
        return;
    pci_function_unplug(&r->bridge);
    for (unsigned s = 0; s < PCI_SLOTS; s++)
        for (unsigned n = 0; n < PCI_FUNCTIONS; n++)
            CHECK(!function_at(r, s, n));
    if (r->ports_claimed)
        bus_release(r->cfg.bus, PORT_ADDRESS, PORT_COUNT);
    if (r->ecam)
        mem_remove(r->cfg.mem, r->ecam);
    lock_destroy(&r->intx_lock);
    free(r);
}
