/* The JSON form of vm_config: one table of keys drives printing and reading. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/nearest.h"
#include "base/range.h"
#include "vm/config.h"

/* KEY_NAME: a string that there always is; KEY_STRING may be null. */
enum key_kind { KEY_NAME, KEY_STRING, KEY_BOOL, KEY_UINT, KEY_SIZE };

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset;
};

#define AT(member) offsetof(struct vm_config, member)
static const struct key keys[] = {
    {"name", KEY_NAME, AT(name)},
    {"board", KEY_NAME, AT(board)},
    {"accel", KEY_NAME, AT(accel)},
    {"cpu", KEY_NAME, AT(cpu)},
    {"cpus", KEY_UINT, AT(cpus)},
    {"memory", KEY_SIZE, AT(memory)},
    {"kernel", KEY_STRING, AT(kernel)},
    {"cmdline", KEY_STRING, AT(cmdline)},
    {"kernel-decompress", KEY_BOOL, AT(kernel_decompress)},
    {"console", KEY_NAME, AT(console)},
    {"console-device", KEY_NAME, AT(console_device)},
    {"serial", KEY_STRING, AT(serial)},
    {"rng", KEY_BOOL, AT(rng)},
    {"virtio-mmio", KEY_BOOL, AT(virtio_mmio)},
    {"no-acpi", KEY_BOOL, AT(no_acpi)},
    {"no-reboot", KEY_BOOL, AT(no_reboot)},
    {"stats", KEY_BOOL, AT(stats)},
    {"perf-map", KEY_BOOL, AT(perf_map)},
    {"profile", KEY_BOOL, AT(profile)},
    {"symbols", KEY_STRING, AT(symbols)},
    {"code-cache", KEY_SIZE, AT(code_cache)},
    {"engine-process", KEY_BOOL, AT(engine_process)},
    {"debug-exit", KEY_BOOL, AT(debug_exit)},
    {"testdev", KEY_BOOL, AT(testdev)},
    {"gdb", KEY_STRING, AT(gdb)},
};

static json_t *disk_to_json(const struct vm_disk_config *d)
{
    json_t *o = json_pack("{ss ss sb sb}", "path", d->path, "format", d->format, "readonly", d->readonly,
                          "direct", d->direct);
    if (d->serial)
        json_object_set_new(o, "serial", json_string(d->serial));
    return o;
}

static json_t *net_to_json(const struct vm_net_config *n)
{
    json_t *o = json_object();
    json_object_set_new(o, n->kind == VM_NET_TAP ? "tap" : "user",
                        n->kind == VM_NET_TAP ? json_string(n->tap) : json_true());
    if (n->mac_set) {
        char mac[18];
        snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1], n->mac[2], n->mac[3],
                 n->mac[4], n->mac[5]);
        json_object_set_new(o, "mac", json_string(mac));
    }
    if (n->restricted)
        json_object_set_new(o, "restrict", json_true());
    json_t *list = json_array();
    for (unsigned i = 0; i < n->forwards; i++) {
        const struct vm_forward *f = &n->forward[i];
        char text[96];
        snprintf(text, sizeof text, strchr(f->host_addr, ':') ? "%s:[%s]:%u:%u" : "%s:%s:%u:%u",
                 f->udp ? "udp" : "tcp", *f->host_addr ? f->host_addr : "127.0.0.1", f->host_port,
                 f->guest_port);
        json_array_append_new(list, json_string(text));
    }
    if (n->forwards)
        json_object_set(o, "hostfwd", list);
    json_decref(list);
    return o;
}

