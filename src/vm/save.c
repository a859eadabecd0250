/*
 * Save and restore of a whole machine: a state file (sections of vm, every vCPU and every chip) and a memory
 * file (RAM in ascending addresses, raw, holes where a page is all zeros), so that a restore can map it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/range.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "vm/cpu_fields.h"
#include "vm/internal.h"
#include "x86/state.h"

enum { MAX_STATE = 64 << 20, CHUNK = 1 << 20 };

/* What belongs to the machine as a whole. */
struct vm_wire {
    uint64_t memory, clock_ns;
    uint32_t cpus;
};

static const struct field vm_fields[] = {
    FIELD(struct vm_wire, memory),
    FIELD(struct vm_wire, clock_ns),
    FIELD(struct vm_wire, cpus, .max = VM_MAX_CPUS),
};

static const struct field_table vm_table = {
    .name = "vm", .version = 1, .fields = vm_fields, .count = ARRAY_LEN(vm_fields)};

/* ---- memory ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* Write runs of pages that are not all zero; the file was truncated to its full size, so what is left out is
 * a hole. */
static int write_region(int fd, const uint8_t *p, uint64_t size, uint64_t at)
{
    for (uint64_t i = 0; i < size;) {
        uint64_t n = 0;
        while (i < size && all_zero(p + i, MEM_PAGE))
            i += MEM_PAGE;
        while (i + n < size && n < CHUNK && !all_zero(p + i + n, MEM_PAGE))
            n += MEM_PAGE;
        int r = n ? host_pwrite_full(fd, p + i, n, at + i) : 0;
        if (r)
            return r;
        i += n;
    }
    return 0;
}

static int save_memory(struct vm *vm, const char *path, struct err *e)
{
    uint64_t at = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "%s", path);
    int r = ftruncate(fd, (off_t)vm->cfg.memory) ? -errno : 0;
    const struct mem_view *v = mem_view(vm->mem);
    for (size_t i = 0; !r && i < v->count; i++) {
        const struct mem_section *s = &v->section[i];
        if (s->region->kind != MEM_RAM)
            continue;
        r = write_region(fd, s->region->ram->host + s->offset, s->size, at);
        at += s->size;
    }
    if (!r && fsync(fd))
        r = -errno;
    close(fd);
    return r ? err_sys(e, r, "%s: cannot write the memory", path) : 0;
}

int vm_open_memory(struct vm *vm, const struct vm_saved *from, int *fd, struct err *e)
{
    struct stat st;
    *fd = open(from->memory_path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return err_sys(e, errno, "%s", from->memory_path);
    if (fstat(*fd, &st))
        return err_sys(e, errno, "%s", from->memory_path);
    if ((uint64_t)st.st_size != vm->cfg.memory)
        return err_set(e, EINVAL,
                       "%s: %lld bytes where the machine has %llu of memory: cut short, or another machine's",
                       from->memory_path, (long long)st.st_size, (unsigned long long)vm->cfg.memory);
    return 0;
}

/* ---- state ---- */

static int write_state(struct vm *vm, struct state_writer *w, struct err *e)
{
    struct vm_wire wire = {.memory = vm->cfg.memory, .clock_ns = clock_now(vm->clock), .cpus = vm->cfg.cpus};
    struct saved all = {.table = &vm_table, .obj = &wire};
    struct x86_state *s = calloc(1, sizeof *s);
    int r = s ? state_write(w, &all) : -ENOMEM;
    for (unsigned i = 0; !r && i < vm->cfg.cpus; i++) {
        struct saved one = {.table = &vm_cpu_table, .obj = s, .instance = i};
        r = vcpu_get(vm->cpu[i].vcpu, s, e);
        if (!r)
            r = state_write(w, &one);
    }
    free(s);
    return r ? r : board_save(vm->board, w, e);
}

static int save_state(struct vm *vm, const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "%s", path);
    struct state_writer *w = state_writer_new(board_name(vm->board), e);
    int r = w ? write_state(vm, w, e) : -ENOMEM;
    if (!r)
        r = state_finish(w, fd, e);
    else
        state_writer_free(w);
    close(fd);
    return r ? err_prefix(e, r, "%s", path) : 0;
}

int vm_save(struct vm *vm, const struct vm_saved *to, struct err *e)
{
    int r = save_memory(vm, to->memory_path, e);
    if (r == -EEXIST)
        return r;
    if (!r)
        r = save_state(vm, to->state_path, e);
    if (r) {
        unlink(to->memory_path);
        if (r != -EEXIST)
            unlink(to->state_path);
    }
    return r;
}

static int read_state(struct vm *vm, struct state_reader *rd, struct err *e)
{
    struct vm_wire wire = {0};
    struct saved all = {.table = &vm_table, .obj = &wire};
    int r = strcmp(state_board(rd), board_name(vm->board)) == 0
                ? state_read(rd, &all, e)
                : err_set(e, EINVAL, "saved on board %s, this machine is a %s", state_board(rd),
                          board_name(vm->board));
    if (!r && (wire.cpus != vm->cfg.cpus || wire.memory != vm->cfg.memory))
        r = err_set(e, EINVAL, "saved with %u CPUs and %llu MiB, this machine has %u and %llu", wire.cpus,
                    (unsigned long long)(wire.memory >> 20), vm->cfg.cpus,
                    (unsigned long long)(vm->cfg.memory >> 20));
    if (!r) {
        clock_set(vm->clock, wire.clock_ns);
        r = board_load(vm->board, rd, e);
    }
    struct x86_state *s = calloc(1, sizeof *s);
    for (unsigned i = 0; !r && i < vm->cfg.cpus; i++) {
        struct saved one = {.table = &vm_cpu_table, .obj = s, .instance = i};
        r = s ? state_read(rd, &one, e) : -ENOMEM;
        if (!r)
            r = vcpu_set(vm->cpu[i].vcpu, s, e);
    }
    free(s);
    return r ? r : state_reader_done(rd, e);
}

int vm_restore_state(struct vm *vm, const struct vm_saved *from, struct err *e)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int r = host_read_file(from->state_path, MAX_STATE, &data, &len, e);
    if (r)
        return r;
    struct state_reader *rd = state_reader_new(data, len, e);
    r = rd ? read_state(vm, rd, e) : -EINVAL;
    state_reader_free(rd);
    free(data);
    return r ? err_prefix(e, r, "%s", from->state_path) : 0;
}
