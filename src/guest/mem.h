/*
 * mem: the guest's physical address space, and the only way to its bytes.
 *
 * The map is a set of typed regions with priorities, published as an immutable, sorted, non-overlapping view.
 * Readers on other threads use the view without a lock; a change publishes a new view, tells the listeners,
 * and frees the old one when every registered reader has passed a quiescent point (mem_reader_quiesce).
 *
 * Guest memory is hostile and shared with running vCPUs: read a field once into a local, then check it.
 * Aligned accesses of 1, 2, 4 and 8 bytes made through mem_load/mem_store are single-copy atomic.
 */
#ifndef GUEST_MEM_H
#define GUEST_MEM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
struct err;
struct lock;

#define MEM_PAGE 4096u

/* ---- backing ---- */

/* FILE_PRIVATE: a snapshot's memory file, mapped copy-on-write */
enum ram_backing { RAM_ANONYMOUS, RAM_MEMFD, RAM_FILE_PRIVATE };

/* Per-page notes, one byte each, that whoever writes guest memory by host pointer must honour (the accessors
 * do). */
enum {
    /* An engine holds decoded or translated code of this page: bump its generation on a write */
    PAGE_CODE = 1,
    PAGE_DIRTY = 2, /* written by a device or engine since dirty tracking last looked */
};

/* A block of guest memory. host, notes and gens live in shared mappings when backing is RAM_MEMFD, so that an
 * engine in a child process sees them. Owned by the map once added to it. */
struct ram {
    uint8_t *host;
    uint64_t size; /* multiple of MEM_PAGE */
    int fd;        /* -1 when anonymous */
    uint64_t fd_offset;
    uint8_t *notes; /* size / MEM_PAGE bytes of PAGE_* */
    uint32_t *gens; /* size / MEM_PAGE generations: changes whenever a page with PAGE_CODE is written */
    enum ram_backing backing;
    void (*code_written)(void *opaque); /* ram_on_code_written */
    void *code_opaque;
    char name[16];
};

/* Anonymous (with transparent huge pages advised) or a memfd; size is rounded up to pages. */
struct ram *ram_new(const char *name, uint64_t size, enum ram_backing backing, struct err *e);
/* RAM_FILE_PRIVATE: `size` bytes at `offset` of a regular file, both multiples of MEM_PAGE and inside it.
 * Dups fd. */
struct ram *ram_new_file(const char *name, int fd, uint64_t offset, uint64_t size, struct err *e);
/* RAM_MEMFD that begins as a copy of them: for an engine in another process, which could not see what is
 * copied on write here. Moves the file's position. */
struct ram *ram_new_copy(const char *name, int fd, uint64_t offset, uint64_t size, struct err *e);
void ram_free(struct ram *r); /* NULL is fine; never what a map owns */

/* After bytes [off, off+len) were written by host pointer: notes dirty pages and bumps generations. Any
 * thread. */
void ram_written(struct ram *r, uint64_t off, uint64_t len);
/* Who is told, on the writer's thread and after the generations have changed, that ram_written met pages with
 * PAGE_CODE: an engine that runs translated code without looking at generations. NULL: nobody. */
void ram_on_code_written(struct ram *r, void (*fn)(void *opaque), void *opaque);

/* ---- the map ---- */

enum mem_kind {
    MEM_RAM,  /* reads and writes are memory */
    MEM_ROM,  /* reads are memory; writes are dropped */
    MEM_ROMD, /* reads are memory; writes are calls (flash) */
    MEM_MMIO, /* both are calls */
    /* A window on [alias_at, alias_at+size) of the same map, resolved below this region's priority */
    MEM_ALIAS,
};

/* A device's registers. Called on the accessing vCPU's thread (or a loop), with `lock` of the region held.
 * size is 1, 2, 4 or 8 and offset+size lies within the region. An access that is not naturally aligned or
 * larger than max_size is split into the largest pieces that are neither, the lower part first. */
struct mem_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
    unsigned max_size; /* 0: 8 */
};

/* A doorbell: writing at `offset` of an MMIO region says only that something happened, whatever is written.
 * Who can (an accelerator: accel_doorbell) signals the eventfd instead of calling the region's write; others
 * call. So both must come to the same. The eventfd outlives the region. */
struct mem_bell {
    uint64_t offset;
    int eventfd;
};

enum { MEM_BELLS = 16 };

struct mem_region {
    const char *name; /* static storage */
    uint64_t base, size;
    int priority; /* higher wins where regions overlap; equal: the later added */
    enum mem_kind kind;
    struct ram *ram; /* RAM, ROM, ROMD */
    uint64_t ram_offset;
    uint64_t alias_at;
    const struct mem_ops *ops; /* MMIO, ROMD */
    void *opaque;
    struct lock *lock; /* taken around ops; NULL: the device locks itself */
    struct mem_bell bell[MEM_BELLS];
    unsigned bells;
};

