/* bcase: one case: a program run in several ways. */
#include <stdlib.h>
#include <string.h>
#include "bgen.h"

enum { MAX_RESUMES = 60 };
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40 };

static bool yes(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

static void both_flush(struct bench *b, uint32_t at)
{
    side_flush(b->ref, b->region, at);
    side_flush(b->sut, b->region, at);
}

static void both_pte(struct bench *b, uint32_t at, uint64_t set, uint64_t clear)
{
    struct side *const sides[] = {b->ref, b->sut};

    for (unsigned i = 0; i < 2; i++) {
        uint64_t *pte = side_pte(sides[i], b->region, at);
        *pte = (*pte & ~clear) | set;
    }
    both_flush(b, at);
}

/* As from the beginning, whatever the last run did to its tables. */
static void both_tables(struct bench *b)
{
    for (unsigned r = 0; r < REGIONS; r++) {
        side_tables(b->ref, r);
        side_tables(b->sut, r);
    }
}

/* ---- faults ---- */

static const struct {
    uint64_t set, clear;
} defects[] = {{0, PTE_P}, {0, PTE_P}, {0, PTE_W}, {0, PTE_W},
               {0, PTE_U}, {PTE_U, 0}, {0, PTE_D}, {0, PTE_A | PTE_D}};
enum { DEFECTS = sizeof defects / sizeof defects[0] };

struct broken {
    uint8_t kind[DATA_N + 1]; /* 0: none; the last is the second code page */
    uint32_t at[DATA_N + 1];
};

static void breaks(struct bench *b, const struct broken *k, unsigned i)
{
    if (k->kind[i])
        both_pte(b, k->at[i], defects[k->kind[i] - 1].set, defects[k->kind[i] - 1].clear);
}

static void mends(struct bench *b, const struct broken *k, unsigned i)
{
    uint64_t user = b->region < REGION_KERNEL ? PTE_U : 0;

    both_pte(b, k->at[i], PTE_P | PTE_W | PTE_A | user, user ? 0 : PTE_U);
}

/* The page of this fault, if it was one that was broken. */
static int broken_page(const struct bench *b, const struct broken *k)
{
    uint64_t at = b->end.cr2 - region_base[b->region];

    if (b->trace.vector != X86_PF_VEC)
        return -1;
    for (unsigned i = 0; i < DATA_N + 1; i++)
        if (k->kind[i] && at >> 12 == k->at[i] >> 12)
            return (int)i;
    return -1;
}

/* Both stand in the handler; back to before the instruction. */
static void both_unwind(struct bench *b, bool keep_rf)
{
    point_put(b->ref, b->region, &b->end);
    side_unwind(b->ref, keep_rf);
    side_unwind(b->sut, keep_rf);
}

/* The mended page is there for one instruction only: so every access faults, not just the first. */
static bool step_over(struct bench *b)
{
    static struct point p;

    ref_run(b->ref, &b->trace, 1);
    if (b->trace.discard || b->ref->c->shadow || side_vector(b->ref) >= 0)
        return false;
    point_take(b->ref, b->region, &p);
    point_put(b->sut, b->region, &p);
    for (unsigned i = 0; i < POINT_PTES; i++) /* it may have been INVLPG */
        side_flush(b->sut, b->region, point_pte(i));
    return true;
}

static bool faults(struct bench *b, struct rng *r)
{
    struct broken k = {.kind = {0}};
    bool sticky = yes(r, 30), all = yes(r, 40), good;

    bench_start(b);
    for (unsigned i = 0; i < DATA_N + 1; i++) {
        k.at[i] = i < DATA_N ? AT_DATA + i * 4096 : AT_CODE + 4096;
        if (all || yes(r, 40))
            k.kind[i] = (uint8_t)(1 + rng_below(r, DEFECTS));
        if (i == DATA_N && k.kind[i] && yes(r, 60))
            k.kind[i] = 0;
        breaks(b, &k, i);
    }
    good = bench_here(b, "pages absent or without a right");
    for (unsigned n = 0; good && !bench_discarded(b) && n < MAX_RESUMES; n++) {
        int page = broken_page(b, &k);
        if (page < 0)
            break;
        b->n.faulted++;
        both_unwind(b, yes(r, 30));
        mends(b, &k, (unsigned)page);
        if (sticky && b->prog.poke < 0) {
            if (!step_over(b))
                break;
            breaks(b, &k, (unsigned)page);
        } else
            k.kind[page] = 0;
        good = bench_here(b, "behind a fault");
    }
    return good;
}

/* ---- changed code ---- */

static bool patched(struct bench *b, struct rng *r)
{
    const struct prog *p = &b->prog;

    if (!p->patches)
        return true;
    for (unsigned n = 1 + (unsigned)rng_below(r, 2); n; n--) {
        const struct patch *t = &p->patch[rng_below(r, p->patches)];
        const struct item *x = &p->item[t->item];
        for (unsigned i = 0; !x->off && i < x->imm_len; i++) {
            unsigned at = x->at + x->imm_at + i;
            b->image.code[at >> 12][at & 0xfff] = t->bytes[i];
        }
    }
    b->n.patched++;
    return bench_run(b, "code changed from outside") &&
           (bench_discarded(b) || bench_again(b, "code changed from outside, again"));
}

/* Another page stands where the second code page was, or the first data page. */
static bool remapped(struct bench *b, struct rng *r)
{
    struct side *const sides[] = {b->ref, b->sut};
    unsigned how = (unsigned)rng_below(r, 4);

    bench_start(b);
    for (unsigned i = 0; i < 2; i++) {
        struct cpu *c = sides[i]->c;
        uint64_t *pte = side_pte(sides[i], b->region, AT_CODE + 4096);
        *pte = (*pte & 0xfff) | side_code_gpa(CODE_B2);
        cpu_enter(c);
        if (how == 0)
            cpu_tlb_flush_page(c, region_base[b->region] + AT_CODE + 4096 + 77);
        else if (how == 1)
            cpu_tlb_flush(c, false);
        else if (how == 2)
            cpu_tlb_flush(c, true);
        else
            cpu_tlb_flush_pcid(c, 0, 0, region_base[b->region] + AT_CODE + 4096);
        cpu_leave(c);
    }
    b->n.remapped++;
    bool good = bench_here(b, "second code page remapped") &&
                (bench_discarded(b) || bench_again(b, "second code page remapped, again"));
    return good && bench_run(b, "second code page mapped back");
}

/* ---- */

static bool interrupted_anywhere(struct bench *b, struct rng *r)
{
    static const uint8_t events[] = {ATT_INTR, ATT_INTR, ATT_KICK, ATT_NMI};

    b->prog.event = events[rng_below(r, sizeof events)];
    b->stepping = true;
    b->step_target = 1 + (unsigned)(rng_next(r) >> (52 + rng_below(r, 9)));
    bool good = bench_again(b, "interrupted between two host instructions");
    b->stepping = false;
    b->n.stepped++;
    return good;
}

static bool case_variants(struct bench *b, struct rng *r)
{
    if (!bench_run(b, "first run"))
        return false;
    if (bench_discarded(b)) {
        b->n.discarded++;
        return true;
    }
    if (!bench_again(b, "second run"))
        return false;
    if (b->prog.poke < 0 && yes(r, b->step_percent) && !interrupted_anywhere(b, r))
        return false;
    if (yes(r, 30) && !faults(b, r))
        return false;
    if (yes(r, 20) && !patched(b, r))
        return false;
    if (b->prog.bytes + b->prog.start > 4096 && yes(r, 20) && !remapped(b, r))
        return false;
    if (yes(r, 10)) { /* the same code elsewhere, or in the other ring */
        b->ring = yes(r, 50) ? 3 - b->ring : b->ring;
        b->region = (unsigned)rng_below(r, 2) + (b->ring ? 0 : (unsigned)REGION_KERNEL);
        if (!bench_run(b, "at another address"))
            return false;
    }
    return yes(r, 50) || bench_run(b, "last run");
}

struct bench *bench_open(uint64_t seed, unsigned step_percent)
{
    struct bench *b = calloc(1, sizeof *b);
    struct rng r;

    if (!b)
        abort();
    rng_seed(&r, seed);
    for (unsigned i = 0; i < NUMBERS * 4096; i += 64)
        gen_numbers(&r, b->numbers[0] + i, 64);
    b->ref = side_open(true);
    b->sut = side_open(false);
    b->step_percent = step_percent;
    bench_traps(b);
    return b;
}

bool case_run(struct bench *b)
{
    struct rng r;

    if (!prog_lay(&b->prog, &b->image)) {
        b->n.discarded++;
        return true;
    }
    rng_seed(&r, b->prog.seed);
    for (unsigned i = 0; i < DATA_N; i++)
        memcpy(b->image.data[i], b->numbers[rng_below(&r, NUMBERS)], 4096);
    b->ring = b->prog.ring;
    b->region = b->prog.region;
    b->stepping = false;
    bool good = case_variants(b, &r);
    both_tables(b);
    return good;
}
