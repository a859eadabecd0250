/*
 * Image locks compatible with QEMU's (its file-posix driver): two programs exclude each other although both
 * take only read locks, since each looks whether the other holds the opposite byte. A guest's disk uses
 * consistent reads, and writes unless it is read-only; it never shares writing.
 */
#include "backend/block/raw.h"
#include "base/err.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PERM_BASE = 100, UNSHARED_BASE = 200, CONSISTENT_READ = 0, WRITE = 1 };

static int take(int fd, off_t byte)
{
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

/* Another open file description holds the byte. */
static bool held(int fd, off_t byte)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

int image_lock(int fd, const char *path, bool write, struct err *e)
{
    int r = take(fd, PERM_BASE + CONSISTENT_READ);
    if (!r && write)
        r = take(fd, PERM_BASE + WRITE);
    if (!r)
        r = take(fd, UNSHARED_BASE + WRITE);
    if (r == -EAGAIN || r == -EACCES)
        return err_set(e, EBUSY, "%s: another program has locked it; end that program first", path);
    if (r == -ENOLCK || r == -EOPNOTSUPP || r == -EINVAL) {
        log_warn(
            "%s: its file system has no locks; nothing keeps a second virtual machine from writing to it",
            path);
        return 0;
    }
    if (r)
        return err_sys(e, r, "%s: cannot lock", path);
    if (held(fd, UNSHARED_BASE + CONSISTENT_READ))
        return err_set(e, EBUSY,
                       "%s: in use by another program that does not share it; end that program first", path);
    if (write && held(fd, UNSHARED_BASE + WRITE))
        return err_set(e, EBUSY,
                       "%s: in use by another virtual machine or qemu-img, two must not write; end that one "
                       "first, or make both "
                       "read-only",
                       path);
    if (held(fd, PERM_BASE + WRITE))
        return err_set(e, EBUSY, "%s: another virtual machine or qemu-img writes to it; end that one first",
                       path);
    return 0;
}
