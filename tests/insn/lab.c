/*
 * lab: main. Deals cases out over the forms, runs both sides batch by batch, compares, reports.
 *
 *   lab --cases N --seed S [--form TEXT] [--mode 16|32|64] [--table FILE] [--json FILE] [--verbose N]
 * [--list]
 *
 * Exit status 0: every case agreed and every advertised form is implemented (and was run, when there were
 * cases enough for all).
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "lab.h"

enum { BATCH = 512 };

struct options {
    uint64_t cases, seed;
    const char *form, *table, *json;
    unsigned verbose; /* differences shown per form */
    int mode;         /* 0: all */
    bool list, translated;
};

struct lab {
    struct options opt;
    struct forms forms;
    unsigned *todo, todo_count; /* indices of forms to test */
    struct rng rng;
    struct host *host;
    struct guest *guest;
    struct lab_result result;
    uint64_t done, failed, faulted, lost, astray;
};

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"cases", required_argument, NULL, 'c'},   {"seed", required_argument, NULL, 's'},
        {"form", required_argument, NULL, 'f'},    {"mode", required_argument, NULL, 'm'},
        {"table", required_argument, NULL, 't'},   {"json", required_argument, NULL, 'j'},
        {"verbose", required_argument, NULL, 'v'}, {"list", no_argument, NULL, 'l'},
        {"translated", no_argument, NULL, 'x'},    {NULL, 0, NULL, 0},
    };
    int ch;

    *o = (struct options){.cases = 300000, .seed = 1, .verbose = 1};
    while ((ch = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (ch) {
        case 'c':
            o->cases = strtoull(optarg, NULL, 0);
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 0);
            break;
        case 'f':
            o->form = optarg;
            break;
        case 'm':
            o->mode = atoi(optarg);
            break;
        case 't':
            o->table = optarg;
            break;
        case 'j':
            o->json = optarg;
            break;
        case 'x':
            o->translated = true;
            break;
        case 'v':
            o->verbose = (unsigned)atoi(optarg);
            break;
        case 'l':
            o->list = true;
            break;
        default:
            fprintf(stderr, "usage: lab [--cases N] [--seed S] [--form TEXT] [--mode 16|32|64] [--table "
                            "FILE] [--json FILE] [--verbose N] [--list]\n");
            return false;
        }
    }
    return true;
}

static void choose_forms(struct lab *l)
{
    l->todo = malloc(l->forms.count * sizeof(unsigned));
    if (!l->todo)
        abort();
    for (unsigned i = 0; i < l->forms.count; i++) {
        const struct form *f = &l->forms.list[i];
        if (f->verdict != FORM_TEST || (l->opt.form && !strstr(f->text, l->opt.form)) ||
            (l->opt.mode && l->opt.mode != 16 << f->mode))
            continue;
        l->todo[l->todo_count++] = i;
    }
}

/* Memory forms go through all placements in turn, the plain one every other time. */
static enum placement placement_of(const struct form *f, uint64_t turn)
{
    if (!f->has_memory || turn % 2 == 0)
        return PLACE_RW;
    return (enum placement)(turn / 2 % PLACEMENTS);
}

static unsigned fill(struct lab *l, uint64_t *turn)
{
    struct lab_case *k = host_cases(l->host);
    unsigned n = 0;

    gen_memory(&l->rng, host_pristine(l->host));
    while (n < BATCH && l->done + n < l->opt.cases) {
        unsigned i = l->todo[*turn % l->todo_count];
        const struct form *f = &l->forms.list[i];
        if (gen_case(&l->rng, f, placement_of(f, *turn / l->todo_count), &k[n]))
            k[n++].form = i;
        else if (l->todo_count == 1 && ++l->failed > 1000)
            break;
        (*turn)++;
    }
    return n;
}

static void judge(struct lab *l, const struct lab_case *k, const struct lab_result *h)
{
    struct form *f = &l->forms.list[k->form];

    f->ran++;
    f->by_place[k->placement]++;
    if (h->vector != LAB_NO_FAULT) {
        f->faulted++;
        l->faulted++;
    }
    l->lost += h->vector == LAB_LOST;
    if (h->vector == LAB_ASTRAY) {
        l->astray++;
        return;
    }
    if (compare_results(f, k, h, &l->result, false))
        return;
    l->failed++;
    if (f->failed++ < l->opt.verbose) {
        printf("DIFFERS:\n");
        compare_print_case(f, k);
        compare_results(f, k, h, &l->result, true);
    }
}

static void run(struct lab *l)
{
    uint64_t turn = 0;

    while (l->done < l->opt.cases) {
        unsigned n = fill(l, &turn);
        if (!n)
            return;
        host_start(l->host, n);
        host_wait(l->host);
        for (unsigned i = 0; i < n; i++) {
            const struct lab_case *k = &host_cases(l->host)[i];
            guest_run(l->guest, host_pristine(l->host), k, &l->result);
            judge(l, k, &host_results(l->host)[i]);
        }
        l->done += n;
    }
}

static void list(const struct lab *l)
{
    for (unsigned i = 0; i < l->todo_count; i++)
        printf("%s\n", l->forms.list[l->todo[i]].text);
}

static void show_missing(const struct forms *f)
{
    for (unsigned i = 0; i < f->count; i++)
        if (f->list[i].verdict != FORM_UNADVERTISED && !f->list[i].implemented)
            printf("NOT IMPLEMENTED: mode %d %s\n", 16 << f->list[i].mode, f->list[i].text);
}

int main(int argc, char **argv)
{
    struct lab l = {0};
    struct x86_cpuid cpuid;
    struct x86_features cpu;
    struct timespec a, b;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &l.opt))
        return 2;
    guest_cpuid(&cpuid);
    x86_cpuid_features(&cpuid, &cpu);
    forms_build(&l.forms, MODE_64, &cpu);
    forms_build(&l.forms, MODE_32, &cpu);
    forms_build(&l.forms, MODE_16, &cpu);
    choose_forms(&l);
    if (l.opt.list) {
        list(&l);
        return 0;
    }
    if (!l.todo_count) {
        fprintf(stderr, "lab: no form matches\n");
        return 2;
    }
    rng_seed(&l.rng, l.opt.seed);
    l.host = host_open(BATCH);
    l.guest = guest_open();
    if (l.opt.translated)
        guest_translate(l.guest);
    clock_gettime(CLOCK_MONOTONIC, &a);
    run(&l);
    clock_gettime(CLOCK_MONOTONIC, &b);
    host_close(l.host);
    guest_close(l.guest);

    bool whole = !l.opt.form && l.opt.mode == 0 && l.opt.cases >= 4ull * l.todo_count;
    unsigned bad = forms_report(&l.forms, l.opt.table, l.opt.json);
    if (whole)
        show_missing(&l.forms);
    printf(
        "%llu cases over %u forms in %.1f s: %llu faulted on the host, %llu differ, %llu lost, %llu astray\n",
        (unsigned long long)l.done, l.todo_count,
        (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, (unsigned long long)l.faulted,
        (unsigned long long)l.failed, (unsigned long long)l.lost, (unsigned long long)l.astray);
    free(l.todo);
    free(l.forms.list);
    return l.failed || (whole && bad) ? 1 : 0;
}
