/* state_mend: bytes of a saved state were changed; its checksums are made right, so that they reach the
 * reader's other checks. */
#ifndef FUZZ_STATE_MEND_H
#define FUZZ_STATE_MEND_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/buf.h"

/* Walk as the reader does and put the right checksum wherever one belongs. */
static inline void state_mend(uint8_t *p, size_t size)
{
    uint32_t sum, len;
    size_t at = 12;
    if (size <= at || at + 1 + p[at] > size)
        return;
    for (at += 1 + p[at]; at < size && p[at];) {
        size_t start = at, head = 1 + (size_t)p[at] + 12;
        if (head > size - at)
            return;
        memcpy(&len, p + at + head - 4, 4);
        at += head;
        if (len > size - at || size - at - len < 4)
            return;
        at += len;
        sum = crc32c(0, p + start, at - start);
        memcpy(p + at, &sum, 4);
        at += 4;
    }
    if (size - at < 5)
        return;
    sum = crc32c(0, p, at + 1);
    memcpy(p + at + 1, &sum, 4);
}

#endif
