/*
 * Field tables on the wire: u32 count, then per field: u8 name length, name, u8 kind, u32 element size, u32 elements, elements little-endian.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "state/state.h"

static size_t stride(const struct field *f)
{
    return f->stride ? f->stride : f->size;
}

static uint64_t element(const struct field *f, const void *obj, uint32_t i)
{
    const uint8_t *p = (const uint8_t *)obj + f->offset + (size_t)i * stride(f);
    uint64_t v = 0;
    CHECK(f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8);
    memcpy(&v, p, f->size);
    return v;
}

static void set_element(const struct field *f, void *obj, uint32_t i, uint64_t v)
{
    memcpy((uint8_t *)obj + f->offset + (size_t)i * stride(f), &v, f->size);
}

void state_put(struct buf *out, const struct field_table *t, const void *obj)
{
    buf_u32(out, (uint32_t)t->count);
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        size_t n = strlen(f->name);
        CHECK(n < 256);
        buf_u8(out, (uint8_t)n);
        buf_put(out, f->name, n);
        buf_u8(out, (uint8_t)f->kind);
        buf_u32(out, f->size);
        buf_u32(out, f->count);
        for (uint32_t k = 0; k < f->count; k++) {
            if (f->kind == FIELD_BYTES) {
                buf_put(out, (const uint8_t *)obj + f->offset + (size_t)k * stride(f), f->size);
            } else {
                uint64_t v = element(f, obj, k);
                buf_put(out, &v, f->size);
            }
        }
    }
}

static const struct field *find(const struct field_table *t, const uint8_t *name, size_t n, size_t *index)
{
    for (size_t i = 0; i < t->count; i++)
        if (strlen(t->fields[i].name) == n && !memcmp(t->fields[i].name, name, n)) {
            *index = i;
            return &t->fields[i];
        }
    return NULL;
}

static int get_elements(struct rbuf *in, const struct field *f, void *obj, struct err *e)
{
    for (uint32_t k = 0; k < f->count; k++) {
        const uint8_t *p = rbuf_take(in, f->size);
        uint64_t v = 0;
        if (!p)
            return err_set(e, EINVAL, "field %s is cut short", f->name);
        if (f->kind == FIELD_BYTES) {
            memcpy((uint8_t *)obj + f->offset + (size_t)k * stride(f), p, f->size);
            continue;
        }
        memcpy(&v, p, f->size);
        if ((f->max && v > f->max) || (f->kind == FIELD_BOOL && v > 1))
            return err_set(e, EINVAL, "field %s is %llu, at most %llu makes sense", f->name, (unsigned long long)v,
                           (unsigned long long)(f->kind == FIELD_BOOL ? 1 : f->max));
        set_element(f, obj, k, v);
    }
    return 0;
}

static int get_field(struct rbuf *in, const struct field_table *t, void *obj, bool *seen, struct err *e)
{
    uint8_t n = rbuf_u8(in);
    const uint8_t *name = rbuf_take(in, n);
    uint8_t kind = rbuf_u8(in);
    uint32_t size = rbuf_u32(in), count = rbuf_u32(in);
    size_t index;
    if (in->failed)
        return err_set(e, EINVAL, "section is cut short");
    const struct field *f = find(t, name, n, &index);
    if (!f)
        return err_set(e, EINVAL, "unknown field '%.*s': saved by a newer version", n, (const char *)name);
    if (seen[index])
        return err_set(e, EINVAL, "field %s appears twice", f->name);
    if (kind != f->kind || size != f->size || count != f->count)
        return err_set(e, EINVAL, "field %s has %u elements of %u bytes, expected %u of %u", f->name, count, size, f->count,
                       f->size);
    seen[index] = true;
    return get_elements(in, f, obj, e);
}

static int fill_absent(const struct field_table *t, uint32_t version, void *obj, const bool *seen, struct err *e)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        if (seen[i])
            continue;
        if (f->since <= version)
            return err_set(e, EINVAL, "field %s is missing", f->name);
        for (uint32_t k = 0; k < f->count; k++) {
            if (f->kind == FIELD_BYTES)
                memset((uint8_t *)obj + f->offset + (size_t)k * stride(f), (int)(f->dflt & 0xff), f->size);
            else
                set_element(f, obj, k, f->dflt);
        }
    }
    return 0;
}

int state_get(struct rbuf *in, const struct field_table *t, uint32_t version, void *obj, struct err *e)
{
    bool *seen = calloc(t->count + 1, sizeof *seen);
    uint32_t n = rbuf_u32(in);
    int r = seen ? 0 : err_set(e, ENOMEM, "out of memory");
    if (!r && version > t->version)
        r = err_set(e, EINVAL, "version %u is newer than the %u known here", version, t->version);
    if (!r && n > t->count)
        r = err_set(e, EINVAL, "%u fields where at most %zu are known", n, t->count);
    for (uint32_t i = 0; !r && i < n; i++)
        r = get_field(in, t, obj, seen, e);
    if (!r)
        r = fill_absent(t, version, obj, seen, e);
    if (!r && rbuf_left(in))
        r = err_set(e, EINVAL, "%zu bytes too many", rbuf_left(in));
    if (!r && t->post_load)
        r = t->post_load(obj, e);
    free(seen);
    return r;
}

const char *state_differs(const struct field_table *t, const void *a, const void *b)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        for (uint32_t k = 0; k < f->count; k++) {
            size_t at = f->offset + (size_t)k * stride(f);
            if (memcmp((const uint8_t *)a + at, (const uint8_t *)b + at, f->size) != 0)
                return f->name;
        }
    }
    return NULL;
}
