/*
 * aml: writes ACPI Machine Language (ACPI 6.4 chapter 20) into a buffer. Only what our tables need.
 *
 * Things with a length are opened and closed: the opener returns a mark, aml_end(b, mark) closes the
 * innermost open one. Names are given as ACPI source has them: "COM1", "_SB_", "\\_S5_", at most one segment
 * of four characters, with an optional backslash in front. Out of memory is remembered in the buffer.
 */
#ifndef BOARD_AML_H
#define BOARD_AML_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

size_t aml_scope(struct buf *b, const char *name);
size_t aml_device(struct buf *b, const char *name);
size_t aml_method(struct buf *b, const char *name, unsigned args, bool serialized);
size_t aml_package(struct buf *b, unsigned elements);
void aml_end(struct buf *b, size_t mark);

/* Name (x, ...): followed by one of the objects below. */
void aml_name(struct buf *b, const char *name);
void aml_integer(struct buf *b, uint64_t v);
void aml_string(struct buf *b, const char *s);
void aml_eisa_id(struct buf *b, const char *id); /* "PNP0501" */

/* Shorthands: Name (x, integer), Name (x, "string"), Name (x, EisaId). */
void aml_name_integer(struct buf *b, const char *name, uint64_t v);
void aml_name_string(struct buf *b, const char *name, const char *s);
void aml_name_eisa_id(struct buf *b, const char *name, const char *id);

/* OperationRegion (name, SystemIO, port, len) and a Field of one byte-wide unit over its first byte. */
void aml_io_region(struct buf *b, const char *name, uint16_t port, uint8_t len);
void aml_io_field_byte(struct buf *b, const char *region, const char *unit);

/* Local0 = name;  If (Local0 & mask) { Notify (device, value) } */
void aml_read_local0(struct buf *b, const char *name);
void aml_notify_if_local0(struct buf *b, uint8_t mask, const char *device, uint8_t value);

/* Name (_CRS, ResourceTemplate () { ... }): open, add, close (ACPI 6.4 section 6.4). */
struct aml_resources {
    struct buf bytes;
};
void aml_res_begin(struct aml_resources *r);
void aml_res_io(struct aml_resources *r, uint16_t base, uint8_t len);
void aml_res_memory32(struct aml_resources *r, uint32_t base, uint32_t len);
void aml_res_irq(struct aml_resources *r, uint32_t gsi, bool level, bool shared); /* active high, consumer */
void aml_res_bus_window(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_res_memory_window32(struct aml_resources *r, uint32_t first, uint32_t last);
void aml_res_memory_window64(struct aml_resources *r, uint64_t first, uint64_t last);
void aml_res_end(struct buf *b, const char *name, struct aml_resources *r); /* writes the Name and frees r */

#endif
