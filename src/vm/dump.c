/* Registers as text, for the person who looks at a crashed guest. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "vm/internal.h"
#include "x86/state.h"

struct out {
    char *p;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(o->p, o->left, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < o->left) {
        o->p += n;
        o->left -= (size_t)n;
    } else {
        o->left = 0;
    }
}

static void dump_state(struct out *o, const struct x86_state *s)
{
    static const char *const gpr[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (int i = 0; i < 16; i++)
        put(o, "%s %016" PRIx64 "%s", gpr[i], s->gpr[i], i % 4 == 3 ? "\n" : "  ");
    put(o, "rip %016" PRIx64 "  rflags %08" PRIx64 "\n", s->rip, s->rflags);
    put(o,
        "cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %08" PRIx64 "  efer %08" PRIx64 "\n",
        s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
    for (int i = 0; i < X86_SEGS; i++)
        put(o, "%s %04x base %016" PRIx64 " limit %08x attr %05x\n", seg[i], s->seg[i].sel, s->seg[i].base,
            s->seg[i].limit, s->seg[i].attr);
    put(o, "tr %04x base %016" PRIx64 " limit %08x   gdt %016" PRIx64 "+%04x   idt %016" PRIx64 "+%04x\n",
        s->tr.sel, s->tr.base, s->tr.limit, s->gdtr.base, s->gdtr.limit, s->idtr.base, s->idtr.limit);
}

void vm_dump_registers(struct vm *vm, unsigned cpu, char *out, unsigned cap)
{
    struct out o = {.p = out, .left = cap};
    struct x86_state *s = calloc(1, sizeof *s);
    if (cap)
        out[0] = 0;
    if (s && vcpu_get(vm->cpu[cpu].vcpu, s, NULL) == 0) {
        put(&o, "CPU %u\n", cpu);
        dump_state(&o, s);
    }
    free(s);
}
