#include "device/pc/serial.h"
#include <errno.h>
#include <stdlib.h>
#include "backend/chr/chr.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, SERIAL_PORTS };
enum { FIFO_SIZE = 16, POLLS = 64 };

enum { IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8 };
enum {
    IIR_NONE = 0x01,
    IIR_MODEM = 0x00,
    IIR_TX = 0x02,
    IIR_RX = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_STOP = 4, LCR_PARITY = 8, LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum {
    LSR_DR = 1,
    LSR_OE = 2,
    LSR_BI = 0x10,
    LSR_ERRORS = 0x1e,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERR = 0x80
};
enum {
    MSR_DCTS = 1,
    MSR_DDSR = 2,
    MSR_TERI = 4,
    MSR_DDCD = 8,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80
};

struct fifo {
    uint8_t data[FIFO_SIZE], flags[FIFO_SIZE]; /* flags: LSR error bits that came with the character */
    uint8_t head, count;
};

struct serial {
    struct device dev;
    struct serial_config cfg;
    struct chr_client client;
    struct clock_timer *timer;
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t msr;         /* lines and deltas as read */
    uint8_t line_errors; /* LSR 1..4, until LSR is read */
    uint8_t tx_pending;  /* the THRE interrupt's latch: set when THR empties, cleared by reading it in IIR or
                            writing THR */
    uint8_t rx_timeout;  /* character time-out is indicated */
    uint8_t irq_level;
    uint64_t timeout_at; /* guest ns of the armed character time-out, 0 none */
    struct fifo rx, tx;
    struct fifo line; /* characters that left the backend and have not arrived: in front of what it has */
    uint8_t unseen;   /* the last of rx that came from there, of which the guest does not know */
    uint8_t polls;    /* how often the guest looked for a character in vain, up to POLLS */
    uint8_t lsr_read; /* LSR was read, and nothing written since: what it was read for is still open */
    bool turned_away; /* the backend has more, and awaits being asked for it */
};

static unsigned fifo_room(const struct serial *s, const struct fifo *f)
{
    unsigned cap = (s->fcr & FCR_ENABLE) ? FIFO_SIZE : 1;
    return f->count < cap ? cap - f->count : 0;
}

static void fifo_push(struct fifo *f, uint8_t byte, uint8_t flags)
{
    unsigned at = (f->head + f->count) % FIFO_SIZE;
    f->data[at] = byte;
    f->flags[at] = flags;
    f->count++;
}

static uint8_t fifo_pop(struct fifo *f)
{
    uint8_t byte = f->data[f->head];
    f->head = (uint8_t)((f->head + 1) % FIFO_SIZE);
    f->count--;
    return byte;
}

/* ---- interrupts ---- */

static unsigned rx_trigger(const struct serial *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return (s->fcr & FCR_ENABLE) ? level[s->fcr >> 6] : 1;
}

/* The highest pending source, by the priorities of the data sheet's table III. */
static uint8_t iir_source(const struct serial *s)
{
    if ((s->ier & IER_LINE) && (s->line_errors & LSR_ERRORS))
        return IIR_LINE;
    if ((s->ier & IER_RX) && s->rx.count >= rx_trigger(s))
        return IIR_RX;
    if ((s->ier & IER_RX) && s->rx_timeout)
        return IIR_TIMEOUT;
    if ((s->ier & IER_TX) && s->tx_pending)
        return IIR_TX;
    if ((s->ier & IER_MODEM) && (s->msr & 0x0f))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct serial *s)
{
    bool gate = (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);
    uint8_t level = gate && iir_source(s) != IIR_NONE;
    if (level != s->irq_level) {
        s->irq_level = level;
        irq_set(&s->cfg.irq, level);
    }
}

/* Four character times, as the line is programmed (data sheet 8.4.1). */
static uint64_t timeout_ns(const struct serial *s)
{
    unsigned bits = 1 + 5 + (s->lcr & 3) + ((s->lcr & LCR_PARITY) ? 1 : 0) + ((s->lcr & LCR_STOP) ? 2 : 1);
    unsigned divisor = (unsigned)s->dlm << 8 | s->dll;
    return 4ull * bits * (divisor ? divisor : 1) * 1000000000ull / 115200;
}

/* After a character came or went: the time-out counts anew while some wait below the trigger level. */
static void restart_timeout(struct serial *s)
{
    s->rx_timeout = 0;
    if ((s->fcr & FCR_ENABLE) && s->rx.count) {
        s->timeout_at = clock_now(s->cfg.clock) + timeout_ns(s);
        clock_timer_arm(s->timer, s->timeout_at);
    } else if (s->timeout_at) {
        s->timeout_at = 0;
        clock_timer_disarm(s->timer);
    }
}

static void on_timeout(void *opaque)
{
    struct serial *s = opaque;
    lock_take(&s->dev.lock);
    if (s->timeout_at && clock_now(s->cfg.clock) >= s->timeout_at) {
        s->timeout_at = 0;
        s->rx_timeout = s->rx.count != 0;
        update_irq(s);
    }
    lock_drop(&s->dev.lock);
}

/* ---- receiving ---- */

/* Errors of the character at the top of the FIFO become visible in LSR. */
static void reveal_top(struct serial *s)
{
    if (s->rx.count)
        s->line_errors |= s->rx.flags[s->rx.head];
}

static void receive_byte(struct serial *s, uint8_t byte, uint8_t flags)
{
    s->unseen = 0;
    if (!fifo_room(s, &s->rx)) {
        s->line_errors |= LSR_OE;
        if (s->fcr & FCR_ENABLE)
            return; /* the FIFO keeps what it has; the shift register is overwritten */
        s->rx.count = 0;
    }
    fifo_push(&s->rx, byte, flags);
    if (s->rx.count == 1)
        reveal_top(s);
}

/* Does the guest wait for characters? It takes interrupts, or polls. */
static bool listening(const struct serial *s)
{
    bool irq = (s->ier & IER_RX) && (s->mcr & MCR_OUT2);
    return (irq || s->polls == POLLS) && !(s->mcr & MCR_LOOP);
}

/* From the line into the FIFO, as far as there is room. */
static void arrive(struct serial *s)
{
    uint8_t n = 0, unseen = s->unseen;
    for (; s->line.count && listening(s) && fifo_room(s, &s->rx); n++)
        receive_byte(s, fifo_pop(&s->line), 0);
    if (n)
        restart_timeout(s);
    s->unseen = (uint8_t)(unseen + n);
}

static size_t chr_can_receive(void *opaque)
{
    struct serial *s = opaque;
    lock_take(&s->dev.lock);
    size_t n = listening(s) && !s->line.count ? fifo_room(s, &s->rx) : 0;
    s->turned_away = !n;
    lock_drop(&s->dev.lock);
    return n;
}

/* At most what chr_can_receive said; the guest may have changed its mind since. */
static void chr_receive(void *opaque, const uint8_t *p, size_t n)
{
    struct serial *s = opaque;
    lock_take(&s->dev.lock);
    for (size_t i = 0; i < n && s->line.count < FIFO_SIZE; i++)
        fifo_push(&s->line, p[i], 0);
    arrive(s);
    update_irq(s);
    lock_drop(&s->dev.lock);
}

/* There is room, or the guest listens, anew. */
static void ask_for_input(struct serial *s)
{
    arrive(s);
    update_irq(s);
    if (s->turned_away && s->cfg.chr && listening(s) && !s->line.count) {
        s->turned_away = false;
        s->cfg.chr->ops->resume(s->cfg.chr);
    }
}

/* The guest looked for a character, and there was none. */
static void note_poll(struct serial *s)
{
    if (s->polls < POLLS && ++s->polls == POLLS)
        ask_for_input(s);
}

/* The receiver's FIFO is emptied. What the guest does not know of might as well arrive after that. */
static void empty_rx(struct serial *s)
{
    uint8_t at = (uint8_t)(s->rx.head + s->rx.count - s->unseen);
    struct fifo line = {0};
    for (; s->unseen; s->unseen--)
        fifo_push(&line, s->rx.data[at++ % FIFO_SIZE], 0);
    while (s->line.count && line.count < FIFO_SIZE)
        fifo_push(&line, fifo_pop(&s->line), 0);
    s->line = line;
    s->rx = (struct fifo){0};
}

static uint8_t read_data(struct serial *s)
{
    if (!s->rx.count)
        return 0;
    bool was_full = !fifo_room(s, &s->rx);
    uint8_t byte = fifo_pop(&s->rx);
    if (s->unseen > s->rx.count)
        s->unseen = s->rx.count;
    reveal_top(s);
    restart_timeout(s);
    update_irq(s);
    if (was_full || !s->rx.count)
        ask_for_input(s);
    return byte;
}

/* ---- transmitting ---- */

/* Hand waiting characters to the backend, as many as it takes. */
static void drain_tx(struct serial *s)
{
    bool had = s->tx.count != 0;
    while (s->tx.count) {
        if (s->mcr & MCR_LOOP) {
            receive_byte(s, fifo_pop(&s->tx), 0);
        } else if (!s->cfg.chr) {
            fifo_pop(&s->tx);
        } else {
            unsigned run = FIFO_SIZE - s->tx.head;
            size_t n = s->tx.count < run ? s->tx.count : run;
            size_t took = s->cfg.chr->ops->write(s->cfg.chr, &s->tx.data[s->tx.head], n);
            took = took < n ? took : n;
            s->tx.head = (uint8_t)((s->tx.head + took) % FIFO_SIZE);
            s->tx.count = (uint8_t)(s->tx.count - took);
            if (took < n)
                break;
        }
    }
    if (had && !s->tx.count)
        s->tx_pending = 1;
}

static void chr_writable(void *opaque)
{
    struct serial *s = opaque;
    lock_take(&s->dev.lock);
    drain_tx(s);
    update_irq(s);
    lock_drop(&s->dev.lock);
}

static void write_data(struct serial *s, uint8_t byte)
{
    s->tx_pending = s->lsr_read = 0;
    update_irq(s);
    if (fifo_room(s, &s->tx))
        fifo_push(&s->tx, byte, 0);
    drain_tx(s);
    if (s->mcr & MCR_LOOP)
        restart_timeout(s);
    update_irq(s);
}

/* ---- the other registers ---- */

/* The modem lines: from the other end, or in loopback from our own outputs (data sheet 8.7). Changes set the
 * deltas. */
static void update_modem(struct serial *s)
{
    uint8_t lines = s->cfg.chr ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    if (s->mcr & MCR_LOOP)
        lines = (uint8_t)(((s->mcr & MCR_RTS) ? MSR_CTS : 0) | ((s->mcr & MCR_DTR) ? MSR_DSR : 0) |
                          ((s->mcr & MCR_OUT1) ? MSR_RI : 0) | ((s->mcr & MCR_OUT2) ? MSR_DCD : 0));
    uint8_t changed = (uint8_t)((s->msr ^ lines) & 0xf0);
    uint8_t delta = (uint8_t)(s->msr & 0x0f);
    if (changed & MSR_CTS)
        delta |= MSR_DCTS;
    if (changed & MSR_DSR)
        delta |= MSR_DDSR;
    if ((changed & MSR_RI) && !(lines & MSR_RI))
        delta |= MSR_TERI;
    if (changed & MSR_DCD)
        delta |= MSR_DDCD;
    s->msr = (uint8_t)(lines | delta);
}

static void write_fcr(struct serial *s, uint8_t v)
{
    bool toggled = (v ^ s->fcr) & FCR_ENABLE;
    if (toggled || (v & FCR_CLEAR_RX)) {
        empty_rx(s);
        s->line_errors &= LSR_OE;
    }
    if (toggled || (v & FCR_CLEAR_TX)) {
        if (s->tx.count)
            s->tx_pending = 1;
        s->tx = (struct fifo){0};
    }
    s->fcr = (v & FCR_ENABLE) ? v & 0xc9 : 0;
    s->polls = 0;
    restart_timeout(s);
    ask_for_input(s);
}

static void write_ier(struct serial *s, uint8_t v)
{
    bool tx_on = (v & IER_TX) && !(s->ier & IER_TX);
    s->ier = v & 0x0f;
    s->polls = 0;
    if (tx_on && !s->tx.count)
        s->tx_pending = 1;
    ask_for_input(s);
}

static void write_mcr(struct serial *s, uint8_t v)
{
    s->mcr = v & 0x1f;
    update_modem(s);
    ask_for_input(s);
}

static void write_lcr(struct serial *s, uint8_t v)
{
    bool brk = (v & LCR_BREAK) && !(s->lcr & LCR_BREAK);
    s->lcr = v;
    if (brk && (s->mcr & MCR_LOOP)) {
        receive_byte(s, 0, LSR_BI);
        restart_timeout(s);
        update_irq(s);
    }
}

static uint8_t read_lsr(struct serial *s)
{
    uint8_t v = s->line_errors;
    if (s->rx.count)
        v |= LSR_DR;
    if (!s->tx.count)
        v |= LSR_THRE | LSR_TEMT;
    if (s->fcr & FCR_ENABLE)
        for (unsigned i = 0; i < s->rx.count; i++)
            if (s->rx.flags[(s->rx.head + i) % FIFO_SIZE])
                v |= LSR_FIFO_ERR;
    s->line_errors = s->unseen = 0;
    if (s->rx.count)
        s->rx.flags[s->rx.head] = 0;
    update_irq(s);
    if ((v & (LSR_DR | LSR_THRE)) == LSR_THRE && s->lsr_read)
        note_poll(s);
    s->lsr_read = 1;
    return v;
}

static uint8_t read_iir(struct serial *s)
{
    uint8_t v = iir_source(s);
    if (v == IIR_TX) {
        s->tx_pending = 0;
        update_irq(s);
    }
    if (v == IIR_NONE && (s->ier & IER_RX))
        note_poll(s);
    return (uint8_t)(v | ((s->fcr & FCR_ENABLE) ? IIR_FIFO : 0));
}

static uint32_t serial_read(void *opaque, uint16_t offset, unsigned size)
{
    struct serial *s = opaque;
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t v;
    (void)size;
    switch (offset) {
    case REG_DATA:
        return dlab ? s->dll : read_data(s);
    case REG_IER:
        return dlab ? s->dlm : s->ier;
    case REG_IIR_FCR:
        return read_iir(s);
    case REG_LCR:
        return s->lcr;
    case REG_MCR:
        return s->mcr;
    case REG_LSR:
        return read_lsr(s);
    case REG_MSR:
        v = s->msr;
        s->msr &= 0xf0;
        update_irq(s);
        return v;
    default:
        return s->scr;
    }
}

static void serial_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct serial *s = opaque;
    uint8_t v = (uint8_t)value;
    bool dlab = s->lcr & LCR_DLAB;
    (void)size;
    switch (offset) {
    case REG_DATA:
        if (dlab)
            s->dll = v;
        else
            write_data(s, v);
        break;
    case REG_IER:
        if (dlab)
            s->dlm = v;
        else
            write_ier(s, v);
        break;
    case REG_IIR_FCR:
        write_fcr(s, v);
        break;
    case REG_LCR:
        write_lcr(s, v);
        break;
    case REG_MCR:
        write_mcr(s, v);
        break;
    case REG_SCR:
        s->scr = v;
        break;
    default: /* LSR and MSR: writes are for factory tests only */
        break;
    }
}

