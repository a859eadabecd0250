#include "device/pc/pic.h"
#include <errno.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"

enum { MASTER, SLAVE, CASCADE = 2, IRQS = 16 };
enum { ICW1_INIT = 0x10, ICW1_LEVEL = 0x08, ICW1_SINGLE = 0x02, ICW1_ICW4 = 0x01 };
enum { ICW4_NESTED = 0x10, ICW4_AUTO_EOI = 0x02 };
enum {
    OCW3 = 0x08,
    OCW3_POLL = 0x04,
    OCW3_READ = 0x02,
    OCW3_READ_ISR = 0x01,
    OCW3_ESMM = 0x40,
    OCW3_SMM = 0x20
};
enum { OCW2_ROTATE = 0x80, OCW2_SPECIFIC = 0x40, OCW2_EOI = 0x20 };

struct chip {
    uint8_t lines; /* input wires now */
    uint8_t irr;   /* requests */
    uint8_t isr, imr;
    uint8_t lowest; /* the input of lowest priority; 7 after initialization */
    uint8_t base;   /* ICW2: vector of input 0 */
    uint8_t elcr;   /* inputs that are level-triggered */
    uint8_t level;  /* ICW1 LTIM: all are */
    uint8_t step;   /* initialization word expected next: 2, 3, 4; 0: none */
    uint8_t single, want_icw4;
    uint8_t nested, auto_eoi, rotate_auto;
    uint8_t special_mask, read_isr, poll;
};

struct pic {
    struct device dev;
    struct pic_config cfg;
    struct chip chip[2];
    uint8_t intr; /* output as last driven */
};

static bool is_level(const struct chip *c, unsigned bit)
{
    return c->level || (c->elcr >> bit & 1);
}

/* Requests that may be acknowledged, level inputs as their wires are. */
static uint8_t requests(const struct chip *c)
{
    uint8_t levels = c->level ? 0xff : c->elcr;
    return (uint8_t)(((c->irr & ~levels) | (c->lines & levels)) & ~c->imr);
}

/* Order of an input: 0 highest .. 7 lowest. */
static unsigned rank(const struct chip *c, unsigned bit)
{
    return (bit - c->lowest - 1) & 7;
}

static unsigned best_rank(const struct chip *c, uint8_t set)
{
    unsigned best = 8;
    for (unsigned bit = 0; bit < 8; bit++)
        if ((set >> bit & 1) && rank(c, bit) < best)
            best = rank(c, bit);
    return best;
}

/* The input that asks for service now, or -1. */
static int winner(const struct pic *p, unsigned which)
{
    const struct chip *c = &p->chip[which];
    unsigned want = best_rank(c, requests(c));
    uint8_t serving = c->isr;
    if (c->special_mask)
        serving &= (uint8_t)~c->imr;
    unsigned busy = best_rank(c, serving);
    if (want == 8 || want > busy)
        return -1;
    if (want == busy && !(which == MASTER && c->nested && want == rank(c, CASCADE)))
        return -1; /* only a nested slave may interrupt itself, by a higher input of its own */
    return (int)((want + c->lowest + 1) & 7);
}

/* The slave's output is no device: when it drops, its request is gone. */
static void set_line(struct pic *p, unsigned which, unsigned bit, bool on)
{
    struct chip *c = &p->chip[which];
    uint8_t mask = (uint8_t)(1u << bit);
    if (on && !(c->lines & mask))
        c->irr |= mask;
    if (!on && (is_level(c, bit) || (which == MASTER && bit == CASCADE)))
        c->irr &= (uint8_t)~mask;
    c->lines = on ? c->lines | mask : c->lines & (uint8_t)~mask;
}

static void update(struct pic *p)
{
    set_line(p, MASTER, CASCADE, winner(p, SLAVE) >= 0);
    uint8_t intr = winner(p, MASTER) >= 0;
    if (intr != p->intr) {
        p->intr = intr;
        irq_set(&p->cfg.out, intr);
    }
}

static void rotate_to(struct chip *c, unsigned lowest)
{
    c->lowest = (uint8_t)(lowest & 7);
}

/* Acknowledge input `bit` of one chip. */
static void acknowledge(struct chip *c, unsigned bit)
{
    if (!is_level(c, bit))
        c->irr &= (uint8_t) ~(1u << bit);
    if (!c->auto_eoi)
        c->isr |= (uint8_t)(1u << bit);
    else if (c->rotate_auto)
        rotate_to(c, bit);
}

int pic_ack(struct pic *p)
{
    int vector = -1;
    lock_take(&p->dev.lock);
    int bit = winner(p, MASTER);
    if (bit == CASCADE) {
        int sub = winner(p, SLAVE);
        acknowledge(&p->chip[MASTER], CASCADE);
        if (sub >= 0)
            acknowledge(&p->chip[SLAVE], (unsigned)sub);
        vector = p->chip[SLAVE].base +
                 (sub >= 0 ? sub : 7); /* nobody: IR7, without ISR (data sheet, edge-triggered mode) */
        set_line(p, MASTER, CASCADE, false);
    } else if (bit >= 0) {
        acknowledge(&p->chip[MASTER], (unsigned)bit);
        vector = p->chip[MASTER].base + bit;
    }
    update(p);
    lock_drop(&p->dev.lock);
    return vector;
}

