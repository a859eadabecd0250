/*
 * port: a chr over file descriptors: one to read, one to write, both optional. Internal to this room; stdio,
 * pty and file are made of it.
 *
 * Output is tried at once on the caller's thread and what does not go is kept in a ring of 64 KiB, written by
 * the loop. Input is read when the client takes it; input with a filter (stdio's escape keys) is read always,
 * so that a hung guest does not swallow the key that ends it. A dead far end (EPIPE, EIO) turns output into a
 * sink: the guest must not hang on it.
 */
#ifndef CHR_PORT_H
#define CHR_PORT_H
#include "backend/chr/chr.h"
#include "host/lock.h"

enum { PORT_OUT_SIZE = 64 << 10, PORT_IN_SIZE = 4096 };

struct port_config {
    int in, out;     /* owned by the port; -1: none. `out` does not block, or is a file */
    bool out_socket; /* send without blocking or SIGPIPE */
    bool overwrite;  /* a full ring loses its oldest byte rather than refusing new ones: nobody may be reading
                      */
    /* Turns n bytes read into those for the guest, in place; at most one byte may be added (room is there).
     * NULL: all pass. Loop thread. */
    size_t (*filter)(void *opaque, uint8_t *p, size_t n);
    void (*size)(void *opaque, uint16_t *cols, uint16_t *rows); /* may be NULL */
    void (*closed)(void *opaque);                               /* after the fds were closed; may be NULL */
    void *opaque;
};

/* NULL: e; then the fds are closed and closed() was called. */
struct chr *port_new(const struct port_config *cfg, struct loop *loop, struct err *e);

#endif
