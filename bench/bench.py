"""Figures of this build beside QEMU's translator and the bare host, in one run: a table, and results/DATE-bench.json.

    bench.py [--build DIR] [--idle SECONDS] [--no-qemu]

GB_MS (milliseconds per repetition), GB_REPS and GB_ONLY (names, comma separated) from the environment make it short.
See guest.py for the guest and the machines.
"""
import argparse
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time

import guest


def until(fd, pattern, timeout):
    """Read fd until the pattern; seconds since the call."""
    start, text = time.time(), ""
    while time.time() - start < timeout:
        ready, _, _ = select.select([fd], [], [], 1)
        if not ready:
            continue
        try:
            text += os.read(fd, 65536).decode(errors="replace")
        except OSError:
            break
        if re.search(pattern, text):
            return time.time() - start
    raise SystemExit(f"bench: no {pattern!r} within {timeout} s:\n{text[-2000:]}")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_without_ram(pid):
    """KiB resident outside the guest's RAM: its mapping is the one of that size or the largest."""
    total, largest, size = 0, 0, 0
    for line in open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace"):
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith("Rss:"):
            rss = int(line.split()[1])
            total += rss
            if size >= guest.MEMORY_MIB * 1024:
                largest += rss
    return total - largest


def first_instruction(build, folder):
    """Milliseconds from exec to the end of a guest whose first instruction ends it: OUT to the debug exit port.
    Best of ten."""
    image = os.path.join(folder, "first.elf")
    code = b"\xe6\xf4"  # out 0xf4, al
    header = (b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little")
              + (1).to_bytes(4, "little"))
    header += (0x1000000).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(12)
    header += b"".join(n.to_bytes(2, "little") for n in (64, 56, 1, 0, 0, 0))
    segment = ((1).to_bytes(4, "little") + (7).to_bytes(4, "little") + (120).to_bytes(8, "little")
               + 2 * (0x1000000).to_bytes(8, "little"))
    segment += 2 * len(code).to_bytes(8, "little") + (0x1000).to_bytes(8, "little")
    with open(image, "wb") as f:
        f.write(header + segment + code)
    best = None
    for _ in range(10):
        r = guest.run([os.path.join(build, "liege"), "run", "--accel", "soft", "--memory", "64M",
                       "--console", "none", "--debug-exit", "--kernel", image], 60)
        if r.status != 1 or r.stderr:
            raise SystemExit(f"bench: first instruction: status {r.status}: {r.stderr}")
        best = r.wall if best is None else min(best, r.wall)
    return best * 1000


def before_main(build):
    """CPU milliseconds and wall milliseconds of `liege version`: loading libraries, and little else. The best of
    ten each."""
    runs = [guest.run([os.path.join(build, "liege"), "version"], 60) for _ in range(10)]
    return min(r.cpu for r in runs) * 1000, min(r.wall for r in runs) * 1000


def libraries(build):
    out = subprocess.run(["ldd", os.path.join(build, "liege")], capture_output=True, text=True, check=True).stdout
    return sorted(re.findall(r"^\s*(lib\S+\.so\S*) ", out, re.M))


def idle(build, kernel, cpio, seconds):
    """Boot to init in seconds, KiB resident without guest RAM, and CPU % while the guest sleeps."""
    master, slave = pty.openpty()
    command = guest.liege_command(build, kernel, cpio, guest.command_line(GB_STAY=1, GB_QUIT=1))
    p = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, start_new_session=True)
    os.close(slave)
    try:
        boot = until(master, guest.END, 300)
        time.sleep(3)
        resident, before, start = resident_without_ram(p.pid), cpu_seconds(p.pid), time.time()
        time.sleep(seconds)
        percent = 100 * (cpu_seconds(p.pid) - before) / (time.time() - start)
    finally:
        p.send_signal(signal.SIGKILL)
        p.wait()
        os.close(master)
    return boot, resident, percent


def startup(build, kernel, cpio, folder, idle_seconds):
    boot, resident, percent = idle(build, kernel, cpio, idle_seconds)
    r = guest.run(guest.liege_command(build, kernel, cpio, guest.command_line(GB_QUIT=1), "--stats"), 300)
    m = re.search(r"instructions\s+(\d+) \(([\d.]+) M/s", r.stderr)
    cpu, wall = before_main(build)
    return {"first_instruction_ms": round(first_instruction(build, folder), 2), "boot_to_init_s": round(boot, 3),
            "vmm_resident_kib": resident, "idle_cpu_percent": round(percent, 3),
            "boot_instructions": int(m.group(1)) if m else None, "boot_mips": float(m.group(2)) if m else None,
            "version_cpu_ms": round(cpu, 2), "version_wall_ms": round(wall, 2), "libraries": libraries(build)}


def table(figures):
    lines = [f"{'test':<24}{'unit':>9}{'native':>12}{'liege':>12}{'qemu tcg':>12}{'of native':>11}{'x qemu':>8}"]
    for name in figures["liege"]:
        cells = [figures.get(k, {}).get(name, (None, ""))[0] for k in ("native", "liege", "qemu")]
        unit = figures["liege"][name][1]
        of_native, of_qemu = guest.ratio(cells[1], unit, cells[0]), guest.ratio(cells[1], unit, cells[2])
        text = [f"{c:12.2f}" if c is not None else f"{'-':>12}" for c in cells]
        lines.append(f"{name:<24}{unit:>9}{''.join(text)}" + (f"{of_native:11.3f}" if of_native else f"{'-':>11}") +
                     (f"{of_qemu:8.2f}" if of_qemu else f"{'-':>8}"))
    return "\n".join(lines)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--build", default=os.path.join(guest.TOP, "build"))
    a.add_argument("--idle", type=int, default=20)
    a.add_argument("--no-qemu", action="store_true")
    a = a.parse_args()
    build = os.path.abspath(a.build)
    kernel = os.path.join(build, "guest", "kernel", "vmlinuz")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        exe, cpio = guest.build(folder)
        figures["native"] = guest.parse(guest.run([exe]).stdout)
        command = guest.liege_command(build, kernel, cpio, guest.command_line())
        figures["liege"] = guest.parse(guest.expect_end("liege", guest.run(command), 3).stdout)
        figures["liege"] |= guest.latency(folder, build) | guest.kick(build)
        process = guest.latency(folder, build, "--engine-process") | guest.kick(build, "process")
        figures["liege"] |= {f"process_{name}": cell for name, cell in process.items()}
        if not a.no_qemu:
            command = guest.qemu_command(kernel, cpio, guest.command_line())
            figures["qemu"] = guest.parse(guest.expect_end("qemu", guest.run(command)).stdout)
        start = startup(build, kernel, cpio, folder, a.idle)
    print(table(figures))
    for k, v in start.items():
        print(f"{k:<24}{' '.join(v) if isinstance(v, list) else v}")
    guest.write_result(guest.dated("bench"), {"startup": start, "figures": guest.as_json(figures)})


if __name__ == "__main__":
    main()