/* ---- the device ---- */

static const struct field serial_fields[] = {
    FIELD(struct serial, ier, .max = 0x0f),
    FIELD(struct serial, fcr),
    FIELD(struct serial, lcr),
    FIELD(struct serial, mcr, .max = 0x1f),
    FIELD(struct serial, scr),
    FIELD(struct serial, dll, .dflt = 1),
    FIELD(struct serial, dlm),
    FIELD(struct serial, msr),
    FIELD(struct serial, line_errors, .max = LSR_ERRORS),
    FIELD(struct serial, tx_pending, .max = 1),
    FIELD(struct serial, rx_timeout, .max = 1),
    FIELD(struct serial, irq_level, .max = 1),
    FIELD(struct serial, timeout_at),
    FIELD_BLOB(struct serial, rx.data),
    FIELD_BLOB(struct serial, rx.flags),
    FIELD(struct serial, rx.head, .max = FIFO_SIZE - 1),
    FIELD(struct serial, rx.count, .max = FIFO_SIZE),
    FIELD_BLOB(struct serial, tx.data),
    FIELD_BLOB(struct serial, tx.flags),
    FIELD(struct serial, tx.head, .max = FIFO_SIZE - 1),
    FIELD(struct serial, tx.count, .max = FIFO_SIZE),
    FIELD_BLOB(struct serial, line.data, .since = 2),
    FIELD(struct serial, line.head, .since = 2, .max = FIFO_SIZE - 1),
    FIELD(struct serial, line.count, .since = 2, .max = FIFO_SIZE),
    FIELD(struct serial, unseen, .since = 2, .max = FIFO_SIZE),
    FIELD(struct serial, polls, .since = 2, .dflt = POLLS, .max = POLLS), /* version 1 held nothing back */
    FIELD(struct serial, lsr_read, .since = 2, .max = 1),
};

