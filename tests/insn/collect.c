/* collect: what a case changed in data memory; and the bytes behind an instruction. */
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

/* A jump to the host's stub, a far one from 16-bit code. Placed on both sides: an instruction may read it
 * through CS. */
void lab_exit_bytes(const struct lab_case *k, uint8_t out[LAB_EXIT_BYTES])
{
    static const uint8_t far_jump[LAB_EXIT_BYTES] = {0x66, 0xea, 0x00, 0x00, 0x01, 0x10, SEL_CODE64, 0x00};

    memcpy(out, far_jump, sizeof(far_jump));
    if (k->mode == MODE_16)
        return;
    int32_t rel = (int32_t)(STUB_BASE + (k->mode == MODE_64 ? 0u : 16u) - (k->in.rip + k->len + 5u));
    memset(out, 0xcc, LAB_EXIT_BYTES);
    out[0] = 0xe9;
    memcpy(out + 1, &rel, 4);
}
