#include "backend/net/slirp_api.h"
#include "base/err.h"
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/* NODELETE: glib keeps thread-local data and does not survive being unloaded. */
int slirp_api_open(struct slirp_api *a, struct err *e)
{
    *a = (struct slirp_api){.library = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)};
    if (!a->library)
        return err_set(e, ELIBACC,
                       "the user network needs libslirp.so.0, which is not on this machine; install the "
                       "package libslirp0");
    a->start = (__typeof__(a->start))dlsym(a->library, "slirp_new");
    a->cleanup = (__typeof__(a->cleanup))dlsym(a->library, "slirp_cleanup");
    a->fill = (__typeof__(a->fill))dlsym(a->library, "slirp_pollfds_fill");
    a->poll = (__typeof__(a->poll))dlsym(a->library, "slirp_pollfds_poll");
    a->input = (__typeof__(a->input))dlsym(a->library, "slirp_input");
    a->hostfwd = (__typeof__(a->hostfwd))dlsym(a->library, "slirp_add_hostfwd");
    if (a->start && a->cleanup && a->fill && a->poll && a->input && a->hostfwd)
        return 0;
    slirp_api_close(a);
    return err_set(e, ELIBACC, "the user network needs libslirp 4.1 or later; upgrade the package libslirp0");
}

void slirp_api_close(struct slirp_api *a)
{
    if (a->library)
        dlclose(a->library);
    a->library = NULL;
}
