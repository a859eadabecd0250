/* report: the table of forms, as text and as JSON. */
#include <stdio.h>
#include <string.h>
#include "lab.h"

static const char *const mode_name[] = {"16", "32", "64"};

static bool complete(const struct form *f)
{
    return f->verdict == FORM_UNADVERTISED ||
           (f->implemented && (f->verdict != FORM_TEST || (f->ran && !f->failed)));
}

static const char *status(const struct form *f)
{
    if (f->verdict == FORM_UNADVERTISED)
        return "not advertised";
    if (!f->implemented)
        return "NOT IMPLEMENTED";
    if (f->verdict == FORM_OTHER_TEST)
        return f->why;
    if (f->failed)
        return "FAILED";
    return f->ran ? "tested" : "NOT RUN";
}

static void write_text(const struct forms *f, FILE *o)
{
    unsigned total = 0, tested = 0, other = 0, missing = 0;

    for (unsigned i = 0; i < f->count; i++) {
        const struct form *x = &f->list[i];
        if (x->verdict == FORM_UNADVERTISED)
            continue;
        total++;
        tested += x->verdict == FORM_TEST && x->ran && !x->failed;
        other += x->verdict == FORM_OTHER_TEST && x->implemented;
        missing += !x->implemented;
    }
    fprintf(o,
            "# Forms of instructions that our CPU model advertises: %u; compared with the host CPU %u, "
            "tested elsewhere %u, not implemented %u\n",
            total, tested, other, missing);
    fprintf(o, "# mode  isa set            form                                                            "
               "cases  faulted  status\n");
    for (unsigned i = 0; i < f->count; i++) {
        const struct form *x = &f->list[i];
        if (x->verdict == FORM_UNADVERTISED)
            continue;
        fprintf(o, "%-5s %-18s %-62s %8llu %8llu  %s%s%s\n", mode_name[x->mode], ZydisISASetGetString(x->isa),
                x->text, (unsigned long long)x->ran, (unsigned long long)x->faulted, status(x),
                x->verdict == FORM_TEST && x->why[0] ? "; " : "", x->verdict == FORM_TEST ? x->why : "");
    }
}

static void write_json(const struct forms *f, FILE *o)
{
    bool first = true;

    fprintf(o, "[");
    for (unsigned i = 0; i < f->count; i++) {
        const struct form *x = &f->list[i];
        if (x->verdict == FORM_UNADVERTISED)
            continue;
        fprintf(o,
                "%s\n{\"mode\":%s,\"isa\":\"%s\",\"form\":\"%s\",\"status\":\"%s\",\"cases\":%llu,"
                "\"faulted\":%llu,\"failed\":%llu,\"placements\":{",
                first ? "" : ",", mode_name[x->mode], ZydisISASetGetString(x->isa), x->text, status(x),
                (unsigned long long)x->ran, (unsigned long long)x->faulted, (unsigned long long)x->failed);
        for (unsigned p = 0; p < PLACEMENTS; p++)
            fprintf(o, "%s\"%s\":%llu", p ? "," : "", placement_name[p], (unsigned long long)x->by_place[p]);
        fprintf(o, "}}");
        first = false;
    }
    fprintf(o, "\n]\n");
}

static void write_file(const struct forms *f, const char *path, void (*write)(const struct forms *, FILE *))
{
    FILE *o = path ? fopen(path, "w") : NULL;
    if (!o)
        return;
    write(f, o);
    fclose(o);
}

unsigned forms_report(const struct forms *f, const char *text_path, const char *json_path)
{
    unsigned bad = 0;

    write_file(f, text_path, write_text);
    write_file(f, json_path, write_json);
    for (unsigned i = 0; i < f->count; i++)
        bad += !complete(&f->list[i]);
    return bad;
}
