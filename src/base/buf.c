#include "base/buf.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/check.h"

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

static uint8_t *room(struct buf *b, size_t n)
{
    if (b->failed || n > SIZE_MAX / 2 - b->len) {
        b->failed = true;
        return NULL;
    }
    if (b->len + n > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < b->len + n)
            cap *= 2;
        uint8_t *data = realloc(b->data, cap);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    b->len += n;
    return b->data + b->len - n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = n ? room(b, n) : NULL;
    if (to)
        memcpy(to, p, n);
}

void buf_zero(struct buf *b, size_t n)
{
    uint8_t *to = n ? room(b, n) : NULL;
    if (to)
        memset(to, 0, n);
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_u16(struct buf *b, uint16_t v)
{
    buf_put(b, &v, 2);
}

void buf_u32(struct buf *b, uint32_t v)
{
    buf_put(b, &v, 4);
}

void buf_u64(struct buf *b, uint64_t v)
{
    buf_put(b, &v, 8);
}

void buf_set_u32(struct buf *b, size_t at, uint32_t v)
{
    if (b->failed)
        return;
    CHECK(b->len >= 4 && at <= b->len - 4);
    memcpy(b->data + at, &v, 4);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    uint8_t *to = n < 0 ? NULL : room(b, (size_t)n + 1);
    if (to) {
        vsnprintf((char *)to, (size_t)n + 1, fmt, again);
        b->len--; /* the terminator is room, not content */
    } else {
        b->failed = true;
    }
    va_end(again);
}

size_t rbuf_left(const struct rbuf *r)
{
    return (size_t)(r->end - r->p);
}

const uint8_t *rbuf_take(struct rbuf *r, size_t n)
{
    if (r->failed || n > rbuf_left(r)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    if (n) /* an empty reader may have no bytes to point to */
        r->p += n;
    return p;
}

bool rbuf_get(struct rbuf *r, void *out, size_t n)
{
    const uint8_t *p = rbuf_take(r, n);
    if (n && p)
        memcpy(out, p, n);
    else if (n)
        memset(out, 0, n);
    return !r->failed;
}

uint8_t rbuf_u8(struct rbuf *r)
{
    uint8_t v;
    rbuf_get(r, &v, sizeof v);
    return v;
}

uint16_t rbuf_u16(struct rbuf *r)
{
    uint16_t v;
    rbuf_get(r, &v, sizeof v);
    return v;
}

uint32_t rbuf_u32(struct rbuf *r)
{
    uint32_t v;
    rbuf_get(r, &v, sizeof v);
    return v;
}

uint64_t rbuf_u64(struct rbuf *r)
{
    uint64_t v;
    rbuf_get(r, &v, sizeof v);
    return v;
}
