/* map: the inside of struct mem_map, for the files of this room. */
#ifndef GUEST_MAP_H
#define GUEST_MAP_H
#include <pthread.h>
#include <stdatomic.h>
#include "base/list.h"
#include "guest/mem.h"
#include "host/lock.h"

struct region_node {
    struct list node;
    struct mem_region region;
    uint64_t order; /* later added wins among equals */
    bool enabled;
};

/* A view, current or waiting for readers to pass; or the grave of a removed region. */
struct retired {
    struct retired *next;
    uint64_t epoch;           /* may be freed when every reader has seen this epoch */
    struct region_node *node; /* freed with it; NULL for views */
    struct mem_view view;
};

struct mem_reader {
    struct list node;
    struct mem_map *map;
    _Atomic uint64_t seen; /* epoch at the last quiescent point; UINT64_MAX while offline */
};

struct mem_map {
    struct lock lock; /* changes */
    struct list regions;
    /* Every block ever added: a region may go and come back, its memory stays until the map goes */
    struct ram **rams;
    size_t ram_count;
    uint64_t next_order;
    unsigned depth; /* of mem_begin */
    bool changed;
    _Atomic(const struct mem_view *) view;
    _Atomic uint64_t epoch;
    struct retired *current, *retired, *removed;
    struct mem_listener *listeners;
    pthread_mutex_t readers_mutex; /* innermost */
    struct list readers;
};

#endif
