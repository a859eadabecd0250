#include "device/pc/i8042.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"

enum {
    ST_OBF = 0x01,
    ST_SYS = 0x04,
    ST_COMMAND = 0x08,
    ST_UNLOCKED = 0x10,
    ST_AUX = 0x20,
    ST_TIMEOUT = 0x40
};
enum {
    CTR_KBD_INT = 0x01,
    CTR_AUX_INT = 0x02,
    CTR_SYS = 0x04,
    CTR_KBD_OFF = 0x10,
    CTR_AUX_OFF = 0x20,
    CTR_TRANSLATE = 0x40,
    CTR_BITS = 0x77
};
enum { OUT_NOT_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_FULL = 0x10, OUT_AUX_FULL = 0x20 };

enum {
    CMD_READ_RAM = 0x20,
    CMD_WRITE_RAM = 0x60,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_KBD_LOOP = 0xd2,
    CMD_AUX_LOOP = 0xd3,
    CMD_AUX_SEND = 0xd4,
    CMD_PULSE = 0xf0,
};

enum { KBD_ACK = 0xfa, KBD_RESEND = 0xfe, KBD_PASSED = 0xaa, KBD_ECHO = 0xee, NO_DEVICE = 0xfe };

enum { QUEUE = 32, RAM = 32 };

/* Where a byte in the output buffer came from: decides the interrupt and the status bits. */
enum source { FROM_CONTROLLER, FROM_KBD, FROM_AUX };

struct queue {
    uint8_t data[QUEUE], flags[QUEUE]; /* flags: ST_TIMEOUT */
    uint8_t head, count;
};

struct i8042 {
    struct device dev;
    struct i8042_config cfg;
    uint8_t ram[RAM]; /* byte 0: the controller configuration byte (CTR) */
    uint8_t status;   /* ST_OBF, ST_AUX, ST_TIMEOUT of `out`; ST_COMMAND */
    uint8_t out;      /* output buffer */
    uint8_t pending;  /* command whose parameter is awaited, 0 none */
    uint8_t out_port;
    uint8_t kbd_irq, aux_irq;
    uint8_t translating; /* 0xf0 was seen: the next code is a release */
    uint8_t scanning;    /* the keyboard reports keys */
    uint8_t kbd_param;   /* keyboard command whose parameter is awaited */
    uint8_t leds, rate, scan_set;
    struct queue reply, kbd, aux; /* waiting for the output buffer */
};

static struct i8042 *of(struct device *d)
{
    return (struct i8042 *)(void *)d;
}

static void put(struct queue *q, uint8_t byte, uint8_t flags)
{
    if (q->count == QUEUE)
        return; /* a full keyboard buffer drops keys */
    unsigned at = (q->head + q->count) % QUEUE;
    q->data[at] = byte;
    q->flags[at] = flags;
    q->count++;
}

static uint8_t take(struct queue *q, uint8_t *flags)
{
    uint8_t byte = q->data[q->head];
    *flags = q->flags[q->head];
    q->head = (uint8_t)((q->head + 1) % QUEUE);
    q->count--;
    return byte;
}

/* ---- the output buffer ---- */

static void set_irqs(struct i8042 *k)
{
    bool full = k->status & ST_OBF, aux = k->status & ST_AUX;
    uint8_t kbd_irq = full && !aux && (k->ram[0] & CTR_KBD_INT);
    uint8_t aux_irq = full && aux && (k->ram[0] & CTR_AUX_INT);
    if (kbd_irq != k->kbd_irq) {
        k->kbd_irq = kbd_irq;
        irq_set(&k->cfg.kbd_irq, kbd_irq);
    }
    if (aux_irq != k->aux_irq) {
        k->aux_irq = aux_irq;
        irq_set(&k->cfg.aux_irq, aux_irq);
    }
}

/* Scan code set 2 to set 1: the table in every controller's ROM ("Keyboard Scan Code Specification",
 * appendix). */
static const uint8_t set2_to_set1[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, /* 00 */
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, /* 10 */
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, /* 20 */
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, /* 30 */
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, /* 40 */
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, /* 50 */
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, /* 60 */
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, /* 70 */
    0x80, 0x81, 0x82, 0x41, 0x54,                                                                   /* 80 */
};

