"""The workloads: what is run in the guest, in what machine, and how the outcome is judged."""
import dataclasses


@dataclasses.dataclass
class Workload:
    """Shell commands, run in a folder of their own that holds programs/. What they print on standard output is the
    result; standard error is only kept."""
    name: str
    command: str
    timeout: int  # seconds in the guest
    compare: str = "same"  # as the host prints it; or "status": only that it ends with 0
    cpus: int = 1
    memory: str = "2G"
    group: str = "programs"
    needs: str = "true"  # a command that fails where the guest's kernel cannot do this
    again: str = ""  # the machine begins anew; a command that succeeds once it has come back to a login
    pokes: int = 0  # so many times, 4 seconds apart, a line is typed on the guest's console meanwhile
    complaints: str = ""  # regular expression of kernel messages that belong to it
    faster_than: tuple = ()  # (name of another workload, how many times faster than it)


def python(name, timeout, modules):
    """Modules of Python's own regression tests; their times differ, so only each module's verdict is told. What
    concerns the machine below (vsock) is left out."""
    return Workload(name, f"""
python3 -m test -v -i '*VSOCK*' {' '.join('test_' + m for m in modules.split())} > log 2>&1
s=$?
cat log >&2
grep -E '^(Ran .*tests|OK|FAILED|FAIL:|ERROR:)' log | sed 's/ in .*//; s/ (skipped.*//'
exit $s
""", timeout)


# So many pseudo-random bytes.
DATA = "openssl enc -aes-128-ctr -K 0123456789abcdef0123456789abcdef -iv 0 -in /dev/zero 2>/dev/null | head -c"
KEY = "0123456789abcdef0123456789abcdef"

