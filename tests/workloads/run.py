"""Real programs in a Debian guest on the software engine, compared with the same programs on the host.

    run.py [--list] [--image FILE --tree FOLDER] [--group G] [--accel A] [--json FILE] [NAME...]

Each workload of table.py runs in the guest, and where its output is to be the same, also in TREE, the tree that the
image was made of, by chroot (which needs root of this machine; so do its mounts). The guest's copy of the image lies in
build/workloads, with the console's text and what each workload wrote. The last line is `N passed, N failed, N
skipped`, exit status 1 when anything failed; --json writes each workload's outcome, its seconds in the guest and on
the host, the seconds that liege computed, and how many of the host's cores others used meanwhile; rows of other
workloads stay in that file.
"""
import argparse
import datetime
import hashlib
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from clock import serve_clock  # noqa: E402
from conftest import CMDLINE, GUEST, KERNEL, Machine  # noqa: E402
from table import TABLE  # noqa: E402

OUT = TOP / "build" / "workloads"
PACK = OUT / f"programs-{os.getpid()}.tar"
# What no workload may make the kernel say.
BAD = re.compile(r"BUG:|Oops|WARNING: |blocked for more than|stall|lockup|segfault|general protection|traps: |"
                 r"I/O error|EXT4-fs error|clocksource: .*unstable|alg: .*fail|Kernel panic|invalid opcode|"
                 r"NMI received")
ENVIRONMENT = ("env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC "
               "TERM=dumb PYTHONDONTWRITEBYTECODE=1")


class Broken(Exception):
    """The machine is of no more use."""


def inside(name, extra=""):
    """A command in a new folder with the programs, the same on both sides."""
    return (f"rm -rf /tmp/w && mkdir /tmp/w && cd /tmp/w && tar xf /tmp/programs.tar && "
            f"{ENVIRONMENT} HOME=/tmp/w {extra} sh commands/{name}")


def pack_programs():
    """One archive, a disk of the guest: the programs, and the commands as files."""
    with tarfile.open(PACK, "w") as tar:
        tar.add(HERE / "programs", "programs")
        for work in TABLE:
            for name, text in ((work.name, work.command), (work.name + ".needs", work.needs)):
                info = tarfile.TarInfo("commands/" + name)
                info.size = len(text) + 1
                tar.addfile(info, io.BytesIO((text + "\n").encode()))
    with open(PACK, "ab") as f:  # a disk is whole sectors
        f.truncate(-(-f.tell() // 4096) * 4096)


def on_host(work, tree):
    """What it prints on this machine, and its seconds; kept as long as nothing of it changes."""
    key = hashlib.sha256(repr([work.command, os.stat(tree).st_mtime,
                               [(p.name, p.read_bytes()) for p in sorted((HERE / "programs").iterdir())]])
                         .encode()).hexdigest()
    kept = OUT / f"{work.name}.host.json"
    if kept.exists() and json.loads(kept.read_text())["key"] == key:
        return json.loads(kept.read_text())
    script = (f"mount -t tmpfs tmpfs {tree}/tmp && mount -t tmpfs tmpfs {tree}/run && "
              f"mount -t proc proc {tree}/proc && mount -t sysfs sysfs {tree}/sys && "
              f"mount --rbind /dev {tree}/dev && cp {PACK} {tree}/tmp/programs.tar && "
              f"exec chroot {tree} sh -c {shlex.quote(inside(work.name))}")
    start = time.time()
    run = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script], capture_output=True,
                         stdin=subprocess.DEVNULL, timeout=work.timeout, check=False)
    (OUT / f"{work.name}.host.err").write_bytes(run.stderr)
    result = {"key": key, "status": run.returncode, "out": run.stdout.decode(errors="replace"),
              "seconds": round(time.time() - start, 2)}
    kept.write_text(json.dumps(result))
    return result