static uint8_t translate(struct i8042 *k, uint8_t code)
{
    uint8_t v = code < sizeof(set2_to_set1) ? set2_to_set1[code] : code;
    if (k->translating && v < 0x80)
        v |= 0x80;
    k->translating = 0;
    return v;
}

/* Move the next waiting byte into an empty output buffer. */
static void fill(struct i8042 *k)
{
    uint8_t flags = 0;
    while (!(k->status & ST_OBF)) {
        if (k->reply.count) {
            k->out = take(&k->reply, &flags);
        } else if (k->kbd.count && !(k->ram[0] & CTR_KBD_OFF)) {
            uint8_t code = take(&k->kbd, &flags);
            if ((k->ram[0] & CTR_TRANSLATE) && !(flags & ST_TIMEOUT)) {
                if (code == 0xf0) {
                    k->translating = 1;
                    continue;
                }
                code = translate(k, code);
            }
            k->out = code;
        } else if (k->aux.count && !(k->ram[0] & CTR_AUX_OFF)) {
            k->out = take(&k->aux, &flags);
            flags |= ST_AUX;
        } else {
            break;
        }
        k->status = (uint8_t)((k->status & ~(ST_AUX | ST_TIMEOUT)) | ST_OBF | flags);
    }
    set_irqs(k);
}

static void reply(struct i8042 *k, uint8_t v)
{
    put(&k->reply, v, 0);
}

/* ---- the keyboard ---- */

static void keyboard_defaults(struct i8042 *k)
{
    k->scanning = 1;
    k->leds = 0;
    k->rate = 0x2b;
    k->scan_set = 2;
    k->kbd_param = 0;
}

static void keyboard_param(struct i8042 *k, uint8_t command, uint8_t v)
{
    put(&k->kbd, KBD_ACK, 0);
    if (command == 0xed)
        k->leds = v & 7;
    else if (command == 0xf3)
        k->rate = v & 0x7f;
    else if (command == 0xf0 && v == 0)
        put(&k->kbd, k->scan_set, 0);
    else if (command == 0xf0 && v <= 3)
        k->scan_set = v;
}

static void keyboard_write(struct i8042 *k, uint8_t v)
{
    if (!k->cfg.keyboard) {
        put(&k->kbd, NO_DEVICE, ST_TIMEOUT);
        return;
    }
    if (k->kbd_param && v < 0xed) {
        uint8_t command = k->kbd_param;
        k->kbd_param = 0;
        keyboard_param(k, command, v);
        return;
    }
    k->kbd_param = 0;
    switch (v) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* typematic rate */
        k->kbd_param = v;
        put(&k->kbd, KBD_ACK, 0);
        break;
    case 0xee:
        put(&k->kbd, KBD_ECHO, 0);
        break;
    case 0xf2: /* identify: an MF2 keyboard */
        put(&k->kbd, KBD_ACK, 0);
        put(&k->kbd, 0xab, 0);
        put(&k->kbd, 0x83, 0);
        break;
    case 0xf4:
        k->scanning = 1;
        put(&k->kbd, KBD_ACK, 0);
        break;
    case 0xf5:
    case 0xf6:
        keyboard_defaults(k);
        k->scanning = v == 0xf6;
        put(&k->kbd, KBD_ACK, 0);
        break;
    case 0xf7: /* key types: typematic, make, break: all keys are */
    case 0xf8:
    case 0xf9:
    case 0xfa:
        put(&k->kbd, KBD_ACK, 0);
        break;
    case 0xff:
        k->kbd = (struct queue){0};
        keyboard_defaults(k);
        put(&k->kbd, KBD_ACK, 0);
        put(&k->kbd, KBD_PASSED, 0);
        break;
    default:
        put(&k->kbd, KBD_RESEND, 0);
        break;
    }
}

void i8042_ctrl_alt_del(struct i8042 *k)
{
    static const uint8_t set2[] = {0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14};
    lock_take(&k->dev.lock);
    if (k->cfg.keyboard && k->scanning && k->kbd.count + sizeof(set2) <= QUEUE) {
        for (unsigned i = 0; i < sizeof(set2); i++)
            put(&k->kbd, set2[i], 0);
        fill(k);
    }
    lock_drop(&k->dev.lock);
}

/* ---- the controller ---- */

