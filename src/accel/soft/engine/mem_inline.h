/*
 * mem_inline: the fast path of cpu_load and cpu_store. Included by cpu.h; nothing else includes it.
 *
 * A hit in the soft TLB proves everything: that the address is canonical, the page mapped with these rights,
 * plain RAM on this host, and that the access does not cross the page (the tag is compared with the page of
 * the last byte, the entry chosen by the first). fast_read and fast_write say that the segment needs no check
 * of its own. All else goes to the slow functions of mem.c.
 */
#ifndef ENGINE_MEM_INLINE_H
#define ENGINE_MEM_INLINE_H
#include "accel/soft/engine/cpu.h"

uint64_t cpu_load_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size);
void cpu_store_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value);
/* A store went to a page whose note says PAGE_CODE: decoded instructions of it, everywhere, are dropped. */
void cpu_code_written(struct cpu *c, uint64_t gpa, unsigned n); /* n bytes, within the page */

/* Host memory of any alignment; one access of that size (aligned ones are single-copy atomic on every host
 * CPU). By inline assembly, so that no compiler splits or repeats it, and because a guest may race with
 * itself as it likes: the thread sanitizer is told nothing. */
struct host_u16 {
    uint16_t v;
} __attribute__((packed, may_alias));
struct host_u32 {
    uint32_t v;
} __attribute__((packed, may_alias));
struct host_u64 {
    uint64_t v;
} __attribute__((packed, may_alias));

static inline __attribute__((always_inline)) uint64_t host_load(uintptr_t at, unsigned size)
{
    uint64_t v;
    uint32_t w;

    switch (size) {
    case 1:
        __asm__ volatile("movzbl %1, %0" : "=r"(w) : "m"(*(const uint8_t *)at));
        return w;
    case 2:
        __asm__ volatile("movzwl %1, %0" : "=r"(w) : "m"(*(const struct host_u16 *)at));
        return w;
    case 4:
        __asm__ volatile("movl %1, %0" : "=r"(w) : "m"(*(const struct host_u32 *)at));
        return w;
    default:
        __asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(const struct host_u64 *)at));
        return v;
    }
}

static inline __attribute__((always_inline)) void host_store(uintptr_t at, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        __asm__ volatile("movb %1, %0" : "=m"(*(uint8_t *)at) : "q"((uint8_t)v));
        break;
    case 2:
        __asm__ volatile("movw %1, %0" : "=m"(*(struct host_u16 *)at) : "r"((uint16_t)v));
        break;
    case 4:
        __asm__ volatile("movl %1, %0" : "=m"(*(struct host_u32 *)at) : "r"((uint32_t)v));
        break;
    default:
        __asm__ volatile("movq %1, %0" : "=m"(*(struct host_u64 *)at) : "r"(v));
    }
}

/* n bytes to or from guest memory, in no particular order. */
static inline void host_copy(void *to, const void *from, uint64_t n)
{
#ifdef __SANITIZE_THREAD__
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
#else
    __builtin_memcpy(to, from, n);
#endif
}

/* The page of a store that has just been made holds decoded code. Read after the store, in program order:
 * block.c explains. */
static inline __attribute__((always_inline)) bool note_has_code(const uint8_t *note)
{
    __asm__ volatile("" ::: "memory");
    return __builtin_expect(__atomic_load_n(note, __ATOMIC_RELAXED) & 1, 0);
}

/* The TLB entry that proves an access of `size` bytes at `linear` of this kind, or NULL. */
static inline __attribute__((always_inline)) const struct tlb_entry *
tlb_hit(const struct cpu *c, enum tlb_kind kind, uint64_t linear, unsigned size)
{
    const struct tlb_entry *t = &c->tlb_now[kind][(linear >> 12) & (TLB_SIZE - 1)];
    uint64_t want = ((linear + size - 1) & ~0xfffull) | c->asid[linear >> 63];
    return __builtin_expect(t->tag == want, 1) ? t : 0;
}

static inline uint64_t cpu_load(struct cpu *c, unsigned seg, uint64_t off, unsigned size)
{
    if (__builtin_expect(c->fast_read >> seg & 1, 1)) {
        uint64_t linear = c->fast_base[seg] + off;
        const struct tlb_entry *t = tlb_hit(c, TLB_READ, linear, size);
        if (t)
            return host_load(linear + t->addend, size);
    }
    return cpu_load_slow(c, seg, off, size);
}

static inline void cpu_store(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value)
{
    if (__builtin_expect(c->fast_write >> seg & 1, 1)) {
        uint64_t linear = c->fast_base[seg] + off;
        const struct tlb_entry *t = tlb_hit(c, TLB_WRITE, linear, size);
        if (t) {
            host_store(linear + t->addend, size, value);
            if (note_has_code(t->note))
                cpu_code_written(c, t->gpa | (linear & 0xfff), size);
            return;
        }
    }
    cpu_store_slow(c, seg, off, size, value);
}

void cpu_ref_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size, bool locked, struct cpu_ref *r);
uint64_t cpu_ref_load_slow(struct cpu_ref *r);
void cpu_ref_store_slow(struct cpu_ref *r, uint64_t value);
void cpu_ref_end_slow(struct cpu_ref *r);

static inline void cpu_ref(struct cpu *c, unsigned seg, uint64_t off, unsigned size, bool locked,
                           struct cpu_ref *r)
{
    if (__builtin_expect(c->fast_write >> seg & 1, 1)) {
        uint64_t linear = c->fast_base[seg] + off;
        const struct tlb_entry *t = tlb_hit(c, TLB_WRITE, linear, size);
        if (t) {
            r->host = (uint8_t *)(uintptr_t)(linear + t->addend);
            r->c = c;
            r->gpa[0] = t->gpa | (linear & 0xfff);
            r->note[0] = t->note;
            r->note[1] = 0;
            r->size = (uint8_t)size;
            r->mmio = r->locked = 0;
            return;
        }
    }
    cpu_ref_slow(c, seg, off, size, locked, r);
}

static inline uint64_t cpu_ref_load(struct cpu_ref *r)
{
    return __builtin_expect(r->host != 0, 1) ? host_load((uintptr_t)r->host, r->size) : cpu_ref_load_slow(r);
}

static inline void cpu_ref_store(struct cpu_ref *r, uint64_t value)
{
    if (__builtin_expect(r->host != 0, 1))
        host_store((uintptr_t)r->host, r->size, value);
    else
        cpu_ref_store_slow(r, value);
}

static inline void cpu_ref_end(struct cpu_ref *r)
{
    if (__builtin_expect(r->note[1] != 0 || r->locked, 0) || note_has_code(r->note[0]))
        cpu_ref_end_slow(r);
}

#endif
