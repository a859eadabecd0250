#include "boot/src.h"
#include "base/err.h"
#include "base/range.h"
#include "boot/boot.h"
#include "guest/mem.h"
#include "host/host.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

void src_memory(struct src *s, const char *name, const void *data, uint64_t len)
{
    *s = (struct src){.name = name, .data = data, .len = len, .fd = -1};
}

/* A FIFO or character device: its end is only known by reading it. */
static int slurp(struct src *s, struct err *e)
{
    size_t cap = 0, len = 0;
    for (;;) {
        if (len == cap) {
            if (cap >= SRC_PIPE_MAX)
                return err_set(e, EFBIG, "%s: more than %d bytes come out of it; give a regular file",
                               s->name, SRC_PIPE_MAX);
            cap = cap ? cap * 2 : 1 << 20;
            uint8_t *grown = realloc(s->owned, cap);
            if (!grown)
                return err_set(e, ENOMEM, "%s: no memory to read it into", s->name);
            s->owned = grown;
        }
        ssize_t got = read(s->fd, s->owned + len, cap - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(e, errno, "%s: cannot read", s->name);
        if (got == 0)
            break;
        len += (size_t)got;
    }
    s->data = s->owned;
    s->len = len;
    return 0;
}

static int open_fd(struct src *s, const char *what, struct err *e)
{
    struct stat st;
    s->fd = open(s->name, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 && errno == ENOENT)
        return err_set(e, ENOENT, "%s: no such file; give the path of the %s", s->name, what);
    if (s->fd < 0)
        return err_sys(e, errno, "%s: cannot open the %s", s->name, what);
    if (fstat(s->fd, &st))
        return err_sys(e, errno, "%s: cannot examine the %s", s->name, what);
    if (S_ISDIR(st.st_mode))
        return err_set(e, EISDIR, "%s: is a directory; give the path of the %s", s->name, what);
    if (S_ISBLK(st.st_mode))
        return err_set(e, ENOEXEC, "%s: is a block device; give the path of the %s file", s->name, what);
    if (!S_ISREG(st.st_mode))
        return slurp(s, e);
    s->len = (uint64_t)st.st_size;
    return 0;
}

int src_open(struct src *s, const struct boot_file *f, const char *what, struct err *e)
{
    src_memory(s, f->path ? f->path : what, f->data, f->data ? f->len : 0);
    int r = f->data ? 0 : open_fd(s, what, e);
    if (!r && !s->len)
        r = err_set(e, ENOEXEC, "%s: is empty; give the path of the %s", s->name, what);
    if (r)
        src_close(s);
    return r;
}

void src_close(struct src *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->owned);
    *s = (struct src){.fd = -1};
}

static int check_range(const struct src *s, uint64_t off, uint64_t n, struct err *e)
{
    if (range_inside(off, n, s->len))
        return 0;
    return err_set(e, ENOEXEC,
                   "%s: truncated or malformed: %llu bytes are wanted at offset 0x%llx, it has only %llu; "
                   "fetch it again",
                   s->name, (unsigned long long)n, (unsigned long long)off, (unsigned long long)s->len);
}

int src_read(const struct src *s, uint64_t off, void *out, size_t n, struct err *e)
{
    int r = check_range(s, off, n, e);
    if (r || !n)
        return r;
    if (s->data) {
        memcpy(out, s->data + off, n);
        return 0;
    }
    r = host_pread_full(s->fd, out, n, off);
    if (r == -ENODATA)
        return err_set(e, ENOEXEC, "%s: shrank while it was read; try again", s->name);
    return r ? err_sys(e, r, "%s: cannot read at offset 0x%llx", s->name, (unsigned long long)off) : 0;
}

static int not_ram(const struct src *s, uint64_t gpa, uint64_t n, struct err *e)
{
    return err_set(e, ENOMEM,
                   "%s: wants guest memory 0x%llx-0x%llx, which is not RAM; give the machine more memory",
                   s->name, (unsigned long long)gpa, (unsigned long long)(gpa + n - 1));
}

/* Where the destination is not one piece of RAM, through a buffer. */
static int to_guest_pieces(const struct src *s, uint64_t off, uint64_t n, struct mem_map *mem, uint64_t gpa,
                           struct err *e)
{
    uint8_t *piece = malloc(CHUNK);
    int r = piece ? 0 : err_set(e, ENOMEM, "%s: no memory to read it", s->name);
    while (!r && n) {
        size_t now = n < CHUNK ? (size_t)n : CHUNK;
        r = src_read(s, off, piece, now, e);
        if (!r && mem_write(mem, gpa, piece, now))
            r = not_ram(s, gpa, now, e);
        off += now;
        gpa += now;
        n -= now;
    }
    free(piece);
    return r;
}

int src_to_guest(const struct src *s, uint64_t off, uint64_t n, struct mem_map *mem, uint64_t gpa,
                 struct err *e)
{
    int r = check_range(s, off, n, e);
    if (r || !n)
        return r;
    if (!range_no_wrap(gpa, n))
        return not_ram(s, gpa, n, e);
    if (s->data)
        return mem_write(mem, gpa, s->data + off, n) ? not_ram(s, gpa, n, e) : 0;
    void *host = mem_at(mem, gpa, n, true);
    if (!host)
        return to_guest_pieces(s, off, n, mem, gpa, e);
    r = src_read(s, off, host, n, e);
    mem_written(mem, gpa, n);
    return r;
}
