/*
 * unpack: the decompressors of a bzImage's payload. Each library is opened when it is needed and closed
 * again, so that a virtual machine's process does not carry it; what is missing is said with the package to
 * install. Output is bounded by the caller.
 */
#ifndef BOOT_UNPACK_H
#define BOOT_UNPACK_H
#include <stddef.h>
#include <stdint.h>
struct err;

struct unpacker {
    const char *name; /* "gzip" */
    uint8_t magic[6];
    uint8_t magic_len;
    const char *soname, *package;
    /* Unpack in[0..n) to at most cap bytes; what follows the end of the packed stream is ignored. *len: bytes
     * made. -EINVAL: damaged; -ENOSPC: more than cap; -ENOMEM; -ELIBACC: the library lacks a function. */
    int (*run)(void *library, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len);
};

/* By the first bytes; NULL: none that we know. */
const struct unpacker *unpack_find(const uint8_t *in, size_t n);

/* `name` is the file, for messages. 0, -ENOEXEC damaged or too long, -ELIBACC, -ENOMEM. */
int unpack_run(const struct unpacker *u, const char *name, const uint8_t *in, size_t n, uint8_t *out,
               size_t cap, size_t *len, struct err *e);

#endif
