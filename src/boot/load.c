#include "boot/load.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/mem.h"
#include <errno.h>
#include <string.h>

static unsigned long long mib_up(uint64_t bytes)
{
    return (unsigned long long)((bytes + (1 << 20) - 1) >> 20);
}

int load_claim(struct load *l, const char *name, uint64_t base, uint64_t size)
{
    if (!size)
        return 0;
    if (!range_no_wrap(base, size) || base + (size - 1) >= PLACE_4G)
        return err_set(l->e, ENOEXEC, "%s: malformed: wants to lie at 0x%llx, above 4 GiB", name,
                       (unsigned long long)base);
    if (!place_is_ram(&l->place, base, size)) {
        uint64_t top = place_ram_top(&l->place, PLACE_4G);
        if (base + size > top)
            return err_set(
                l->e, ENOMEM,
                "%s: the kernel needs memory up to %llu MiB, the machine has %llu; give it more memory", name,
                mib_up(base + size), (unsigned long long)top >> 20);
        return err_set(l->e, ENOMEM,
                       "%s: the kernel wants to lie at 0x%llx-0x%llx, which is not RAM on this board", name,
                       (unsigned long long)base, (unsigned long long)(base + size - 1));
    }
    if (!place_take(&l->place, base, size))
        return err_set(l->e, ENOEXEC, "%s: malformed: too many pieces", name);
    if (!l->info->kernel_end || base < l->info->kernel_base)
        l->info->kernel_base = base;
    if (base + size > l->info->kernel_end)
        l->info->kernel_end = base + size;
    return 0;
}

int load_low(struct load *l, uint64_t size, uint64_t align, uint64_t *gpa)
{
    *gpa = place_high(&l->place, size, align, PLACE_LOW_MIN, PLACE_LOW_MAX);
    if (*gpa == PLACE_NONE)
        return err_set(l->e, ENOMEM, "%s: leaves no room for %llu bytes of boot data in the first 576 KiB",
                       l->cfg->kernel.path, (unsigned long long)size);
    if (mem_fill(l->mem, *gpa, 0, size))
        return err_set(l->e, ENOMEM, "guest memory at 0x%llx is not RAM, although the board says so",
                       (unsigned long long)*gpa);
    return 0;
}

int load_write(struct load *l, uint64_t gpa, const void *p, uint64_t n)
{
    if (mem_write(l->mem, gpa, p, n))
        return err_set(l->e, ENOMEM, "guest memory at 0x%llx is not RAM, although the board says so",
                       (unsigned long long)gpa);
    return 0;
}

int load_cmdline(struct load *l, const char *before, size_t max, uint64_t *gpa)
{
    const char *text = l->cfg->cmdline ? l->cfg->cmdline : "";
    size_t head = before ? strlen(before) + 1 : 0, n = strlen(text);
    if (n > max || head > max - n)
        return err_set(l->e, E2BIG, "command line: %zu bytes, %s takes at most %zu; shorten it", head + n,
                       l->cfg->kernel.path, max);
    int r = load_low(l, head + n + 1, 16, gpa);
    if (!r && before) {
        r = load_write(l, *gpa, before, head - 1);
        r = r ? r : load_write(l, *gpa + head - 1, " ", 1);
    }
    return r ? r : load_write(l, *gpa + head, text, n + 1);
}

/* Opens all initrds, or none. */
static int open_all(struct load *l, struct src *s, uint64_t *total)
{
    *total = 0;
    for (unsigned i = 0; i < l->cfg->initrds; i++) {
        int r = src_open(&s[i], &l->cfg->initrd[i], "initrd", l->e);
        if (r) {
            while (i--)
                src_close(&s[i]);
            return r;
        }
        *total = align_up(*total, 4) + s[i].len;
    }
    return 0;
}

static int put_all(struct load *l, const struct src *s, uint64_t total, uint64_t max)
{
    uint64_t at = place_high(&l->place, align_up(total, MEM_PAGE), MEM_PAGE, 0x100000, max);
    if (at == PLACE_NONE)
        return err_set(
            l->e, ENOMEM,
            "%s: initrd of %llu MiB does not fit beside the kernel (up to %llu MiB) below %llu MiB; "
            "give the machine more memory",
            s[0].name, mib_up(total), mib_up(l->info->kernel_end),
            (unsigned long long)place_ram_top(&l->place, max) >> 20);
    l->info->initrd_base = at;
    l->info->initrd_size = total;
    for (unsigned i = 0; i < l->cfg->initrds; i++) {
        int r = src_to_guest(&s[i], 0, s[i].len, l->mem, at, l->e);
        uint64_t end = at + s[i].len;
        at = align_up(end, 4);
        if (!r && i + 1 < l->cfg->initrds && mem_fill(l->mem, end, 0, at - end))
            r = err_set(l->e, ENOMEM, "guest memory at 0x%llx is not RAM, although the board says so",
                        (unsigned long long)end);
        if (r)
            return r;
    }
    return 0;
}

int load_initrd(struct load *l, uint64_t max)
{
    struct src s[BOOT_MAX_INITRDS];
    uint64_t total;
    if (!l->cfg->initrds)
        return 0;
    int r = open_all(l, s, &total);
    if (r)
        return r;
    r = put_all(l, s, total, max);
    for (unsigned i = 0; i < l->cfg->initrds; i++)
        src_close(&s[i]);
    return r;
}
