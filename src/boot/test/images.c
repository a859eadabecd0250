#include "images.h"
#include "base/check.h"
#include <bzlib.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

const struct bz_spec image_bz_modern = {.version = 0x20f,
                                        .xloadflags = 0x3f,
                                        .code32_start = 0x100000,
                                        .init_size = 0x800000,
                                        .initrd_max = 0x7fffffff,
                                        .cmdline_size = 2047,
                                        .pref = 0x1000000,
                                        .relocatable = true};

static void put_ehdr(struct buf *b, const struct elf_spec *s, unsigned phnum)
{
    if (s->is64) {
        Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
                        .e_type = ET_EXEC,
                        .e_machine = EM_X86_64,
                        .e_version = 1,
                        .e_entry = s->entry,
                        .e_phoff = sizeof h,
                        .e_ehsize = sizeof h,
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = (uint16_t)phnum};
        buf_put(b, &h, sizeof h);
    } else {
        Elf32_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
                        .e_type = ET_EXEC,
                        .e_machine = EM_386,
                        .e_version = 1,
                        .e_entry = (uint32_t)s->entry,
                        .e_phoff = sizeof h,
                        .e_ehsize = sizeof h,
                        .e_phentsize = sizeof(Elf32_Phdr),
                        .e_phnum = (uint16_t)phnum};
        buf_put(b, &h, sizeof h);
    }
}

static void put_phdr(struct buf *b, const struct elf_spec *s, uint32_t type, uint32_t off, uint32_t filesz,
                     uint32_t memsz)
{
    if (s->is64) {
        Elf64_Phdr p = {.p_type = type,
                        .p_offset = off,
                        .p_vaddr = s->vaddr,
                        .p_paddr = s->paddr,
                        .p_filesz = filesz,
                        .p_memsz = memsz,
                        .p_align = 4};
        buf_put(b, &p, sizeof p);
    } else {
        Elf32_Phdr p = {.p_type = type,
                        .p_offset = off,
                        .p_vaddr = (uint32_t)s->vaddr,
                        .p_paddr = (uint32_t)s->paddr,
                        .p_filesz = filesz,
                        .p_memsz = memsz,
                        .p_align = 4};
        buf_put(b, &p, sizeof p);
    }
}

void image_elf(struct buf *b, const struct elf_spec *s)
{
    enum { NOTE_AT = 256, DATA_AT = 512 };
    *b = (struct buf){0};
    put_ehdr(b, s, s->pvh ? 2 : 1);
    put_phdr(b, s, PT_LOAD, DATA_AT, s->filesz, s->memsz);
    if (s->pvh)
        put_phdr(b, s, PT_NOTE, NOTE_AT, 2 * 12 + 4 + 8 + 4 + 4, 0);
    buf_zero(b, NOTE_AT - b->len);
    buf_u32(b, 4); /* a note of someone else's first */
    buf_u32(b, 5);
    buf_u32(b, 1);
    buf_put(b, "GNU", 4);
    buf_put(b, "abcde\0\0", 8);
    buf_u32(b, 4);
    buf_u32(b, 4);
    buf_u32(b, 18);
    buf_put(b, "Xen", 4);
    buf_u32(b, s->pvh);
    buf_zero(b, DATA_AT - b->len);
    uint32_t made = 0;
    if (s->multiboot) {
        buf_u32(b, 0x1badb002);
        buf_u32(b, 3);
        buf_u32(b, (uint32_t) - (0x1badb002 + 3));
        made = 12;
    }
    for (; made < s->filesz; made++)
        buf_u8(b, (uint8_t)(made + 1));
    CHECK(!b->failed);
}

