/*
 * brun: a block by the translator, and everything that can be seen of it compared with the reference.
 *
 * Where the vCPU is interrupted, the state must be one that the reference had before some instruction, at
 * which it could be interrupted, not before what interrupts it was stored, and not behind the next branch at
 * which translated code looks. From there it runs on to the same end.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include "accel/soft/engine/xlate.h"
#include "blocks.h"

enum { MAX_EVENTS = 200 };

bool bench_differs(struct bench *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(b->why, sizeof b->why, fmt, ap);
    va_end(ap);
    return false;
}

bool bench_discarded(const struct bench *b)
{
    return b->trace.discard != NULL;
}

/* ---- comparing ---- */

static bool same(struct bench *b, const char *name, uint64_t ref, uint64_t got)
{
    if (ref == got)
        return true;
    return bench_differs(b, "%s is %#llx, should be %#llx", name, (unsigned long long)got,
                         (unsigned long long)ref);
}

static bool same_bytes(struct bench *b, const char *name, unsigned index, const void *ref, const void *got,
                       unsigned n)
{
    const uint8_t *x = ref, *y = got;
    unsigned i = 0;

    if (!memcmp(ref, got, n))
        return true;
    while (x[i] == y[i])
        i++;
    return bench_differs(b, "%s %u differs at byte %#x: %02x, should be %02x", name, index, i, y[i], x[i]);
}

static bool same_memory(struct bench *b, const struct image *m)
{
    static const char *const name[] = {"code page", "data page"};

    for (unsigned i = 0; i < CODE_PIECES; i++)
        if (!same_bytes(b, name[0], i, m->code[i], side_page(b->sut, side_code_gpa(i)), 4096))
            return false;
    for (unsigned i = 0; i < DATA_N; i++)
        if (!same_bytes(b, name[1], i, m->data[i], side_page(b->sut, side_data_gpa(i)), 4096))
            return false;
    return true;
}