static void write_output_port(struct i8042 *k, uint8_t v)
{
    k->out_port = v & (uint8_t) ~(OUT_KBD_FULL | OUT_AUX_FULL);
    if (!(v & OUT_NOT_RESET) && k->cfg.reset)
        k->cfg.reset(k->cfg.opaque);
}

/* A byte to the data port: a command's parameter, or for the keyboard. */
static void write_data(struct i8042 *k, uint8_t v)
{
    uint8_t command = k->pending;
    k->pending = 0;
    k->status &= (uint8_t)~ST_COMMAND;
    if (!command) {
        k->ram[0] &= (uint8_t)~CTR_KBD_OFF; /* sending to the keyboard turns its clock on */
        keyboard_write(k, v);
    } else if (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM) {
        k->ram[command - CMD_WRITE_RAM] = command == CMD_WRITE_RAM ? v & CTR_BITS : v;
    } else if (command == CMD_WRITE_OUTPUT) {
        write_output_port(k, v);
    } else if (command == CMD_KBD_LOOP) {
        reply(k, v);
    } else if (command == CMD_AUX_LOOP) {
        put(&k->reply, v, ST_AUX);
    } else if (command == CMD_AUX_SEND) {
        k->ram[0] &= (uint8_t)~CTR_AUX_OFF;
        put(&k->aux, NO_DEVICE, ST_TIMEOUT);
    }
}

static void write_command(struct i8042 *k, uint8_t v)
{
    k->status |= ST_COMMAND;
    k->pending = 0;
    if (v >= CMD_PULSE) {
        if (!(v & 1) && k->cfg.reset)
            k->cfg.reset(k->cfg.opaque);
        return;
    }
    if (v >= CMD_READ_RAM && v < CMD_READ_RAM + RAM) {
        reply(k, k->ram[v - CMD_READ_RAM]);
        return;
    }
    switch (v) {
    case CMD_AUX_OFF:
        k->ram[0] |= CTR_AUX_OFF;
        break;
    case CMD_AUX_ON:
        k->ram[0] &= (uint8_t)~CTR_AUX_OFF;
        break;
    case CMD_SELF_TEST:
        k->ram[0] |= CTR_SYS;
        reply(k, 0x55);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        reply(k, 0x00);
        break;
    case CMD_KBD_OFF:
        k->ram[0] |= CTR_KBD_OFF;
        break;
    case CMD_KBD_ON:
        k->ram[0] &= (uint8_t)~CTR_KBD_OFF;
        break;
    case CMD_READ_INPUT:
        reply(k, 0x80); /* keyboard not locked */
        break;
    case CMD_READ_OUTPUT:
        reply(k, (uint8_t)(k->out_port | (k->kbd_irq ? OUT_KBD_FULL : 0) | (k->aux_irq ? OUT_AUX_FULL : 0)));
        break;
    default:
        if ((v >= CMD_WRITE_RAM && v < CMD_WRITE_RAM + RAM) || (v >= CMD_WRITE_OUTPUT && v <= CMD_AUX_SEND))
            k->pending = v;
        break;
    }
}

static uint32_t data_read(void *opaque, uint16_t offset, unsigned size)
{
    struct i8042 *k = opaque;
    (void)offset;
    (void)size;
    uint8_t v = k->out;
    k->status &= (uint8_t)~ST_OBF;
    set_irqs(k);
    fill(k);
    return v;
}

static void data_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct i8042 *k = opaque;
    (void)offset;
    (void)size;
    write_data(k, (uint8_t)value);
    fill(k);
}

static uint32_t status_read(void *opaque, uint16_t offset, unsigned size)
{
    struct i8042 *k = opaque;
    (void)offset;
    (void)size;
    uint8_t v = k->status;
    if (!(v & ST_OBF))
        v &= (uint8_t) ~(ST_AUX | ST_TIMEOUT);
    return v | ST_UNLOCKED | ((k->ram[0] & CTR_SYS) ? ST_SYS : 0);
}

static void command_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct i8042 *k = opaque;
    (void)offset;
    (void)size;
    write_command(k, (uint8_t)value);
    fill(k);
}

/* ---- the device ---- */

