/* Doorbells: what the memory map shows of them is what the accelerator has. */
#include <errno.h>
#include "accel/accel.h"
#include "base/err.h"
#include "base/log.h"
#include "board/microvm.h"

/* Those of `v` that `other` does not have at the same place. */
static void tell(struct accel *a, const struct mem_view *v, const struct mem_view *other, bool on)
{
    for (size_t i = 0; i < v->count; i++) {
        const struct mem_section *s = &v->section[i];
        for (unsigned k = 0; s->kind == MEM_MMIO && k < s->region->bells; k++) {
            const struct mem_bell *bell = &s->region->bell[k];
            if (bell->offset < s->offset || bell->offset - s->offset >= s->size)
                continue; /* something lies over it */
            uint64_t gpa = s->base + (bell->offset - s->offset);
            struct err e;
            if (mem_bell_at(other, gpa) == bell->eventfd)
                continue;
            int r = accel_doorbell(a, gpa, 0, bell->eventfd, on, &e);
            if (r && r != -ENOTSUP && on) /* the device is called then, as without any */
                log_guest(NULL, LOG_DEBUG, "%s: no doorbell: %s", s->region->name, e.msg);
        }
    }
}

static void changed(void *opaque, const struct mem_view *was, const struct mem_view *now)
{
    struct board *b = opaque;
    struct accel *a = atomic_load(&b->accel);
    tell(a, was, now, false);
    tell(a, now, was, true);
}

void board_bells_connect(struct board *b)
{
    b->bells = (struct mem_listener){.changed = changed, .opaque = b};
    mem_listen(b->cfg.mem, &b->bells);
}

void board_bells_disconnect(struct board *b)
{
    static const struct mem_view none = {0};
    mem_unlisten(b->cfg.mem, &b->bells);
    tell(atomic_load(&b->accel), mem_view(b->cfg.mem), &none, false);
}
