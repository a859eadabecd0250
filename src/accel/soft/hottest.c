#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "accel/soft/profile.h"

enum { BLOCKS = 10, INSNS = 12 };

static int hotter(const void *a, const void *b)
{
    const struct hot_block *x = a, *y = b;
    uint64_t nx = x->translated + x->engine, ny = y->translated + y->engine;

    return nx > ny ? -1 : nx < ny ? 1 : x->linear < y->linear ? -1 : x->linear > y->linear;
}

static void disassemble(FILE *out, const struct hot_block *b)
{
    ZydisDecoder d;
    ZydisFormatter f;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    char text[128];
    unsigned at = 0, n = 0;

    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    for (; at < b->bytes && n < INSNS; n++, at += zi.length) {
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, b->guest + at, b->bytes - at, &zi, ops)) ||
            !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &zi, ops, zi.operand_count_visible, text,
                                                          sizeof text, b->linear + at, NULL)))
            return;
        fprintf(out, "        %016" PRIx64 "  %s\n", b->linear + at, text);
    }
    if (at < b->bytes)
        fprintf(out, "        ...\n");
}

char *hottest_text(struct hot_block *hot, size_t count, uint64_t glue, uint64_t lost,
                   const struct symbols *symbols)
{
    uint64_t translated = 0, engine = 0, distance;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        translated += hot[i].translated;
        engine += hot[i].engine;
    }
    double all = (double)(translated + engine + glue) / 100;
    fprintf(out, "profile            %" PRIu64 " samples", translated + engine + glue);
    if (translated + engine + glue)
        fprintf(out, ": %.1f %% in translated code, %.1f %% on the way in and out, %.1f %% in the engine",
                (double)translated / all, (double)glue / all, (double)engine / all);
    fprintf(out, lost ? ", %" PRIu64 " lost\n" : "\n", lost);
    qsort(hot, count, sizeof *hot, hotter);
    for (size_t i = 0; i < count && i < BLOCKS && hot[i].translated + hot[i].engine; i++) {
        const char *name = symbols_find(symbols, hot[i].linear, &distance);
        fprintf(out, "%5.1f %%  (engine %.1f %%)  %016" PRIx64,
                (double)(hot[i].translated + hot[i].engine) / all, (double)hot[i].engine / all,
                hot[i].linear);
        if (hot[i].guest)
            fprintf(out, "  physical %" PRIx64 "  %s", hot[i].gpa, hot[i].user ? "user" : "kernel");
        if (name)
            fprintf(out, "  %s+0x%" PRIx64, name, distance);
        fprintf(out, "\n");
        if (hot[i].guest)
            disassemble(out, &hot[i]);
    }
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
