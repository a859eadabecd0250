/* The commands, by their first letter: GDB manual, appendix "Remote Serial Protocol", sections Packets and
 * General Query Packets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/range.h"
#include "gdb/internal.h"

static void reply_result(struct gdb *g, int r)
{
    char text[8];
    snprintf(text, sizeof text, "E%02x", (unsigned)-r & 0xff);
    gdb_reply(g, r ? text : "OK");
}

/* ---- registers ---- */

static struct x86_state *get_state(struct gdb *g)
{
    struct x86_state *s = calloc(1, sizeof *s);
    if (s && vcpu_get(vm_vcpu(g->vm, g->thread), s, NULL)) {
        free(s);
        s = NULL;
    }
    return s;
}

static void read_all(struct gdb *g)
{
    struct x86_state *s = get_state(g);
    struct buf b = {0};
    for (unsigned i = 0; s && i < gdb_reg_count(); i++) {
        uint8_t v[16];
        buf_put(&b, v, gdb_reg_get(s, i, v));
    }
    if (s)
        gdb_reply_hex(g, b.data, b.len);
    else
        gdb_reply(g, "E0e");
    buf_free(&b);
    free(s);
}

static void write_all(struct gdb *g, const char *p)
{
    struct x86_state *s = get_state(g);
    int r = s ? 0 : -EIO;
    for (unsigned i = 0; !r && i < gdb_reg_count() && *p; i++) {
        uint8_t v[16];
        if (!hex_bytes(p, v, gdb_reg_size(i)))
            r = -EINVAL;
        else
            gdb_reg_set(s, i, v);
        p += 2 * gdb_reg_size(i);
    }
    if (!r)
        r = vcpu_set(vm_vcpu(g->vm, g->thread), s, NULL);
    free(s);
    reply_result(g, r);
}

static void read_one(struct gdb *g, const char *p)
{
    struct x86_state *s = get_state(g);
    uint8_t v[16];
    size_t n = s ? gdb_reg_get(s, (unsigned)hex_u64(&p), v) : 0;
    if (n)
        gdb_reply_hex(g, v, n);
    else
        gdb_reply(g, "E16");
    free(s);
}

static void write_one(struct gdb *g, const char *p)
{
    unsigned reg = (unsigned)hex_u64(&p);
    struct x86_state *s = get_state(g);
    uint8_t v[16];
    int r = s && *p == '=' && gdb_reg_size(reg) && hex_bytes(p + 1, v, gdb_reg_size(reg)) ? 0 : -EINVAL;
    if (!r && !gdb_reg_set(s, reg, v))
        r = -EINVAL;
    if (!r)
        r = vcpu_set(vm_vcpu(g->vm, g->thread), s, NULL);
    free(s);
    reply_result(g, r);
}

/* ---- memory ---- */

static void read_memory(struct gdb *g, const char *p)
{
    uint8_t data[PACKET_MAX / 2];
    uint64_t addr = hex_u64(&p), n = *p == ',' ? (p++, hex_u64(&p)) : 0;
    if (n > sizeof data - 8)
        n = sizeof data - 8;
    int r = gdb_mem_read(g, addr, data, n);
    if (r)
        reply_result(g, r);
    else
        gdb_reply_hex(g, data, n);
}

static void write_memory(struct gdb *g, const char *p, const char *end, bool binary)
{
    uint8_t data[PACKET_MAX];
    uint64_t addr = hex_u64(&p), n = *p == ',' ? (p++, hex_u64(&p)) : 0, got = 0;
    int r = *p++ == ':' && n <= sizeof data ? 0 : -EINVAL;
    if (!r && !binary)
        r = (uint64_t)(end - p) >= 2 * n && hex_bytes(p, data, n) ? 0 : -EINVAL;
    for (; !r && binary && p < end && got < n; p++)
        data[got++] = *p == '}' && p + 1 < end ? (uint8_t)(*++p ^ 0x20) : (uint8_t)*p;
    if (!r && binary && got != n)
        r = -EINVAL;
    reply_result(g, r ? r : gdb_mem_write(g, addr, data, n));
}

static void breakpoint(struct gdb *g, const char *p, bool add)
{
    unsigned type = (unsigned)hex_u64(&p);
    uint64_t addr = *p == ',' ? (p++, hex_u64(&p)) : 0;
    unsigned len = *p == ',' ? (p++, (unsigned)hex_u64(&p)) : 0;
    if (type > 4)
        gdb_reply(g, "");
    else
        reply_result(g, add ? gdb_break_add(g, type, addr, len) : gdb_break_remove(g, type, addr, len));
}