/* ---- registers ---- */

static void ocw2(struct chip *c, uint8_t v)
{
    unsigned bit = v & 7;
    if (!(v & OCW2_EOI)) {
        if (v & OCW2_SPECIFIC) {
            if (v & OCW2_ROTATE)
                rotate_to(c, bit); /* set priority */
        } else {
            c->rotate_auto = (v & OCW2_ROTATE) != 0;
        }
        return;
    }
    if (!(v & OCW2_SPECIFIC)) {
        uint8_t serving = c->isr;
        if (c->special_mask)
            serving &= (uint8_t)~c->imr; /* in special mask mode a non-specific EOI passes over masked bits */
        unsigned r = best_rank(c, serving);
        if (r == 8)
            return;
        bit = (r + c->lowest + 1) & 7;
    }
    c->isr &= (uint8_t) ~(1u << bit);
    if (v & OCW2_ROTATE)
        rotate_to(c, bit);
}

static void write_command(struct chip *c, uint8_t v)
{
    if (v & ICW1_INIT) {
        c->level = (v & ICW1_LEVEL) != 0;
        c->irr = 0; /* the edge sense is reset: a wire must rise again */
        c->isr = c->imr = 0;
        c->lowest = 7;
        c->nested = c->auto_eoi = c->rotate_auto = 0;
        c->special_mask = c->read_isr = c->poll = 0;
        c->single = (v & ICW1_SINGLE) != 0;
        c->want_icw4 = (v & ICW1_ICW4) != 0;
        c->step = 2;
    } else if (v & OCW3) {
        if (v & OCW3_POLL)
            c->poll = 1;
        if (v & OCW3_READ)
            c->read_isr = (v & OCW3_READ_ISR) != 0;
        if (v & OCW3_ESMM)
            c->special_mask = (v & OCW3_SMM) != 0;
    } else {
        ocw2(c, v);
    }
}

static void write_data(struct chip *c, uint8_t v)
{
    switch (c->step) {
    case 2:
        c->base = v & 0xf8;
        c->step = !c->single ? 3 : c->want_icw4 ? 4 : 0;
        break;
    case 3: /* who is whose slave is soldered here */
        c->step = c->want_icw4 ? 4 : 0;
        break;
    case 4:
        c->nested = (v & ICW4_NESTED) != 0;
        c->auto_eoi = (v & ICW4_AUTO_EOI) != 0;
        c->step = 0;
        break;
    default:
        c->imr = v;
        break;
    }
}

/* The poll command's answer is an acknowledge cycle (data sheet, Poll Command). */
static uint8_t read_poll(struct pic *p, unsigned which)
{
    struct chip *c = &p->chip[which];
    c->poll = 0;
    int bit = winner(p, which);
    if (bit < 0)
        return 7;
    acknowledge(c, (unsigned)bit);
    if (which == SLAVE)
        set_line(p, MASTER, CASCADE, false);
    update(p);
    return (uint8_t)(0x80 | bit);
}

static uint32_t chip_read(struct pic *p, unsigned which, uint16_t offset)
{
    struct chip *c = &p->chip[which];
    if (c->poll)
        return read_poll(p, which);
    if (offset)
        return c->imr;
    if (c->read_isr)
        return c->isr;
    uint8_t levels = c->level ? 0xff : c->elcr;
    return (uint8_t)((c->irr & ~levels) | (c->lines & levels));
}

static void chip_write(struct pic *p, unsigned which, uint16_t offset, uint8_t v)
{
    if (offset)
        write_data(&p->chip[which], v);
    else
        write_command(&p->chip[which], v);
    update(p);
}

static uint32_t master_read(void *opaque, uint16_t offset, unsigned size)
{
    (void)size;
    return chip_read(opaque, MASTER, offset);
}

static void master_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    (void)size;
    chip_write(opaque, MASTER, offset, (uint8_t)value);
}

static uint32_t slave_read(void *opaque, uint16_t offset, unsigned size)
{
    (void)size;
    return chip_read(opaque, SLAVE, offset);
}

static void slave_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    (void)size;
    chip_write(opaque, SLAVE, offset, (uint8_t)value);
}

/* Inputs that a chip set keeps edge-triggered: timer, keyboard, cascade; RTC and numeric error (PIIX4 4D0h,
 * 4D1h). */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

static uint32_t elcr_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pic *p = opaque;
    (void)size;
    return p->chip[offset & 1].elcr;
}

