"""What the benches share: the guest (guestbench.c as /init on the Debian kernel), the machines that run it, its rows,
result files.

Every machine gets the same kernel, initramfs and command line, one CPU and MEMORY_MIB.
"""
import collections
import datetime
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMALLER_IS_BETTER = ("ns", "us", "ms", "s")
MEMORY_MIB = 512
KNOBS = ("GB_MS", "GB_REPS", "GB_ONLY")
BEGIN, TOTAL, END = "GUESTBENCH BEGIN", "total_time", "GUESTBENCH END"

# One run: exit status, both outputs, seconds from start to each of BEGIN, TOTAL and END, to the end, and of CPU time.
Run = collections.namedtuple("Run", "status stdout stderr at wall cpu")


def build(folder):
    """guestbench, and an initramfs whose init it is."""
    exe = os.path.join(folder, "guestbench")
    source = os.path.join(TOP, "bench", "guestbench.c")
    subprocess.run(["gcc", "-O2", "-static", "-pthread", "-w", "-o", exe, source], check=True)
    root = os.path.join(folder, "root")
    os.makedirs(os.path.join(root, "dev"))
    shutil.copy(exe, os.path.join(root, "init"))
    cpio = os.path.join(folder, "bench.cpio")
    with open(cpio, "wb") as f:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=b"init\ndev\n",
                       stdout=f, check=True)
    return exe, cpio


def latency(folder, liege, *extra):
    """{name: (value, unit)} of latency.c, on the software engine of the build in `liege`."""
    image = os.path.join(folder, "latency.elf")
    subprocess.run(["gcc", "-O2", "-w", "-ffreestanding", "-fno-pic", "-no-pie", "-mno-red-zone", "-mgeneral-regs-only",
                    "-fno-stack-protector", "-fcf-protection=none", "-nostdlib", "-static", "-o", image,
                    "-Wl,-Ttext=0x1000000,-e,start,--build-id=none,--no-warn-rwx-segments",
                    os.path.join(TOP, "bench", "latency.c")], check=True)
    command = [os.path.join(liege, "liege"), "run", "--accel", "soft", "--memory", "64M", "--cpus", "2", "--debug-exit",
               "--kernel", image, *extra]
    return parse(expect_end("latency", run(command, 300), 1).stdout)


def kick(build, *how):
    """{name: (value, unit)} of kick.c as built; `how`: "process", for the engine in one of its own."""
    return parse(expect_end("kick", run([os.path.join(build, "bench", "kick"), *how], 300)).stdout)


def knobs(**extra):
    """guestbench's knobs: the environment's, overridden by `extra`; those that are None are left out."""
    found = {k: v for k, v in os.environ.items() if k in KNOBS} | extra
    return {k: str(v) for k, v in found.items() if v is not None}


def command_line(**extra):
    words = [f"{k}={v}" for k, v in knobs(**extra).items()]
    return " ".join(["console=ttyS0 quiet mitigations=off panic=-1 reboot=k", *words])


def parse(text):
    """{name: (value, unit)} in the guest's order."""
    body = text.split(BEGIN, 1)[-1]
    return {name: (float(v), unit) for name, v, unit in re.findall(r"^(\w+) ([\d.]+) ([A-Za-z/]+)\r?$", body, re.M)}


def liege_command(folder, kernel, cpio, cmdline, *extra):
    """The software engine of the build in `folder`. Ends with status 3."""
    return [os.path.join(folder, "liege"), "run", "--accel", "soft", "--memory", f"{MEMORY_MIB}M", "--no-reboot",
            "--kernel", kernel, "--initrd", cpio, "--cmdline", cmdline, *extra]


def qemu_command(kernel, cpio, cmdline, cpu="Nehalem"):
    """QEMU's translator at its best (with -cpu max it is slower): multi-threaded, a translation buffer of 512 MiB.
    Ends with status 0."""
    return ["qemu-system-x86_64", "-M", "pc", "-cpu", cpu, "-accel", "tcg,thread=multi,tb-size=512",
            "-m", str(MEMORY_MIB), "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", kernel,
            "-initrd", cpio, "-append", cmdline]


def run(command, timeout=3600, env=None):
    """Run a machine, or guestbench itself, to its end. SystemExit where it takes longer than `timeout` seconds."""
    at, out, start = {}, b"", time.monotonic()
    with tempfile.TemporaryFile() as err:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, env=env,
                             start_new_session=True)
        try:
            while True:
                left = start + timeout - time.monotonic()
                if left <= 0 or not select.select([p.stdout], [], [], left)[0]:
                    tail = out[-2000:].decode(errors="replace")
                    raise SystemExit(f"bench: {os.path.basename(command[0])}: no end within {timeout} s:\n{tail}")
                data = os.read(p.stdout.fileno(), 65536)
                now = time.monotonic() - start
                out += data
                for mark in (BEGIN, TOTAL, END):
                    if mark not in at and mark.encode() in out:
                        at[mark] = now
                if not data:
                    break
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if p.returncode is None:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
            p.stdout.close()
        err.seek(0)
        return Run(p.returncode, out.decode(errors="replace"), err.read().decode(errors="replace"), at,
                   time.monotonic() - start, usage.ru_utime + usage.ru_stime)


def expect_end(name, r, status=0):
    """A run that reached its last line with this exit status, or SystemExit with what it said."""
    if END not in r.at or r.status != status:
        raise SystemExit(f"bench: {name} ended with status {r.status}: {r.stderr}\n{r.stdout[-2000:]}")
    return r


def ratio(value, unit, other):
    """How many times as fast as `other` it is."""
    if not value or not other:
        return None
    return other / value if unit in SMALLER_IS_BETTER else value / other


def as_json(figures):
    return {machine: {n: {"value": v, "unit": u} for n, (v, u) in rows.items()} for machine, rows in figures.items()}


def commit():
    """The commit measured; "-dirty" where the tree holds more."""
    r = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=12"], cwd=TOP,
                       capture_output=True, text=True, check=False)
    return r.stdout.strip()


def dated(name):
    """Where a result of today belongs."""
    return os.path.join(TOP, "results", f"{datetime.date.today()}-{name}.json")


def write_result(path, data):
    """`data`, after date, commit and load."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"date": str(datetime.date.today()), "commit": commit(), "load": os.getloadavg()[0], **data}, f,
                  indent=1)
        f.write("\n")
