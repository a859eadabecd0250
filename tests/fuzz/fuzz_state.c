/* Saved state: as it is; with its checksums mended, so that what lies behind them is reached; and as the
 * fields of one section. */
#include "base/buf.h"
#include "base/err.h"
#include "fuzz.h"
#include "state_mend.h"
#include "state/state.h"
#include <stdlib.h>
#include <string.h>

struct dev {
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;
    bool on;
    uint16_t fifo[4];
    uint8_t mac[6];
    struct {
        uint64_t value;
    } msr[2];
};

static const struct field fields[] = {
    FIELD(struct dev, a, .max = 9),
    FIELD(struct dev, b),
    FIELD(struct dev, c, .since = 2, .dflt = 5),
    FIELD(struct dev, d),
    FIELD(struct dev, on),
    FIELD_ARRAY(struct dev, fifo, .max = 1000),
    FIELD_BLOB(struct dev, mac),
    FIELD_STRIDED(struct dev, msr, value, .since = 2),
};
static const struct field_table table = {
    .name = "dev", .version = 2, .fields = fields, .count = sizeof fields / sizeof fields[0]};

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void check(const struct dev *d)
{
    must(d->a <= 9);
    for (int i = 0; i < 4; i++)
        must(d->fifo[i] <= 1000);
}

/* What was accepted is saved and loaded again without a difference. */
static void round_trip(const struct dev *d)
{
    struct buf b = {0};
    struct dev again;
    memset(&again, 0xa5, sizeof again);
    again.on = false;
    state_put(&b, &table, d);
    struct rbuf in = rbuf_of(b.data, b.len);
    must(state_get(&in, &table, table.version, &again, NULL) == 0);
    must(!state_differs(&table, d, &again));
    buf_free(&b);
}

static void one_section(const uint8_t *data, size_t size, uint32_t version)
{
    struct dev d = {0}, before = d;
    struct err e = {""};
    struct rbuf in = rbuf_of(data, size);
    if (state_get(&in, &table, version, &d, &e)) {
        must(e.msg[0] && !strchr(e.msg, '\n') && !memcmp(&d, &before, sizeof d));
        return;
    }
    check(&d);
    round_trip(&d);
}

static void whole_file(const uint8_t *data, size_t size)
{
    struct err e = {""};
    struct dev d = {0};
    uint32_t version, sum = 0;
    const uint8_t *p;
    size_t n;
    struct state_reader *r = state_reader_new(data, size, &e);
    if (!r) {
        must(e.msg[0] && !strchr(e.msg, '\n'));
        return;
    }
    must(strlen(state_board(r)) < 64);
    for (uint32_t i = 0; i < 3; i++)
        if (!state_read(r, &(struct saved){.table = &table, .obj = &d, .instance = i}, &e))
            check(&d);
    if (!state_read_raw(r, "raw", 0, &version, &p, &n, &e))
        sum = crc32c(0, p, n);
    (void)sum;
    state_reader_done(r, &e);
    state_reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    whole_file(data, size);
    for (uint32_t version = 1; version <= 2; version++)
        one_section(data, size, version);
    if (size) {
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        state_mend(copy, size);
        whole_file(copy, size);
        free(copy);
    }
    return 0;
}
