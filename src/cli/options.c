#include "cli/options.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/nearest.h"

static const struct option_def *find(const struct command *c, const char *name, size_t len)
{
    for (const struct option_def *o = c->options; o && o->name; o++)
        if (strlen(o->name) == len && !strncmp(o->name, name, len))
            return o;
    return NULL;
}

static int unknown(const struct command *c, const char *arg, size_t len, struct err *e)
{
    const char *words[64], *near;
    char name[64];
    unsigned n = 0;
    for (const struct option_def *o = c->options; o && o->name && n < 63; o++)
        words[n++] = o->name;
    words[n] = NULL;
    snprintf(name, sizeof name, "%.*s", (int)len, arg);
    near = nearest(name, words);
    if (near)
        return err_set(e, EINVAL, "unknown option --%s; did you mean --%s?", name, near);
    return err_set(e, EINVAL, "unknown option --%s; 'liege help %s' lists them", name, c->name);
}

int options_parse(const struct command *c, int argc, char **argv, void *opaque, struct err *e)
{
    int i = 1;
    for (; i < argc; i++) {
        char *arg = argv[i];
        if (!strcmp(arg, "--"))
            return i + 1;
        if (arg[0] != '-' || !arg[1])
            return i;
        if (arg[1] != '-')
            return err_set(e, EINVAL,
                           "unknown option %s; options begin with two dashes, 'liege help %s' lists them",
                           arg, c->name);
        arg += 2;
        size_t len = strcspn(arg, "=");
        const struct option_def *o = find(c, arg, len);
        if (!o)
            return unknown(c, arg, len, e);
        const char *value = arg[len] ? arg + len + 1 : NULL;
        if (value && !o->value)
            return err_set(e, EINVAL, "--%s takes no value", o->name);
        if (!value && o->value) {
            if (i + 1 == argc)
                return err_set(e, EINVAL, "--%s needs a value: --%s %s", o->name, o->name, o->value);
            value = argv[++i];
        }
        int r = o->set(opaque, value, e);
        if (r)
            return r;
    }
    return i;
}

void options_help(const struct command *c)
{
    printf("Usage: liege %s %s\n\n%s\n", c->name, c->args, c->about);
    if (c->options)
        printf("\n");
    for (const struct option_def *o = c->options; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        if (strlen(left) > 30)
            printf("  %s\n  %-30s %s\n", left, "", o->help);
        else
            printf("  %-30s %s\n", left, o->help);
    }
    if (c->more)
        printf("\n%s", c->more);
}

void complain(const struct err *e)
{
    fprintf(stderr, "liege: %s\n", e->msg);
}