static json_t *key_to_json(const struct key *k, const struct vm_config *c)
{
    const char *at = (const char *)c + k->offset;
    switch (k->kind) {
    case KEY_NAME:
    case KEY_STRING: {
        const char *s = *(char *const *)at;
        return s ? json_string(s) : json_null();
    }
    case KEY_BOOL:
        return json_boolean(*(const bool *)at);
    case KEY_UINT:
        return json_integer(*(const unsigned *)at);
    default: {
        uint64_t v = *(const uint64_t *)at;
        char text[32];
        snprintf(text, sizeof text, v % (1 << 20) ? "%llu" : "%lluM",
                 (unsigned long long)(v % (1 << 20) ? v : v >> 20));
        return json_string(text);
    }
    }
}

char *vm_config_to_json(const struct vm_config *c)
{
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        json_object_set_new(o, keys[i].name, key_to_json(&keys[i], c));
    json_t *initrds = json_array(), *disks = json_array(), *nets = json_array();
    for (unsigned i = 0; i < c->initrds; i++)
        json_array_append_new(initrds, json_string(c->initrd[i]));
    for (unsigned i = 0; i < c->disks; i++)
        json_array_append_new(disks, disk_to_json(&c->disk[i]));
    for (unsigned i = 0; i < c->nets; i++)
        json_array_append_new(nets, net_to_json(&c->net[i]));
    json_object_set_new(o, "initrd", initrds);
    json_object_set_new(o, "disks", disks);
    json_object_set_new(o, "nets", nets);
    char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    size_t n = text ? strlen(text) : 0;
    char *line = text ? realloc(text, n + 2) : NULL;
    if (!line) {
        free(text);
        return NULL;
    }
    memcpy(line + n, "\n", 2);
    return line;
}

/* ---- reading ---- */

static int wrong(const char *source, const char *key, const char *want, struct err *e)
{
    return err_set(e, EINVAL, "%s: \"%s\" is not %s", source, key, want);
}

static int key_from_json(const struct key *k, struct vm_config *c, const json_t *v, const char *source,
                         struct err *e)
{
    char *at = (char *)c + k->offset;
    switch (k->kind) {
    case KEY_NAME:
    case KEY_STRING:
        if (!json_is_string(v) && (k->kind == KEY_NAME || !json_is_null(v)))
            return wrong(source, k->name, "a string", e);
        return vm_config_set((char **)(void *)at, json_string_value(v));
    case KEY_BOOL:
        if (!json_is_boolean(v))
            return wrong(source, k->name, "true or false", e);
        *(bool *)at = json_is_true(v);
        return 0;
    case KEY_UINT:
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 1 << 20)
            return wrong(source, k->name, "a small whole number", e);
        *(unsigned *)(void *)at = (unsigned)json_integer_value(v);
        return 0;
    default:
        if (json_is_integer(v) && json_integer_value(v) >= 0) {
            *(uint64_t *)(void *)at = (uint64_t)json_integer_value(v);
            return 0;
        }
        if (!json_is_string(v))
            return wrong(source, k->name, "a size like \"512M\" or a number of bytes", e);
        return vm_parse_size(json_string_value(v), k->name, (uint64_t *)(void *)at, e);
    }
}

/* Write one option of a disk or net in the command line's form, so that one parser judges both. Commas are
 * doubled. */
static bool append_option(char *text, size_t cap, const char *key, const char *value)
{
    size_t at = strlen(text);
    int n = snprintf(text + at, cap - at, "%s%s=", at ? "," : "", key);
    if (n < 0 || (size_t)n >= cap - at)
        return false;
    at += (size_t)n;
    for (; *value; value++) {
        if (at + 3 > cap)
            return false;
        if (*value == ',')
            text[at++] = ',';
        text[at++] = *value;
        text[at] = 0;
    }
    return true;
}

