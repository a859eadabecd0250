/*
 * state: saved-state format, and the field tables that drive both save and load.
 *
 * A device describes its saved fields in one const table; the same table saves, loads and compares. On the
 * wire, integers are little-endian, each field carries its name, so fields may be added: a field that the
 * file lacks takes its default, an unknown one is refused by name. Loading raises no interrupt: it only fills
 * fields; post_load re-derives what is derived.
 *
 * File: header {magic "LIEGEST1", version, board name}, then sections {name, instance, version, length,
 * bytes, crc32c}, then an end section with the crc of everything. Readers trust nothing: every length is
 * bounded by the file's.
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
struct err;

enum field_kind { FIELD_UINT, FIELD_BYTES, FIELD_BOOL };

struct field {
    const char *name;
    size_t offset;  /* of the first element in the object */
    uint32_t size;  /* of an element: 1, 2, 4, 8 for UINT and BOOL; bytes for BYTES */
    uint32_t count; /* elements, 1 for a scalar */
    uint32_t since; /* section version that introduced it; 0: the first */
    enum field_kind kind;
    size_t stride; /* bytes from one element to the next; 0: size */
    uint64_t dflt; /* where the file is older */
    uint64_t max;  /* UINT: largest value accepted, 0: any. A larger one refuses the load. */
};

/* A bool's bytes are checked to be 0 or 1 before one is made of them. */
#define FIELD_KIND_OF(x) _Generic((x), bool : FIELD_BOOL, default : FIELD_UINT)

#define FIELD(type, member, ...)                                                                             \
    {                                                                                                        \
        .name = #member, .offset = offsetof(type, member), .size = sizeof(((type *)0)->member), .count = 1,  \
        .kind = FIELD_KIND_OF(((type *)0)->member), __VA_ARGS__                                              \
    }
#define FIELD_ARRAY(type, member, ...)                                                                       \
    {                                                                                                        \
        .name = #member, .offset = offsetof(type, member), .size = sizeof(((type *)0)->member[0]),           \
        .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]),                               \
        .kind = FIELD_KIND_OF(((type *)0)->member[0]), __VA_ARGS__                                           \
    }
/* One member of every element of an array of structs: FIELD_STRIDED(struct cpu, msrs, value). */
#define FIELD_STRIDED(type, array, member, ...)                                                              \
    {                                                                                                        \
        .name = #array "." #member, .offset = offsetof(type, array[0].member),                               \
        .size = sizeof(((type *)0)->array[0].member),                                                        \
        .count = sizeof(((type *)0)->array) / sizeof(((type *)0)->array[0]),                                 \
        .stride = sizeof(((type *)0)->array[0]), .kind = FIELD_KIND_OF(((type *)0)->array[0].member),        \
        __VA_ARGS__                                                                                          \
    }
#define FIELD_BLOB(type, member, ...)                                                                        \
    {                                                                                                        \
        .name = #member, .offset = offsetof(type, member), .size = sizeof(((type *)0)->member), .count = 1,  \
        .kind = FIELD_BYTES, __VA_ARGS__                                                                     \
    }

struct field_table {
    const char *name; /* section name: "serial", "virtio-blk", ... */
    uint32_t version;
    const struct field *fields;
    size_t count;
    /* After all fields are in: validate across fields, re-derive. 0, or -errno with `e`. May be NULL. No
     * interrupts raised. */
    int (*post_load)(void *obj, struct err *e);
};

/* One object to save: what a device gives to its vm (device_saved in device/core). */
struct saved {
    const struct field_table *table;
    void *obj;
    uint32_t instance; /* distinguishes devices of one kind */
};

/* ---- one object ---- */
void state_put(struct buf *out, const struct field_table *t, const void *obj);
/* Refused: the object is as it was (unless it was post_load that refused). */
int state_get(struct rbuf *in, const struct field_table *t, uint32_t version, void *obj, struct err *e);
/* Name of the first field that differs between two objects, NULL when equal: for tests. */
const char *state_differs(const struct field_table *t, const void *a, const void *b);

/* ---- a file of sections ---- */
struct state_writer;
struct state_writer *state_writer_new(const char *board, struct err *e);
int state_write(struct state_writer *w, const struct saved *s); /* by field table */
int state_write_raw(struct state_writer *w, const char *name, uint32_t instance, uint32_t version,
                    const void *p, size_t n);
/* Writes it all and fsyncs; frees w */
int state_finish(struct state_writer *w, int fd, struct err *e);
void state_writer_free(struct state_writer *w);

struct state_reader;
/* Parses and checks the whole (len at most 64 MiB); copies nothing: `data` outlives the reader. */
struct state_reader *state_reader_new(const void *data, size_t len, struct err *e);
void state_reader_free(struct state_reader *r);
const char *state_board(const struct state_reader *r);
/* -ENOENT: no such section */
int state_read(struct state_reader *r, const struct saved *s, struct err *e);
int state_read_raw(struct state_reader *r, const char *name, uint32_t instance, uint32_t *version,
                   const uint8_t **p, size_t *n, struct err *e);
/* -EINVAL, naming it, if a section was never read. */
int state_reader_done(struct state_reader *r, struct err *e);

#endif
