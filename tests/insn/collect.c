/* collect: what a case changed in data memory. */
#include <string.h>
#include "lab.h"

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9fb21c651e98df25ull;
    return h ^ h >> 29;
}

void lab_collect(uint8_t *data, const uint8_t *pristine, struct lab_result *r)
{
    r->lines = 0;
    r->hash = 0;
    for (unsigned p = 0; p < DATA_PAGES; p++) {
        if (!data_page_present(p) || memcmp(data + p * PAGE, pristine + p * PAGE, PAGE) == 0)
            continue;
        for (unsigned at = p * PAGE; at < (p + 1) * PAGE; at += LAB_LINE) {
            if (memcmp(data + at, pristine + at, LAB_LINE) == 0)
                continue;
            uint64_t words[LAB_LINE / 8];
            memcpy(words, data + at, LAB_LINE);
            r->hash = mix(r->hash, at);
            for (unsigned i = 0; i < LAB_LINE / 8; i++)
                r->hash = mix(r->hash, words[i]);
            if (r->lines < LAB_LINES) {
                r->line[r->lines].at = DATA_BASE + at;
                memcpy(r->line[r->lines].bytes, words, LAB_LINE);
            }
            r->lines++;
        }
        memcpy(data + p * PAGE, pristine + p * PAGE, PAGE);
    }
}
