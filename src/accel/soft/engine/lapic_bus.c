/*
 * lapic_bus: messages to local APICs: from the interrupt command register, from I/O APIC and MSI (SDM
 * 3A 11.6, 11.11).
 */
#include "accel/soft/engine/private.h"

enum { FIXED = 0, LOWEST = 1, SMI = 2, NMI = 4, INIT = 5, STARTUP = 6, EXTINT = 7 };
enum { SVR_ENABLE = 0x100, ESR_SEND_VECTOR = 0x20, ESR_RECEIVE_VECTOR = 0x40 };

static void alert(struct cpu *c, uint32_t what)
{
    cpu_attention(c, what);
    if (c->engine->attached)
        c->engine->out.wake(c->engine->opaque, c->index);
}

void lapic_inject(struct cpu *c, uint8_t vector, bool level)
{
    struct lapic *a = &c->priv->lapic;
    uint32_t bit = 1u << (vector & 31);

    if (vector < 16) {
        __atomic_fetch_or(&a->esr_next, ESR_RECEIVE_VECTOR, __ATOMIC_RELAXED);
        return;
    }
    if (level)
        __atomic_fetch_or(&a->tmr[vector >> 5], bit, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&a->tmr[vector >> 5], ~bit, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&a->irr[vector >> 5], bit, __ATOMIC_SEQ_CST);
    alert(c, ATT_INTR);
}

static bool match_logical(const struct lapic *a, uint32_t dest)
{
    uint32_t ldr = __atomic_load_n(&a->ldr, __ATOMIC_RELAXED);

    if (lapic_x2(a))
        return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
    ldr >>= 24;
    if (__atomic_load_n(&a->dfr, __ATOMIC_RELAXED) >> 28 == 0xf)
        return ldr & dest & 0xff;
    return (ldr >> 4) == (dest >> 4 & 0xf) && (ldr & dest & 0xf);
}

static bool match(const struct lapic *a, uint32_t dest, bool logical, uint32_t all)
{
    if (!(__atomic_load_n(&a->base, __ATOMIC_RELAXED) & APIC_BASE_ENABLE))
        return false;
    if (dest == all)
        return true;
    if (logical)
        return match_logical(a, dest);
    uint32_t id = __atomic_load_n(&a->id, __ATOMIC_RELAXED);
    return dest == (lapic_x2(a) ? id : id >> 24);
}

static bool accepts(const struct lapic *a)
{
    return __atomic_load_n(&a->svr, __ATOMIC_RELAXED) & SVR_ENABLE;
}

/* One CPU receives. */
static void receive(struct cpu *c, unsigned mode, uint8_t vector, bool level)
{
    switch (mode) {
    case FIXED:
    case LOWEST:
        if (accepts(&c->priv->lapic))
            lapic_inject(c, vector, level);
        break;
    case NMI:
        cpu_attention_nmi(c);
        alert(c, 0);
        break;
    case INIT:
        alert(c, ATT_INIT);
        break;
    case STARTUP:
        __atomic_store_n(&c->priv->lapic.sipi_vector, vector, __ATOMIC_RELEASE);
        alert(c, ATT_SIPI);
        break;
    default: /* SMI: there is no system management mode; ExtINT by message: nothing wires it */
        break;
    }
}

struct message {
    uint32_t dest, all; /* `all`: the destination that means everyone */
    uint8_t vector;
    unsigned mode;
    bool logical, level;
};

/* Lowest priority goes to one of those addressed, in turn: priorities are not compared, which the SDM leaves
 * to the platform (11.6.2.4). */
static int deliver(struct engine *en, const struct message *m)
{
    unsigned start = 0;
    int n = 0;

    if (m->mode == LOWEST)
        start = __atomic_fetch_add(&en->arb, 1, __ATOMIC_RELAXED);
    for (unsigned k = 0; k < en->cpus; k++) {
        struct cpu *c = en->cpu[(start + k) % en->cpus];
        if (!match(&c->priv->lapic, m->dest, m->logical, m->all))
            continue;
        if (m->mode == LOWEST && !accepts(&c->priv->lapic))
            continue;
        receive(c, m->mode, m->vector, m->level);
        n++;
        if (m->mode == LOWEST)
            break;
    }
    return n;
}

void lapic_send(struct cpu *c, uint32_t icr, uint32_t dest)
{
    struct engine *en = c->engine;
    struct message m = {.dest = dest,
                        .all = lapic_x2(&c->priv->lapic) ? 0xffffffff : 0xff,
                        .vector = (uint8_t)icr,
                        .mode = icr >> 8 & 7,
                        .logical = icr & 0x800};
    unsigned shorthand = icr >> 18 & 3;

    if (m.mode == INIT && (icr & 0xc000) == 0x8000) /* level de-assert: arbitration ids only */
        return;
    if ((m.mode == FIXED || m.mode == LOWEST) && m.vector < 16) {
        lapic_error(c, ESR_SEND_VECTOR);
        return;
    }
    switch (shorthand) {
    case 0:
        deliver(en, &m);
        return;
    case 1:
        receive(c, m.mode, m.vector, false);
        return;
    default:
        for (unsigned i = 0; i < en->cpus; i++)
            if (shorthand == 2 || en->cpu[i] != c)
                receive(en->cpu[i], m.mode, m.vector, false);
    }
}

int lapic_send_set(struct cpu *c, uint64_t low, uint64_t high, unsigned width, uint64_t first, uint32_t icr)
{
    struct engine *en = c->engine;
    int n = 0;

    for (unsigned i = 0; i < 2 * width && first + i < en->cpus; i++) {
        struct message m = {
            .dest = (uint32_t)first + i, .all = 0xffffffff, .vector = (uint8_t)icr, .mode = icr >> 8 & 7};
        if ((i < width ? low >> i : high >> (i - width)) & 1)
            n += deliver(en, &m);
    }
    return n;
}

int engine_msi(struct engine *en, uint64_t address, uint32_t data)
{
    struct message m = {.dest = (uint32_t)(address >> 12) & 0xff,
                        .all = 0xff,
                        .vector = (uint8_t)data,
                        .mode = data >> 8 & 7,
                        .logical = address & 4,
                        .level = data & 0x8000};

    if ((address & 0xfff00000u) != APIC_BASE_ADDR || address >> 32)
        return 0;
    return deliver(en, &m);
}
