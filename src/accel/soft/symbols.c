#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "accel/soft/profile.h"
#include "base/err.h"
#include "host/host.h"

enum { MOST_BYTES = 256 << 20, FAR = 1 << 20 }; /* so far behind a symbol nothing is called by its name */

struct symbol {
    uint64_t address;
    const char *name;
};

struct symbols {
    char *text;
    size_t count;
    struct symbol at[];
};

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;

    return x->address < y->address ? -1 : x->address > y->address;
}

/* "ffffffff81000000 T _text", perhaps with a module's name behind it. The line is cut in place. */
static bool parse(char *line, struct symbol *out)
{
    char *end, *kind;

    errno = 0;
    out->address = strtoull(line, &end, 16);
    if (errno || end == line || *end != ' ')
        return false;
    kind = end + 1;
    if (!kind[0] || kind[1] != ' ' || !kind[2])
        return false;
    out->name = kind + 2;
    kind[2 + strcspn(kind + 2, " \t\r")] = 0;
    return *out->name != 0;
}

struct symbols *symbols_load(const char *path, struct err *e)
{
    uint8_t *data;
    size_t len, lines = 1;

    if (host_read_file(path, MOST_BYTES, &data, &len, e))
        return NULL;
    char *text = realloc(data, len + 1);
    if (text) {
        text[len] = 0;
        for (const char *p = text; (p = strchr(p, '\n')); p++)
            lines++;
    }
    struct symbols *s = text ? malloc(sizeof *s + lines * sizeof s->at[0]) : NULL;
    if (!s) {
        err_set(e, ENOMEM, "out of memory");
        free(text ? (void *)text : data);
        return NULL;
    }
    *s = (struct symbols){.text = text};
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        s->count += parse(line, &s->at[s->count]);
    }
    if (!s->count) {
        err_set(e, EINVAL, "%s: no line is like 'ffffffff81000000 T name', as in /proc/kallsyms", path);
        symbols_free(s);
        return NULL;
    }
    qsort(s->at, s->count, sizeof s->at[0], by_address);
    return s;
}

const char *symbols_find(const struct symbols *s, uint64_t address, uint64_t *distance)
{
    size_t from = 0, to = s ? s->count : 0;

    while (from < to) { /* the first that lies behind it */
        size_t mid = from + (to - from) / 2;
        if (s->at[mid].address > address)
            to = mid;
        else
            from = mid + 1;
    }
    if (!from || address - s->at[from - 1].address >= FAR)
        return NULL;
    *distance = address - s->at[from - 1].address;
    return s->at[from - 1].name;
}

void symbols_free(struct symbols *s)
{
    if (s)
        free(s->text);
    free(s);
}
