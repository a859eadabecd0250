/* What people write on the command line for sizes, disks and networks. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/nearest.h"
#include "vm/config.h"

int vm_parse_size(const char *text, const char *what, uint64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    unsigned long long v = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : (end = NULL, 0);
    unsigned shift = 0;
    if (end && *end) {
        const char *units = "KMGT", *u = strchr(units, toupper((unsigned char)*end));
        shift = u ? (unsigned)(u - units + 1) * 10 : 0;
        end++;
        if (shift && (!strcmp(end, "B") || !strcmp(end, "iB")))
            end += strlen(end);
    }
    if (!end || *end || errno || (shift && v > UINT64_MAX >> shift) ||
        (!shift && end[-1] && !isdigit((unsigned char)end[-1])))
        return err_set(e, EINVAL,
                       "%s: '%s' is not a size; write bytes or a number with K, M, G or T, like 512M", what,
                       text);
    *out = (uint64_t)v << shift;
    return 0;
}

/* The next comma-separated item of *rest, split at its first '='. A doubled comma stands for one, as with
 * QEMU. Items are cut in place. */
static bool next_item(char **rest, char **key, char **value)
{
    if (!*rest)
        return false;
    char *in = *rest, *out = in;
    *key = in;
    for (;; in++) {
        if (*in == ',' && in[1] == ',')
            in++;
        else if (*in == ',' || !*in)
            break;
        *out++ = *in;
    }
    *rest = *in ? in + 1 : NULL;
    *out = 0;
    *value = strchr(*key, '=');
    if (*value)
        *(*value)++ = 0;
    return true;
}

static int unknown_key(const char *what, const char *key, const char *const *known, struct err *e)
{
    const char *near = nearest(key, known);
    return err_set(e, EINVAL,
                   near ? "%s: unknown option '%s'; did you mean '%s'?" : "%s: unknown option '%s'", what,
                   key, near);
}

static int flag(const char *what, const char *key, const char *value, bool *out, struct err *e)
{
    if (!value || !strcmp(value, "on"))
        *out = true;
    else if (!strcmp(value, "off"))
        *out = false;
    else
        return err_set(e, EINVAL, "%s: %s=%s is neither on nor off", what, key, value);
    return 0;
}

static int disk_item(struct vm_disk_config *d, char *key, char *value, struct err *e)
{
    static const char *const known[] = {"path", "format", "serial", "readonly", "direct", NULL};
    if (!strcmp(key, "readonly") || !strcmp(key, "ro"))
        return flag("--disk", key, value, &d->readonly, e);
    if (!strcmp(key, "direct"))
        return flag("--disk", key, value, &d->direct, e);
    if (!value)
        return unknown_key("--disk", key, known, e);
    if (!strcmp(key, "path"))
        return vm_config_set(&d->path, value);
    if (!strcmp(key, "format"))
        return vm_config_set(&d->format, value);
    if (!strcmp(key, "serial")) {
        if (strlen(value) > 20)
            return err_set(e, EINVAL,
                           "--disk: serial '%s' is longer than the 20 bytes that virtio has for it", value);
        return vm_config_set(&d->serial, value);
    }
    return unknown_key("--disk", key, known, e);
}

int vm_config_add_disk(struct vm_config *c, const char *text, struct err *e)
{
    if (c->disks == VM_MAX_DISKS)
        return err_set(e, EINVAL, "--disk: at most %d disks", VM_MAX_DISKS);
    struct vm_disk_config *d = &c->disk[c->disks++];
    *d = (struct vm_disk_config){0};
    char *copy = strdup(text), *rest = copy, *key, *value;
    int r = copy ? vm_config_set(&d->format, "raw") : -ENOMEM;
    for (bool first = true; !r && next_item(&rest, &key, &value); first = false) {
        bool bare = first && (!value || strcmp(key, "path") != 0);
        if (bare && value)
            value[-1] = '='; /* a path that has a '=' in it */
        r = bare ? vm_config_set(&d->path, key) : disk_item(d, key, value, e);
    }
    free(copy);
    if (!r && (!d->path || !*d->path))
        r = err_set(e, EINVAL, "--disk: '%s' names no file; write --disk PATH[,readonly]...", text);
    return r;
}

