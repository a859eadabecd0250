/*
 * A file of sections:
 *   header   "LIEGEST1", u32 format version, u8 length and name of the board
 *   section  u8 length and name, u32 instance, u32 version, u32 length and the bytes,
 *            u32 crc32c of the section so far
 *   end      u8 0, u32 crc32c of everything before it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "host/host.h"
#include "state/state.h"

enum { FORMAT = 1, MAX_FILE = 64 << 20, MAX_SECTIONS = 4096 };
static const char magic[8] = {'L', 'I', 'E', 'G', 'E', 'S', 'T', '1'};

struct state_writer {
    struct buf out;
};

static void put_name(struct buf *b, const char *name)
{
    size_t n = strlen(name);
    CHECK(n > 0 && n < 64);
    buf_u8(b, (uint8_t)n);
    buf_put(b, name, n);
}

struct state_writer *state_writer_new(const char *board, struct err *e)
{
    struct state_writer *w = calloc(1, sizeof *w);
    if (!w) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    buf_put(&w->out, magic, sizeof magic);
    buf_u32(&w->out, FORMAT);
    put_name(&w->out, board);
    return w;
}

void state_writer_free(struct state_writer *w)
{
    if (!w)
        return;
    buf_free(&w->out);
    free(w);
}

int state_write_raw(struct state_writer *w, const char *name, uint32_t instance, uint32_t version,
                    const void *p, size_t n)
{
    size_t at = w->out.len;
    if (n >= MAX_FILE) {
        w->out.failed = true;
        return -EFBIG;
    }
    put_name(&w->out, name);
    buf_u32(&w->out, instance);
    buf_u32(&w->out, version);
    buf_u32(&w->out, (uint32_t)n);
    buf_put(&w->out, p, n);
    if (w->out.failed)
        return -ENOMEM;
    buf_u32(&w->out, crc32c(0, w->out.data + at, w->out.len - at));
    return w->out.failed ? -ENOMEM : 0;
}

int state_write(struct state_writer *w, const struct saved *s)
{
    struct buf body = {0};
    state_put(&body, s->table, s->obj);
    int r = body.failed
                ? -ENOMEM
                : state_write_raw(w, s->table->name, s->instance, s->table->version, body.data, body.len);
    buf_free(&body);
    return r;
}

/* A pipe or socket, to another process that resumes the machine, has nothing to flush. */
static int flush(int fd)
{
    return fsync(fd) && errno != EINVAL && errno != EROFS ? -errno : 0;
}

int state_finish(struct state_writer *w, int fd, struct err *e)
{
    int r;
    buf_u8(&w->out, 0);
    if (!w->out.failed)
        buf_u32(&w->out, crc32c(0, w->out.data, w->out.len));
    if (w->out.failed || w->out.len > MAX_FILE)
        r = err_set(e, EFBIG, "saved state: %zu bytes or more do not fit (at most %d)", w->out.len, MAX_FILE);
    else if ((r = host_write_full(fd, w->out.data, w->out.len)) || (r = flush(fd)))
        err_sys(e, r, "cannot write the state");
    state_writer_free(w);
    return r;
}

struct section {
    char name[64];
    uint32_t instance, version;
    const uint8_t *data;
    size_t len;
    bool used;
};

struct state_reader {
    char board[64];
    struct section *section;
    unsigned count;
};

static int get_name(struct rbuf *r, uint8_t n, char *out, struct err *e)
{
    if (n >= 64 || !rbuf_get(r, out, n))
        return err_set(e, EINVAL, "saved state: a name is cut short or too long");
    out[n] = 0;
    for (unsigned i = 0; i < n; i++)
        if (out[i] < 33 || out[i] > 126)
            return err_set(e, EINVAL, "saved state: a name holds byte 0x%02x", (unsigned char)out[i]);
    return 0;
}

