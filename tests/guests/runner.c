/* runner: boots small guests, one after the other, and tells who passed. See runner.h and README.md. */
#include "runner.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "accel/soft/engine/xlate.h"
#include "accel/soft/internal.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "x86/state.h"

enum { LIMIT_S = 60, SKIP = 77 };

/* Of the command line. */
struct how {
    bool kvm, slow, interpret;
    unsigned effort;
};

void machine_fail(struct machine *m, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!m->why[0])
        vsnprintf(m->why, sizeof m->why, fmt, ap);
    va_end(ap);
    m->done = true;
}

/* ---- devices ---- */

static void kick_all(struct machine *m)
{
    for (unsigned i = 0; i < m->cpus; i++)
        vcpu_kick(m->cpu[i].v);
}

static uint32_t port_read(void *opaque, uint16_t offset, unsigned size)
{
    struct machine *m = opaque;
    uint32_t v = 0;

    (void)offset;
    for (unsigned i = 0; i < size; i++)
        v |= (uint32_t)m->stream++ << (8 * i);
    return v;
}

static void port_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct machine *m = opaque;

    (void)offset, (void)size;
    m->arg += value;
}

static uint32_t echo_read(void *opaque, uint16_t offset, unsigned size)
{
    struct machine *m = opaque;
    uint32_t v = 0;

    memcpy(&v, (uint8_t *)&m->echo + offset, size);
    return v;
}

static void echo_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct machine *m = opaque;

    memcpy((uint8_t *)&m->echo + offset, &value, size);
}

static void text_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct machine *m = opaque;

    (void)offset, (void)size;
    if (m->text_len < sizeof m->text - 1)
        m->text[m->text_len++] = (char)value;
}

static void verdict_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct machine *m = opaque;

    (void)offset, (void)size;
    m->verdict = value;
    if (value)
        machine_fail(m, "the check in line %u", value);
    m->done = true;
    kick_all(m);
}

static uint32_t control_read(void *opaque, uint16_t offset, unsigned size)
{
    struct machine *m = opaque;

    (void)size;
    return offset == 0 ? m->request : offset == 4 ? m->arg : m->arg2;
}

/* Which CPU asks is in the upper half. */
static void request_write(struct machine *m, uint32_t value)
{
    m->requester = value >> 16 < m->cpus ? value >> 16 : 0;
    m->request = value & 0xffff;
    vcpu_kick(m->cpu[m->requester].v);
}

static void control_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct machine *m = opaque;

    (void)size;
    if (offset == 4)
        m->arg = value;
    else if (offset == 8)
        m->arg2 = value;
    else
        request_write(m, value);
}

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned size)
{
    struct machine *m = opaque;
    uint64_t v = 0;

    m->accesses++;
    memcpy(&v, m->regs + offset, size);
    return v;
}

static void regs_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    m->accesses++;
    memcpy(m->regs + offset, &value, size);
    if (offset == REGS_REQUEST)
        request_write(m, (uint32_t)value);
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
    struct machine *m = opaque;
    uint64_t v = 0;

    memcpy(&v, m->flash->host + offset, size);
    return v;
}

static void flash_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    (void)size, (void)value;
    (void)offset;
    m->flash_writes++;
}

static uint64_t bell_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque, (void)offset, (void)size;
    return 0;
}

static void bell_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;
    uint64_t one = 1;

    (void)offset, (void)size, (void)value;
    if (write(m->bell, &one, sizeof one) < 0)
        machine_fail(m, "doorbell");
}

static int ack_extint(void *opaque)
{
    struct machine *m = opaque;
    int vector = m->extint_vector;

    m->extint_vector = -1;
    accel_extint(m->a, false);
    return vector;
}

static void on_eoi(void *opaque, uint8_t vector)
{
    struct machine *m = opaque;

    m->last_eoi = vector;
    m->eois++;
}

/* ---- building ---- */

