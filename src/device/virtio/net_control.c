/* The control queue (virtio 1.2 section 5.1.6.5). */
#include <string.h>
#include "device/virtio/net_internal.h"

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_ANNOUNCE = 3, CLASS_GUEST_OFFLOADS = 5 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, ANNOUNCE_ACK = 0, GUEST_OFFLOADS_SET = 0, RX_ALLMULTI = 1 };
enum { ACK_OK = 0, ACK_ERR = 1 };

struct command {
    uint8_t class, command;
};

static bool receive_mode(struct virtio_net *n, uint8_t command, const struct virtq_chain *c)
{
    uint8_t on;
    if (!virtio_has(&n->vd, command > RX_ALLMULTI ? NET_F_CTRL_RX_EXTRA : NET_F_CTRL_RX))
        return false;
    return iov_to_buf(c->out, c->out_count, sizeof(struct command), &on, 1) == 1 &&
           net_filter_mode(&n->filter, command, on != 0);
}

static bool set_mac(struct virtio_net *n, uint8_t command, const struct virtq_chain *c)
{
    uint8_t mac[ETHER_ADDR];
    if (command == MAC_TABLE_SET && virtio_has(&n->vd, NET_F_CTRL_RX))
        return net_filter_tables(&n->filter, c->out, c->out_count, sizeof(struct command), c->out_len);
    if (command != MAC_ADDR_SET || !virtio_has(&n->vd, NET_F_CTRL_MAC_ADDR) ||
        iov_to_buf(c->out, c->out_count, sizeof(struct command), mac, sizeof(mac)) != sizeof(mac))
        return false;
    memcpy(n->mac, mac, sizeof(mac));
    return true;
}

static bool set_offloads(struct virtio_net *n, uint8_t command, const struct virtq_chain *c)
{
    uint64_t offloads;
    if (command != GUEST_OFFLOADS_SET || !virtio_has(&n->vd, NET_F_CTRL_GUEST_OFFLOADS) ||
        iov_to_buf(c->out, c->out_count, sizeof(struct command), &offloads, sizeof(offloads)) !=
            sizeof(offloads) ||
        (offloads & ~(n->vd.features & NET_GUEST_OFFLOADS)))
        return false;
    n->guest_offloads = offloads;
    n->offload_wanted = true;
    net_wake(n);
    return true;
}

static bool execute(struct virtio_net *n, const struct virtq_chain *c)
{
    struct command cmd;
    iov_to_buf(c->out, c->out_count, 0, &cmd, sizeof(cmd));
    switch (cmd.class) {
    case CLASS_RX:
        return receive_mode(n, cmd.command, c);
    case CLASS_MAC:
        return set_mac(n, cmd.command, c);
    case CLASS_ANNOUNCE:
        if (cmd.command != ANNOUNCE_ACK || !virtio_has(&n->vd, NET_F_GUEST_ANNOUNCE))
            return false;
        n->announce = 0;
        return true;
    case CLASS_GUEST_OFFLOADS:
        return set_offloads(n, cmd.command, c);
    default:
        return false;
    }
}

void net_control(struct virtio_net *n, struct virtqueue *q)
{
    struct virtq_chain c = {.iov = n->control_iov, .gpa = n->control_gpa, .iov_cap = NET_CHAIN_PIECES};
    do {
        virtq_want_kicks(q, false);
        while (virtq_pop(q, &c) > 0) {
            if (c.out_len < sizeof(struct command) || !c.in_len) {
                virtq_unpop(q);
                virtio_broken(&n->vd, "queue %u: a command without its name or room for the answer",
                              q->index);
                break;
            }
            uint8_t ack = execute(n, &c) ? ACK_OK : ACK_ERR;
            iov_from_buf(c.in, c.in_count, 0, &ack, 1);
            virtq_push(q, &c, 1);
        }
    } while (virtq_want_kicks(q, true));
    virtq_notify(q);
}
