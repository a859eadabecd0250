"""clock.py SECONDS LOAD...: run LOAD, and compare this machine's clocks with the host's all the while. The host
answers with its own time (the machine at $HOST_CLOCK); of several answers that with the quickest round trip counts, and
half of that round trip is what is not known of it. Then `sleep 10`, timed by the host."""
import os
import socket
import subprocess
import sys
import time

address, port = os.environ["HOST_CLOCK"].rsplit(":", 1)
line = socket.create_connection((address, int(port)))
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
file = line.makefile("rb")
CLOCKS = {"monotonic": time.CLOCK_MONOTONIC, "raw": time.CLOCK_MONOTONIC_RAW, "realtime": time.CLOCK_REALTIME}


def ask(clock, tries=30):
    """Host time less this clock, and how uncertain that is, in seconds."""
    best = None
    for _ in range(tries):
        before = time.clock_gettime_ns(clock)
        line.sendall(b"?\n")
        host = int(file.readline())
        after = time.clock_gettime_ns(clock)
        if best is None or after - before < best[1]:
            best = (host - (before + after) // 2, after - before)
    return best[0] / 1e9, best[1] / 2e9


seconds, load = float(sys.argv[1]), sys.argv[2:]
first = {name: ask(clock) for name, clock in CLOCKS.items()}
work = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=sys.stderr) if load else None
end, worst = time.monotonic() + seconds, dict.fromkeys(CLOCKS, 0.0)
while time.monotonic() < end:
    time.sleep(5)
    for name, clock in CLOCKS.items():
        offset, unsure = ask(clock)
        drift = offset - first[name][0]
        worst[name] = max(worst[name], max(0.0, abs(drift) - unsure - first[name][1]))
        print(f"{name} {drift * 1000:+.2f} ms, give or take {(unsure + first[name][1]) * 1000:.2f}", file=sys.stderr)
if work:
    work.terminate()
    work.wait()
bad = False
for name, value in worst.items():
    print(f"{name}: at most {value * 1000:.1f} ms off over {seconds:.0f} s")
    bad |= value > 0.05


def timed(sleep):
    """The median of five, as the host measures them."""
    took = []
    for _ in range(5):
        line.sendall(b"?\n")
        start = int(file.readline())
        sleep()
        line.sendall(b"?\n")
        took.append((int(file.readline()) - start) / 1e9)
    print("".join(f" {t:.3f}" for t in took))
    return 9.9 <= sorted(took)[2] <= 10.1


print("sleep 10:", end="")
bad |= not timed(lambda: subprocess.run(["sleep", "10"], check=True))
print("a sleep of 10 s without a process to start:", end="")
bad |= not timed(lambda: time.sleep(10))
sys.exit(1 if bad else 0)
