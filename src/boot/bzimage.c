/*
 * bzImage (Documentation/arch/x86/boot.rst). The file is a setup part for real mode and, behind it, the
 * protected-mode part, which holds the packed vmlinux and the code that unpacks it.
 */
#include "base/err.h"
#include "base/range.h"
#include "boot/elf_image.h"
#include "boot/linux.h"
#include "boot/load.h"
#include "boot/unpack.h"
#include "guest/mem.h"
#include "x86/state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    SECTOR = 512,
    PAYLOAD_MAX = 1 << 30, /* unpacked; Linux's own direct map of its image ends there */
    HIGH_LOAD = 0x100000,
    LOW_LOAD = 0x10000, /* a zImage's protected-mode part */
    SETUP_SEG = 0x9000, /* where the setup part of a zImage, and thus of every image, may lie */
    SETUP_SIZE_MAX = 0x8000,
    SETUP_STACK = 0xe000, /* offset: heap and stack of the setup code end there, the command line follows */
    REAL_CMDLINE_MAX = 2047,
};

static uint16_t get16(const struct setup_header *h, unsigned at)
{
    uint16_t v;
    memcpy(&v, h->raw + at, 2);
    return v;
}

static uint32_t get32(const struct setup_header *h, unsigned at)
{
    uint32_t v;
    memcpy(&v, h->raw + at, 4);
    return v;
}

int bzimage_probe(const struct src *s, struct setup_header *h)
{
    static const uint8_t magic[4] = {'H', 'd', 'r', 'S'};
    memset(h, 0, sizeof *h);
    if (s->len < 2 * SECTOR || src_read(s, 0, h->raw, sizeof h->raw, NULL) ||
        get16(h, SETUP_BOOT_FLAG) != 0xaa55 || memcmp(h->raw + SETUP_MAGIC, magic, sizeof magic))
        return -ENOEXEC;
    h->version = get16(h, SETUP_VERSION);
    h->file_size = s->len;
    h->len = SETUP_MAGIC + h->raw[SETUP_JUMP];
    if (h->len > SETUP_HEADER_MAX)
        h->len = SETUP_HEADER_MAX;
    /* What lies behind the header is not fields: a version may not promise more than the header's length
     * holds. */
    memset(h->raw + h->len, 0, sizeof h->raw - h->len);
    return 0;
}

static uint64_t setup_bytes(const struct setup_header *h)
{
    unsigned sects = h->raw[SETUP_SECTS] ? h->raw[SETUP_SECTS] : 4;
    return (uint64_t)(sects + 1) * SECTOR;
}

static void read_version(const struct src *s, const struct setup_header *h, char *out, size_t cap)
{
    uint64_t at = get16(h, SETUP_KERNEL_VERSION), n = cap - 1;
    if (!at || at + SECTOR >= setup_bytes(h))
        return;
    at += SECTOR;
    if (at >= s->len)
        return;
    n = s->len - at < n ? s->len - at : n;
    if (src_read(s, at, out, n, NULL))
        n = 0;
    for (uint64_t i = 0; i < n; i++)
        if (out[i] < 0x20 || out[i] > 0x7e)
            n = i;
    out[n] = 0;
}

/* ---- the kernel inside ---- */

struct payload {
    uint8_t *packed;
    size_t packed_len;
    uint8_t *image; /* an mmap of `cap` bytes: only what is made of it becomes memory */
    size_t cap, len;
};

static void payload_free(struct payload *p)
{
    free(p->packed);
    if (p->image)
        munmap(p->image, p->cap);
}

static int read_payload(const struct src *s, const struct setup_header *h, struct payload *p, struct err *e)
{
    uint64_t off = setup_bytes(h) + get32(h, SETUP_PAYLOAD_OFFSET);
    p->packed_len = get32(h, SETUP_PAYLOAD_LENGTH);
    if (!range_inside(off, p->packed_len, s->len))
        return err_set(
            e, ENOEXEC,
            "%s: truncated: its payload is bytes 0x%llx-0x%llx, the file ends at 0x%llx; fetch it again",
            s->name, (unsigned long long)off, (unsigned long long)(off + p->packed_len),
            (unsigned long long)s->len);
    p->packed = malloc(p->packed_len);
    if (!p->packed)
        return err_set(e, ENOMEM, "%s: no memory to read its payload", s->name);
    return src_read(s, off, p->packed, p->packed_len, e);
}