class Guest:
    """A Debian machine at its prompt."""

    def __init__(self, image, work, options):
        self.kind = (work.cpus, work.memory)
        self.machine = Machine([
            "run", "--accel", options.accel, "--memory", work.memory, "--cpus", work.cpus, "--kernel", KERNEL,
            "--initrd", GUEST / "disk.cpio", "--disk", image, "--disk", f"{PACK},readonly", "--net", "user",
            "--rng", "--cmdline", CMDLINE + " root=/dev/vda " + options.cmdline, *options.option])
        self.log_in(600)

    def log_in(self, timeout):
        m = self.machine
        m.expect("login: ", timeout)
        m.type("root\n")
        m.expect(r"root@liege:~# ", 120)
        m.type("exec env SYSTEMD_PAGER=cat PAGER=cat PS1='plain''-root# ' bash --noediting --norc\n")
        m.expect(r"plain-root# ", 120)
        # No prompt, which would come after the next command's echo when that is typed early. Kernel messages are
        # read by dmesg, not between the lines of a program.
        m.run("PS1=; dmesg -n 1; cat /dev/vdb > /tmp/programs.tar", 60)

    def run(self, command, timeout):
        try:
            return self.machine.run(command, timeout)
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt):
                raise
            raise Broken(str(e)) from e

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.machine.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def work(self, work):
        """Run one workload: a dictionary of what came of it."""
        _, status = self.run(inside(work.name + ".needs") + " > /dev/null 2>&1", 60)
        if status:
            return {"skipped": f"optional: the guest's kernel says no to: {work.needs}"}
        self.run("dmesg -C", 60)
        start, spent, busy = time.time(), self.cpu_seconds(), host_busy()
        line = (f"timeout -k 10 {work.timeout} sh -c {shlex.quote(inside(work.name, f'HOST_CLOCK=10.0.2.2:{PORT}'))} "
                f"> /var/tmp/out 2> /var/tmp/err < /dev/null")
        if work.again:
            self.machine.type(line + "\n")
            self.log_in(work.timeout)
            seconds = round(time.time() - start, 2)
            out, status = self.run(work.again, 60)
            return {"seconds": seconds, "status": status, "out": out}
        pokes = [threading.Timer(4 * n + 4, self.machine.type, ["\n"]) for n in range(work.pokes)]
        for poke in pokes:
            poke.start()
        _, status = self.run(line, work.timeout + 120)
        for poke in pokes:
            poke.join()
        seconds, spent = time.time() - start, self.cpu_seconds() - spent
        others = (host_busy() - busy - spent) / seconds
        out, _ = self.run("head -c 60000 /var/tmp/out", 120)
        err, _ = self.run("tail -c 20000 /var/tmp/err", 120)
        said, _ = self.run("dmesg | tail -n 300", 120)
        (OUT / f"{work.name}.guest.out").write_text(out)
        (OUT / f"{work.name}.guest.err").write_text(err)
        (OUT / f"{work.name}.guest.dmesg").write_text(said)
        bad = [line for line in said.splitlines()
               if BAD.search(line) and not (work.complaints and re.search(work.complaints, line))]
        result = {"status": status, "out": out, "seconds": round(seconds, 2), "cpu seconds": round(spent, 2),
                  "others": round(max(0, others), 2)}
        if bad:
            result["complaints"] = bad[:10]
        return result

    def off(self):
        try:
            self.machine.type("sync; systemctl poweroff -f\n")
            self.machine.wait(120)
        except (subprocess.TimeoutExpired, OSError):
            pass
        self.machine.close()


def host_busy():
    """CPU seconds that this machine's cores have spent on anything."""
    with open("/proc/stat", encoding="ascii") as f:
        t = list(map(int, f.readline().split()[1:]))
    return (sum(t[:3]) + sum(t[5:8])) / os.sysconf("SC_CLK_TCK")


def plain(text):
    return text.replace("\r", "").strip()


def judge(work, result, host, before):
    """Why it failed, or None."""
    if result.get("skipped"):
        return None
    if result["status"] == 124:
        return f"did not end within {work.timeout} s"
    if result.get("complaints"):
        return "the guest's kernel complained"
    if host is not None and (plain(result["out"]), result["status"]) != (plain(host["out"]), host["status"]):
        return f"differs from the host (status {result['status']}, there {host['status']})"
    if host is None and result["status"] != 0:
        return f"status {result['status']}"
    if work.faster_than:
        other, times = work.faster_than
        if other not in before:
            return f"needs {other} before it"
        result["times"] = round(before[other]["seconds"] / result["seconds"], 2)
        if result["times"] < times:
            return f"only {result['times']} times as fast as {other}, not {times}"
    return None


