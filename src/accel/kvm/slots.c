#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"

/* The memory map's views, mirrored as KVM's slots. A slot that stays the same is not touched; others go
 * before new ones come, so a page may for a moment be in none: a vCPU that hits it then comes out with an
 * MMIO exit, which mem serves, or with a failed fetch, which vcpu.c retries. */

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->host == b->host && a->readonly == b->readonly;
}

/* The slot that a section asks for; false: none (calls, or less than a page). */
static bool slot_of(const struct kvm_accel *k, const struct mem_section *s, struct kvm_slot *out)
{
    const struct mem_region *r = s->region;
    uint64_t skip = align_up(s->base, MEM_PAGE) - s->base;
    bool readonly = r->kind != MEM_RAM;

    if (r->kind == MEM_MMIO || r->kind == MEM_ALIAS || !r->ram || skip >= s->size ||
        s->size - skip < MEM_PAGE)
        return false;
    if (readonly && !k->caps.readonly_mem)
        return false;
    *out = (struct kvm_slot){.gpa = s->base + skip,
                             .size = align_down(s->size - skip, MEM_PAGE),
                             .ram = r->ram,
                             .ram_offset = s->offset + skip,
                             .host = r->ram->host + s->offset + skip,
                             .readonly = readonly};
    return true;
}

static int tell(struct kvm_accel *k, const struct kvm_slot *s, bool on)
{
    struct kvm_userspace_memory_region m = {
        .slot = s->id,
        .flags = (s->readonly ? KVM_MEM_READONLY : 0) |
                 (k->dirty_log && !s->readonly ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = s->gpa,
        .memory_size = on ? s->size : 0,
        .userspace_addr = (uintptr_t)s->host,
    };

    return kvm_ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &m);
}

static int collect(struct kvm_accel *k, const struct kvm_slot *s)
{
    uint64_t pages = s->size / MEM_PAGE, words = (pages + 63) / 64, first = s->ram_offset / MEM_PAGE;
    uint64_t *bits;
    struct kvm_dirty_log log = {.slot = s->id};
    int r;

    if (s->readonly)
        return 0;
    bits = calloc(words, sizeof *bits);
    if (!bits)
        return -ENOMEM;
    log.dirty_bitmap = bits;
    r = kvm_ioctl(k->vm, KVM_GET_DIRTY_LOG, &log);
    for (uint64_t w = 0; r >= 0 && w < words; w++)
        for (uint64_t b = bits[w]; b; b &= b - 1)
            __atomic_fetch_or(&s->ram->notes[first + w * 64 + (unsigned)__builtin_ctzll(b)], PAGE_DIRTY,
                              __ATOMIC_RELAXED);
    free(bits);
    return r < 0 ? r : 0;
}

static uint32_t free_id(const struct kvm_accel *k)
{
    for (uint32_t id = 0; id < k->caps.slots; id++) {
        bool used = false;

        for (size_t i = 0; i < k->slot_count && !used; i++)
            used = k->slots[i].id == id;
        if (!used)
            return id;
    }
    return UINT32_MAX;
}

/* Drop slots that `now` does not have. What they logged as dirty is kept. */
static void drop_old(struct kvm_accel *k, const struct mem_view *now)
{
    size_t kept = 0;

    for (size_t i = 0; i < k->slot_count; i++) {
        struct kvm_slot want;
        bool stays = false;

        for (size_t j = 0; j < now->count && !stays; j++)
            stays = slot_of(k, &now->section[j], &want) && same(&want, &k->slots[i]);
        if (stays) {
            k->slots[kept++] = k->slots[i];
            continue;
        }
        if (k->dirty_log)
            collect(k, &k->slots[i]);
        tell(k, &k->slots[i], false);
    }
    k->slot_count = kept;
}

static void add_new(struct kvm_accel *k, const struct kvm_slot *want)
{
    struct kvm_slot s = *want;
    int r;

    for (size_t i = 0; i < k->slot_count; i++)
        if (same(&k->slots[i], want))
            return;
    if (k->slot_count == k->slot_cap) {
        size_t cap = k->slot_cap ? k->slot_cap * 2 : 32;
        struct kvm_slot *grown = realloc(k->slots, cap * sizeof *grown);

        if (!grown) {
            log_guest(NULL, LOG_ERROR, "kvm: out of memory for memory slots");
            return;
        }
        k->slots = grown;
        k->slot_cap = cap;
    }
    s.id = free_id(k);
    r = s.id == UINT32_MAX ? -ENOSPC : tell(k, &s, true);
    if (r < 0) {
        log_guest(NULL, LOG_ERROR, "kvm: memory slot %#llx+%#llx: %s", (unsigned long long)s.gpa,
                  (unsigned long long)s.size, strerror(-r));
        return;
    }
    k->slots[k->slot_count++] = s;
}

static void changed(void *opaque, const struct mem_view *was, const struct mem_view *now)
{
    struct kvm_accel *k = opaque;
    struct kvm_slot want;

    (void)was;
    lock_take(&k->slots_lock);
    drop_old(k, now);
    for (size_t i = 0; i < now->count; i++)
        if (slot_of(k, &now->section[i], &want))
            add_new(k, &want);
    lock_drop(&k->slots_lock);
}

void kvm_slots_init(struct kvm_accel *k)
{
    k->listener = (struct mem_listener){.changed = changed, .opaque = k};
    mem_listen(k->cfg.mem, &k->listener);
    k->listening = true;
}

void kvm_slots_free(struct kvm_accel *k)
{
    if (k->listening)
        mem_unlisten(k->cfg.mem, &k->listener);
    free(k->slots);
}

int kvm_dirty_log(struct accel *a, bool on, struct err *e)
{
    struct kvm_accel *k = kvm_of(a);
    int r = 0;

    lock_take(&k->slots_lock);
    if (k->dirty_log != on) {
        k->dirty_log = on;
        for (size_t i = 0; r >= 0 && i < k->slot_count; i++)
            r = tell(k, &k->slots[i], true);
    }
    lock_drop(&k->slots_lock);
    return r < 0 ? err_sys(e, r, "kvm: dirty log") : 0;
}

int kvm_dirty_collect(struct accel *a, struct err *e)
{
    struct kvm_accel *k = kvm_of(a);
    int r = 0;

    lock_take(&k->slots_lock);
    for (size_t i = 0; !r && k->dirty_log && i < k->slot_count; i++)
        r = collect(k, &k->slots[i]);
    lock_drop(&k->slots_lock);
    return r ? err_sys(e, r, "kvm: dirty log cannot be read") : 0;
}
