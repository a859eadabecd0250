/* Opening a raw image: every reason not to, and what the disk is. */
#include "backend/block/raw.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include "host/host.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, FILE_PHYSICAL_BLOCK = 4096, SERIAL_MAX = 20, ALIGN_MAX = 4096 };

/* First bytes of formats that are not raw. */
static const struct {
    const char *name;
    unsigned at, len;
    const char *bytes;
} magics[] = {
    {"qcow2", 0, 4, "QFI\xfb"},
    {"vmdk", 0, 4, "KDMV"},
    {"vmdk", 0, 4, "COWD"},
    {"vmdk", 0, 21, "# Disk DescriptorFile"},
    {"vdi", 64, 4, "\x7f\x10\xda\xbe"},
    {"vhdx", 0, 8, "vhdxfile"},
    {"qed", 0, 4, "QED\0"},
    {"parallels", 0, 16, "WithoutFreeSpace"},
    {"parallels", 0, 16, "WithouFreSpacExt"},
};

/*
 * A writable image that says it is something else would be spoilt, and a reader of it read nonsense. This
 * costs a guest that writes such bytes to its own sector 0 its next start; to believe them instead would give
 * it any file of the host as a backing file.
 */
static int check_format(const struct raw *d, const struct disk_config *cfg, struct err *e)
{
    uint8_t head[128] = {0};
    ssize_t n = pread(d->fd_cached >= 0 ? d->fd_cached : d->fd, head, sizeof head, 0);
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(magics); i++) {
        if (memcmp(head + magics[i].at, magics[i].bytes, magics[i].len))
            continue;
        if (!cfg->readonly)
            return err_set(e, EINVAL,
                           "%s: is a %s image and not raw; convert it (qemu-img convert -O raw), or add "
                           "readonly to see its "
                           "bytes as they are",
                           d->path, magics[i].name);
        log_warn("%s: looks like a %s image; the guest sees its bytes as they are", d->path, magics[i].name);
    }
    return n < 0 ? err_sys(e, errno, "%s: cannot read", d->path) : 0;
}

static int open_error(const char *path, int code, bool readonly, struct err *e)
{
    if (code == ENOENT)
        return err_set(e, ENOENT, "%s: no such file; create the image first (truncate -s 10G FILE)", path);
    if (code == EISDIR)
        return err_set(e, EISDIR, "%s: is a directory; give the path of a disk image", path);
    if (!readonly && (code == EACCES || code == EROFS || code == EPERM || code == ETXTBSY))
        return err_set(e, code,
                       "%s: cannot be opened for writing (%s); add readonly, or change who may write it",
                       path, strerror(code));
    return err_sys(e, code, "%s: cannot open the disk image", path);
}

/* O_NONBLOCK only so that a FIFO does not make us wait; with io_uring it would turn reads into EAGAIN. */
static int open_path(const char *path, int flags)
{
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 && fcntl(fd, F_SETFL, flags & O_DIRECT)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int block_device_size(struct raw *d, const struct disk_config *cfg, struct err *e)
{
    int ro = 0, logical = SECTOR;
    unsigned physical = SECTOR;
    uint64_t size;
    if (ioctl(d->fd, BLKGETSIZE64, &size))
        return err_sys(e, errno, "%s: cannot tell the size of the device", d->path);
    if (!cfg->readonly && !ioctl(d->fd, BLKROGET, &ro) && ro)
        return err_set(e, EROFS, "%s: is a read-only device; add readonly", d->path);
    if (ioctl(d->fd, BLKSSZGET, &logical) || ioctl(d->fd, BLKPBSZGET, &physical))
        return err_sys(e, errno, "%s: cannot tell the block size of the device", d->path);
    d->info.size = size;
    d->info.physical_block = physical;
    d->io_align = d->mem_align = (uint32_t)logical;
    return 0;
}

/* What direct transfers must be aligned to: statx tells since Linux 6.1; before, a page suffices everywhere.
 */
static void file_alignment(struct raw *d)
{
    d->mem_align = d->io_align = ALIGN_MAX;
#ifdef STATX_DIOALIGN
    struct statx st;
    if (!statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) && st.stx_mask & STATX_DIOALIGN &&
        st.stx_dio_offset_align) {
        d->mem_align = st.stx_dio_mem_align;
        d->io_align = st.stx_dio_offset_align;
    }
#endif
}

