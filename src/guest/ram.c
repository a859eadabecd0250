/* Backing of guest memory: anonymous, memfd, or a file mapped copy-on-write; with its page notes and
 * generations. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/mem.h"
#include "host/host.h"

enum { HUGE = 2 << 20 };

/* Notes and generations: shared when the memory is, so that an engine in another process sees them. */
static void *side_table(size_t n, bool shared)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
                   (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Map at a 2 MiB boundary, so that transparent huge pages can back it. */
static uint8_t *map_aligned(uint64_t size, int flags, int fd, uint64_t off)
{
    uint8_t *area = mmap(NULL, size + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            *at;
    if (area == MAP_FAILED)
        return NULL;
    at = (uint8_t *)align_up((uintptr_t)area, HUGE);
    if (mmap(at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED | MAP_NORESERVE, fd, (off_t)off) ==
        MAP_FAILED) {
        int was = errno;
        munmap(area, size + HUGE);
        errno = was;
        return NULL;
    }
    if (at > area)
        munmap(area, (size_t)(at - area));
    if (area + size + HUGE > at + size)
        munmap(at + size, (size_t)(area + HUGE - at));
    return at;
}

static struct ram *make(const char *name, uint64_t size, enum ram_backing backing, int fd, uint64_t off,
                        struct err *e)
{
    struct ram *r = calloc(1, sizeof *r);
    bool shared = backing == RAM_MEMFD;
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : shared ? MAP_SHARED : MAP_PRIVATE;
    if (!r) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    *r = (struct ram){.size = size, .fd = fd, .fd_offset = off, .backing = backing};
    snprintf(r->name, sizeof r->name, "%s", name);
    r->host = map_aligned(size, flags, fd, off);
    r->notes = r->host ? side_table(size / MEM_PAGE, shared) : NULL;
    r->gens = r->notes ? side_table(size / MEM_PAGE * sizeof *r->gens, shared) : NULL;
    if (!r->gens) {
        err_sys(e, errno, "cannot map %llu MiB of guest memory (%s)", (unsigned long long)(size >> 20), name);
        r->fd = -1; /* the caller's still */
        ram_free(r);
        return NULL;
    }
    if (fd < 0)
        madvise(r->host, size, MADV_HUGEPAGE);
    madvise(r->host, size, MADV_DONTDUMP);
    return r;
}

struct ram *ram_new(const char *name, uint64_t size, enum ram_backing backing, struct err *e)
{
    if (!size || size > 1ull << 46 || backing == RAM_FILE_PRIVATE) {
        err_set(e, EINVAL, "guest memory %s of %llu bytes", name, (unsigned long long)size);
        return NULL;
    }
    size = align_up(size, MEM_PAGE);
    int fd = backing == RAM_MEMFD ? host_memfd(name, size, e) : -1;
    if (backing == RAM_MEMFD && fd < 0)
        return NULL;
    struct ram *r = make(name, size, backing, fd, 0, e);
    if (!r && fd >= 0)
        close(fd);
    return r;
}

/* The part of `fd` that is to be guest memory is whole pages, and there. */
static int check_file(const char *name, int fd, uint64_t offset, uint64_t size, struct err *e)
{
    if (!size || size % MEM_PAGE || offset % MEM_PAGE)
        return err_set(e, EINVAL, "guest memory %s: offset and size of its file are multiples of %u", name,
                       MEM_PAGE);
    struct stat st; /* a page beyond the end of its file would be a SIGBUS */
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !range_inside(offset, size, (uint64_t)st.st_size))
        return err_set(e, EINVAL, "guest memory %s: 0x%llx bytes at 0x%llx lie outside its file", name,
                       (unsigned long long)size, (unsigned long long)offset);
    return 0;
}

struct ram *ram_new_file(const char *name, int fd, uint64_t offset, uint64_t size, struct err *e)
{
    if (check_file(name, fd, offset, size, e))
        return NULL;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) {
        err_sys(e, errno, "guest memory %s", name);
        return NULL;
    }
    struct ram *r = make(name, size, RAM_FILE_PRIVATE, own, offset, e);
    if (!r)
        close(own);
    return r;
}

/* What the file holds, without its holes. A file system that does not know holes says that all is data. */
static int copy_data(uint8_t *to, int fd, uint64_t offset, uint64_t size)
{
    for (uint64_t at = 0, next; at < size; at = next) {
        off_t data = lseek(fd, (off_t)(offset + at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) /* a hole up to the end */
            return 0;
        if (data >= 0 && (uint64_t)data - offset >= size)
            return 0;
        if (data >= 0)
            at = (uint64_t)data - offset;
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        next = hole < 0 || (uint64_t)hole - offset > size ? size : (uint64_t)hole - offset;
        int r = host_pread_full(fd, to + at, next - at, offset + at);
        if (r)
            return r;
    }
    return 0;
}

struct ram *ram_new_copy(const char *name, int fd, uint64_t offset, uint64_t size, struct err *e)
{
    if (check_file(name, fd, offset, size, e))
        return NULL;
    struct ram *ram = ram_new(name, size, RAM_MEMFD, e);
    int r = ram ? copy_data(ram->host, fd, offset, size) : 0;
    if (r) {
        err_sys(e, r, "guest memory %s: cannot read its file", name);
        ram_free(ram);
        return NULL;
    }
    return ram;
}

void ram_free(struct ram *r)
{
    if (!r)
        return;
    if (r->host)
        munmap(r->host, r->size);
    if (r->notes)
        munmap(r->notes, r->size / MEM_PAGE);
    if (r->gens)
        munmap(r->gens, r->size / MEM_PAGE * sizeof *r->gens);
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}

/* Cheaper than MFENCE, and than what the compiler makes of a fence, which the thread sanitizer does not know.
 */
static inline void full_barrier(void)
{
    __asm__ volatile("lock; orl $0, (%%rsp)" : : : "memory", "cc");
}

void ram_written(struct ram *r, uint64_t off, uint64_t len)
{
    if (!len)
        return;
    bool code = false;
    full_barrier(); /* the bytes are in place before the note is looked at: see PAGE_CODE in the engine's
                       block.c */
    for (uint64_t page = off / MEM_PAGE, last = (off + len - 1) / MEM_PAGE; page <= last; page++) {
        uint8_t note = __atomic_load_n(&r->notes[page], __ATOMIC_RELAXED);
        if (note & PAGE_CODE)
            __atomic_fetch_add(&r->gens[page], 1, __ATOMIC_SEQ_CST);
        code |= note & PAGE_CODE;
        if (!(note & PAGE_DIRTY))
            __atomic_fetch_or(&r->notes[page], PAGE_DIRTY, __ATOMIC_SEQ_CST);
    }
    void (*tell)(void *) = __atomic_load_n(&r->code_written, __ATOMIC_ACQUIRE);
    if (code && tell)
        tell(r->code_opaque);
}

void ram_on_code_written(struct ram *r, void (*fn)(void *opaque), void *opaque)
{
    if (fn)
        r->code_opaque = opaque;
    __atomic_store_n(&r->code_written, fn, __ATOMIC_RELEASE);
}
