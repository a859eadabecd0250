/*
 * chr: the host's end of a serial line or console: stdio, pty, file, none.
 */
#ifndef BACKEND_CHR_H
#define BACKEND_CHR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct err;
struct loop;
struct chr;

/* What the device gives; called on the loop's thread. Where can_receive says 0, resume() tells when it is
 * more. */
struct chr_client {
    size_t (*can_receive)(void *opaque);                       /* bytes the device can take now */
    void (*receive)(void *opaque, const uint8_t *p, size_t n); /* at most can_receive() */
    void (*writable)(void *opaque); /* space again after a short write; may be NULL */
    void *opaque;
};

struct chr_ops {
    void (*attach)(struct chr *c, const struct chr_client *client); /* NULL detaches */
    /* Bytes to the host, any thread. Never blocks for long: bytes that cannot be taken now are buffered (64
     * KiB), then dropped. Returns n taken. */
    size_t (*write)(struct chr *c, const uint8_t *p, size_t n);
    void (*resume)(struct chr *c); /* the device can receive again; any thread */
    void (*size)(struct chr *c, uint16_t *cols, uint16_t *rows); /* of the terminal; 0 0 when there is none */
    void (*flush)(
        struct chr *c); /* write out what is buffered, waiting up to a second; loop thread or after it */
    void (*close)(struct chr *c); /* flushes, restores the terminal */
};

struct chr {
    const struct chr_ops *ops;
};

/* Keys after the escape (Ctrl-A): the backend handles x and h by calling these. */
struct chr_escape {
    void (*quit)(void *opaque);
    void *opaque;
};

/* stdin/stdout. A terminal is put in raw mode (restored on every way out, signals and abort included);
 * otherwise plain pipes: end of input just stops input. */
struct chr *chr_stdio_open(const struct chr_escape *esc, struct loop *loop, struct err *e);
struct chr *chr_pty_open(struct loop *loop, char *path_out, size_t cap,
                         struct err *e);                                       /* path of the slave */
struct chr *chr_file_open(const char *path, struct loop *loop, struct err *e); /* output only, appended */
struct chr *chr_null_open(void);                                               /* NULL: no memory */

/* Puts the terminal back as it was before chr_stdio_open. Async-signal-safe, callable always and often: for
 * those who handle fatal signals themselves (chr_stdio_open handles only signals that nobody had taken by
 * then, SIGPIPE among them). */
void chr_restore_terminal(void);

#endif