def difference(name, out, host):
    for a, b in zip(plain(out).splitlines() + ["(end)"], plain(host).splitlines() + ["(end)"]):
        if a != b:
            return f"{name}: guest: {a[:200]}\n{name}: host:  {b[:200]}"
    return ""


def one(work, guest, options, before):
    """Run and judge one workload; the machine, or None when it is broken."""
    host = on_host(work, options.tree) if work.compare == "same" else None
    try:
        if guest is None or guest.kind != (work.cpus, work.memory):
            if guest:
                guest.off()
            guest = Guest(options.disk, work, options)
        result = guest.work(work)
        failed = judge(work, result, host, before)
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        result, failed = {"console": str(e)[-3000:]}, "the machine is broken"
        (OUT / f"{work.name}.console").write_text(str(e))
        if options.keep:
            input(f"{work.name}: broken: {str(e)[-2000:]}\nEnter goes on: ")
        if guest:
            guest.machine.close()
        guest = None
    if failed and host is not None and "out" in result:
        print(difference(work.name, result["out"], host["out"]))
    result["name"] = work.name
    if host:
        result["host seconds"] = host["seconds"]
    if failed:
        result["failed"] = failed
    if not failed or work.compare == "same":
        result.pop("out", None)  # or what it printed is in the results
    before[work.name] = result
    word = "FAILED " + failed if failed else "SKIPPED [1] " + result["skipped"] if "skipped" in result else "passed"
    print(f"{work.name:<22} {result.get('seconds', 0):8.1f} s  host {result.get('host seconds', 0):7.1f} s  {word}",
          *result.get("complaints", []), sep="\n    " if result.get("complaints") else "", flush=True)
    return guest


def count(results):
    return sum("failed" in r for r in results), sum("skipped" in r for r in results)


def write(path, results):
    """Put the results into a file of them, in the place of older ones of the same names."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=TOP, capture_output=True, text=True,
                            check=False).stdout.strip()
    rows = {r["name"]: r for r in json.loads(path.read_text())["workloads"]} if path.exists() else {}
    for r in results.values():
        rows[r["name"]] = {"name": r["name"], "commit": commit, **r}
    order = {w.name: n for n, w in enumerate(TABLE)}
    rows = sorted(rows.values(), key=lambda r: order.get(r["name"], len(order)))
    failed, skipped = count(rows)
    path.write_text(json.dumps({
        "date": str(datetime.date.today()), "passed": len(rows) - failed - skipped, "failed": failed,
        "skipped": skipped, "workloads": rows}, indent=1) + "\n")


def main():
    global PORT
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=pathlib.Path, default=GUEST / "workloads.img")
    parser.add_argument("--tree", type=pathlib.Path, default=GUEST / "workloads.tree")
    parser.add_argument("--group", action="append")
    parser.add_argument("--accel", default="soft")
    parser.add_argument("--cmdline", default="")
    parser.add_argument("--option", action="append", default=[], help="one more of liege run, like --option=--stats")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave a broken machine running until Enter")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    chosen = [w for w in TABLE if (w.name in options.name if options.name else
                                   not options.group or w.group in options.group)]
    if options.list:
        for w in chosen:
            print(f"{w.group:<10} {w.name:<22} {w.cpus} CPUs {w.memory} {w.timeout:5} s  {w.compare}")
        return
    unknown = set(options.name) - {w.name for w in chosen}
    if unknown:
        sys.exit(f"run.py: no such workload: {' '.join(sorted(unknown))}")
    OUT.mkdir(parents=True, exist_ok=True)
    pack_programs()
    PORT = serve_clock()
    options.disk = OUT / f"disk-{os.getpid()}.img"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", options.image, options.disk], check=True)
    guest, results = None, {}
    try:
        for work in chosen:
            guest = one(work, guest, options, results)
            if options.json:
                write(options.json, results)
        if guest:
            guest.off()
            guest = None
            check = subprocess.run(["e2fsck", "-f", "-n", options.disk], capture_output=True, text=True,
                                   check=False)
            results["file system"] = {"name": "file system"}
            if check.returncode:
                results["file system"]["failed"] = check.stdout
    finally:
        if guest:
            guest.machine.close()
        options.disk.unlink()
        PACK.unlink()
    if options.json:
        write(options.json, results)
    failed, skipped = count(results.values())
    print(f"{len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


PORT = 0
if __name__ == "__main__":
    main()
