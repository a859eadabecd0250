#!/bin/sh
# boot.sh N: N boots in lock-step, from the kernel's first instruction by way of a shell's commands to power-off. Each
# stops at other counts, every third at many more, and memory's size changes.
set -eu
cd "$(dirname "$0")/../.."
guest=${GUEST:-build/guest}
work="find / -xdev -type f | head -300 | xargs cat | sha256sum; ls -lR /etc /lib | sort | gzip -9 | gunzip | wc; \
i=0; while [ \$i -lt 60 ]; do i=\$((i + 1)); echo \$i | (read x; echo \$((x * x))) >/dev/null; done; \
seq 1 3000 | awk '{ s += sqrt(\$1) * 1.5 } END { print s }'; dd if=/dev/zero bs=4k count=400 | md5sum; echo lock-step"
for n in $(seq 1 "$1"); do
    stride=3000 memory_each=1000000
    [ $((n % 3)) -ne 0 ] || { stride=60; memory_each=300000; }
    build/tests/lockstep/lockstep --kernel "$guest/kernel/vmlinuz" --initrd "$guest/shell.cpio" \
        --memory $((96 + 32 * (n % 3))) --seed "$n" --stride $stride --memory-each $memory_each \
        --cmdline "console=ttyS0 quiet mitigations=off liege.run=\"$work\"" --expect 'LIEGE-RUN-STATUS 0'
done
