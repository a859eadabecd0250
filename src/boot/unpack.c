#include "boot/unpack.h"
#include "base/err.h"
#include <bzlib.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { LZ4_LEGACY_BLOCK = 8 << 20 };

/* A library's function, with the type that its header declares. */
#define FUNCTION(lib, name) __typeof__(&(name)) name##_fn = (__typeof__(&(name)))dlsym(lib, #name)

static int run_gzip(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    FUNCTION(lib, inflateInit2_);
    FUNCTION(lib, inflate);
    FUNCTION(lib, inflateEnd);
    uint8_t *copy;
    if (!inflateInit2__fn || !inflate_fn || !inflateEnd_fn)
        return -ELIBACC;
    memcpy(&copy, &in, sizeof copy); /* next_in lacks const, but is only read */
    z_stream z = {.next_in = copy, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)cap};
    if (inflateInit2__fn(&z, MAX_WBITS + 16, ZLIB_VERSION, (int)sizeof z) != Z_OK)
        return -ENOMEM;
    int r = inflate_fn(&z, Z_FINISH);
    *len = z.total_out;
    inflateEnd_fn(&z);
    return r == Z_STREAM_END                  ? 0
           : r == Z_MEM_ERROR                 ? -ENOMEM
           : r == Z_BUF_ERROR && !z.avail_out ? -ENOSPC
                                              : -EINVAL;
}

static int run_bzip2(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    FUNCTION(lib, BZ2_bzDecompressInit);
    FUNCTION(lib, BZ2_bzDecompress);
    FUNCTION(lib, BZ2_bzDecompressEnd);
    char *copy;
    if (!BZ2_bzDecompressInit_fn || !BZ2_bzDecompress_fn || !BZ2_bzDecompressEnd_fn)
        return -ELIBACC;
    memcpy(&copy, &in, sizeof copy);
    bz_stream b = {
        .next_in = copy, .avail_in = (unsigned)n, .next_out = (char *)out, .avail_out = (unsigned)cap};
    if (BZ2_bzDecompressInit_fn(&b, 0, 0) != BZ_OK)
        return -ENOMEM;
    int r = BZ2_bzDecompress_fn(&b);
    *len = cap - b.avail_out;
    bool full = !b.avail_out;
    BZ2_bzDecompressEnd_fn(&b);
    return r == BZ_STREAM_END ? 0 : r == BZ_MEM_ERROR ? -ENOMEM : r == BZ_OK && full ? -ENOSPC : -EINVAL;
}

static int run_zstd(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    FUNCTION(lib, ZSTD_findFrameCompressedSize);
    FUNCTION(lib, ZSTD_decompress);
    FUNCTION(lib, ZSTD_isError);
    FUNCTION(lib, ZSTD_getFrameContentSize);
    if (!ZSTD_findFrameCompressedSize_fn || !ZSTD_decompress_fn || !ZSTD_isError_fn ||
        !ZSTD_getFrameContentSize_fn)
        return -ELIBACC;
    size_t frame = ZSTD_findFrameCompressedSize_fn(in, n);
    if (ZSTD_isError_fn(frame))
        return -EINVAL;
    unsigned long long stated = ZSTD_getFrameContentSize_fn(in, frame);
    if (stated != ZSTD_CONTENTSIZE_UNKNOWN && stated != ZSTD_CONTENTSIZE_ERROR && stated > cap)
        return -ENOSPC;
    size_t made = ZSTD_decompress_fn(out, cap, in, frame);
    if (ZSTD_isError_fn(made))
        return -EINVAL;
    *len = made;
    return 0;
}

enum {
    LZMA_MEMORY = 256 << 20
}; /* dictionaries of kernels are at most 128 MiB; a hostile one could claim 4 GiB */