/* ---- threads and running ---- */

/* A thread id of the client's to a vCPU: 0 is any, -1 all, 1.. ours. Returns -1 for any or all, -2 for none
 * of ours. */
static int parse_thread(struct gdb *g, const char *p)
{
    if (*p == '-' || !*p)
        return -1;
    uint64_t id = hex_u64(&p);
    return id == 0 ? -1 : id <= vm_cpus(g->vm) ? (int)id - 1 : -2;
}

static void select_thread(struct gdb *g, const char *p)
{
    int cpu = parse_thread(g, p + 1);
    if (cpu == -2) {
        gdb_reply(g, "E01");
        return;
    }
    if (*p == 'g')
        g->thread = cpu < 0 ? g->stop_cpu : (unsigned)cpu;
    else
        g->run_thread = cpu;
    gdb_reply(g, "OK");
}

static void go(struct gdb *g, int step_cpu, bool alone)
{
    g->step_cpu = step_cpu;
    g->step_alone = alone;
    gdb_go(g);
}

/* vCont: the first action that names a thread or comes last applies to it. One vCPU may step; the others run
 * or stay, as asked. */
static void vcont(struct gdb *g, const char *p)
{
    int step = -1;
    bool others = false;
    while (*p == ';') {
        char action = *++p;
        p += strcspn(p, ":;");
        int cpu = -1;
        if (*p == ':') {
            cpu = parse_thread(g, ++p);
            p += strcspn(p, ";");
        }
        if ((action == 's' || action == 'S') && step < 0 && cpu != -2)
            step = cpu >= 0 ? cpu : (int)g->thread;
        else if (action == 'c' || action == 'C')
            others = true;
    }
    go(g, step, step >= 0 && !others);
}

static void resume_at(struct gdb *g, const char *p, bool step)
{
    if (*p) {
        struct x86_state *s = get_state(g);
        if (s) {
            s->rip = hex_u64(&p);
            vcpu_set(vm_vcpu(g->vm, g->thread), s, NULL);
        }
        free(s);
    }
    go(g, step ? (g->run_thread >= 0 ? g->run_thread : (int)g->thread) : -1, step);
}

void gdb_stop_reply(struct gdb *g, const struct vcpu_exit_info *info, int signal)
{
    char text[128];
    const char *why = "";
    char watch[40] = "";
    if (info && info->watch_addr)
        snprintf(watch, sizeof watch, "watch:%llx;", (unsigned long long)info->watch_addr);
    else if (info && info->software_break && g->swbreak)
        why = "swbreak:;";
    else if (info && (info->dr6 & 0xf) && g->hwbreak)
        why = "hwbreak:;";
    snprintf(text, sizeof text, "T%02xthread:%x;%s%s", signal, g->stop_cpu + 1, watch, why);
    gdb_reply(g, text);
}

/* ---- queries ---- */

static void thread_list(struct gdb *g)
{
    struct buf b = {0};
    for (unsigned i = 0; i < vm_cpus(g->vm); i++)
        buf_printf(&b, "%c%x", i ? ',' : 'm', i + 1);
    buf_u8(&b, 0);
    gdb_reply(g, (char *)b.data);
    buf_free(&b);
}

static void send_part(struct gdb *g, const char *range, const uint8_t *data, size_t len)
{
    uint64_t off = hex_u64(&range), n = *range == ',' ? (range++, hex_u64(&range)) : 0;
    if (off > len)
        off = len;
    if (n > PACKET_MAX / 2)
        n = PACKET_MAX / 2;
    if (n > len - off)
        n = len - off;
    gdb_reply_bytes(g, off + n < len ? 'm' : 'l', data + off, n);
}

static void supported(struct gdb *g, const char *p)
{
    g->swbreak = strstr(p, "swbreak+") != NULL;
    g->hwbreak = strstr(p, "hwbreak+") != NULL;
    gdb_reply(g, "PacketSize=4000;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+;QStartNoAckMode+");
}

static void monitor(struct gdb *g, const char *hex)
{
    char command[128] = "", *out = command;
    for (; hex_bytes(hex, (uint8_t *)out, 1) && out < command + sizeof command - 1; hex += 2)
        out++;
    *out = 0;
    if (!strncmp(command, "info registers", 14)) {
        char dump[4096];
        vm_dump_registers(g->vm, g->thread, dump, sizeof dump);
        gdb_reply_hex(g, dump, strlen(dump));
    } else {
        static const char known[] = "monitor commands: info registers\n";
        gdb_reply_hex(g, known, sizeof known - 1);
    }
}