static const struct bus_ops stream_ops = {.read = port_read, .write = port_write};
static const struct bus_ops echo_ops = {.read = echo_read, .write = echo_write};
static const struct bus_ops text_ops = {.read = port_read, .write = text_write};
static const struct bus_ops verdict_ops = {.read = port_read, .write = verdict_write};
static const struct bus_ops control_ops = {.read = control_read, .write = control_write};
static const struct mem_ops regs_ops = {.read = regs_read, .write = regs_write};
static const struct mem_ops flash_ops = {.read = flash_read, .write = flash_write};
static const struct mem_ops bell_ops = {.read = bell_read, .write = bell_write};

static int build_bus(struct machine *m, struct err *e)
{
    int r = bus_claim(m->bus, "echo", PORT_ECHO, 4, &echo_ops, m, &m->lock, e);

    if (!r)
        r = bus_claim(m->bus, "text", PORT_TEXT, 1, &text_ops, m, &m->lock, e);
    if (!r)
        r = bus_claim(m->bus, "verdict", PORT_VERDICT, 4, &verdict_ops, m, &m->lock, e);
    if (!r)
        r = bus_claim(m->bus, "control", PORT_REQUEST, 12, &control_ops, m, &m->lock, e);
    if (!r)
        r = bus_claim(m->bus, "stream", PORT_STREAM, 4, &stream_ops, m, &m->lock, e);
    return r;
}

static int build_memory(struct machine *m, struct err *e)
{
    struct ram *rom = ram_new("rom", MEM_PAGE, RAM_ANONYMOUS, e);

    m->ram = ram_new("ram", RAM_SIZE, RAM_ANONYMOUS, e);
    m->flash = ram_new("flash", MEM_PAGE, RAM_ANONYMOUS, e);
    if (!m->ram || !rom || !m->flash)
        return -ENOMEM;
    memset(rom->host, 0x5a, MEM_PAGE);
    memset(m->flash->host, 0xa5, MEM_PAGE);
    struct mem_region all[] = {
        {.name = "ram", .base = 0, .size = RAM_SIZE, .kind = MEM_RAM, .ram = m->ram},
        {.name = "rom", .base = ROM_AT, .size = MEM_PAGE, .kind = MEM_ROM, .ram = rom},
        {.name = "flash",
         .base = FLASH_AT,
         .size = MEM_PAGE,
         .kind = MEM_ROMD,
         .ram = m->flash,
         .ops = &flash_ops,
         .opaque = m,
         .lock = &m->lock},
        {.name = "regs",
         .base = REGS_AT,
         .size = MEM_PAGE,
         .kind = MEM_MMIO,
         .ops = &regs_ops,
         .opaque = m,
         .lock = &m->lock},
        {.name = "bell",
         .base = BELL_AT,
         .size = MEM_PAGE,
         .kind = MEM_MMIO,
         .ops = &bell_ops,
         .opaque = m,
         .lock = &m->lock},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct mem_region *r = mem_add(m->mem, &all[i], e);

        if (!r)
            return -EINVAL;
        if (i == 0)
            m->ram_region = r;
    }
    return 0;
}

static struct accel *open_accel(struct machine *m, const struct how *how, struct err *e)
{
    bool kvm = how->kvm;
    struct accel_config c = {.mem = m->mem,
                             .bus = m->bus,
                             .clock = m->clock,
                             .cpus = m->cpus,
                             .cpu_model = "default",
                             .cb = {.ack_extint = ack_extint, .eoi = on_eoi, .opaque = m}};
    struct accel *a = kvm ? accel_kvm_open(&c, e) : accel_soft_open(&c, e);

    /* A KVM that emulates may offer next to nothing. */
    if (!a && kvm && strstr(e->msg, "lacks")) {
        c.cpu_model = "x86-64-v1";
        a = accel_kvm_open(&c, e);
    }
    if (a && how->interpret)
        CONTAINER_OF(a, struct soft, base)->engine->xlate->enabled = 0;
    return a;
}

/* The CPU starts in real mode at LOAD_AT, segments 0. */
static int start_at(struct machine *m, struct err *e)
{
    struct x86_state s;
    int r = vcpu_get(m->cpu[0].v, &s, e);

    if (r)
        return r;
    s.seg[X86_CS].base = 0;
    s.seg[X86_CS].sel = 0;
    s.rip = LOAD_AT;
    s.gpr[X86_RSP] = 0x7000;
    return vcpu_set(m->cpu[0].v, &s, e);
}

