/*
 * native_area: where thunks live: a hash of them, room to build, and the executable view.
 */
#include "accel/soft/engine/native.h"
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include "accel/soft/engine/insn.h"
#include "accel/soft/engine/native_gen.h"
#include "base/check.h"

enum { ALIGN = 64 };

static size_t code_bytes(unsigned cpus)
{
    size_t n = NATIVE_CODE + (size_t)cpus * NATIVE_SLOT;
    return (n + NATIVE_PAGE - 1) / NATIVE_PAGE * NATIVE_PAGE;
}

size_t native_area_size(unsigned cpus)
{
    return sizeof(struct native_area) + code_bytes(cpus);
}

struct native_area *native_area_init(void *mem, unsigned cpus)
{
    struct native_area *a = mem;
    CHECK((uintptr_t)mem % NATIVE_PAGE == 0);
    a->cpus = cpus;
    a->used = 0;
    return a;
}

/* Is `exec` this process's second view of the area? Then its pages are the area's own, and say so. */
static bool have_view(const void *area, uint64_t exec, const uint64_t *where)
{
    unsigned char resident;
    if (!exec ||
        mincore((void *)(uintptr_t)(exec & ~(uint64_t)(NATIVE_PAGE - 1)), NATIVE_PAGE, &resident) < 0)
        return false;
    uint64_t there;
    memcpy(&there, (const void *)(uintptr_t)(exec + ((uintptr_t)where - (uintptr_t)area)), sizeof there);
    return there == exec;
}

/* mremap with an old size of 0 maps the pages of a shared mapping once more (mremap(2)). */
int native_view(void *area, size_t size, uint64_t *exec)
{
    if (have_view(area, *exec, exec))
        return 0;
    void *view = mremap(area, 0, size, MREMAP_MAYMOVE);
    if (view == MAP_FAILED)
        return -errno;
    if (mprotect(view, size, PROT_READ | PROT_EXEC) < 0) {
        int err = errno;
        munmap(view, size);
        return -err;
    }
    *exec = (uintptr_t)view;
    return 0;
}

int native_area_attach(struct native_area *a)
{
    return native_view(a, native_area_size(a->cpus), &a->exec);
}

static void lock(struct native_area *a)
{
    for (unsigned spins = 0; __atomic_exchange_n(&a->lock, 1, __ATOMIC_ACQUIRE); spins++) {
        if (spins % 64 == 63)
            sched_yield();
        __builtin_ia32_pause();
    }
}

static void unlock(struct native_area *a)
{
    __atomic_store_n(&a->lock, 0, __ATOMIC_RELEASE);
}

/* FNV-1a. */
static uint32_t hash_key(const uint8_t *key)
{
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < sizeof((struct native_thunk *)0)->key; i++)
        h = (h ^ key[i]) * 16777619u;
    return h;
}

static struct native_thunk *at(struct native_area *a, uint32_t off)
{
    return (struct native_thunk *)((uint8_t *)a + off);
}

static struct native_thunk *find(struct native_area *a, uint32_t hash, const uint8_t *key)
{
    for (uint32_t off = a->bucket[hash % NATIVE_BUCKETS]; off; off = at(a, off)->next) {
        struct native_thunk *t = at(a, off);
        if (t->hash == hash && memcmp(t->key, key, sizeof t->key) == 0)
            return t;
    }
    return NULL;
}

static void write_thunk(struct native_thunk *t, const struct native_plan *p, uint32_t hash)
{
    struct native_thunk head = {.hash = hash,
                                .flags_out = p->flags_out,
                                .size = (uint16_t)p->code_size,
                                .attr = p->attr,
                                .mem_size = p->mem_size};
    memcpy(head.key, p->key, sizeof head.key);
    memcpy(t, &head, sizeof head);
    memcpy((uint8_t *)t + NATIVE_ENTRY, p->code, p->code_size);
}

/* Code was written under another linear address than it will run at: CPUID serializes (SDM 3A 8.1.3). So does
 * IRET, but QEMU's TCG (7.2) faults on it in programs where the kernel uses SMAP. */
void native_serialize(void)
{
    unsigned a, b, c, d;
    __cpuid(0, a, b, c, d);
    __asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

/* The area is full: build in this vCPU's own slot. */
static const struct native_thunk *build_in_slot(struct cpu *c, const struct native_plan *p)
{
    struct native_area *a = c->native;
    CHECK(c->index < a->cpus && NATIVE_ENTRY + p->code_size <= NATIVE_SLOT);
    struct native_thunk *t = (struct native_thunk *)(a->code + NATIVE_CODE + (size_t)c->index * NATIVE_SLOT);
    write_thunk(t, p, 0);
    native_serialize();
    return t;
}

const struct native_thunk *native_thunk(struct cpu *c, const struct insn *in)
{
    struct native_area *a = c->native;
    if (in->native)
        return at(a, in->native);

    struct native_plan p;
    if (!native_plan(&p, in, (enum cpu_mode)c->mode))
        return NULL;
    uint32_t hash = hash_key(p.key);
    uint32_t need = (uint32_t)((NATIVE_ENTRY + p.code_size + ALIGN - 1) / ALIGN * ALIGN);
    lock(a);
    struct native_thunk *t = find(a, hash, p.key);
    if (!t && a->used + need <= NATIVE_CODE) {
        t = (struct native_thunk *)(a->code + a->used);
        write_thunk(t, &p, hash);
        t->next = a->bucket[hash % NATIVE_BUCKETS];
        a->bucket[hash % NATIVE_BUCKETS] = (uint32_t)((uintptr_t)t - (uintptr_t)a);
        a->used += need;
    }
    unlock(a);
    if (!t)
        return build_in_slot(c, &p);
    /* The instruction belongs to this vCPU's block cache: remember the thunk there. */
    ((struct insn *)(uintptr_t)in)->native = (uint32_t)((uintptr_t)t - (uintptr_t)a);
    return t;
}
