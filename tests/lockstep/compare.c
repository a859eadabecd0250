/*
 * compare: two sides that have retired as many instructions. Nothing is left out: every register that a saved
 * machine has, undefined flags with them (both engines take them from the same processor), all memory with
 * the accessed and dirty bits in it, and a hash of what was written to ports and devices.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <string.h>
#include "base/range.h"
#include "lockstep.h"
#include "vm/cpu_fields.h"

enum { TELL_PAGES = 4 };

static const char *const gpr_name[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static bool same_word(const char *name, uint64_t ref, uint64_t sut, bool tell)
{
    if (ref != sut && tell)
        printf("    %-14s %#llx, interpreter %#llx\n", name, (unsigned long long)sut,
               (unsigned long long)ref);
    return ref == sut;
}

static bool same_element(const struct field *f, unsigned i, const uint8_t *ref, const uint8_t *sut, bool tell)
{
    uint64_t a = 0, b = 0;
    char name[96];
    unsigned from = 0;

    if (!memcmp(ref, sut, f->size))
        return true;
    if (!tell)
        return false;
    while (f->size - from > 8 && !memcmp(ref + from, sut + from, 8))
        from += 8;
    memcpy(&a, ref + from, f->size - from < 8 ? f->size - from : 8);
    memcpy(&b, sut + from, f->size - from < 8 ? f->size - from : 8);
    if (!strcmp(f->name, "gpr"))
        snprintf(name, sizeof name, "%s", gpr_name[i]);
    else if (f->size > 8)
        snprintf(name, sizeof name, "%s+%#x", f->name, from);
    else if (f->count > 1)
        snprintf(name, sizeof name, "%s[%u]", f->name, i);
    else
        snprintf(name, sizeof name, "%s", f->name);
    return same_word(name, a, b, true);
}

static bool same_state(const struct x86_state *ref, const struct x86_state *sut, bool tell)
{
    bool same = true;

    for (size_t k = 0; k < vm_cpu_table.count; k++) {
        const struct field *f = &vm_cpu_table.fields[k];
        size_t stride = f->stride ? f->stride : f->size;
        for (unsigned i = 0; i < f->count && (same || tell); i++)
            same &= same_element(f, i, (const uint8_t *)ref + f->offset + i * stride,
                                 (const uint8_t *)sut + f->offset + i * stride, tell);
    }
    return same;
}

bool same_cpu(struct side *ref, struct side *sut, bool tell)
{
    static struct x86_state a, b;
    bool same;

    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    engine_get(ref->en, 0, &a);
    engine_get(sut->en, 0, &b);
    same = same_state(&a, &b, tell);
    same &= same_word("instructions", ref->c->icount, sut->c->icount, tell);
    same &= same_word("guest time", ref->now, sut->now, tell);
    same &= same_word("port writes", ref->writes, sut->writes, tell);
    same &= same_word("what they wrote", ref->out, sut->out, tell);
    same &= same_word("ended", ref->ended, sut->ended, tell);
    return same;
}

static void tell_page(uint64_t gpa, const uint8_t *ref, const uint8_t *sut)
{
    unsigned at = 0;
    uint64_t a, b;

    while (!memcmp(ref + at, sut + at, 8))
        at += 8;
    memcpy(&a, ref + at, 8);
    memcpy(&b, sut + at, 8);
    printf("    memory at %#llx is %#llx, interpreter %#llx\n", (unsigned long long)gpa + at,
           (unsigned long long)b, (unsigned long long)a);
}

bool same_memory(struct side *ref, struct side *sut, bool tell)
{
    unsigned told = 0;
    bool same = ref->slots == sut->slots;

    for (unsigned i = 0; same && i < ref->slots; i++) {
        const struct engine_slot *a = &ref->slot[i], *b = &sut->slot[i];
        if (a->gpa == b->gpa && a->size == b->size && !memcmp(a->host, b->host, a->size))
            continue;
        same = false;
        for (uint64_t at = 0; tell && at < a->size; at += MEM_PAGE)
            if (memcmp(a->host + at, b->host + at, MEM_PAGE) && told++ < TELL_PAGES)
                tell_page(a->gpa + at, a->host + at, b->host + at);
    }
    return same;
}

void show_instruction(struct side *s, const char *prefix)
{
    const struct cpu *c = s->c;
    uint64_t at = c->mode == MODE_64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip), gpa;
    ZydisDisassembledInstruction d;
    uint8_t bytes[15];
    unsigned n = 0;

    while (n < sizeof bytes && !engine_translate(s->en, 0, at + n, &gpa) &&
           !mem_read(s->mem, gpa, &bytes[n], 1))
        n++;
    printf("%s%#llx:", prefix, (unsigned long long)at);
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(c->mode == MODE_64   ? ZYDIS_MACHINE_MODE_LONG_64
                                            : c->mode == MODE_32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                                                 : ZYDIS_MACHINE_MODE_LEGACY_16,
                                            at, bytes, n, &d))) {
        printf(" ?\n");
        return;
    }
    for (unsigned i = 0; i < 10; i++)
        i < d.info.length ? printf(" %02x", bytes[i]) : printf("   ");
    printf(" %s\n", d.text);
}
