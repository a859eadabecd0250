/*
 * src: a kernel or initrd as a bounded run of bytes: a file, a pipe that was read whole, or memory. Every
 * read is checked against its length, and the message of a failed one names the file and the offset. One
 * thread.
 */
#ifndef BOOT_SRC_H
#define BOOT_SRC_H
#include <stddef.h>
#include <stdint.h>
struct boot_file;
struct err;
struct mem_map;

enum { SRC_PIPE_MAX = 1 << 30 }; /* bytes taken from something that is not a regular file */

struct src {
    const char *name;
    const uint8_t *data; /* NULL: read from fd */
    uint8_t *owned;      /* freed on close */
    uint64_t len;
    int fd; /* -1: none */
};

/* `what` ("kernel", "initrd") is for messages. 0 or -errno. */
int src_open(struct src *s, const struct boot_file *f, const char *what, struct err *e);
void src_memory(struct src *s, const char *name, const void *data, uint64_t len); /* not owned */
void src_close(struct src *s);

/* Exactly n bytes at off, or -ENOEXEC (past the end) or what reading gave. */
int src_read(const struct src *s, uint64_t off, void *out, size_t n, struct err *e);
/* The same into guest memory, which must be RAM: -ENOMEM else. */
int src_to_guest(const struct src *s, uint64_t off, uint64_t n, struct mem_map *mem, uint64_t gpa,
                 struct err *e);

#endif
