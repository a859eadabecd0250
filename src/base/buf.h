/*
 * buf: a growing byte buffer, and a bounded reader over bytes that we do not trust. Little-endian.
 * Out of memory in a writer is remembered (`failed`) and checked once at the end; a reader past its end gives
 * zeros and remembers it too.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* owned; NULL when empty */
    size_t len, cap;
    bool failed;
};

void buf_free(struct buf *b); /* and zero it */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_zero(struct buf *b, size_t n); /* append n zero bytes */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_set_u32(struct buf *b, size_t at, uint32_t v); /* overwrite 4 bytes that exist */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct rbuf {
    const uint8_t *p, *end;
    bool failed; /* a read went past the end */
};

static inline struct rbuf rbuf_of(const void *p, size_t n)
{
    const uint8_t *b = p;
    return (struct rbuf){.p = b, .end = b ? b + n : b, .failed = false};
}

size_t rbuf_left(const struct rbuf *r);
const uint8_t *rbuf_take(struct rbuf *r, size_t n); /* n bytes in place, or NULL and failed */
bool rbuf_get(struct rbuf *r, void *out, size_t n); /* copy; zero-fills `out` on failure */
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_u16(struct rbuf *r);
uint32_t rbuf_u32(struct rbuf *r);
uint64_t rbuf_u64(struct rbuf *r);

/* CRC-32C (Castagnoli) of n bytes, continuing from `crc` (0 at first). */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n); /* the same, on a CPU without SSE4.2 */

#endif