static const struct field_table serial_table = {"serial", 2, serial_fields, ARRAY_LEN(serial_fields), NULL};

static unsigned serial_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&serial_table, d, d->instance};
    return max ? 1 : 0;
}

static int serial_loaded(struct device *d, struct err *e)
{
    struct serial *s = (struct serial *)(void *)d;
    (void)e;
    for (unsigned i = 0; i < FIFO_SIZE; i++)
        s->rx.flags[i] &= LSR_ERRORS;
    if (s->unseen > s->rx.count)
        s->unseen = s->rx.count;
    if (s->timeout_at)
        clock_timer_arm(s->timer, s->timeout_at);
    irq_set(&s->cfg.irq, s->irq_level);
    return 0;
}

static void serial_reset(struct device *d)
{
    struct serial *s = (struct serial *)(void *)d;
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->dll = 1; /* undefined on the chip; what a firmware leaves: 115200 */
    s->dlm = 0;
    s->line_errors = s->tx_pending = s->rx_timeout = s->polls = s->lsr_read = 0;
    empty_rx(s);
    s->tx = (struct fifo){0};
    restart_timeout(s);
    update_modem(s);
    s->msr &= 0xf0;
    update_irq(s);
}

/* Start the flow from and to the backend: after a pause, or at first. */
static void serial_resume(struct device *d)
{
    struct serial *s = (struct serial *)(void *)d;
    lock_take(&d->lock);
    drain_tx(s);
    s->turned_away = true; /* whatever it was told before */
    ask_for_input(s);
    lock_drop(&d->lock);
}

