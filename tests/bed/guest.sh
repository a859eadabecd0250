# For scripts that run liege with a Linux guest in the bed: guest_files GUEST_FOLDER sets `files`: that kernel and
# what liege opens when used.
guest_files() {
    if [ ! -r "$1/kernel/vmlinuz" ] || [ ! -r "$1/shell.cpio" ]; then
        echo "no guest in $1: make guest-shell" >&2
        exit 77
    fi
    files=("$1/kernel/vmlinuz" +libslirp.so.0)
    for l in liblz4.so.1 libzstd.so.1 liblzma.so.5; do
        if /sbin/ldconfig -p | grep "$l" >/dev/null; then files+=("+$l"); fi
    done
}
