#!/bin/sh
# deps.sh GROUP...: install the Debian packages of these groups that are missing, and say which. Groups: build
# (compile Liege), guest (prepare guests), debian (a Debian disk), bench (what figures are compared with), test (run
# the whole test suite). With --list, only print names.
set -eu
packages()
{
    case $1 in
    build) echo "gcc make meson ninja-build pkg-config python3 libzydis-dev libslirp-dev libglib2.0-dev liburing-dev" \
        "libseccomp-dev libjansson-dev libcmocka-dev zlib1g-dev libzstd-dev liblz4-dev liblzma-dev libbz2-dev" ;;
    guest) echo "busybox-static cpio kmod zstd libslirp0" ;;
    debian) echo "debootstrap e2fsprogs" ;;
    bench) echo "qemu-system-x86 cpio" ;;
    test) echo "python3-pytest python3-pytest-xdist qemu-system-x86 qemu-utils acpica-tools fio e2fsprogs debootstrap" \
        "clang libclang-rt-14-dev clang-format clang-tidy cppcheck iproute2 gdb socat" \
        "bochs bochsbios vgabios bochs-term isolinux syslinux-common genisoimage shellcheck" \
        "linux-image-cloud-amd64" ;;
    *) echo "deps.sh: unknown group '$1' (build, guest, debian, bench, test)" >&2; exit 2 ;;
    esac
}
list=0
[ "${1:-}" = --list ] && { list=1; shift; }
want=
for g in "$@"; do want="$want $(packages "$g")"; done
[ $list = 1 ] && { echo "$want" | tr ' ' '\n' | grep . | sort -u; exit 0; }
missing=
for p in $want; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "deps.sh: not root: run 'apt-get install$missing' as root, then again" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
