/* A driver on one thread, the loop on another, a disk that completes on the loop and a wire that answers
 * there: no access without its lock. */
#include "device/virtio/test/unit.h"
#include <pthread.h>
#include <sched.h>
#include "base/log.h"
#include "device/virtio/blk.h"
#include "device/virtio/net.h"
#include "device/virtio/test/fakes.h"
#include "host/lock.h"

enum { ROUNDS = 300, BATCH = 8 };

/* A disk that completes each request by a post to the loop, as a real one does; `live` counts what it holds.
 */
struct loop_disk {
    struct disk disk; /* first */
    struct loop *loop;
    int live;
};

static void complete(void *opaque)
{
    struct disk_request *r = opaque;
    struct loop_disk *d = r->priv[0];
    __atomic_fetch_sub(&d->live, 1, __ATOMIC_ACQ_REL);
    r->done(r, 0);
}

static void submit(struct disk *disk, struct disk_request *r)
{
    struct loop_disk *d = (struct loop_disk *)disk;
    r->priv[0] = d;
    __atomic_fetch_add(&d->live, 1, __ATOMIC_ACQ_REL);
    CHECK(!loop_post(d->loop, complete, r));
}

static void info(struct disk *disk, struct disk_info *out)
{
    (void)disk;
    *out = (struct disk_info){.size = 1 << 20, .block_size = 512, .physical_block = 512};
}

static void drain(struct disk *disk)
{
    CHECK(__atomic_load_n(&((struct loop_disk *)disk)->live, __ATOMIC_ACQUIRE) ==
          0); /* the loop has ended by then */
}

static const struct disk_ops loop_disk_ops = {.info = info, .submit = submit, .drain = drain};

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static void noop(void *opaque)
{
    (void)opaque;
}

/* The used index by the accessor that is atomic, as a guest's load is. */
static uint16_t used_index(struct ring *g)
{
    uint64_t v;
    CHECK(!mem_load(g->rig->mem, g->used + 2, 2, &v));
    return (uint16_t)v;
}

static void offer(struct ring *g, uint16_t head)
{
    CHECK(!mem_store(g->rig->mem, g->avail + 4 + 2ull * (g->avail_idx % g->size), 2, head));
    CHECK(!mem_store(g->rig->mem, g->avail + 2, 2, ++g->avail_idx));
}

static void wait_reset(struct rig *r)
{
    drv_set_status(r, 0);
    while (drv_status(r))
        sched_yield();
}

static void disk_completions_and_resets_race_without_harm(void **s)
{
    struct rig r;
    struct loop_disk disk = {.disk.ops = &loop_disk_ops};
    pthread_t thread;
    (void)s;
    rig_init(&r, RIG_PCI_INTX);
    disk.loop = r.loop;
    rig_plug(&r, virtio_blk_new(&(struct virtio_blk_config){0}, &disk.disk, r.loop, r.mem, NULL));
    uint64_t head = rig_alloc(&r, 4096, 4096), keep = r.next;
    *(uint32_t *)rig_at(&r, head) = 4; /* flush: no data, so that only rings and status are shared */
    assert_int_equal(pthread_create(&thread, NULL, run_loop, r.loop), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ring g;
        r.next = keep;
        assert_true(drv_negotiate(&r, BASE | 1ull << 9 | (round & 1 ? EVENT_IDX : 0)));
        ring_init(&g, &r, 0, 64);
        for (unsigned i = 0; i < BATCH; i++) {
            ring_desc(&g, g.desc, 2 * i, head, 16, VIRTQ_DESC_F_NEXT, 2 * i + 1);
            ring_desc(&g, g.desc, 2 * i + 1, head + 64 + i, 1, VIRTQ_DESC_F_WRITE, 0);
        }
        drv_ok(&r);
        for (unsigned i = 0; i < BATCH; i++) {
            offer(&g, (uint16_t)(2 * i));
            ring_kick(&g);
        }
        if (round % 3) /* every third is reset in flight */
            while (used_index(&g) != BATCH)
                sched_yield();
        wait_reset(&r);
        assert_int_equal(__atomic_load_n(&disk.live, __ATOMIC_ACQUIRE),
                         0); /* what "reset is done" promises */
    }
    loop_call(r.loop, noop, NULL);
    loop_stop(r.loop);
    pthread_join(thread, NULL);
    rig_fini(&r);
}

static void frames_and_resets_race_without_harm(void **s)
{
    struct rig r;
    struct fake_net *net = calloc(1, sizeof(*net));
    pthread_t thread;
    (void)s;
    fake_net_init(net);
    net->echo = true; /* each frame comes back from within send, on the loop */
    rig_init(&r, RIG_PCI_INTX);
    rig_plug(&r, virtio_net_new(&(struct virtio_net_config){0}, &net->net, r.loop, r.mem, NULL));
    uint64_t out = rig_alloc(&r, 4096, 4096), in = rig_alloc(&r, BATCH * 4096, 4096), keep = r.next;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, r.loop), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ring rx, tx;
        r.next = keep;
        assert_true(drv_negotiate(&r, BASE | 1ull << 15 | (round & 1 ? EVENT_IDX : 0)));
        ring_init(&rx, &r, 0, 64);
        ring_init(&tx, &r, 1, 64);
        for (unsigned i = 0; i < BATCH; i++) {
            ring_desc(&rx, rx.desc, i, in + 4096 * i, 2048, VIRTQ_DESC_F_WRITE, 0);
            ring_desc(&tx, tx.desc, i, out, 112, 0, 0);
        }
        drv_ok(&r);
        for (unsigned i = 0; i < BATCH; i++) {
            offer(&rx, (uint16_t)i);
            offer(&tx, (uint16_t)i);
            drv_kick(&r, i & 1);
        }
        drv_kick(&r, 1);
        if (round % 3)
            while (used_index(&tx) != BATCH || used_index(&rx) != BATCH)
                sched_yield();
        wait_reset(&r);
    }
    loop_call(r.loop, noop, NULL);
    loop_stop(r.loop);
    pthread_join(thread, NULL);
    rig_fini(&r);
    free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_completions_and_resets_race_without_harm),
        cmocka_unit_test(frames_and_resets_race_without_harm),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
