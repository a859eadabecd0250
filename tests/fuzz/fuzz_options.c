/* What people write: lines of --disk (d...), --net (n...) and sizes (s...), all into one configuration. It
 * can be printed as JSON and read back to the same, whenever the words are text. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "fuzz.h"
#include "vm/config.h"

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void line(struct vm_config *c, const char *text)
{
    struct err e = {""};
    uint64_t v;
    int r = *text == 'd'   ? vm_config_add_disk(c, text + 1, &e)
            : *text == 'n' ? vm_config_add_net(c, text + 1, &e)
            : *text == 's' ? vm_parse_size(text + 1, "size", &v, &e)
                           : 0;
    must(!r || (e.msg[0] && c->disks <= VM_MAX_DISKS && c->nets <= VM_MAX_NETS));
    /* A refused disk or network ends a run; here it makes room for the next. */
    if (r && *text == 'd' && c->disks) {
        struct vm_disk_config *d = &c->disk[--c->disks];
        free(d->path);
        free(d->format);
        free(d->serial);
    } else if (r && *text == 'n' && c->nets) {
        free(c->net[--c->nets].tap);
    }
}

static bool is_text(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 0x7f || (unsigned char)*s < 0x20)
            return false;
    return true;
}

static void check(const struct vm_config *c)
{
    for (unsigned i = 0; i < c->disks; i++)
        must(c->disk[i].path && *c->disk[i].path && c->disk[i].format &&
             (!c->disk[i].serial || strlen(c->disk[i].serial) <= 20));
    for (unsigned i = 0; i < c->nets; i++) {
        const struct vm_net_config *n = &c->net[i];
        must(n->forwards <= VM_MAX_FORWARDS && (n->kind != VM_NET_TAP || (n->tap && strlen(n->tap) < 16)) &&
             !(n->mac[0] & 1));
        for (unsigned k = 0; k < n->forwards; k++)
            must(n->forward[k].host_port && n->forward[k].guest_port);
    }
}

static void round_trip(const struct vm_config *c)
{
    struct vm_config again;
    struct err e;
    char *text = vm_config_to_json(c), *second = NULL;
    vm_config_init(&again);
    must(text && !vm_config_from_json(&again, text, strlen(text), "again", &e) &&
         (second = vm_config_to_json(&again)) && !strcmp(text, second));
    free(text);
    free(second);
    vm_config_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm_config c;
    if (size > 3000)
        return 0;
    char *all = calloc(1, size + 1), *rest = all, *one;
    memcpy(all, data, size);
    bool text = true;
    vm_config_init(&c);
    while ((one = strsep(&rest, "\n"))) {
        line(&c, one);
        text = text && is_text(one);
    }
    check(&c);
    if (text)
        round_trip(&c);
    free(all);
    vm_config_fini(&c);
    return 0;
}
