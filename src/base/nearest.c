#include "base/nearest.h"
#include <string.h>

enum { LONGEST = 63 };

/* Levenshtein distance with adjacent swaps counted once, by three rolling rows. */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned row[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best)
                best = up[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *nearest(const char *text, const char *const *words)
{
    const char *found = NULL;
    unsigned best = (unsigned)strlen(text) / 3 + 1;
    if (best < 2)
        best = 2;
    for (best++; *words; words++) {
        unsigned d = distance(text, *words);
        if (d < best) {
            best = d;
            found = *words;
        }
    }
    return found;
}
