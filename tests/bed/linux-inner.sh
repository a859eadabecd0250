# The part of linux.sh that runs in the bed: sh linux-inner.sh ACCELERATOR..., under which the saved guest goes on.
. ./inner.sh
mount -t debugfs d /sys/kernel/debug

dd if=/dev/zero of=disk.img bs=1M count=16 2>/dev/null
start boot liege run --accel kvm --cpus 2 --memory 256M --kernel vmlinuz --initrd shell.cpio \
    --cmdline "console=ttyS0 quiet" --disk disk.img,format=raw --net user --rng
wait_for boot.log 'liege:/' 120
cat >&3 <<'X'
dd if=/dev/urandom of=/tmp/r bs=64k count=32; dd if=/tmp/r of=/dev/vda bs=64k oflag=direct; sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=64k count=32 2>/dev/null | cmp - /tmp/r && echo DISK-$((6 * 7)); echo CPUS-$(nproc)-$((1 + 1))
ping -c 1 -W 5 10.0.2.2 >/dev/null && echo NET-$((6 * 7))
dmesg | grep -q 'Hypervisor detected: KVM' && echo KVM-$((6 * 7))
dmesg | grep -i -E 'WARNING|BUG:|call trace|unchecked MSR'; echo CHECKED-$((6 * 7))
X
wait_for boot.log CHECKED-42 120

# A frame that the guest sends rings a doorbell: no exit to the program, while each is one through its registers.
before=$(cat /sys/kernel/debug/kvm/mmio_exits)
echo 'ping -A -q -c 100 10.0.2.2 | grep received; echo PINGED-$((6 * 7))' >&3
wait_for boot.log PINGED-42 60
exits=$(($(cat /sys/kernel/debug/kvm/mmio_exits) - before))
grep -q '100 packets received' boot.log || fail "pings are lost" boot.log
[ $exits -lt 50 ] || fail "$exits exits by registers while 100 frames were sent" boot.log
echo "ok $exits exits by registers for 100 frames"
echo poweroff >&3
finish boot 'Power down'
for w in DISK-42 CPUS-2-2 NET-42 KVM-42; do
    grep -q $w boot.log || fail "no $w" boot.log
    echo "ok $w"
done
grep -q -i -E '^(\[.*)?(WARNING|BUG:)' boot.log && fail "the kernel complains" boot.log

for a in kvm soft; do
    cat >$a.json <<X
{"accel": "$a", "memory": "128M", "cpus": 2, "kernel": "vmlinuz", "initrd": "shell.cpio",
 "cmdline": "console=ttyS0 quiet", "rng": true, "console": "stdio"}
X
done
start save saveload kvm.json state memory
wait_for save.log 'liege:/' 120
cat >&3 <<'X'
x=remembered; (i=0; while true; do i=$((i+1)); echo $i >/tmp/next; mv /tmp/next /tmp/count; done) & p=$!
echo STARTED-$((6 * 7))
X
wait_for save.log STARTED-42 30
sleep 1
kill -USR1 $(pidof saveload)
finish save 'saved in'
for a in "$@"; do
    start load-$a saveload $a.json state memory --load
    wait_for load-$a.log 'loaded in' 30
    printf '\necho $x-$((6 * 7)); a=$(cat /tmp/count); sleep 2; b=$(cat /tmp/count)\n' >&3
    printf '[ $b -gt $a ] && echo MOVES-$((6 * 7)); kill $p; poweroff\n' >&3
    finish load-$a 'Power down'
    grep -q remembered-42 load-$a.log && grep -q MOVES-42 load-$a.log ||
        fail "the guest does not go on under $a" load-$a.log
    echo "ok saved under kvm, goes on under $a"
done