static void extra_info(struct gdb *g, const char *p)
{
    int cpu = parse_thread(g, p);
    char text[32];
    snprintf(text, sizeof text, "CPU %d", cpu < 0 ? 0 : cpu);
    gdb_reply_hex(g, text, strlen(text));
}

static bool starts(const char *p, const char *with, const char **rest)
{
    size_t n = strlen(with);
    *rest = p + n;
    return !strncmp(p, with, n);
}

static void query(struct gdb *g, const char *p)
{
    const char *rest;
    char text[32];
    if (starts(p, "qSupported", &rest)) {
        supported(g, rest);
    } else if (starts(p, "qfThreadInfo", &rest)) {
        thread_list(g);
    } else if (starts(p, "qsThreadInfo", &rest)) {
        gdb_reply(g, "l");
    } else if (starts(p, "qThreadExtraInfo,", &rest)) {
        extra_info(g, rest);
    } else if (!strcmp(p, "qC")) {
        snprintf(text, sizeof text, "QC%x", g->stop_cpu + 1);
        gdb_reply(g, text);
    } else if (starts(p, "qAttached", &rest)) {
        gdb_reply(g, "1");
    } else if (starts(p, "qXfer:features:read:target.xml:", &rest)) {
        struct buf b = {0};
        gdb_target_xml(&b);
        send_part(g, rest, b.data, b.len);
        buf_free(&b);
    } else if (starts(p, "qRcmd,", &rest)) {
        monitor(g, rest);
    } else if (!strcmp(p, "qqemu.PhyMemMode")) {
        gdb_reply(g, g->phys ? "1" : "0");
    } else if (starts(p, "Qqemu.PhyMemMode:", &rest)) {
        g->phys = *rest == '1';
        gdb_reply(g, "OK");
    } else if (!strcmp(p, "QStartNoAckMode")) {
        gdb_reply(g, "OK");
        g->no_ack = true;
    } else {
        gdb_reply(g, "");
    }
}

static void verbose(struct gdb *g, const char *p)
{
    if (!strcmp(p, "vCont?")) {
        gdb_reply(g, "vCont;c;C;s;S");
    } else if (!strncmp(p, "vCont", 5)) {
        vcont(g, p + 5);
    } else if (!strncmp(p, "vKill", 5)) {
        gdb_reply(g, "OK");
        vm_quit(g->vm);
    } else {
        gdb_reply(g, "");
    }
}

static void detach(struct gdb *g)
{
    gdb_reply(g, "OK");
    gdb_flush(g);
    gdb_disconnect(g);
}

void gdb_packet(struct gdb *g, char *p, size_t n)
{
    static const char wants_stop[] = "gGpPmMXZzcCsSv";
    if (!g->stopped && *p && strchr(wants_stop, *p) && strcmp(p, "vCont?") != 0) {
        gdb_reply(g, "E01"); /* all-stop: the client interrupts first */
        return;
    }
    switch (*p) {
    case '?':
        gdb_stop_reply(g, NULL, 5);
        break;
    case 'g':
        read_all(g);
        break;
    case 'G':
        write_all(g, p + 1);
        break;
    case 'p':
        read_one(g, p + 1);
        break;
    case 'P':
        write_one(g, p + 1);
        break;
    case 'm':
        read_memory(g, p + 1);
        break;
    case 'M':
    case 'X':
        write_memory(g, p + 1, p + n, *p == 'X');
        break;
    case 'Z':
    case 'z':
        breakpoint(g, p + 1, *p == 'Z');
        break;
    case 'H':
        select_thread(g, p + 1);
        break;
    case 'T':
        gdb_reply(g, parse_thread(g, p + 1) >= 0 ? "OK" : "E01");
        break;
    case 'c':
    case 's':
        resume_at(g, p + 1, *p == 's');
        break;
    case 'C':
    case 'S':
        resume_at(g, "", *p == 'S');
        break;
    case 'D':
        detach(g);
        break;
    case 'k':
        vm_quit(g->vm);
        break;
    case 'q':
    case 'Q':
        query(g, p);
        break;
    case 'v':
        verbose(g, p);
        break;
    default:
        gdb_reply(g, "");
    }
}