int vm_config_add_initrd(struct vm_config *c, const char *path, struct err *e)
{
    if (c->initrds == VM_MAX_INITRDS)
        return err_set(e, EINVAL, "--initrd: at most %d files", VM_MAX_INITRDS);
    c->initrd[c->initrds] = NULL;
    return vm_config_set(&c->initrd[c->initrds++], path);
}

static int parse_port(const char *text, uint16_t *out)
{
    char *end;
    unsigned long v = isdigit((unsigned char)*text) ? strtoul(text, &end, 10) : 0;
    if (!v || v > 65535 || *end)
        return -EINVAL;
    *out = (uint16_t)v;
    return 0;
}

/* tcp:[ADDR:]PORT:GUESTPORT; ADDR may be an IPv6 address in brackets. */
static int parse_forward(struct vm_forward *f, char *text, struct err *e)
{
    char whole[128];
    snprintf(whole, sizeof whole, "%s", text);
    *f = (struct vm_forward){.udp = !strncmp(text, "udp:", 4)};
    char *last = strrchr(text, ':');
    if ((strncmp(text, "tcp:", 4) != 0 && !f->udp) || !last || last < text + 4)
        return err_set(e, EINVAL, "--net: hostfwd '%s' is not tcp|udp:[ADDR:]PORT:GUESTPORT", whole);
    *last = 0;
    char *host = text + 4, *colon = strrchr(host, ':');
    if (colon) {
        *colon = 0;
        size_t n = strlen(host);
        if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
            host[n - 1] = 0;
            host++;
        }
        struct in6_addr any;
        if (inet_pton(AF_INET, host, &any) != 1 && inet_pton(AF_INET6, host, &any) != 1)
            return err_set(e, EINVAL, "--net: hostfwd '%s': '%s' is not an IP address", whole, host);
        snprintf(f->host_addr, sizeof f->host_addr, "%s", host);
        host = colon + 1;
    }
    if (parse_port(host, &f->host_port) || parse_port(last + 1, &f->guest_port))
        return err_set(e, EINVAL, "--net: hostfwd '%s': ports are numbers from 1 to 65535", whole);
    return 0;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
    unsigned b[6];
    char over;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &over) != 6 ||
        (b[0] & 1))
        return -EINVAL;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return 0;
}

static int net_item(struct vm_net_config *n, char *key, char *value, struct err *e)
{
    static const char *const known[] = {"user", "tap", "mac", "hostfwd", "restrict", NULL};
    if (!strcmp(key, "restrict"))
        return flag("--net", key, value, &n->restricted, e);
    if (!value)
        return unknown_key("--net", key, known, e);
    if (!strcmp(key, "mac")) {
        if (parse_mac(value, n->mac))
            return err_set(e, EINVAL, "--net: mac '%s' is not a unicast address like 52:54:00:12:34:56",
                           value);
        n->mac_set = true;
        return 0;
    }
    if (!strcmp(key, "hostfwd")) {
        if (n->kind != VM_NET_USER)
            return err_set(e, EINVAL, "--net: hostfwd goes with --net user only");
        if (n->forwards == VM_MAX_FORWARDS)
            return err_set(e, EINVAL, "--net: at most %d forwards", VM_MAX_FORWARDS);
        return parse_forward(&n->forward[n->forwards++], value, e);
    }
    return unknown_key("--net", key, known, e);
}

int vm_config_add_net(struct vm_config *c, const char *text, struct err *e)
{
    if (c->nets == VM_MAX_NETS)
        return err_set(e, EINVAL, "--net: at most %d networks", VM_MAX_NETS);
    if (!strcmp(text, "none"))
        return 0;
    struct vm_net_config *n = &c->net[c->nets++];
    *n = (struct vm_net_config){0};
    char *copy = strdup(text), *rest = copy, *key, *value;
    int r = copy ? 0 : -ENOMEM;
    if (!r && (!next_item(&rest, &key, &value) || (strcmp(key, "user") != 0 && strcmp(key, "tap") != 0)))
        r = err_set(e, EINVAL, "--net: '%s' begins with neither user nor tap=NAME", text);
    if (!r && !strcmp(key, "tap")) {
        n->kind = VM_NET_TAP;
        if (!value || !*value || strlen(value) > 15)
            r = err_set(e, EINVAL, "--net: tap=NAME needs an interface name of at most 15 letters");
        else
            r = vm_config_set(&n->tap, value);
    }
    while (!r && next_item(&rest, &key, &value))
        r = net_item(n, key, value, e);
    free(copy);
    return r;
}
