#!/bin/bash
# mkbed.sh OUT.cpio FILE...: build the initramfs of the nested bed: busybox, the kernel's KVM modules, FILEs in
# /files with the shared libraries they need. A FILE may be SOURCE=NAME, or +NAME: a shared library by the name that
# dlopen() is given. Needs busybox-static, cpio and an installed cloud kernel (BED_KERNEL: its version).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
out=$(realpath -m "$1")
shift
kernel=${BED_KERNEL:-$(ls /lib/modules | grep -- '-cloud-amd64$' | sort -V | tail -1)}
modules=/lib/modules/$kernel/kernel
root=$(mktemp -d)
trap 'rm -r "$root"' EXIT

mkdir -p "$root"/{bin,dev,proc,sys,tmp,mod,files,run,lib64}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    ln -s busybox "$root/bin/$applet" 2>/dev/null || true
done
for m in virt/lib/irqbypass arch/x86/kvm/kvm{,-amd,-intel}; do
    f=$modules/$m.ko
    if [ -f "$f" ]; then cp "$f" "$root/mod/"; else xz -dc "$f.xz" >"$root/mod/$(basename "$m").ko"; fi
done
strip --strip-debug "$root"/mod/*.ko
install -m 755 "$here/init" "$root/init"

# A program's libraries go where its loader looks for them; for a file that is no program ldd has nothing to say.
copy_libraries() {
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | sort -u | while read -r lib; do
        [ -e "$root$lib" ] || install -D "$(realpath "$lib")" "$root$lib"
    done || true
}
for f in "$@"; do
    if [ "${f#+}" != "$f" ]; then
        lib=$(/sbin/ldconfig -p | sed -n "s|^\s*${f#+} (.*x86-64.*) => ||p" | sed -n 1p)
        [ -n "$lib" ] || { echo "mkbed: no library ${f#+} here" >&2; exit 1; }
        [ -e "$root$lib" ] || install -D "$(realpath "$lib")" "$root$lib"
        copy_libraries "$lib"
        continue
    fi
    source=${f%%=*} name=${f#*=}
    [ "$name" = "$f" ] && name=$(basename "$source")
    cp -L "$source" "$root/files/$name"
    copy_libraries "$source"
done
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$out"