PROGRAMS = [
    Workload("zlib", """
tar xf /usr/src/zlib_*.orig.tar.* && cd zlib* && ./configure >&2 && make -j2 >&2
make check > check.log 2>&1
s=$?
cat check.log >&2
grep -i -c ok check.log
sha256sum *.o libz.a
exit $s
""", 1800),
    Workload("lua", """
tar xf /usr/src/lua5.4_*.orig.tar.* && cd lua* && make -j2 posix >&2 || exit 1
sha256sum src/*.o src/lua
src/lua ../programs/bench.lua 1
""", 1800),
    Workload("node", "node programs/work.js 2", 900),
    Workload("node-nojit", "node --jitless programs/work.js 1", 900),
    python("python-named", 1800, "ctypes threading math re"),
    python("python-numbers", 1800, "float decimal cmath struct array long fractions random hash statistics complex "
           "strtod"),
    python("python-system", 3000, "signal subprocess mmap os socket select epoll fork1 queue thread sqlite3 zlib "
           "hashlib json pickle gc"),
    Workload("java-hello", "javac -d . programs/Hello.java && java -cp . Hello", 600),
    Workload("java-gc", """
javac -d . programs/Gc.java || exit 1
for gc in Serial Parallel G1; do java -Xmx256m -XX:+Use${gc}GC -cp . Gc 1500; done
""", 1800),
    Workload("java-gc-concurrent", """
javac -d . programs/Gc.java || exit 1
for gc in Z Shenandoah; do java -Xmx512m -XX:+Use${gc}GC -cp . Gc 800; done
java -Xint -Xmx256m -cp . Gc 100
java -Xcomp -Xmx256m -cp . Gc 100
""", 1800),
    Workload("luajit", "luajit programs/bench.lua 3", 600),
    Workload("luajit-interpreter", "luajit -joff programs/bench.lua 1", 600),
    Workload("go", "go run programs/work.go", 1200),
    Workload("openssl-hashes", f"""
{DATA} 20000001 > data
for h in md5 sha1 sha224 sha256 sha384 sha512 sha3-256 sha3-512 blake2b512 blake2s256 sm3 ripemd160; do
    openssl dgst -$h data
done
for c in aes-128-cbc aes-256-ctr aes-256-ofb aria-128-cbc camellia-256-cbc chacha20 des-ede3-cbc sm4-ctr; do
    openssl enc -$c -K {KEY}{KEY} -iv {KEY} -in data 2>/dev/null | openssl dgst -sha256
done
""", 600),
    Workload("openssl-keys", """
echo text > text
for k in 'rsa -pkeyopt rsa_keygen_bits:2048' 'ec -pkeyopt ec_paramgen_curve:P-256' \
    'ec -pkeyopt ec_paramgen_curve:P-521' ed25519 ed448; do
    openssl genpkey -algorithm $k -out key.pem 2>/dev/null && openssl pkey -in key.pem -pubout -out pub.pem &&
        openssl pkeyutl -sign -rawin -inkey key.pem -in text -out sig &&
        openssl pkeyutl -verify -rawin -pubin -inkey pub.pem -in text -sigfile sig
done
openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:x -kdfopt salt:NaCl -kdfopt iter:20000 PBKDF2
""", 600),
    Workload("openssl-speed", """
openssl speed -seconds 1 md5 sha256 sha512 aes-128-cbc rsa2048 ecdsap256 && openssl speed -seconds 1 -evp aes-256-gcm
""", 600, "status"),
    Workload("sqlite", """
sqlite3 db '
pragma page_size=4096;
create table t(id integer primary key, k text, v blob, n real);
create index i on t(k);
with recursive c(x) as (select 1 union all select x+1 from c where x<250000)
    insert into t select x, printf("k%d", x*7919%250007), zeroblob(300 + x%50), x/7.0 from c;
create table u as select n, k from t where id%3=0;
delete from t where id%8=0;
vacuum;
pragma integrity_check;
select count(*), sum(length(v)), sum(n), min(k), max(k), (select count(*) from u join t using(k)) from t;'
stat -c %s db
sqlite3 db .dump | sha256sum
""", 1200),
    Workload("compress", f"""
{DATA} 6000000 > r
{{ cat r; find /usr ! -path '*__pycache__*' | sort | head -n 60000; cat r; }} > data
for z in 'gzip -n -9' bzip2 'xz -T2' 'zstd -q -12' 'zstd -q -T2'; do
    $z < data > z && ${{z%% *}} -dc < z | cmp - data && sha256sum < z
done
7z a -bd -mmt=2 a.7z data >&2 && 7z x -bd -so a.7z | cmp - data && echo same
""", 1200),
    Workload("ffmpeg", """
ffmpeg -v error -bitexact -f lavfi -i testsrc2=d=4:s=640x360 -f lavfi -i sine=d=4:f=440 \
    -c:v libx264 -preset medium -threads 2 -c:a aac -flags +bitexact -f matroska a.mkv || exit 1
ffmpeg -v error -i a.mkv -an -f framemd5 - | tail -n 40
ffmpeg -v error -f lavfi -i mandelbrot=s=320x240 -frames:v 40 -vf scale=200:150:flags=bicubic,eq=gamma=1.2 \
    -bitexact -c:v libvpx-vp9 -threads 1 -flags +bitexact -f webm b.webm
ffmpeg -v error -i b.webm -f framemd5 - | tail -n 10
""", 1200),
    Workload("perl", """
perl -MDigest::SHA=sha256_hex -e '
my %h;
for (1..300000) { $h{($_*7919)%65521} .= chr(65+$_%26) }
print sha256_hex(join ",", map { "$_=$h{$_}" } sort keys %h), "\\n";
my $s = "ab" x 5000; my $n = 0;
$n++ while $s =~ /(a(?=b))|(b$)/g;
print "$n\\n"'
""", 300),
    Workload("bc", "echo 'scale=1500; 4*a(1); e(1); sqrt(2)' | BC_LINE_LENGTH=0 bc -l | sha256sum", 300),
    Workload("gcc", """
gcc -m32 -O2 -o b32 programs/bits.c -lm && ./b32
gcc -O3 -march=x86-64-v2 -o b64 programs/bits.c -lm && ./b64
gcc -O0 -mfpmath=387 -o b87 programs/bits.c -lm && ./b87
""", 300),
    Workload("gdb", """
gcc -g -O1 -o b64 programs/bits.c -lm
gdb -q -nx -batch -ex 'handle all nostop noprint' -ex 'tbreak mix if i==200' -ex run -ex bt -ex 'stepi 500' \
    -ex 'watch state' -ex continue -ex continue -ex continue -ex delete -ex 'tbreak crc' -ex continue -ex finish \
    -ex continue ./b64 2>&1 | grep -vE 'libthread|process|0x|randomiz|warning|SIG'
""", 600),
    Workload("strace", """
gcc -O1 -o b64 programs/bits.c -lm && strace -f -c -o counts ./b64 > /dev/null
awk '/total/ {print NF > 3}' counts
""", 300),
    Workload("valgrind", "gcc -g -O1 -o b64 programs/bits.c -lm && valgrind -q --error-exitcode=9 ./b64", 900),
]

