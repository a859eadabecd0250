#include "x86/spec.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

/* 32 bits reach all that a 32-bit kernel knows; above 52 page tables have no room (SDM 3A 4.1.4). */
enum { PHYS_BITS_LEAST = 32, PHYS_BITS_MOST = 52 };

/* A piece of the text, up to a comma or the end. */
struct word {
    const char *at;
    int len;
};

static bool is(const struct word *w, const char *name)
{
    return strlen(name) == (size_t)w->len && memcmp(w->at, name, (size_t)w->len) == 0;
}

static bool begins(const struct word *w, const char *with)
{
    return strncmp(w->at, with, strlen(with)) == 0;
}

static const struct x86_model *model_named(const struct word *w)
{
    for (const char *const *m = x86_cpu_models(); *m; m++)
        if (is(w, *m))
            return x86_model_find(*m);
    return NULL;
}

static int change_feature(struct x86_cpu_spec *s, const struct word *w, struct err *e)
{
    struct word name = {w->at + 1, w->len - 1};
    struct x86_features fixed, can;
    size_t n;
    const struct x86_feature_name *t = x86_feature_names(&n);

    x86_model_limits(&fixed, &can);
    for (size_t i = 0; i < n; i++) {
        if (!is(&name, t[i].name))
            continue;
        bool add = *w->at == '+';
        if (add && !x86_features_has(&can, t[i].feature))
            return err_set(e, EINVAL, "CPU feature %s: no machine of ours can have it", t[i].name);
        if (!add && x86_features_has(&fixed, t[i].feature))
            return err_set(e, EINVAL, "CPU feature %s cannot be taken away: every 64-bit system expects it",
                           t[i].name);
        x86_features_set(add ? &s->add : &s->drop, t[i].feature);
        return 0;
    }
    return err_set(e, EINVAL, "CPU feature %.*s is not known; names are those of /proc/cpuinfo", name.len,
                   name.at);
}

static int change(struct x86_cpu_spec *s, const struct word *w, struct err *e)
{
    static const char bits[] = "phys-bits=";

    if (*w->at == '+' || *w->at == '-')
        return change_feature(s, w, e);
    if (begins(w, bits)) {
        char *end;
        unsigned long n = strtoul(w->at + strlen(bits), &end, 10);
        if (end != w->at + w->len || n < PHYS_BITS_LEAST || n > PHYS_BITS_MOST)
            return err_set(e, EINVAL, "CPU: %.*s: a number from %d to %d is wanted", w->len, w->at,
                           PHYS_BITS_LEAST, PHYS_BITS_MOST);
        s->phys_bits = (uint32_t)n;
        return 0;
    }
    if (is(w, "vendor=GenuineIntel"))
        s->vendor = "GenuineIntel";
    else if (is(w, "vendor=AuthenticAMD"))
        s->vendor = "AuthenticAMD";
    else
        return err_set(e, EINVAL,
                       "CPU: '%.*s' is none of +FEATURE, -FEATURE, phys-bits=N, vendor=GenuineIntel and "
                       "vendor=AuthenticAMD",
                       w->len, w->at);
    return 0;
}

int x86_cpu_spec_parse(struct x86_cpu_spec *s, const char *text, struct err *e)
{
    struct word w = {text, (int)strcspn(text, ",")};
    int r = 0;

    memset(s, 0, sizeof *s);
    s->model = model_named(&w);
    if (!s->model)
        return err_set(e, EINVAL, "CPU model %.*s is not known; there are default, x86-64-v1 to v3 and host",
                       w.len, w.at);
    while (!r && w.at[w.len]) {
        w.at += w.len + 1;
        w.len = (int)strcspn(w.at, ",");
        r = change(s, &w, e);
    }
    return r;
}