static int examine(struct raw *d, const struct disk_config *cfg, struct err *e)
{
    struct stat st;
    if (fstat(d->fd, &st))
        return err_sys(e, errno, "%s: cannot examine", d->path);
    if (S_ISDIR(st.st_mode))
        return open_error(d->path, EISDIR, cfg->readonly, e);
    d->is_block = S_ISBLK(st.st_mode);
    if (!d->is_block && !S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "%s: is neither a file nor a block device; give the path of a disk image",
                       d->path);
    d->info.size = (uint64_t)st.st_size;
    d->info.physical_block = FILE_PHYSICAL_BLOCK;
    int r = 0;
    if (d->is_block)
        r = block_device_size(d, cfg, e);
    else
        file_alignment(d);
    if (r)
        return r;
    uint64_t whole = align_down(d->info.size, d->direct ? d->io_align : SECTOR);
    if (!whole)
        return err_set(e, EINVAL,
                       "%s: is smaller than a sector (%llu bytes); enlarge it (truncate -s 10G FILE)",
                       d->path, (unsigned long long)d->info.size);
    d->tail = d->info.size - whole;
    d->info.size = whole;
    d->info.block_size = d->direct && d->io_align > SECTOR ? d->io_align : SECTOR;
    if (d->info.physical_block < d->info.block_size)
        d->info.physical_block = d->info.block_size;
    d->info.readonly = cfg->readonly;
    d->info.discard = d->info.write_zeroes = !cfg->readonly;
    return 0;
}

static int check_config(struct raw *d, const struct disk_config *cfg, struct err *e)
{
    if (!cfg->path || !*cfg->path)
        return err_set(e, EINVAL, "disk without a path; give one");
    if (cfg->format && strcmp(cfg->format, "raw"))
        return err_set(e, EINVAL, "%s: format '%s' is not supported; raw is", cfg->path, cfg->format);
    if (cfg->serial && strlen(cfg->serial) > SERIAL_MAX)
        return err_set(e, EINVAL, "%s: serial '%s' is longer than %d characters; shorten it", cfg->path,
                       cfg->serial, SERIAL_MAX);
    if (cfg->serial)
        memcpy(d->info.serial, cfg->serial, strlen(cfg->serial));
    d->path = strdup(cfg->path);
    return d->path ? 0 : err_set(e, ENOMEM, "%s: no memory to open it", cfg->path);
}

int raw_image_open(struct raw *d, const struct disk_config *cfg, struct err *e)
{
    int mode = cfg->readonly ? O_RDONLY : O_RDWR;
    int r = check_config(d, cfg, e);
    if (r)
        return r;
    d->direct = cfg->direct;
    d->fd = open_path(cfg->path, mode | (cfg->direct ? O_DIRECT : 0));
    if (d->fd < 0 && errno == EINVAL && cfg->direct)
        return err_set(e, EINVAL, "%s: its file system has no direct access; leave direct out", cfg->path);
    if (d->fd < 0)
        return open_error(cfg->path, errno, cfg->readonly, e);
    if (cfg->direct) {
        d->fd_cached = open_path(cfg->path, mode);
        if (d->fd_cached < 0)
            return open_error(cfg->path, errno, cfg->readonly, e);
    }
    r = examine(d, cfg, e);
    r = r ? r : image_lock(d->fd, d->path, !cfg->readonly, e);
    r = r ? r : check_format(d, cfg, e);
    if (!r && d->tail)
        log_warn("%s: the last %llu bytes do not fill a sector; the guest does not see them", d->path,
                 (unsigned long long)d->tail);
    return r;
}

void raw_image_close(struct raw *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->fd_cached >= 0)
        close(d->fd_cached);
    free(d->path);
}
