# The part of fio.sh that runs in the bed: sh fio-inner.sh short|long.
. ./inner.sh

# run_fio NAME LIEGE_OPTIONS JOBS MIB FIO_OPTIONS SECONDS: one guest, one fio: JOBS at work at once, each on MIB of
# its own.
run_fio() {
    name=$1
    rm -f disk.img
    dd if=/dev/zero of=disk.img bs=1M count=0 seek=128 2>/dev/null
    # shellcheck disable=SC2086 # options are words
    start $name liege run --accel kvm --memory 400M --kernel vmlinuz --initrd fio.cpio --cmdline "console=ttyS0 quiet" \
        --disk disk.img,format=raw $2
    wait_for $name.log 'liege:/' 200
    echo "fio --name=v --filename=/dev/vda --thread --numjobs=$3 --size=$4M --offset_increment=$4M --direct=1" \
        "--rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=7 --ioengine=libaio --iodepth=8" \
        "--group_reporting $5;" \
        'echo FIO-$?; poweroff' >&3
    wait_for $name.log 'FIO-[0-9]' $6
    finish $name 'Power down'
    grep -q '^FIO-0' $name.log && grep -q 'err= 0' $name.log && ! grep -q 'verify:' $name.log || fail "fio" $name.log
    grep -E '^ *read: ' $name.log && grep -E '^ *write: ' $name.log || fail "fio says not what it did" $name.log
    echo "ok fio $name"
}

case $1 in
short)
    run_fio pci "--cpus 2" 2 2 "--bs=4k --fsync=32" 60
    ;;
long)
    run_fio pci "--cpus 2" 4 16 "--bsrange=4k-64k --bs_unaligned=0 --fsync=64" 900
    run_fio sectors "--cpus 1" 2 4 "--bs=512 --fsync=256 --iodepth=32" 900
    run_fio mmio "--cpus 2 --virtio-mmio" 2 8 "--bs=4k --fsync=32" 900
    ;;
esac