#define QUEUE_FIELDS(q)                                                                                      \
    FIELD_BLOB(struct i8042, q.data), FIELD_BLOB(struct i8042, q.flags),                                     \
        FIELD(struct i8042, q.head, .max = QUEUE - 1), FIELD(struct i8042, q.count, .max = QUEUE)

static const struct field i8042_fields[] = {
    FIELD_BLOB(struct i8042, ram),
    FIELD(struct i8042, status),
    FIELD(struct i8042, out),
    FIELD(struct i8042, pending),
    FIELD(struct i8042, out_port),
    FIELD(struct i8042, kbd_irq, .max = 1),
    FIELD(struct i8042, aux_irq, .max = 1),
    FIELD(struct i8042, translating, .max = 1),
    FIELD(struct i8042, scanning, .max = 1),
    FIELD(struct i8042, kbd_param),
    FIELD(struct i8042, leds, .max = 7),
    FIELD(struct i8042, rate, .max = 0x7f),
    FIELD(struct i8042, scan_set, .max = 3),
    QUEUE_FIELDS(reply),
    QUEUE_FIELDS(kbd),
    QUEUE_FIELDS(aux),
};

static int i8042_post_load(void *obj, struct err *e)
{
    struct i8042 *k = obj;
    (void)e;
    for (unsigned i = 0; i < QUEUE; i++) {
        k->reply.flags[i] &= ST_AUX;
        k->kbd.flags[i] &= ST_TIMEOUT;
        k->aux.flags[i] &= ST_TIMEOUT;
    }
    k->ram[0] &= CTR_BITS;
    k->status &= ST_OBF | ST_COMMAND | ST_AUX | ST_TIMEOUT;
    return 0;
}

static const struct field_table i8042_table = {"i8042", 1, i8042_fields, ARRAY_LEN(i8042_fields),
                                               i8042_post_load};

static unsigned i8042_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&i8042_table, d, d->instance};
    return max ? 1 : 0;
}

static int i8042_loaded(struct device *d, struct err *e)
{
    struct i8042 *k = of(d);
    (void)e;
    irq_set(&k->cfg.kbd_irq, k->kbd_irq);
    irq_set(&k->cfg.aux_irq, k->aux_irq);
    return 0;
}

/* As a firmware leaves it: tested, interrupts and translation on, the auxiliary port off. */
static void i8042_reset(struct device *d)
{
    struct i8042 *k = of(d);
    k->reply = k->kbd = k->aux = (struct queue){0};
    for (unsigned i = 0; i < RAM; i++)
        k->ram[i] = 0;
    k->ram[0] = CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_TRANSLATE;
    k->status = k->out = k->pending = k->translating = 0;
    k->out_port = OUT_NOT_RESET | OUT_A20;
    keyboard_defaults(k);
    set_irqs(k);
}

static void i8042_free(struct device *d)
{
    struct i8042 *k = of(d);
    bus_release(k->cfg.bus, k->cfg.data_port, 1);
    bus_release(k->cfg.bus, k->cfg.command_port, 1);
    device_fini(d);
    free(k);
}

static const struct device_ops i8042_device_ops = {
    .kind = "i8042",
    .reset = i8042_reset,
    .saved = i8042_saved,
    .loaded = i8042_loaded,
    .free = i8042_free,
};

static const struct bus_ops data_ops = {data_read, data_write, .max_size = 1};
static const struct bus_ops command_ops = {status_read, command_write, .max_size = 1};

struct i8042 *i8042_new(const struct i8042_config *cfg, struct err *e)
{
    struct i8042 *k = calloc(1, sizeof(*k));
    if (!k) {
        err_set(e, ENOMEM, "i8042: out of memory");
        return NULL;
    }
    k->cfg = *cfg;
    device_init(&k->dev, &i8042_device_ops, 0);
    i8042_reset(&k->dev);
    if (bus_claim(cfg->bus, "i8042 data", cfg->data_port, 1, &data_ops, k, &k->dev.lock, e))
        goto fail;
    if (bus_claim(cfg->bus, "i8042 command", cfg->command_port, 1, &command_ops, k, &k->dev.lock, e))
        goto fail_data;
    return k;
fail_data:
    bus_release(cfg->bus, cfg->data_port, 1);
fail:
    device_fini(&k->dev);
    free(k);
    return NULL;
}

struct device *i8042_device(struct i8042 *k)
{
    return &k->dev;
}