static void serial_free(struct device *d)
{
    struct serial *s = (struct serial *)(void *)d;
    if (s->cfg.chr)
        s->cfg.chr->ops->attach(s->cfg.chr, NULL);
    bus_release(s->cfg.bus, s->cfg.port, SERIAL_PORTS);
    clock_timer_free(s->timer);
    device_fini(d);
    free(s);
}

static const struct device_ops serial_device_ops = {
    .kind = "serial",
    .reset = serial_reset,
    .resume = serial_resume,
    .saved = serial_saved,
    .loaded = serial_loaded,
    .free = serial_free,
};

static const struct bus_ops serial_bus_ops = {serial_read, serial_write, .max_size = 1};

struct serial *serial_new(const struct serial_config *cfg, struct err *e)
{
    struct serial *s = calloc(1, sizeof(*s));
    if (!s) {
        err_set(e, ENOMEM, "serial: out of memory");
        return NULL;
    }
    s->cfg = *cfg;
    device_init(&s->dev, &serial_device_ops, cfg->instance);
    s->timer = clock_timer_new(cfg->clock, cfg->loop, on_timeout, s, e);
    if (!s->timer)
        goto fail;
    serial_reset(&s->dev);
    if (bus_claim(cfg->bus, "serial", cfg->port, SERIAL_PORTS, &serial_bus_ops, s, &s->dev.lock, e))
        goto fail_timer;
    s->client = (struct chr_client){chr_can_receive, chr_receive, chr_writable, s};
    if (cfg->chr)
        cfg->chr->ops->attach(cfg->chr, &s->client);
    return s;
fail_timer:
    clock_timer_free(s->timer);
fail:
    device_fini(&s->dev);
    free(s);
    return NULL;
}

struct device *serial_device(struct serial *s)
{
    return &s->dev;
}