static int load(struct machine *m, const char *path, struct err *e)
{
    uint8_t *data;
    size_t len;
    int r = host_read_file(path, 1 << 20, &data, &len, e);

    if (r)
        return r;
    /* JMP; "LGT1"; number of CPUs; flags: bit 0, not on a KVM that emulates kernel code */
    if (len < 9 || memcmp(data + 3, "LGT1", 4) || data[7] < 1 || data[7] > MAX_CPUS) {
        free(data);
        return err_set(e, EINVAL, "%s: is no guest of ours", path);
    }
    m->cpus = data[7];
    m->skipped = data[8] & 1 && m->slow;
    r = mem_write(m->mem, LOAD_AT, data, len);
    free(data);
    return r;
}

static void *cpu_main(void *opaque)
{
    struct cpu_thread *t = opaque;
    struct machine *m = t->m;
    struct vcpu_exit_info info = {0};
    struct err e = {""};

    while (!m->done) {
        switch (vcpu_run(t->v, &info, &e)) {
        case VCPU_KICKED:
            if (!m->done && m->request && m->requester == t->index) {
                if (vcpu_quiesce(t->v, &e))
                    machine_fail(m, "quiesce: %s", e.msg);
                else
                    machine_request(m, t);
                m->request = 0;
            }
            break;
        case VCPU_DEBUG:
            machine_debug(m, t, &info);
            break;
        case VCPU_TRIPLE_FAULT:
            if (m->triple_expected)
                m->done = true;
            else
                machine_fail(m, "triple fault of CPU %u", t->index);
            break;
        case VCPU_FAILED:
            machine_fail(m, "CPU %u: %s", t->index, e.msg);
            break;
        }
    }
    kick_all(m);
    return NULL;
}

static void run(struct machine *m)
{
    uint64_t end = host_now_ns() + LIMIT_S * 1000000000ull + m->effort * 100000000ull;
    struct err e;

    clock_start(m->clock);
    accel_time_stopped(m->a, false);
    for (unsigned i = 0; i < m->cpus; i++)
        if (host_thread(&m->cpu[i].thread, "vcpu", cpu_main, &m->cpu[i]))
            abort();
    while (!m->done && host_now_ns() < end)
        usleep(500);
    if (!m->done) {
        struct x86_state s;

        machine_fail(m, "no verdict in %u s", LIMIT_S + m->effort / 10);
        kick_all(m);
        for (unsigned i = 0; i < m->cpus; i++) {
            pthread_join(m->cpu[i].thread, NULL);
            if (vcpu_quiesce(m->cpu[i].v, &e) == 0 && vcpu_get(m->cpu[i].v, &s, &e) == 0)
                fprintf(stderr, "  CPU %u: rip %#llx cs %#x rflags %#llx cr0 %#llx cr2 %#llx mp %u\n", i,
                        (unsigned long long)s.rip, s.seg[X86_CS].sel, (unsigned long long)s.rflags,
                        (unsigned long long)s.cr0, (unsigned long long)s.cr2, s.mp_state);
        }
        return;
    }
    kick_all(m);
    for (unsigned i = 0; i < m->cpus; i++)
        pthread_join(m->cpu[i].thread, NULL);
}

static int run_guest(struct machine *m, const char *path, const struct how *how, struct err *e)
{
    int r;

    lock_init(&m->lock, LOCK_DEVICE);
    m->extint_vector = -1;
    m->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    m->irq_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    m->mem = mem_map_new(e);
    m->bus = bus_new(e);
    m->clock = clock_new(e);
    if (m->bell < 0 || m->irq_event < 0 || !m->mem || !m->bus || !m->clock)
        return -ENOMEM;
    r = build_memory(m, e);
    if (!r)
        r = build_bus(m, e);
    if (!r)
        r = load(m, path, e);
    if (r || m->skipped)
        return r;
    m->a = open_accel(m, how, e);
    if (!m->a)
        return -ENODEV;
    for (unsigned i = 0; i < m->cpus; i++) {
        m->cpu[i] = (struct cpu_thread){.m = m, .index = i, .v = vcpu_new(m->a, i, e)};
        if (!m->cpu[i].v)
            return -ENODEV;
    }
    r = start_at(m, e);
    if (!r)
        run(m);
    return r;
}

