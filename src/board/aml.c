#include "board/aml.h"
#include <string.h>
#include "base/check.h"

/* Opcodes, ACPI 6.4 section 20.2. */
enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_EXT = 0x5b,
    OP_EXT_REGION = 0x80,
    OP_EXT_FIELD = 0x81,
    OP_EXT_DEVICE = 0x82,
    OP_LOCAL0 = 0x60,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_NOTIFY = 0x86,
    OP_IF = 0xa0,
};

enum { SPACE_SYSTEM_IO = 1, FIELD_BYTE_ACCESS = 1, FIELD_WRITE_AS_ZEROS = 2 << 5 };

/* A name, padded with underscores to its four characters. */
static void put_name(struct buf *b, const char *name)
{
    if (*name == '\\')
        buf_u8(b, (uint8_t)*name++);
    size_t n = strlen(name);
    CHECK(n >= 1 && n <= 4);
    buf_put(b, name, n);
    buf_put(b, "___", 4 - n);
}

/* PkgLength counts itself: one byte up to 63, else a lead byte with four low bits and up to three more
 * (20.2.4). */
void aml_end(struct buf *b, size_t mark)
{
    if (b->failed)
        return;
    size_t content = b->len - mark, n = 1;
    if (content + 1 > 63)
        for (n = 2; content + n >= (size_t)1 << (4 + 8 * (n - 1)); n++)
            CHECK(n < 4);
    buf_zero(b, n);
    if (b->failed)
        return;
    memmove(b->data + mark + n, b->data + mark, content);
    size_t len = content + n;
    if (n == 1) {
        b->data[mark] = (uint8_t)len;
        return;
    }
    b->data[mark] = (uint8_t)((n - 1) << 6 | (len & 15));
    for (size_t i = 1; i < n; i++)
        b->data[mark + i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
}

size_t aml_scope(struct buf *b, const char *name)
{
    buf_u8(b, OP_SCOPE);
    size_t mark = b->len;
    put_name(b, name);
    return mark;
}

size_t aml_device(struct buf *b, const char *name)
{
    buf_u8(b, OP_EXT);
    buf_u8(b, OP_EXT_DEVICE);
    size_t mark = b->len;
    put_name(b, name);
    return mark;
}

size_t aml_method(struct buf *b, const char *name, unsigned args, bool serialized)
{
    CHECK(args <= 7);
    buf_u8(b, OP_METHOD);
    size_t mark = b->len;
    put_name(b, name);
    buf_u8(b, (uint8_t)(args | (serialized ? 8 : 0)));
    return mark;
}

size_t aml_package(struct buf *b, unsigned elements)
{
    CHECK(elements <= 255);
    buf_u8(b, OP_PACKAGE);
    size_t mark = b->len;
    buf_u8(b, (uint8_t)elements);
    return mark;
}

void aml_name(struct buf *b, const char *name)
{
    buf_u8(b, OP_NAME);
    put_name(b, name);
}

void aml_integer(struct buf *b, uint64_t v)
{
    if (v <= 1) {
        buf_u8(b, v ? OP_ONE : OP_ZERO);
    } else if (v <= UINT8_MAX) {
        buf_u8(b, OP_BYTE);
        buf_u8(b, (uint8_t)v);
    } else if (v <= UINT16_MAX) {
        buf_u8(b, OP_WORD);
        buf_u16(b, (uint16_t)v);
    } else if (v <= UINT32_MAX) {
        buf_u8(b, OP_DWORD);
        buf_u32(b, (uint32_t)v);
    } else {
        buf_u8(b, OP_QWORD);
        buf_u64(b, v);
    }
}

void aml_string(struct buf *b, const char *s)
{
    buf_u8(b, OP_STRING);
    buf_put(b, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
    CHECK((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits each and four hexadecimal digits, most significant byte first (19.6.36). */
void aml_eisa_id(struct buf *b, const char *id)
{
    CHECK(strlen(id) == 7);
    unsigned letters = (unsigned)(id[0] - '@') << 10 | (unsigned)(id[1] - '@') << 5 | (unsigned)(id[2] - '@');
    buf_u8(b, OP_DWORD);
    buf_u8(b, (uint8_t)(letters >> 8));
    buf_u8(b, (uint8_t)letters);
    buf_u8(b, (uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])));
    buf_u8(b, (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])));
}

void aml_name_integer(struct buf *b, const char *name, uint64_t v)
{
    aml_name(b, name);
    aml_integer(b, v);
}

void aml_name_string(struct buf *b, const char *name, const char *s)
{
    aml_name(b, name);
    aml_string(b, s);
}

void aml_name_eisa_id(struct buf *b, const char *name, const char *id)
{
    aml_name(b, name);
    aml_eisa_id(b, id);
}

void aml_io_region(struct buf *b, const char *name, uint16_t port, uint8_t len)
{
    buf_u8(b, OP_EXT);
    buf_u8(b, OP_EXT_REGION);
    put_name(b, name);
    buf_u8(b, SPACE_SYSTEM_IO);
    aml_integer(b, port);
    aml_integer(b, len);
}

void aml_io_field_byte(struct buf *b, const char *region, const char *unit)
{
    buf_u8(b, OP_EXT);
    buf_u8(b, OP_EXT_FIELD);
    size_t mark = b->len;
    put_name(b, region);
    buf_u8(b, FIELD_BYTE_ACCESS | FIELD_WRITE_AS_ZEROS);
    put_name(b, unit);
    buf_u8(b, 8); /* bits, as a PkgLength */
    aml_end(b, mark);
}

void aml_read_local0(struct buf *b, const char *name)
{
    buf_u8(b, OP_STORE);
    put_name(b, name);
    buf_u8(b, OP_LOCAL0);
}

void aml_notify_if_local0(struct buf *b, uint8_t mask, const char *device, uint8_t value)
{
    buf_u8(b, OP_IF);
    size_t mark = b->len;
    buf_u8(b, OP_AND);
    buf_u8(b, OP_LOCAL0);
    aml_integer(b, mask);
    buf_u8(b, OP_ZERO); /* no target */
    buf_u8(b, OP_NOTIFY);
    put_name(b, device);
    aml_integer(b, value);
    aml_end(b, mark);
}

/* ---- resource descriptors, ACPI 6.4 section 6.4 ---- */

enum {
    RES_IO = 0x47,
    RES_END = 0x79,
    RES_MEMORY32_FIXED = 0x86,
    RES_DWORD = 0x87,
    RES_WORD = 0x88,
    RES_IRQ = 0x89,
    RES_QWORD = 0x8a,
};
enum { WINDOW_MEMORY = 0, WINDOW_IO = 1, WINDOW_BUS = 2 };
enum { WINDOW_FIXED = 0x0c }; /* minimum and maximum fixed, producer, positive decode */
enum { MEMORY_READ_WRITE = 0x01, IO_ENTIRE_RANGE = 0x03 };

void aml_res_begin(struct aml_resources *r)
{
    r->bytes = (struct buf){0};
}

void aml_res_io(struct aml_resources *r, uint16_t base, uint8_t len)
{
    buf_u8(&r->bytes, RES_IO);
    buf_u8(&r->bytes, 1); /* 16-bit decode */
    buf_u16(&r->bytes, base);
    buf_u16(&r->bytes, base);
    buf_u8(&r->bytes, 1);
    buf_u8(&r->bytes, len);
}

void aml_res_memory32(struct aml_resources *r, uint32_t base, uint32_t len)
{
    buf_u8(&r->bytes, RES_MEMORY32_FIXED);
    buf_u16(&r->bytes, 9);
    buf_u8(&r->bytes, MEMORY_READ_WRITE);
    buf_u32(&r->bytes, base);
    buf_u32(&r->bytes, len);
}

void aml_res_irq(struct aml_resources *r, uint32_t gsi, bool level, bool shared)
{
    buf_u8(&r->bytes, RES_IRQ);
    buf_u16(&r->bytes, 6);
    buf_u8(&r->bytes, (uint8_t)(1 | (level ? 0 : 2) | (shared ? 8 : 0)));
    buf_u8(&r->bytes, 1);
    buf_u32(&r->bytes, gsi);
}

void aml_res_bus_window(struct aml_resources *r, uint16_t first, uint16_t last)
{
    const uint16_t word[] = {0, first, last, 0, (uint16_t)(last - first + 1)};
    buf_u8(&r->bytes, RES_WORD);
    buf_u16(&r->bytes, 13);
    buf_u8(&r->bytes, WINDOW_BUS);
    buf_u8(&r->bytes, WINDOW_FIXED);
    buf_u8(&r->bytes, 0);
    for (unsigned i = 0; i < 5; i++)
        buf_u16(&r->bytes, word[i]);
}

void aml_res_io_window(struct aml_resources *r, uint16_t first, uint16_t last)
{
    const uint16_t word[] = {0, first, last, 0, (uint16_t)(last - first + 1)};
    buf_u8(&r->bytes, RES_WORD);
    buf_u16(&r->bytes, 13);
    buf_u8(&r->bytes, WINDOW_IO);
    buf_u8(&r->bytes, WINDOW_FIXED);
    buf_u8(&r->bytes, IO_ENTIRE_RANGE);
    for (unsigned i = 0; i < 5; i++)
        buf_u16(&r->bytes, word[i]);
}

void aml_res_memory_window32(struct aml_resources *r, uint32_t first, uint32_t last)
{
    const uint32_t dword[] = {0, first, last, 0, last - first + 1};
    buf_u8(&r->bytes, RES_DWORD);
    buf_u16(&r->bytes, 23);
    buf_u8(&r->bytes, WINDOW_MEMORY);
    buf_u8(&r->bytes, WINDOW_FIXED);
    buf_u8(&r->bytes, MEMORY_READ_WRITE);
    for (unsigned i = 0; i < 5; i++)
        buf_u32(&r->bytes, dword[i]);
}

void aml_res_memory_window64(struct aml_resources *r, uint64_t first, uint64_t last)
{
    const uint64_t qword[] = {0, first, last, 0, last - first + 1};
    buf_u8(&r->bytes, RES_QWORD);
    buf_u16(&r->bytes, 43);
    buf_u8(&r->bytes, WINDOW_MEMORY);
    buf_u8(&r->bytes, WINDOW_FIXED);
    buf_u8(&r->bytes, MEMORY_READ_WRITE);
    for (unsigned i = 0; i < 5; i++)
        buf_u64(&r->bytes, qword[i]);
}

void aml_res_end(struct buf *b, const char *name, struct aml_resources *r)
{
    buf_u8(&r->bytes, RES_END);
    buf_u8(&r->bytes, 0); /* no checksum */
    aml_name(b, name);
    buf_u8(b, OP_BUFFER);
    size_t mark = b->len;
    aml_integer(b, r->bytes.len);
    buf_put(b, r->bytes.data, r->bytes.len);
    aml_end(b, mark);
    b->failed |= r->bytes.failed;
    buf_free(&r->bytes);
}