static size_t pack_lzma(enum pack how, const uint8_t *in, size_t n, uint8_t *out, size_t cap)
{
    lzma_options_lzma o;
    lzma_lzma_preset(&o, 6);
    lzma_filter f[] = {{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
    lzma_stream s = LZMA_STREAM_INIT;
    lzma_ret r = how == PACK_XZ ? lzma_stream_encoder(&s, f, LZMA_CHECK_CRC32) : lzma_alone_encoder(&s, &o);
    CHECK(r == LZMA_OK);
    s.next_in = in;
    s.avail_in = n;
    s.next_out = out;
    s.avail_out = cap;
    r = lzma_code(&s, LZMA_FINISH);
    CHECK(r == LZMA_STREAM_END);
    size_t len = cap - s.avail_out;
    lzma_end(&s);
    return len;
}

static size_t pack_gzip(const uint8_t *in, size_t n, uint8_t *out, size_t cap)
{
    uint8_t *copy;
    memcpy(&copy, &in, sizeof copy);
    z_stream z = {.next_in = copy, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)cap};
    int r = deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
    CHECK(r == Z_OK);
    r = deflate(&z, Z_FINISH);
    CHECK(r == Z_STREAM_END);
    size_t len = z.total_out;
    deflateEnd(&z);
    return len;
}

static size_t pack_bzip2(const uint8_t *in, size_t n, uint8_t *out, size_t cap)
{
    unsigned len = (unsigned)cap;
    char *copy;
    memcpy(&copy, &in, sizeof copy);
    int r = BZ2_bzBuffToBuffCompress((char *)out, &len, copy, (unsigned)n, 9, 0, 0);
    CHECK(r == BZ_OK);
    return len;
}

/* Blocks of 8 MiB, each behind its packed size. */
static size_t pack_lz4(const uint8_t *in, size_t n, uint8_t *out, size_t cap)
{
    static const uint8_t magic[] = {0x02, 0x21, 0x4c, 0x18};
    size_t len = sizeof magic;
    memcpy(out, magic, sizeof magic);
    for (size_t at = 0; at < n;) {
        int now = (int)(n - at < 8 << 20 ? n - at : 8 << 20);
        int made =
            LZ4_compress_default((const char *)in + at, (char *)out + len + 4, now, (int)(cap - len - 4));
        CHECK(made > 0);
        memcpy(out + len, &made, 4);
        len += 4 + (size_t)made;
        at += (size_t)now;
    }
    return len;
}

void image_pack(struct buf *b, enum pack how, const void *in, size_t n)
{
    size_t cap = n + n / 2 + 4096, len = 0;
    uint8_t *out = malloc(cap);
    *b = (struct buf){0};
    CHECK(out);
    switch (how) {
    case PACK_GZIP:
        len = pack_gzip(in, n, out, cap);
        break;
    case PACK_BZIP2:
        len = pack_bzip2(in, n, out, cap);
        break;
    case PACK_LZMA:
    case PACK_XZ:
        len = pack_lzma(how, in, n, out, cap);
        break;
    case PACK_LZ4:
        len = pack_lz4(in, n, out, cap);
        break;
    case PACK_ZSTD:
        len = ZSTD_compress(out, cap, in, n, 3);
        break;
    default:
        memcpy(out, in, len = n);
        break;
    }
    buf_put(b, out, len);
    if (how != PACK_NONE && how != PACK_GZIP)
        buf_u32(b, (uint32_t)n);
    free(out);
    CHECK(!b->failed);
}

static void set(struct buf *b, size_t at, uint64_t v, size_t n)
{
    memcpy(b->data + at, &v, n);
}

void image_bz(struct buf *b, const struct bz_spec *s)
{
    enum { SETUP = 3 * 512, BODY = 1024 };
    size_t packed = s->payload ? s->payload->len : 0, body = (BODY + packed + 15) / 16 * 16;
    *b = (struct buf){0};
    buf_zero(b, SETUP + body);
    CHECK(!b->failed);
    set(b, 0x1f1, 2, 1);
    set(b, 0x1f4, body / 16, 4);
    set(b, 0x1fe, 0xaa55, 2);
    set(b, 0x200, 0x66eb, 2);
    memcpy(b->data + 0x202, "HdrS", 4);
    set(b, 0x206, s->version, 2);
    set(b, 0x20e, 0x100, 2);
    memcpy(b->data + 0x300, "6.6.6-test (somebody) #1", 25);
    set(b, 0x211, !s->low, 1);
    set(b, 0x214, s->code32_start, 4);
    set(b, 0x22c, s->initrd_max, 4);
    set(b, 0x230, 0x200000, 4);
    set(b, 0x234, s->relocatable, 1);
    set(b, 0x236, s->xloadflags, 2);
    set(b, 0x238, s->cmdline_size, 4);
    set(b, 0x248, s->payload ? BODY : 0, 4);
    set(b, 0x24c, packed, 4);
    set(b, 0x258, s->pref, 8);
    set(b, 0x260, s->init_size, 4);
    memset(b->data + SETUP, 0x90, BODY);
    if (s->payload)
        memcpy(b->data + SETUP + BODY, s->payload->data, packed);
}

void image_multiboot_flat(struct buf *b, uint32_t load, uint32_t bss)
{
    *b = (struct buf){0};
    buf_zero(b, 16);
    buf_u32(b, 0x1badb002);
    buf_u32(b, 0x10003);
    buf_u32(b, (uint32_t) - (0x1badb002 + 0x10003));
    buf_u32(b, load + 16);
    buf_u32(b, load);
    buf_u32(b, 0);
    buf_u32(b, load + 256 + bss);
    buf_u32(b, load + 48);
    while (b->len < 256)
        buf_u8(b, (uint8_t)b->len);
    CHECK(!b->failed);
}