static void elcr_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct pic *p = opaque;
    (void)size;
    p->chip[offset & 1].elcr = (uint8_t)value & elcr_writable[offset & 1];
    update(p);
}

static void pic_set(void *opaque, unsigned pin, bool level)
{
    struct pic *p = opaque;
    lock_take(&p->dev.lock);
    set_line(p, pin >> 3, pin & 7, level);
    update(p);
    lock_drop(&p->dev.lock);
}

struct irq_line pic_input(struct pic *p, unsigned irq)
{
    CHECK(irq < IRQS && irq != CASCADE);
    return (struct irq_line){pic_set, p, irq};
}

void pic_refresh(struct pic *p)
{
    lock_take(&p->dev.lock);
    irq_set(&p->cfg.out, p->intr);
    lock_drop(&p->dev.lock);
}

/* ---- the device ---- */

#define CHIP_FIELDS(n)                                                                                       \
    FIELD(struct pic, chip[n].lines), FIELD(struct pic, chip[n].irr), FIELD(struct pic, chip[n].isr),        \
        FIELD(struct pic, chip[n].imr), FIELD(struct pic, chip[n].lowest, .max = 7),                         \
        FIELD(struct pic, chip[n].base), FIELD(struct pic, chip[n].elcr),                                    \
        FIELD(struct pic, chip[n].level, .max = 1), FIELD(struct pic, chip[n].step, .max = 4),               \
        FIELD(struct pic, chip[n].single, .max = 1), FIELD(struct pic, chip[n].want_icw4, .max = 1),         \
        FIELD(struct pic, chip[n].nested, .max = 1), FIELD(struct pic, chip[n].auto_eoi, .max = 1),          \
        FIELD(struct pic, chip[n].rotate_auto, .max = 1), FIELD(struct pic, chip[n].special_mask, .max = 1), \
        FIELD(struct pic, chip[n].read_isr, .max = 1), FIELD(struct pic, chip[n].poll, .max = 1)

static const struct field pic_fields[] = {CHIP_FIELDS(0), CHIP_FIELDS(1), FIELD(struct pic, intr, .max = 1)};
static const struct field_table pic_table = {"pic", 1, pic_fields, ARRAY_LEN(pic_fields), NULL};

static unsigned pic_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&pic_table, d, d->instance};
    return max ? 1 : 0;
}

static int pic_loaded(struct device *d, struct err *e)
{
    struct pic *p = (struct pic *)(void *)d;
    (void)e;
    for (unsigned i = 0; i < 2; i++)
        p->chip[i].elcr &= elcr_writable[i];
    irq_set(&p->cfg.out, p->intr);
    return 0;
}

/* The wires are the devices'; everything else as after power-on. */
static void pic_reset(struct device *d)
{
    struct pic *p = (struct pic *)(void *)d;
    for (unsigned i = 0; i < 2; i++)
        p->chip[i] =
            (struct chip){.lines = p->chip[i].lines, .lowest = 7, .imr = 0xff, .base = i ? 0x70 : 0x08};
    update(p);
}

static void pic_free(struct device *d)
{
    struct pic *p = (struct pic *)(void *)d;
    bus_release(p->cfg.bus, p->cfg.master_port, 2);
    bus_release(p->cfg.bus, p->cfg.slave_port, 2);
    bus_release(p->cfg.bus, p->cfg.elcr_port, 2);
    device_fini(d);
    free(p);
}

static const struct device_ops pic_device_ops = {
    .kind = "pic",
    .reset = pic_reset,
    .saved = pic_saved,
    .loaded = pic_loaded,
    .free = pic_free,
};

static const struct bus_ops master_ops = {master_read, master_write, .max_size = 1};
static const struct bus_ops slave_ops = {slave_read, slave_write, .max_size = 1};
static const struct bus_ops elcr_ops = {elcr_read, elcr_write, .max_size = 1};

struct pic *pic_new(const struct pic_config *cfg, struct err *e)
{
    struct pic *p = calloc(1, sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "pic: out of memory");
        return NULL;
    }
    p->cfg = *cfg;
    device_init_rank(&p->dev, &pic_device_ops, 0, LOCK_IRQ);
    pic_reset(&p->dev);
    if (bus_claim(cfg->bus, "pic", cfg->master_port, 2, &master_ops, p, &p->dev.lock, e))
        goto fail;
    if (bus_claim(cfg->bus, "pic slave", cfg->slave_port, 2, &slave_ops, p, &p->dev.lock, e))
        goto fail_master;
    if (bus_claim(cfg->bus, "elcr", cfg->elcr_port, 2, &elcr_ops, p, &p->dev.lock, e))
        goto fail_slave;
    return p;
fail_slave:
    bus_release(cfg->bus, cfg->slave_port, 2);
fail_master:
    bus_release(cfg->bus, cfg->master_port, 2);
fail:
    device_fini(&p->dev);
    free(p);
    return NULL;
}

struct device *pic_device(struct pic *p)
{
    return &p->dev;
}