/* One piece of a view: [base, base+size) is wholly one region, from `offset` in it. */
struct mem_section {
    uint64_t base, size, offset; /* offset: into ram (ram_offset applied) or into the region for calls */
    /* As it was when the view was made; the region's own may have moved on, as may its base */
    enum mem_kind kind;
    const struct mem_region *region;
};

struct mem_view {
    size_t count;
    struct mem_section section[];
};

struct mem_map;
struct mem_reader;

struct mem_map *mem_map_new(struct err *e);
void mem_map_free(struct mem_map *m); /* frees the ram blocks it was given, removed regions' too */

/* Add a copy of `r`. The handle is valid until mem_remove. NULL on -ENOMEM or an invalid region (e). */
struct mem_region *mem_add(struct mem_map *m, const struct mem_region *r, struct err *e);
void mem_remove(struct mem_map *m, struct mem_region *r);
/* Several changes published as one: between begin and commit nothing is rebuilt. Nestable. */
void mem_begin(struct mem_map *m);
void mem_commit(struct mem_map *m);
void mem_set_base(struct mem_map *m, struct mem_region *r, uint64_t base);
/* PAM: RAM <-> ROM and so on */
void mem_set_kind(struct mem_map *m, struct mem_region *r, enum mem_kind kind);
void mem_set_enabled(struct mem_map *m, struct mem_region *r, bool on);

/* The current view; valid until this thread's reader passes a quiescent point (or, on a thread with no
 * reader, only under no change). */
const struct mem_view *mem_view(const struct mem_map *m);
/* The section that holds gpa, or NULL */
const struct mem_section *mem_find(const struct mem_view *v, uint64_t gpa);

/* A thread that uses views registers once and calls quiesce whenever it holds no view or pointer; offline
 * while it sleeps long. */
struct mem_reader *mem_reader_new(struct mem_map *m, struct err *e);
void mem_reader_free(struct mem_reader *r);
void mem_reader_quiesce(struct mem_reader *r);
void mem_reader_offline(struct mem_reader *r, bool offline);

/* Called under the map's lock (rank LOCK_MAP) when a new view was published: accelerators and vhost mirror
 * it. */
struct mem_listener {
    void (*changed)(void *opaque, const struct mem_view *was, const struct mem_view *now);
    void *opaque;
    struct mem_listener *next;
};
/* Calls changed once at once, with an empty `was` */
void mem_listen(struct mem_map *m, struct mem_listener *l);
void mem_unlisten(struct mem_map *m, struct mem_listener *l);

/* ---- access ---- */

/* Host pointer to [gpa, gpa+len), when it lies in one RAM section (or ROM, if !write). NULL otherwise. Lives
 * until the next quiescent point. After a write through it call mem_written. */
void *mem_at(const struct mem_map *m, uint64_t gpa, uint64_t len, bool write);
void mem_written(const struct mem_map *m, uint64_t gpa, uint64_t len);

/* Copy; may cross sections. -EFAULT when any byte is not RAM (ROM is readable): nothing is promised of the
 * rest. */
int mem_read(const struct mem_map *m, uint64_t gpa, void *out, uint64_t len);
int mem_write(const struct mem_map *m, uint64_t gpa, const void *in, uint64_t len);
int mem_fill(const struct mem_map *m, uint64_t gpa, uint8_t byte, uint64_t len);

/* Single-copy atomic aligned scalars in RAM; size 1, 2, 4, 8. -EFAULT as above. */
int mem_load(const struct mem_map *m, uint64_t gpa, unsigned size, uint64_t *value);
int mem_store(const struct mem_map *m, uint64_t gpa, unsigned size, uint64_t value);

/* As many iovecs as [gpa, gpa+len) needs, for device I/O. Returns the count, -EFAULT, or -E2BIG past max. For
 * write: call mem_written when done. */
int mem_iov(const struct mem_map *m, uint64_t gpa, uint64_t len, bool write, struct iovec *iov, int max);

/* A vCPU's access that missed RAM: dispatch to the region's ops. Unassigned reads give all ones; writes are
 * dropped. RAM is served too. size 1..8. */
uint64_t mem_mmio_read(struct mem_map *m, uint64_t gpa, unsigned size);
void mem_mmio_write(struct mem_map *m, uint64_t gpa, unsigned size, uint64_t value);

/* The eventfd of the bell at gpa in this view; -1: none. */
int mem_bell_at(const struct mem_view *v, uint64_t gpa);

/* Sum of the sizes of RAM regions. */
uint64_t mem_ram_size(const struct mem_map *m);

#endif
