/*
 * slirp_api: libslirp's functions, found in the library when a user network is opened: glib stays out of
 * every process that has none.
 */
#ifndef NET_SLIRP_API_H
#define NET_SLIRP_API_H
#include <slirp/libslirp.h>
struct err;

struct slirp_api {
    void *library;
    __typeof__(&slirp_new) start;
    __typeof__(&slirp_cleanup) cleanup;
    __typeof__(&slirp_pollfds_fill) fill;
    __typeof__(&slirp_pollfds_poll) poll;
    __typeof__(&slirp_input) input;
    __typeof__(&slirp_add_hostfwd) hostfwd;
};

int slirp_api_open(struct slirp_api *a, struct err *e); /* -ELIBACC: not installed, or lacks a function */
void slirp_api_close(struct slirp_api *a);

#endif
