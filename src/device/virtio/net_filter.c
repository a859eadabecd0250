#include "device/virtio/net_filter.h"
#include <string.h>
#include "device/virtio/virtio.h"

void net_filter_reset(struct net_filter *f)
{
    memset(f, 0, sizeof(*f));
    f->promiscuous = 1;
}

static bool listed(const uint8_t *table, unsigned n, const uint8_t *addr)
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(table + i * ETHER_ADDR, addr, ETHER_ADDR))
            return true;
    return false;
}

bool net_filter_passes(const struct net_filter *f, const uint8_t own[ETHER_ADDR],
                       const uint8_t to[ETHER_ADDR])
{
    static const uint8_t broadcast[ETHER_ADDR] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (f->promiscuous)
        return true;
    if (!memcmp(to, broadcast, ETHER_ADDR))
        return !f->no_broadcast;
    if (to[0] & 1)
        return !f->no_multicast &&
               (f->all_multicast || f->multicast_overflow || listed(f->multicast, f->multicasts, to));
    return !f->no_unicast && (f->all_unicast || f->unicast_overflow || !memcmp(to, own, ETHER_ADDR) ||
                              listed(f->unicast, f->unicasts, to));
}

bool net_filter_mode(struct net_filter *f, uint8_t command, bool on)
{
    uint8_t *const mode[] = {&f->promiscuous,  &f->all_multicast, &f->all_unicast,
                             &f->no_multicast, &f->no_unicast,    &f->no_broadcast};
    if (command >= sizeof(mode) / sizeof(mode[0]))
        return false;
    *mode[command] = on;
    return true;
}

/* One table: a 32-bit count and the addresses. Advances *from. */
static bool read_table(uint8_t *table, uint8_t *entries, uint8_t *overflow, const struct iovec *out,
                       unsigned count, uint64_t *from, uint64_t len)
{
    uint32_t n;
    if (len - *from < sizeof(n))
        return false;
    iov_to_buf(out, count, *from, &n, sizeof(n));
    *from += sizeof(n);
    if (n > (len - *from) / ETHER_ADDR)
        return false;
    *overflow = n > NET_FILTER_MAX;
    *entries = (uint8_t)(*overflow ? 0 : n);
    iov_to_buf(out, count, *from, table, (size_t)*entries * ETHER_ADDR);
    *from += (uint64_t)n * ETHER_ADDR;
    return true;
}

bool net_filter_tables(struct net_filter *f, const struct iovec *out, unsigned count, uint64_t from,
                       uint64_t len)
{
    struct net_filter now = *f;
    if (from > len ||
        !read_table(now.unicast, &now.unicasts, &now.unicast_overflow, out, count, &from, len) ||
        !read_table(now.multicast, &now.multicasts, &now.multicast_overflow, out, count, &from, len))
        return false;
    *f = now;
    return true;
}
