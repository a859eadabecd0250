/*
 * Field tables on the wire: u32 count, then per field: u8 name length, name, u8 kind, u32 element size, u32
 * elements, elements little-endian. A load goes over the bytes twice, first checking everything and then
 * storing: a section that is refused leaves the object as it was.
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

static uint32_t since(const struct field *f)
{
    return f->since ? f->since : 1;
}

/* The table is ours: a wrong one is our bug. */
static void check_table(const struct field_table *t)
{
    CHECK(t->version >= 1);
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        CHECK(strlen(f->name) < 256 && f->size >= 1 && f->count >= 1 && stride(f) >= f->size);
        CHECK(since(f) <= t->version);
        CHECK(f->kind == FIELD_BYTES || f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8);
    }
}

/* A truth is 0 or 1 on the wire, whatever the member holds. */
static uint64_t element(const struct field *f, const void *obj, uint32_t i)
{
    const uint8_t *p = (const uint8_t *)obj + f->offset + (size_t)i * stride(f);
    uint64_t v = 0;
    memcpy(&v, p, f->size);
    return f->kind == FIELD_BOOL ? v != 0 : v;
}

static void set_element(const struct field *f, void *obj, uint32_t i, uint64_t v)
{
    memcpy((uint8_t *)obj + f->offset + (size_t)i * stride(f), &v, f->size);
}

void state_put(struct buf *out, const struct field_table *t, const void *obj)
{
    check_table(t);
    buf_u32(out, (uint32_t)t->count);
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        size_t n = strlen(f->name);
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

/* obj NULL: only check. */
static int get_elements(struct rbuf *in, const struct field *f, void *obj, struct err *e)
{
    for (uint32_t k = 0; k < f->count; k++) {
        const uint8_t *p = rbuf_take(in, f->size);
        uint64_t v = 0;
        if (!p)
            return err_set(e, EINVAL, "field %s is cut short", f->name);
        if (f->kind == FIELD_BYTES) {
            if (obj)
                memcpy((uint8_t *)obj + f->offset + (size_t)k * stride(f), p, f->size);
            continue;
        }
        memcpy(&v, p, f->size);
        if ((f->max && v > f->max) || (f->kind == FIELD_BOOL && v > 1))
            return err_set(e, EINVAL, "field %s is %llu, at most %llu makes sense", f->name,
                           (unsigned long long)v, (unsigned long long)(f->kind == FIELD_BOOL ? 1 : f->max));
        if (obj)
            set_element(f, obj, k, v);
    }
    return 0;
}

static int get_field(struct rbuf *in, const struct field_table *t, uint32_t version, void *obj, bool *seen,
                     struct err *e)
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
    if (since(f) > version)
        return err_set(e, EINVAL, "field %s came with version %u, the section is of version %u", f->name,
                       since(f), version);
    if (seen[index])
        return err_set(e, EINVAL, "field %s appears twice", f->name);
    if (kind != f->kind || size != f->size || count != f->count)
        return err_set(e, EINVAL, "field %s has %u elements of %u bytes, expected %u of %u", f->name, count,
                       size, f->count, f->size);
    seen[index] = true;
    return get_elements(in, f, obj, e);
}

static void set_default(const struct field *f, void *obj)
{
    for (uint32_t k = 0; k < f->count; k++) {
        if (f->kind == FIELD_BYTES)
            memset((uint8_t *)obj + f->offset + (size_t)k * stride(f), (int)(f->dflt & 0xff), f->size);
        else
            set_element(f, obj, k, f->dflt);
    }
}

/* One pass over all fields; obj NULL: only check. `seen` has a flag for each field of the table. */
static int get_fields(struct rbuf *in, const struct field_table *t, uint32_t version, void *obj, bool *seen,
                      struct err *e)
{
    uint32_t n = rbuf_u32(in);
    memset(seen, 0, t->count * sizeof *seen);
    if (in->failed)
        return err_set(e, EINVAL, "section is cut short");
    if (n > t->count)
        return err_set(e, EINVAL, "%u fields where at most %zu are known", n, t->count);
    for (uint32_t i = 0; i < n; i++) {
        int r = get_field(in, t, version, obj, seen, e);
        if (r)
            return r;
    }
    if (rbuf_left(in))
        return err_set(e, EINVAL, "%zu bytes too many", rbuf_left(in));
    for (size_t i = 0; i < t->count; i++) {
        if (!seen[i] && since(&t->fields[i]) <= version)
            return err_set(e, EINVAL, "field %s is missing", t->fields[i].name);
        if (!seen[i] && obj)
            set_default(&t->fields[i], obj);
    }
    return 0;
}

int state_get(struct rbuf *in, const struct field_table *t, uint32_t version, void *obj, struct err *e)
{
    check_table(t);
    if (version < 1 || version > t->version)
        return err_set(e, EINVAL, "version %u, while 1 to %u are known here", version, t->version);
    bool *seen = calloc(t->count + 1, sizeof *seen);
    if (!seen)
        return err_set(e, ENOMEM, "out of memory");
    struct rbuf first = *in;
    int r = get_fields(&first, t, version, NULL, seen, e);
    if (!r)
        CHECK(get_fields(in, t, version, obj, seen, NULL) == 0);
    free(seen);
    return r || !t->post_load ? r : t->post_load(obj, e);
}

const char *state_differs(const struct field_table *t, const void *a, const void *b)
{
    check_table(t);
    for (size_t i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        for (uint32_t k = 0; k < f->count; k++) {
            size_t at = f->offset + (size_t)k * stride(f);
            if (f->kind == FIELD_BYTES
                    ? memcmp((const uint8_t *)a + at, (const uint8_t *)b + at, f->size) != 0
                    : element(f, a, k) != element(f, b, k))
                return f->name;
        }
    }
    return NULL;
}