TRACE = """
T=/sys/kernel/tracing
mountpoint -q $T || mount -t tracefs tracefs $T
busy()
{
    find /usr/share/doc /proc/[0-9]* -maxdepth 3 2>/dev/null | head -n 4000 | xargs ls -d 2>/dev/null | sha256sum >&2
}
"""
TRACES = "{ mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; } && " \
         "test -e /sys/kernel/tracing/"


def kernel(name, command, timeout=600, needs="true", **more):
    return Workload(name, "set -e\n" + command, timeout, "status", 2, "1G", "kernel", needs, **more)


KERNEL = [
    # Crypto modules test themselves as they are loaded.
    kernel("modules", """
n=0
for i in 1 2 3; do
    for m in dummy tun loop xfs btrfs raid456 raid10 zram null_blk nf_tables overlay dm-mod dm-raid fuse vfat squashfs \
        sha512-ssse3 sha256-ssse3 sha1-ssse3 aesni-intel camellia-aesni-avx2 camellia-aesni-avx-x86_64 aegis128-aesni \
        crc32-pclmul crct10dif-pclmul ghash-clmulni-intel chacha-x86_64 poly1305-x86_64 curve25519-x86_64 \
        blake2s-x86_64 serpent-avx2 twofish-avx-x86_64 cast6-avx-x86_64 des3_ede-x86_64; do
        modprobe -n $m 2>/dev/null || { echo no $m; continue; }
        modprobe $m || { echo bad $m; exit 1; }
        n=$((n + 1))
    done
    ip link add d$i type dummy
    ip link del d$i
    truncate -s 300M disk
    mke2fs -q disk
    mkdir -p m
    mount -o loop disk m
    cp -r programs m
    sync
    umount m
    for m in $(lsmod | awk 'NR > 1 && $3 == 0 {print $1}'); do
        case $m in virtio*|evdev|button) ;; *) modprobe -r $m || true;; esac
    done
done
echo $n loaded
[ $n -gt 50 ]
""", 900),
    kernel("ftrace", TRACE + """
for i in 1 2 3 4 5 6 7 8 9 10; do
    for t in function function_graph; do
        echo $t > $T/current_tracer
        busy
        head -n 2000 $T/trace > lines
        echo nop > $T/current_tracer
        [ $(wc -l < lines) -gt 1000 ]
    done
done
""", 1200, TRACES + "current_tracer"),
    kernel("events", TRACE + """
for i in 1 2 3; do
    for e in sched syscalls kmem irq timer; do echo 1 > $T/events/$e/enable; done
    busy
    [ $(head -n 500 $T/trace | wc -l) -gt 400 ]
    echo 0 > $T/events/enable
done
""", needs=TRACES + "events/sched"),
    # At the beginning (by ftrace), on return, and inside, where INT3 stands until the kernel has made a jump of it.
    kernel("kprobes", TRACE + """
for i in 1 2 3 4 5 6 7 8 9 10; do
    echo > $T/kprobe_events
    for f in vfs_read vfs_open __fput do_filp_open kmem_cache_alloc ktime_get wake_up_process; do
        echo p:a_$f $f >> $T/kprobe_events
        echo r:r_$f $f >> $T/kprobe_events
        k=0
        for o in $(seq 5 40); do
            [ $k -lt 3 ] || break
            { echo p:m_${f}_$o $f+$o >> $T/kprobe_events; } 2>/dev/null && k=$((k + 1)) || true
        done
    done
    echo 1 > $T/events/kprobes/enable
    busy
    sleep 0.3
    busy
    cat $T/kprobe_profile > profile
    echo 0 > $T/events/kprobes/enable
    awk '$2 > 0 {n++} END {print NR, "probes", n, "hit"; exit !(n > 20)}' profile
done
echo > $T/kprobe_events
""", needs=TRACES + "kprobe_events"),
    kernel("uprobes", TRACE + """
l=/lib/x86_64-linux-gnu/libc.so.6
for i in 1 2 3; do
    echo > $T/uprobe_events
    for f in malloc free qsort; do
        o=$(nm -D $l | awk -v f=$f '$3 ~ "^" f "@" {print $1; exit}')
        echo p:u_$f $l:0x$o >> $T/uprobe_events
        echo r:ur_$f $l:0x$o >> $T/uprobe_events
    done
    echo 1 > $T/events/uprobes/enable
    ls -lR /etc > /dev/null
    python3 -c 'print(sum(range(1000)))'
    cat $T/uprobe_profile
    echo 0 > $T/events/uprobes/enable
    awk '$3 > 0 {n++} END {exit n < 4}' $T/uprobe_profile
done
echo > $T/uprobe_events
""", needs=TRACES + "uprobe_events"),
    kernel("perf", """
perf record -q -e cpu-clock -F 999 -g -o data openssl speed -seconds 3 sha256 >&2
perf report --stdio -g none -i data --percent-limit 2 2>/dev/null | grep -v '^#' | grep . | head -n 20
n=$(perf script -i data 2>/dev/null | grep -c cpu-clock)
echo $n samples
[ $n -gt 1000 ]
perf record -q -a -e cpu-clock -F 1999 -o data sleep 5
perf stat -e context-switches,page-faults,task-clock ls > /dev/null
"""),
    kernel("perf-bench", """
perf bench sched messaging -g 5
perf bench sched pipe -l 20000
perf bench syscall basic
perf bench mem memcpy -s 8MB
perf bench futex hash -r 3
perf bench futex wake
perf bench futex requeue
perf bench epoll wait -r 3
"""),
    kernel("cpu-hotplug", """
stress-ng --cpu 2 --fork 1 --timeout 70 &
stress-ng --pathological --cpu-online 1 --timeout 60
wait
for i in $(seq 20); do
    echo 0 > /sys/devices/system/cpu/cpu1/online
    [ $(nproc) = 1 ]
    echo 1 > /sys/devices/system/cpu/cpu1/online
    [ $(nproc) = 2 ]
done
""", needs="test -e /sys/devices/system/cpu/cpu1/online"),
    kernel("sysrq", """
for i in 1 2 3; do
    echo l > /proc/sysrq-trigger  # by NMI to the other CPU
    sleep 1
    [ $(dmesg | grep -c 'NMI backtrace') -ge 1 ]
    dmesg -C
    for c in w t m; do echo $c > /proc/sysrq-trigger; sleep 1; done
    dmesg -C
done
""", needs="test -e /proc/sysrq-trigger"),
    kernel("suspend-to-idle", """
# The machine's ACPI has no fixed hardware, so the kernel wakes for nothing of the RTC; it does for the console.
echo enabled > /sys/class/tty/ttyS0/power/wakeup
for i in 1 2 3; do
    a=$(date +%s)
    echo freeze > /sys/power/state
    echo slept $(($(date +%s) - a)) seconds
done
cat /sys/power/suspend_stats/success
[ $(cat /sys/power/suspend_stats/success) = 3 ]
[ $(cat /sys/power/suspend_stats/fail) = 0 ]
""", 120, "grep -q freeze /sys/power/state", pokes=5),
    kernel("rtc-alarm", """
for i in 1 2 3; do
    a=$(date +%s)
    rtcwake -m on -s 3
    b=$(date +%s)
    echo $((b - a)) seconds
    [ $((b - a)) -ge 2 -a $((b - a)) -le 6 ]
done
""", 120, "test -e /sys/class/rtc/rtc0/wakealarm"),
    kernel("swap", """
dd if=/dev/zero of=/var/tmp/swap bs=1M count=800 status=none
chmod 600 /var/tmp/swap
mkswap /var/tmp/swap
swapon /var/tmp/swap
stress-ng --vm 2 --vm-bytes 1200M --vm-method all --verify --timeout 90
grep pswp /proc/vmstat
swapoff /var/tmp/swap
rm /var/tmp/swap
""", needs="grep -q pswpin /proc/vmstat"),
    kernel("kexec", """
kexec -l /boot/vmlinuz --initrd=/boot/disk.cpio --reuse-cmdline --append=kexeced=1
systemctl kexec
sleep 100
""", needs="test -e /sys/kernel/kexec_loaded -a -e /boot/vmlinuz",
           again="grep kexeced /proc/cmdline && [ $(nproc) = 2 ]"),
    kernel("reboot", "systemctl reboot; sleep 100", again="! grep kexeced /proc/cmdline && [ $(nproc) = 2 ]"),
]