/* The last four bytes tell the unpacked size, of every packing. */
static int unpack_payload(const struct src *s, const struct unpacker *u, struct payload *p, struct err *e)
{
    uint32_t size;
    memcpy(&size, p->packed + p->packed_len - 4, 4);
    if (!size || size > PAYLOAD_MAX)
        return err_set(e, ENOEXEC, "%s: damaged: its payload claims to unpack to %u bytes; fetch it again",
                       s->name, size);
    void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return err_sys(e, errno, "%s: no memory to unpack %u bytes", s->name, size);
    madvise(m, size, MADV_HUGEPAGE);
    p->image = m;
    p->cap = size;
    return unpack_run(u, s->name, p->packed, p->packed_len, p->image, p->cap, &p->len, e);
}

/* 0: entered; -ENOENT without a message: there is no kernel in it that we could enter. */
static int boot_payload(struct load *l, const struct src *s, const struct setup_header *h)
{
    struct payload p = {0};
    struct src image;
    if (h->version < 0x0208 || get32(h, SETUP_PAYLOAD_LENGTH) < 8)
        return -ENOENT;
    int r = read_payload(s, h, &p, l->e);
    const struct unpacker *u = r ? NULL : unpack_find(p.packed, p.packed_len);
    src_memory(&image, s->name, p.packed, p.packed_len);
    if (u) {
        r = unpack_payload(s, u, &p, l->e);
        src_memory(&image, s->name, p.image, p.len);
    }
    if (!r && !elf_probe(&image))
        r = -ENOENT;
    if (!r) {
        l->info->packed = u ? u->name : NULL;
        r = elf_boot(l, &image, h);
    }
    payload_free(&p);
    return r;
}

/* ---- the image itself ---- */

static int check_whole(const struct src *s, const struct setup_header *h, struct err *e)
{
    uint64_t paragraphs = h->version >= 0x0204 ? get32(h, SETUP_SYSSIZE) : get16(h, SETUP_SYSSIZE);
    uint64_t need = setup_bytes(h) + paragraphs * 16;
    if (s->len + 15 >= need && s->len > setup_bytes(h))
        return 0;
    return err_set(e, ENOEXEC,
                   "%s: truncated: its header tells %llu bytes, the file has %llu; fetch it again", s->name,
                   (unsigned long long)need, (unsigned long long)s->len);
}

/* Where its protected-mode part goes and how much it needs there until the kernel has set itself up. */
static int claim_image(struct load *l, const struct src *s, const struct setup_header *h, uint64_t *at)
{
    uint64_t body = s->len - setup_bytes(h), need = body, align = get32(h, SETUP_KERNEL_ALIGNMENT);
    bool v210 = h->version >= 0x020a, relocatable = h->version >= 0x0205 && h->raw[SETUP_RELOCATABLE];
    *at = h->raw[SETUP_LOADFLAGS] & LOADED_HIGH ? HIGH_LOAD : LOW_LOAD;
    if (v210 && relocatable)
        memcpy(at, h->raw + SETUP_PREF_ADDRESS, 8);
    if (v210 && get32(h, SETUP_INIT_SIZE) > need)
        need = get32(h, SETUP_INIT_SIZE);
    if (relocatable && is_pow2(align) && !place_is_ram(&l->place, *at, need)) {
        uint64_t other = place_low(&l->place, need, align, HIGH_LOAD, PLACE_4G);
        *at = other != PLACE_NONE ? other : *at;
    }
    int r = load_claim(l, s->name, *at, need);
    return r ? r : src_to_guest(s, setup_bytes(h), body, l->mem, *at, l->e);
}

/*
 * Real mode: the setup part at 0x90000, as the oldest protocol demands and all later ones allow; its heap and
 * stack up to offset 0xe000 and the command line behind. It calls the BIOS, which the board must have.
 */
