/* Packets of the remote protocol: $content#checksum, acknowledged by + unless both agreed not to; 0x03 alone
 * is an interrupt. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "gdb/internal.h"
#include "host/loop.h"

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

uint64_t hex_u64(const char **p)
{
    uint64_t v = 0;
    for (int d; (d = hex_digit(**p)) >= 0; (*p)++)
        v = v << 4 | (unsigned)d;
    return v;
}

bool hex_bytes(const char *p, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(p[2 * i]), lo = hi < 0 ? -1 : hex_digit(p[2 * i + 1]);
        if (lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void gdb_flush(struct gdb *g)
{
    while (g->out.len && g->fd >= 0) {
        ssize_t n = send(g->fd, g->out.data, g->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full, or gone: reading will tell */
        memmove(g->out.data, g->out.data + n, g->out.len - (size_t)n);
        g->out.len -= (size_t)n;
    }
    if (g->source)
        loop_mod_fd(g->source, EPOLLIN | (g->out.len ? EPOLLOUT : 0));
}

static void send_packet(struct gdb *g, const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    buf_u8(&g->out, '$');
    buf_put(&g->out, p, n);
    buf_printf(&g->out, "#%02x", sum);
    gdb_flush(g);
}

void gdb_reply(struct gdb *g, const char *text)
{
    send_packet(g, (const uint8_t *)text, strlen(text));
}

void gdb_reply_hex(struct gdb *g, const void *p, size_t n)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%02x", ((const uint8_t *)p)[i]);
    send_packet(g, b.data, b.len);
    buf_free(&b);
}

void gdb_reply_bytes(struct gdb *g, char first, const void *p, size_t n)
{
    struct buf b = {0};
    buf_u8(&b, (uint8_t)first);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = ((const uint8_t *)p)[i];
        if (c == '$' || c == '#' || c == '}' || c == '*') {
            buf_u8(&b, '}');
            c ^= 0x20;
        }
        buf_u8(&b, c);
    }
    send_packet(g, b.data, b.len);
    buf_free(&b);
}

static void interrupt(struct gdb *g)
{
    if (g->stopped)
        return;
    vm_pause(g->vm, NULL);
    g->stopped = true;
    g->step_cpu = -1;
    gdb_stop_reply(g, NULL, 2);
}

/* A whole packet lies in in[0..end], '$' first; its two check digits follow in[end] = '#'. */
static void take_packet(struct gdb *g, size_t end)
{
    uint8_t sum = 0, told;
    for (size_t i = 1; i < end; i++)
        sum = (uint8_t)(sum + (uint8_t)g->in[i]);
    bool good = hex_bytes(g->in + end + 1, &told, 1) && told == sum;
    if (!g->no_ack)
        buf_u8(&g->out, good ? '+' : '-');
    g->in_len = 0;
    if (good) {
        g->in[end] = 0;
        gdb_packet(g, g->in + 1, end - 1);
    }
    gdb_flush(g);
}

static void take_byte(struct gdb *g, char c)
{
    if (g->in_len == 0) {
        if (c == '$')
            g->in[g->in_len++] = c;
        else if (c == 3)
            interrupt(g);
        return; /* acknowledgements and noise between packets */
    }
    g->in[g->in_len++] = c;
    size_t n = g->in_len;
    if (n >= 4 && g->in[n - 3] == '#')
        take_packet(g, n - 3);
    else if (n == sizeof g->in)
        g->in_len = 0; /* longer than we said we take */
}

void gdb_input(struct gdb *g)
{
    char chunk[4096];
    ssize_t n = recv(g->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        gdb_disconnect(g);
        return;
    }
    for (ssize_t i = 0; i < n && g->fd >= 0; i++)
        take_byte(g, chunk[i]);
}