static int get_section(struct state_reader *rd, struct rbuf *in, struct err *e)
{
    const uint8_t *start = in->p;
    struct section s = {0};
    int r = get_name(in, rbuf_u8(in), s.name, e);
    if (r)
        return r;
    s.instance = rbuf_u32(in);
    s.version = rbuf_u32(in);
    s.len = rbuf_u32(in);
    s.data = rbuf_take(in, s.len);
    if (in->failed)
        return err_set(e, EINVAL, "saved state: section %s is cut short", s.name);
    uint32_t sum = crc32c(0, start, (size_t)(in->p - start));
    if (rbuf_u32(in) != sum || in->failed)
        return err_set(e, EINVAL, "saved state: section %s is damaged (checksum)", s.name);
    if (rd->count == MAX_SECTIONS)
        return err_set(e, EINVAL, "saved state: more than %d sections", MAX_SECTIONS);
    for (unsigned i = 0; i < rd->count; i++)
        if (!strcmp(rd->section[i].name, s.name) && rd->section[i].instance == s.instance)
            return err_set(e, EINVAL, "saved state: section %s.%u appears twice", s.name, s.instance);
    struct section *more = realloc(rd->section, (rd->count + 1) * sizeof s);
    if (!more)
        return err_set(e, ENOMEM, "out of memory");
    rd->section = more;
    rd->section[rd->count++] = s;
    return 0;
}

static int parse(struct state_reader *rd, const uint8_t *data, size_t len, struct err *e)
{
    struct rbuf in = rbuf_of(data, len);
    const uint8_t *m = rbuf_take(&in, sizeof magic);
    if (!m || memcmp(m, magic, sizeof magic) != 0)
        return err_set(e, EINVAL, "not a saved state");
    uint32_t format = rbuf_u32(&in);
    if (format != FORMAT)
        return err_set(e, EINVAL, "saved state: format %u, this version reads %d", format, FORMAT);
    int r = get_name(&in, rbuf_u8(&in), rd->board, e);
    if (!r && !rd->board[0])
        r = err_set(e, EINVAL, "saved state: the board has no name");
    while (!r && rbuf_left(&in) && *in.p)
        r = get_section(rd, &in, e);
    if (r)
        return r;
    rbuf_u8(&in);
    size_t covered = (size_t)(in.p - data);
    uint32_t sum = rbuf_u32(&in);
    if (in.failed)
        return err_set(e, EINVAL, "saved state: cut short: the end is missing");
    if (sum != crc32c(0, data, covered))
        return err_set(e, EINVAL, "saved state: damaged (checksum of the whole)");
    if (rbuf_left(&in))
        return err_set(e, EINVAL, "saved state: %zu bytes after its end", rbuf_left(&in));
    return 0;
}

struct state_reader *state_reader_new(const void *data, size_t len, struct err *e)
{
    struct state_reader *rd = calloc(1, sizeof *rd);
    if (!rd || len > MAX_FILE) {
        err_set(e, EINVAL, "saved state: %zu bytes are too many", len);
        free(rd);
        return NULL;
    }
    if (parse(rd, data, len, e)) {
        state_reader_free(rd);
        return NULL;
    }
    return rd;
}

void state_reader_free(struct state_reader *r)
{
    if (!r)
        return;
    free(r->section);
    free(r);
}

const char *state_board(const struct state_reader *r)
{
    return r->board;
}

int state_read_raw(struct state_reader *r, const char *name, uint32_t instance, uint32_t *version,
                   const uint8_t **p, size_t *n, struct err *e)
{
    for (unsigned i = 0; i < r->count; i++) {
        struct section *s = &r->section[i];
        if (s->instance != instance || strcmp(s->name, name) != 0)
            continue;
        *version = s->version;
        *p = s->data;
        *n = s->len;
        s->used = true;
        return 0;
    }
    return err_set(e, ENOENT, "saved state: there is no section %s.%u", name, instance);
}

int state_read(struct state_reader *r, const struct saved *s, struct err *e)
{
    uint32_t version;
    const uint8_t *p;
    size_t n;
    int ret = state_read_raw(r, s->table->name, s->instance, &version, &p, &n, e);
    if (ret)
        return ret;
    struct rbuf in = rbuf_of(p, n);
    ret = state_get(&in, s->table, version, s->obj, e);
    return ret ? err_prefix(e, ret, "section %s.%u", s->table->name, s->instance) : 0;
}

int state_reader_done(struct state_reader *r, struct err *e)
{
    for (unsigned i = 0; i < r->count; i++)
        if (!r->section[i].used)
            return err_set(e, EINVAL, "saved state: section %s.%u belongs to no device of this machine",
                           r->section[i].name, r->section[i].instance);
    return 0;
}