static void tear_down(struct machine *m)
{
    for (unsigned i = 0; i < m->cpus; i++)
        vcpu_free(m->cpu[i].v);
    accel_close(m->a);
    bus_free(m->bus);
    mem_map_free(m->mem);
    clock_free(m->clock);
    close(m->bell);
    close(m->irq_event);
    lock_destroy(&m->lock);
}

enum outcome { PASSED, FAILED, SKIPPED };

static enum outcome guest(const char *path, const struct how *how)
{
    struct machine *m = calloc(1, sizeof *m);
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct err e = {""};
    uint64_t start = host_now_ns();
    enum outcome o;

    if (!m)
        abort();
    m->slow = how->slow;
    m->effort = how->effort;
    m->interpret = how->interpret;
    if (run_guest(m, path, how, &e))
        machine_fail(m, "%s", e.msg);
    o = m->why[0] ? FAILED : m->skipped ? SKIPPED : PASSED;
    printf("%s %s (%s, %u ms)%s%s\n",
           o == PASSED   ? "ok"
           : o == FAILED ? "FAIL"
                         : "skipped",
           name,
           how->kvm         ? "kvm"
           : how->interpret ? "interpreter"
                            : "soft",
           (unsigned)((host_now_ns() - start) / 1000000), o == PASSED ? "" : ": ",
           o == SKIPPED ? "leans on what a KVM that emulates kernel code gets wrong" : m->why);
    if (m->text_len)
        printf("%.*s\n", (int)m->text_len, m->text);
    fflush(stdout);
    tear_down(m);
    free(m);
    return o;
}

/* Is there a KVM to test? 0: yes. Else the exit status. */
static int look_for_kvm(bool optional, bool native, bool *slow)
{
    struct err e = {""};
    int r = accel_kvm_probe(NULL, &e);

    *slow = r == -EOPNOTSUPP;
    if (r && !*slow) {
        printf("skipped: %s\n", e.msg);
        return optional ? 0 : SKIP;
    }
    if (*slow)
        printf("# %s\n", e.msg);
    if (*slow && native)
        return 1;
    return -1;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: runner --accel kvm|soft [--optional] [--native] [--interpret] [--effort MS] GUEST...\n"
            "--optional: no KVM is no failure; --native: a KVM that emulates is one; --interpret: without\n"
            "the translator; --effort: time for each test of chance (60)\n");
    return 2;
}

int main(int argc, char **argv)
{
    unsigned bad = 0, skipped = 0, ran = 0;
    bool optional = false, native = false;
    struct how how = {.effort = 60};
    int first = 3;

    if (argc < 4 || strcmp(argv[1], "--accel") || (strcmp(argv[2], "kvm") && strcmp(argv[2], "soft")))
        return usage();
    how.kvm = !strcmp(argv[2], "kvm");
    for (; first < argc && argv[first][0] == '-'; first++) {
        optional |= !strcmp(argv[first], "--optional");
        native |= !strcmp(argv[first], "--native");
        how.interpret |= !strcmp(argv[first], "--interpret") && !how.kvm;
        if (!strcmp(argv[first], "--effort") && first + 1 < argc)
            how.effort = (unsigned)strtoul(argv[++first], NULL, 10);
    }
    if (how.kvm) {
        int status = look_for_kvm(optional, native, &how.slow);

        if (status >= 0)
            return status;
    }
    for (int i = first; i < argc; i++) {
        enum outcome o = guest(argv[i], &how);

        ran++;
        bad += o == FAILED;
        skipped += o == SKIPPED;
    }
    return bad ? 1 : skipped == ran && !optional ? SKIP : 0;
}
