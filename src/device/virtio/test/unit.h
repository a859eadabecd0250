/*
 * unit: cmocka in the order it wants, and a loop over the transports.
 */
#ifndef VIRTIO_TEST_UNIT_H
#define VIRTIO_TEST_UNIT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "device/virtio/test/ring.h"

#define BASE      (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_INDIRECT_DESC | 1ull << VIRTIO_F_RING_RESET)
#define EVENT_IDX (1ull << VIRTIO_F_RING_EVENT_IDX)

#define EACH_TRANSPORT(t)                                                                                    \
    for (enum rig_transport t = 0;                                                                           \
         t < RIG_TRANSPORTS && (print_message("    over %s\n", rig_transport_name[t]), 1); t++)

#endif