static int boot_real(struct load *l, const struct src *s, struct setup_header *h)
{
    uint64_t base = SETUP_SEG << 4, at, n = setup_bytes(h), size = SETUP_STACK + REAL_CMDLINE_MAX + 1;
    const char *text = l->cfg->cmdline ? l->cfg->cmdline : "";
    uint16_t heap_end = SETUP_STACK - 0x200;
    if (n > SETUP_SIZE_MAX)
        return err_set(l->e, ENOEXEC, "%s: its real-mode part has %llu bytes, at most 32768 fit", s->name,
                       (unsigned long long)n);
    size_t max = linux_cmdline_max(h) < REAL_CMDLINE_MAX ? linux_cmdline_max(h) : REAL_CMDLINE_MAX;
    if (strlen(text) > max)
        return err_set(l->e, E2BIG, "command line: %zu bytes, %s takes at most %zu; shorten it", strlen(text),
                       s->name, max);
    if (h->version < 0x0202)
        return err_set(l->e, ENOTSUP, "%s: boot protocol %u.%02u is too old, 2.02 (Linux 2.4) is the least",
                       s->name, h->version >> 8, h->version & 0xff);
    int r = claim_image(l, s, h, &at);
    r = r ? r : load_claim(l, s->name, base, size);
    r = r ? r : load_initrd(l, linux_initrd_max(h, BOOT_ENTRY_LINUX16));
    r = r ? r : src_to_guest(s, 0, n, l->mem, base, l->e);
    if (r)
        return r;
    linux_fill_header(l, h->raw, base + SETUP_STACK, get32(h, SETUP_CODE32_START));
    h->raw[SETUP_LOADFLAGS] |= CAN_USE_HEAP;
    memcpy(h->raw + SETUP_HEAP_END_PTR, &heap_end, 2);
    r = load_write(l, base + SETUP_FIRST, h->raw + SETUP_FIRST, h->len - SETUP_FIRST);
    r = r ? r : load_write(l, base + SETUP_STACK, text, strlen(text) + 1);
    if (r)
        return r;
    cpu_real(l, SETUP_SEG, SETUP_SEG + SECTOR / 16, SETUP_STACK);
    l->info->entry = BOOT_ENTRY_LINUX16;
    l->info->info_gpa = base;
    return 0;
}

/* A loader's image as iPXE's names no 32-bit start, and a zImage lies where our structures would: both begin
 * in real mode. */
static enum boot_entry own_entry(const struct setup_header *h)
{
    if (h->version >= 0x020c && get16(h, SETUP_XLOADFLAGS) & XLF_KERNEL_64)
        return BOOT_ENTRY_LINUX64;
    bool high = h->raw[SETUP_LOADFLAGS] & LOADED_HIGH;
    return h->version >= 0x0204 && high && get32(h, SETUP_CODE32_START) ? BOOT_ENTRY_LINUX32
                                                                        : BOOT_ENTRY_LINUX16;
}

static int boot_own(struct load *l, const struct src *s, struct setup_header *h)
{
    uint64_t at;
    enum boot_entry best = own_entry(h), mode = l->cfg->entry == BOOT_ENTRY_AUTO ? best : l->cfg->entry;
    bool has = mode == best || mode == BOOT_ENTRY_LINUX16 ||
               (mode == BOOT_ENTRY_LINUX32 && best == BOOT_ENTRY_LINUX64);
    int r = check_whole(s, h, l->e);
    if (!r && !has)
        r = err_set(l->e, ENOTSUP, "%s: has no %s entry; let the entry be chosen (it would be %s)", s->name,
                    boot_entry_name(mode), boot_entry_name(best));
    if (r)
        return r;
    if (mode == BOOT_ENTRY_LINUX16)
        return boot_real(l, s, h);
    r = claim_image(l, s, h, &at);
    if (r)
        return r;
    return linux_boot(l, h, mode, at + (mode == BOOT_ENTRY_LINUX64 ? LINUX64_ENTRY_OFFSET : 0), at);
}

int bzimage_load(struct load *l, const struct src *s, const struct setup_header *h)
{
    struct setup_header own = *h;
    read_version(s, h, l->info->version, sizeof l->info->version);
    /* The 32-bit entry of a 64-bit kernel is in the image's own code, not in its vmlinux. */
    bool own_only = load_wants(l, BOOT_ENTRY_LINUX16) ||
                    (load_wants(l, BOOT_ENTRY_LINUX32) && own_entry(h) == BOOT_ENTRY_LINUX64);
    int r = l->cfg->decompress || own_only ? -ENOENT : boot_payload(l, s, h);
    return r == -ENOENT ? boot_own(l, s, &own) : r;
}