def stress(cpus):
    return Workload(f"stress-{cpus}", f"""
stress-ng --cpu {cpus} --vm 2 --vm-bytes 128M --fork 2 --pipe 2 --futex 2 --mmap 2 --mmap-bytes 64M \
    --verify --metrics-brief --timeout 600
""", 900, "status", cpus, group="cpus")


def each(name, classes):
    """Every stressor of these classes by itself."""
    return Workload(f"each-{name}", f"""
set -e
for c in {classes}; do
    echo class $c
    s=0
    stress-ng --sequential 2 --class $c --verify --timeout 3 \
        --exclude cpu-online,rdrand,softlockup,hrtimers,watchdog,sysinval,bad-altstack,uprobe || s=$?
    echo status $s
    # 3 and 4: some stressor did not find what it needs.
    case $s in 0|3|4) ;; *) exit $s;; esac
done
""", 3600, "status", 2, group="each", complaints="stress-ng")


def parallel(name, command):
    """The same on one CPU and on two."""
    alone = Workload(f"{name}-1", command, 900, "status", 1, group="parallel")
    return [alone, dataclasses.replace(alone, name=f"{name}-2", cpus=2, faster_than=(f"{name}-1", 1.6))]


def clock(cpus):
    return Workload(f"clock-{cpus}", "python3 programs/clock.py 300 stress-ng --cpu 2 --vm 1 --vm-bytes 64M --fork 1",
                    600, "status", cpus, group="clock")


CPUS = [
    stress(2), stress(4),
    each("cpu", "cpu cpu-cache"), each("memory", "memory vm"), each("system", "scheduler interrupt pipe"),
    *parallel("compute", "for i in 1 2; do luajit programs/bench.lua 6 > out.$i & done; wait; cmp out.1 out.2"),
    *parallel("build", "tar xf /usr/src/lua5.4_*.orig.tar.* && cd lua*/src && "
              "make -j2 lapi.o lauxlib.o lcode.o ldebug.o ldo.o lgc.o llex.o lobject.o lparser.o lstrlib.o ltable.o"),
    clock(1), clock(2),
]
TABLE = PROGRAMS + KERNEL + CPUS