static int run_lzma_kind(void *lib, bool alone, const uint8_t *in, size_t n, uint8_t *out, size_t cap,
                         size_t *len)
{
    FUNCTION(lib, lzma_stream_decoder);
    FUNCTION(lib, lzma_alone_decoder);
    FUNCTION(lib, lzma_code);
    FUNCTION(lib, lzma_end);
    if (!lzma_stream_decoder_fn || !lzma_alone_decoder_fn || !lzma_code_fn || !lzma_end_fn)
        return -ELIBACC;
    lzma_stream s = LZMA_STREAM_INIT;
    s.next_in = in;
    s.avail_in = n;
    s.next_out = out;
    s.avail_out = cap;
    lzma_ret r = alone ? lzma_alone_decoder_fn(&s, LZMA_MEMORY) : lzma_stream_decoder_fn(&s, LZMA_MEMORY, 0);
    r = r == LZMA_OK ? lzma_code_fn(&s, LZMA_FINISH) : r;
    *len = cap - s.avail_out;
    bool full = !s.avail_out;
    lzma_end_fn(&s);
    if (r == LZMA_MEM_ERROR || r == LZMA_MEMLIMIT_ERROR)
        return -ENOMEM;
    return r == LZMA_STREAM_END ? 0 : full && (r == LZMA_OK || r == LZMA_BUF_ERROR) ? -ENOSPC : -EINVAL;
}

static int run_xz(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    return run_lzma_kind(lib, false, in, n, out, cap, len);
}

static int run_lzma(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    return run_lzma_kind(lib, true, in, n, out, cap, len);
}

/* The legacy frame (LZ4 frame format, "Legacy frame"): blocks of at most 8 MiB unpacked, each behind its
 * packed size. A tail too short for a block, as the size that the kernel's build appends, ends it. */
static int run_lz4(void *lib, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    FUNCTION(lib, LZ4_decompress_safe);
    if (!LZ4_decompress_safe_fn)
        return -ELIBACC;
    *len = 0;
    for (size_t at = 4; n - at > 4;) {
        uint32_t packed;
        memcpy(&packed, in + at, 4);
        at += 4;
        if (packed > n - at || packed > INT_MAX)
            return -EINVAL;
        size_t room = cap - *len < LZ4_LEGACY_BLOCK ? cap - *len : LZ4_LEGACY_BLOCK;
        int made = LZ4_decompress_safe_fn((const char *)in + at, (char *)out + *len, (int)packed, (int)room);
        if (made < 0)
            return room < LZ4_LEGACY_BLOCK ? -ENOSPC : -EINVAL;
        *len += (size_t)made;
        at += packed;
    }
    return 0;
}

static const struct unpacker unpackers[] = {
    {"gzip", {0x1f, 0x8b}, 2, "libz.so.1", "zlib1g", run_gzip},
    {"bzip2", {'B', 'Z', 'h'}, 3, "libbz2.so.1.0", "libbz2-1.0", run_bzip2},
    {"lzma", {0x5d, 0x00, 0x00}, 3, "liblzma.so.5", "liblzma5", run_lzma},
    {"xz", {0xfd, '7', 'z', 'X', 'Z', 0x00}, 6, "liblzma.so.5", "liblzma5", run_xz},
    {"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, "liblz4.so.1", "liblz4-1", run_lz4},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, "libzstd.so.1", "libzstd1", run_zstd},
};

const struct unpacker *unpack_find(const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < sizeof unpackers / sizeof unpackers[0]; i++)
        if (n >= unpackers[i].magic_len && !memcmp(in, unpackers[i].magic, unpackers[i].magic_len))
            return &unpackers[i];
    return NULL;
}

int unpack_run(const struct unpacker *u, const char *name, const uint8_t *in, size_t n, uint8_t *out,
               size_t cap, size_t *len, struct err *e)
{
    void *lib = dlopen(u->soname, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return err_set(e, ELIBACC,
                       "%s: its payload is packed with %s, and %s is not on this machine; install the "
                       "package %s, or let "
                       "the guest unpack it (--kernel-decompress)",
                       name, u->name, u->soname, u->package);
    *len = 0;
    int r = u->run(lib, in, n, out, cap, len);
    dlclose(lib);
    if (r == -ELIBACC)
        return err_set(e, ELIBACC, "%s: %s is too old to unpack its %s payload; upgrade the package %s", name,
                       u->soname, u->name, u->package);
    if (r == -ENOMEM)
        return err_set(e, ENOMEM, "%s: not enough memory to unpack its %s payload", name, u->name);
    if (r == -ENOSPC)
        return err_set(
            e, ENOEXEC,
            "%s: damaged: its %s payload unpacks to more than the %zu bytes it states; fetch it again", name,
            u->name, cap);
    return r ? err_set(e, ENOEXEC, "%s: damaged: its %s payload does not unpack; fetch it again", name,
                       u->name)
             : 0;
}