static bool same_registers(struct bench *b, const struct point *p, uint32_t undefined)
{
    static const char *const name[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct cpu *c = b->sut->c;

    for (unsigned i = 0; i < 16; i++)
        if (!same(b, name[i], p->gpr[i], c->gpr[i]))
            return false;
    return same(b, "rip", p->rip, c->rip) &&
           same(b, "rflags", p->rflags & ~(uint64_t)undefined, c->rflags & ~(uint64_t)undefined) &&
           same(b, "cpl", p->cpl, c->cpl) && same(b, "fs base", p->seg[X86_FS].base, c->seg[X86_FS].base) &&
           same(b, "gs base", p->seg[X86_GS].base, c->seg[X86_GS].base) &&
           same(b, "kernel gs base", p->kernel_gs, c->kernel_gs_base) && same(b, "cr2", p->cr2, c->cr2) &&
           same(b, "cr0", p->cr0, c->cr0) && same(b, "cs", p->seg[X86_CS].sel, c->seg[X86_CS].sel) &&
           same(b, "ss", p->seg[X86_SS].sel, c->seg[X86_SS].sel) && same(b, "cr4", p->cr4, c->cr4) &&
           same(b, "dr6", p->dr6, c->dr6) &&
           same(b, "device writes", p->device_writes, b->sut->device_writes) &&
           same_bytes(b, "x87 and vector state", 0, &p->fpu, &c->fpu, sizeof p->fpu);
}

static bool same_tables(struct bench *b, const struct point *p)
{
    for (unsigned i = 0; i < POINT_PTES; i++) {
        uint64_t got = *side_pte(b->sut, b->region, point_pte(i));
        if (p->pte[i] != got)
            return bench_differs(b, "page-table entry of %#x is %#llx, should be %#llx", point_pte(i),
                                 (unsigned long long)got, (unsigned long long)p->pte[i]);
    }
    return true;
}

static bool same_frame(struct bench *b)
{
    static const char *const name[] = {"error code", "RIP", "CS", "RFLAGS", "RSP", "SS"};
    const uint64_t *f = side_frame(b->sut) - 1;
    int v = b->trace.vector;

    for (unsigned i = v >= 0 && vector_has_error((unsigned)v) ? 0 : 1; i < 6; i++) {
        uint64_t mask = i == 3 ? ~(uint64_t)b->trace.undefined : ~0ull;
        if ((f[i] & mask) != (b->end_frame[i] & mask))
            return bench_differs(b, "%s in the frame of vector %d is %#llx, should be %#llx", name[i], v,
                                 (unsigned long long)f[i], (unsigned long long)b->end_frame[i]);
    }
    return true;
}

static bool same_end(struct bench *b)
{
    struct cpu *c = b->sut->c;
    int v = side_vector(b->sut);

    if (v != b->trace.vector)
        return bench_differs(b, "vector %d at %#llx (cr2 %#llx), should be %d", v,
                             (unsigned long long)side_frame(b->sut)[0], (unsigned long long)c->cr2,
                             b->trace.vector);
    if (v >= 0) /* behind HLT */
        c->rip &= ~15ull;
    return same_registers(b, &b->end, b->trace.undefined) && same_memory(b, &b->end.memory) &&
           (v < 0 || same_frame(b)) && same_tables(b, &b->end);
}

/* ---- interruptions ---- */

static bool interruptible(const struct bench *b, const struct snap *n)
{
    switch (b->prog.event) {
    case ATT_INTR:
        return (n->rflags & X86_IF) && !n->shadow;
    case ATT_NMI:
        return !n->shadow;
    default:
        return true;
    }
}

/* The first state behind instruction `item`, from state `from` on; > steps: none. */
static unsigned behind(const struct bench *b, unsigned from, int item)
{
    uint64_t rip = item_rip(&b->prog, b->region, (unsigned)item);

    for (unsigned i = from + 1; i <= b->trace.steps; i++)
        if (b->trace.snap[i - 1].rip == rip)
            return i;
    return MAX_STEPS + 1;
}

/* Between which two states the next interruption is to be taken; last > steps: maybe not at all. */
static void window(const struct bench *b, unsigned from, unsigned *first, unsigned *last)
{
    *first = *last = MAX_STEPS + 1;
    if (b->stepping) {
        *first = from;
        return;
    }
    if (b->prog.poke < 0 || b->prog.item[b->prog.poke - 1].off ||
        !(b->prog.event & (ATT_INTR | ATT_NMI | ATT_KICK)))
        return;
    *first = behind(b, from, b->prog.poke - 1);
    if (*first > b->trace.steps || b->prog.item[b->prog.poke].off)
        return;
    /* by a jump here, or the last interrupt came in between: there is none to take */
    if (b->prog.event == ATT_INTR &&
        (*first < from + 2 ||
         b->trace.snap[*first - 2].rip != item_rip(&b->prog, b->region, (unsigned)b->prog.poke - 2)))
        return;
    for (unsigned i = behind(b, *first - 1, b->prog.poke); i <= b->trace.steps; i++)
        if (interruptible(b, &b->trace.snap[i]) &&
            (b->trace.snap[i].polled || !interruptible(b, &b->trace.snap[i - 1]))) {
            /* flags that nobody would have read are set before the interrupt shows them */
            if (b->trace.snap[i].polled)
                while (i < b->trace.steps && !b->trace.snap[++i].sets)
                    ;
            *last = i;
            return;
        }
}

static bool is_snap(const struct bench *b, unsigned i)
{
    const struct snap *n = &b->trace.snap[i];
    const struct cpu *c = b->sut->c;

    return n->rip == c->rip && !((n->rflags ^ c->rflags) & ~(uint64_t)(n->undefined | X86_RF)) &&
           !memcmp(n->gpr, c->gpr, sizeof n->gpr);
}

/* Memory and vectors at state i: the reference goes there once more. */
static bool same_there(struct bench *b, unsigned i)
{
    static struct trace scratch;
    static struct point p;

    point_put(b->ref, b->region, &b->from);
    scratch.undefined = b->from_undefined;
    ref_run(b->ref, &scratch, i);
    point_take(b->ref, b->region, &p);
    for (unsigned k = 0; k < POINT_PTES;
         k++) /* it may have stopped between a page table's change and INVLPG */
        side_flush(b->ref, b->region, point_pte(k));
    p.rflags = b->sut->c->rflags; /* known to be good */
    return same_registers(b, &p, 0) && same_memory(b, &p.memory);
}

/* The vCPU was interrupted, and stands where it was. */
static bool taken(struct bench *b, unsigned *from)
{
    const struct cpu *c = b->sut->c;
    unsigned first, last, found = MAX_STEPS + 1;

    window(b, *from, &first, &last);
    for (unsigned i = first; i <= b->trace.steps && i <= last; i++)
        if (is_snap(b, i) && interruptible(b, &b->trace.snap[i]) && same_there(b, i)) {
            found = i;
            break;
        }
    if (found <= b->trace.steps) {
        b->why[0] = 0;
        *from = found;
        return true;
    }
    if (b->why[0]) /* registers were right there */
        return false;
    for (unsigned i = 0; i <= b->trace.steps; i++)
        if (is_snap(b, i))
            return bench_differs(b,
                                 "interrupted in state %u (rip %#llx, IF %u, shadow %u), not within %u..%u",
                                 i, (unsigned long long)c->rip, (unsigned)(c->rflags >> 9 & 1),
                                 b->trace.snap[i].shadow, first, last);
    for (unsigned i = first; i <= b->trace.steps; i++)
        if (b->trace.snap[i].rip == c->rip) {
            for (unsigned g = 0; g < 16; g++)
                if (b->trace.snap[i].gpr[g] != c->gpr[g])
                    return bench_differs(b, "interrupted at rip %#llx: gpr %u is %#llx, should be %#llx",
                                         (unsigned long long)c->rip, g, (unsigned long long)c->gpr[g],
                                         (unsigned long long)b->trace.snap[i].gpr[g]);
            return bench_differs(b, "interrupted at rip %#llx: rflags %#llx, should be %#llx (undefined %#x)",
                                 (unsigned long long)c->rip, (unsigned long long)c->rflags,
                                 (unsigned long long)b->trace.snap[i].rflags, b->trace.snap[i].undefined);
        }
    return bench_differs(
        b, "interrupted at rip %#llx, which is at no instruction from state %u to %u (at %#llx) on",
        (unsigned long long)c->rip, first, b->trace.steps,
        (unsigned long long)b->trace.snap[b->trace.steps].rip);
}

/* ---- the host's single step: interruptions at any instruction of translated code ---- */

static struct bench *stepped;
static unsigned steps_seen;

/* The trap flag is set on the way into translated code, and by the C functions that it calls on their way
 * back: each trap takes many microseconds. */
uint64_t blocks_return_to, blocks_enter_at;
void blocks_rearm(void);
void blocks_enter(void);
__asm__(".text\n"
        "blocks_enter:\n"
        "    pushfq\n"
        "    orl $0x100, (%rsp)\n"
        "    popfq\n"
        "    jmp *blocks_enter_at(%rip)\n"
        "blocks_rearm:\n"
        "    pushfq\n"
        "    orl $0x100, (%rsp)\n"
        "    popfq\n"
        "    jmp *blocks_return_to(%rip)\n");

static void on_trap(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    greg_t *r = u->uc_mcontext.gregs;
    struct bench *b = stepped;
    uint64_t code = b->sut->en->xlate_exec, *top = (uint64_t *)(uintptr_t)r[REG_RSP];
    (void)sig, (void)info;

    if ((uint64_t)r[REG_RIP] - code < b->sut->en->xlate_code) {
        if (++steps_seen < b->step_target)
            return;
        if (b->prog.event == ATT_INTR)
            b->sut->c->priv->lapic.irr[VECTOR_INTR / 32] |= 1u << VECTOR_INTR % 32;
        cpu_attention(b->sut->c, b->prog.event);
        b->step_target = UINT32_MAX;
    } else if ((uintptr_t)r[REG_RIP] - (uintptr_t)blocks_enter < 64)
        return;
    else if (*top - code < b->sut->en->xlate_code) { /* called from there */
        blocks_return_to = *top;
        *top = (uintptr_t)blocks_rearm;
    }
    r[REG_EFL] &= ~(greg_t)X86_TF;
}

void bench_traps(struct bench *b)
{
    struct sigaction a = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

    stepped = b;
    sigaction(SIGTRAP, &a, NULL);
}

static enum engine_exit run(struct bench *b)
{
    struct xglue *glue = &b->sut->en->xlate->glue;
    struct engine_exit_info info;

    steps_seen = 0;
    blocks_enter_at = glue->enter;
    if (b->stepping && b->step_target != UINT32_MAX)
        glue->enter = (uintptr_t)blocks_enter;
    enum engine_exit e = engine_run(b->sut->en, 0, &info);
    glue->enter = blocks_enter_at;
    return e;
}

/* ---- a run ---- */

static bool missed(struct bench *b, unsigned from)
{
    unsigned first, last;

    window(b, from, &first, &last);
    return last <= b->trace.steps &&
           !bench_differs(b, "not interrupted: should have been, in one of the states %u..%u", first, last);
}

/* Instructions, the handler's HLT among them. */
static bool same_count(struct bench *b, uint64_t count)
{
    uint64_t want = b->trace.executed + (b->trace.vector >= 0);

    if (count == want)
        return true;
    return bench_differs(b, "%llu instructions were counted, there were %llu", (unsigned long long)count,
                         (unsigned long long)want);
}

static bool go(struct bench *b)
{
    struct side *s = b->sut;
    unsigned from = 0;
    uint64_t count = s->c->icount;

    b->n.runs++;
    for (unsigned n = 0; n < MAX_EVENTS; n++) {
        enum engine_exit e = run(b);
        int v = side_vector(s);
        if (e != ENGINE_KICKED)
            return bench_differs(b, "left the machine (%d)", (int)e);
        if (!s->c->halted && v >= 0)
            continue; /* kicked in the handler */
        if (s->c->halted && v != VECTOR_INTR && v != X86_NMI)
            return !missed(b, from) && same_end(b) && (n || same_count(b, s->c->icount - count));
        if (v >= 0) {
            b->n.interrupted++;
            side_unwind(s, true);
        } else
            b->n.kicked++;
        if (side_vector(s) < 0 && !taken(b, &from))
            return false;
    }
    return bench_differs(b, "interrupted without end");
}

bool bench_again(struct bench *b, const char *what)
{
    b->what = what;
    b->why[0] = 0;
    point_put(b->sut, b->region, &b->from);
    side_forget_frame(b->sut);
    return go(b);
}

static bool pokes_whole(const struct bench *b)
{
    for (int i = b->prog.poke - POKES + 1; b->prog.poke >= 0 && i <= b->prog.poke; i++)
        for (unsigned k = 0; k < b->prog.item[i].len && !b->prog.item[i].off; k++) {
            unsigned at = b->prog.item[i].at + k;
            if (side_page(b->ref, side_code_gpa(at >> 12))[at & 0xfff] != b->image.code[at >> 12][at & 0xfff])
                return false;
        }
    return true;
}

bool bench_here(struct bench *b, const char *what)
{
    b->what = what;
    b->why[0] = 0;
    point_take(b->ref, b->region, &b->from);
    b->from_undefined = b->trace.undefined;
    side_forget_frame(b->ref);
    side_forget_frame(b->sut);
    ref_run(b->ref, &b->trace, MAX_STEPS);
    if (b->trace.vector < 0 && b->prog.poke >= 0)
        b->trace.discard = "it halts, and may be woken";
    else if (b->trace.vector == VECTOR_INTR || b->trace.vector == X86_NMI)
        b->trace.discard = "it calls the handler of an interrupt itself";
    else if (!pokes_whole(b))
        b->trace.discard = "it changes the code that writes to the engine";
    if (b->trace.discard)
        return true;
    point_take(b->ref, b->region, &b->end);
    if (b->trace.vector >= 0) {
        memcpy(b->end_frame, side_frame(b->ref) - 1, sizeof b->end_frame);
        b->n.ended[b->trace.vector]++;
    }
    return go(b);
}

void bench_start(struct bench *b)
{
    struct side *const sides[] = {b->ref, b->sut};

    for (unsigned i = 0; i < 2; i++) {
        side_registers(sides[i], &b->prog, b->region, b->ring);
        side_tables(sides[i], b->region);
        side_memory(sides[i], &b->image);
    }
    b->trace.undefined = 0;
}

bool bench_run(struct bench *b, const char *what)
{
    bench_start(b);
    return bench_here(b, what);
}
