#include <string.h>
#include "device/virtio/virtio.h"

static size_t iov_copy(const struct iovec *iov, unsigned n, size_t from, uint8_t *out, const uint8_t *in,
                       size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (from >= iov[i].iov_len) {
            from -= iov[i].iov_len;
            continue;
        }
        size_t m = iov[i].iov_len - from < len - done ? iov[i].iov_len - from : len - done;
        uint8_t *p = (uint8_t *)iov[i].iov_base + from;
        if (out)
            memcpy(out + done, p, m);
        else
            memcpy(p, in + done, m);
        done += m;
        from = 0;
    }
    return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t from, void *out, size_t len)
{
    return iov_copy(iov, n, from, out, NULL, len);
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t from, const void *in, size_t len)
{
    return iov_copy(iov, n, from, NULL, in, len);
}

struct iovec *iov_skip(struct iovec *iov, unsigned *count, size_t n)
{
    while (*count && n >= iov->iov_len) {
        n -= iov->iov_len;
        iov++;
        --*count;
    }
    if (*count && n) {
        iov->iov_base = (uint8_t *)iov->iov_base + n;
        iov->iov_len -= n;
    }
    return iov;
}
