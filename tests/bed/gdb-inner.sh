# The part of vmx.sh that is gdb's, as in tests/e2e/test_gdb.py: calls.elf is tests/guests/calls.c, and ends with 3 by
# port 0xf4, which makes liege end with 7.
. ./inner.sh
tar -C / -xf python.tar

# debug NAME COMMAND...: gdb's output is in NAME.out.
debug() {
    name=$1
    shift
    liege run --accel kvm --kernel calls.elf --memory 64M --debug-exit --console none --gdb tcp:1234 >$name.log 2>&1 &
    pid=$!
    {
        echo 'set pagination off'
        echo 'set confirm off'
        echo 'set tcp connect-timeout 30'
        echo 'directory /files'
        echo 'target remote 127.0.0.1:1234'
        for c in "$@"; do echo "$c"; done
    } >$name.gdb
    timeout 100 gdb -nx -batch -iex 'set host-charset ASCII' -x $name.gdb calls.elf >$name.out 2>&1
    wait $pid
    status=$?
    cat $name.log >>$name.out
    [ $status = 7 ] || fail "$name: liege ended with $status" $name.out
}

# said NAME PATTERN...: each in its output, in this order
said() {
    name=$1
    shift
    at=1
    for p in "$@"; do
        n=$(sed -n "$at,\$p" $name.out | grep -n -m 1 -E "$p" | cut -d: -f1)
        [ -n "$n" ] || fail "$name: no '$p'" $name.out
        at=$((at + n))
    done
    echo "ok gdb: $name"
}

debug breakpoint 'hbreak innermost' 'continue' 'bt' 'print watched' 'finish' 'stepi' 'delete' 'detach'
said breakpoint 'innermost \(depth=8' '^#0 +innermost' '^#1 .*middle \(factor=7\)' '^#2 .*outer \(a=2, b=5\)' \
    '^#3 .*guest_main' '^\$1 = 11' 'Value returned is .* = 116'
debug planted 'hbreak guest_main' 'continue' 'break innermost if depth == 8' 'continue' 'print name' 'x/1xb $pc' \
    'delete' 'detach'
said planted 'Breakpoint 1, guest_main' 'Breakpoint 2, innermost' '= 0x[0-9a-f]+ .*liege'
debug watchpoint 'watch watched' 'continue' 'bt 1' 'continue' 'bt 1' 'delete' 'detach'
said watchpoint 'Old value = 11$' 'New value = 800' '#0 .*innermost' 'Old value = 800' 'New value = 810' \
    '#0 .*guest_main'
debug steps 'hbreak outer' 'continue' 'step' 'frame' 'next' 'next' 'frame' 'delete' 'detach'
said steps 'outer \(a=2, b=5\)' 'middle \(factor=7\)' 'return got \* factor'