static int object_as_options(const json_t *o, const char *what, const char *source, char *text, size_t cap,
                             struct err *e)
{
    const char *key, *first = json_object_get(o, "tap")    ? "tap"
                              : json_object_get(o, "user") ? "user"
                                                           : "path";
    json_t *v = json_object_get(o, first);
    text[0] = 0;
    if (!json_is_object(o))
        return wrong(source, what, "a list of objects", e);
    if (json_is_true(v))
        snprintf(text, cap, "%s", first);
    else if (!json_is_string(v) || !append_option(text, cap, first, json_string_value(v)))
        return wrong(source, what, "a list of objects with \"path\" (disks), \"user\" or \"tap\" (nets)", e);
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        size_t i;
        json_t *item;
        bool ok = true;
        if (!strcmp(key, first) || json_is_null(v))
            continue;
        if (json_is_array(v))
            json_array_foreach(v, i, item) ok =
                ok && json_is_string(item) && append_option(text, cap, key, json_string_value(item));
        else
            ok = (json_is_boolean(v) && append_option(text, cap, key, json_is_true(v) ? "on" : "off")) ||
                 (json_is_string(v) && append_option(text, cap, key, json_string_value(v)));
        if (!ok)
            return err_set(e, EINVAL, "%s: %s: \"%s\" has a value of the wrong kind or too long", source,
                           what, key);
    }
    return 0;
}

static int list_from_json(struct vm_config *c, const json_t *list, const char *what, const char *source,
                          int (*add)(struct vm_config *, const char *, struct err *), struct err *e)
{
    size_t i;
    json_t *o;
    if (!json_is_array(list))
        return wrong(source, what, "a list", e);
    json_array_foreach(list, i, o)
    {
        char text[8192];
        int r = object_as_options(o, what, source, text, sizeof text, e);
        if (!r && (r = add(c, text, e)))
            return err_prefix(e, r, "%s", source);
        if (r)
            return r;
    }
    return 0;
}

/* A path, a list of them, or null. */
static int initrds_from_json(struct vm_config *c, const json_t *v, const char *source, struct err *e)
{
    size_t i;
    json_t *path;
    int r = 0;
    if (json_is_string(v))
        return vm_config_add_initrd(c, json_string_value(v), e);
    if (!json_is_array(v))
        return json_is_null(v) ? 0 : wrong(source, "initrd", "a path or a list of paths", e);
    json_array_foreach(v, i, path)
    {
        if (!json_is_string(path))
            return wrong(source, "initrd", "a path or a list of paths", e);
        r = r ? r : vm_config_add_initrd(c, json_string_value(path), e);
    }
    return r ? err_prefix(e, r, "%s", source) : 0;
}

static int set_key(struct vm_config *c, const char *name, const json_t *v, const char *source, struct err *e)
{
    const char *words[ARRAY_LEN(keys) + 4];
    if (!strcmp(name, "initrd"))
        return initrds_from_json(c, v, source, e);
    if (!strcmp(name, "disks"))
        return list_from_json(c, v, name, source, vm_config_add_disk, e);
    if (!strcmp(name, "nets"))
        return list_from_json(c, v, name, source, vm_config_add_net, e);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!strcmp(keys[i].name, name))
            return key_from_json(&keys[i], c, v, source, e);
        words[i] = keys[i].name;
    }
    words[ARRAY_LEN(keys)] = "disks";
    words[ARRAY_LEN(keys) + 1] = "nets";
    words[ARRAY_LEN(keys) + 2] = "initrd";
    words[ARRAY_LEN(keys) + 3] = NULL;
    const char *near = nearest(name, words);
    return err_set(e, EINVAL,
                   near ? "%s: unknown key \"%s\"; did you mean \"%s\"?" : "%s: unknown key \"%s\"", source,
                   name, near);
}

int vm_config_from_json(struct vm_config *c, const char *text, size_t len, const char *source, struct err *e)
{
    json_error_t je;
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je), *v;
    const char *name;
    int r = 0;
    if (!o)
        return err_set(e, EINVAL, "%s: line %d, column %d: %s", source, je.line, je.column, je.text);
    if (!json_is_object(o))
        r = err_set(e, EINVAL, "%s: not a JSON object", source);
    else
        json_object_foreach(o, name, v) if (!r) r = set_key(c, name, v, source, e);
    json_decref(o);
    return r;
}
