"""Run kvm-unit-tests' x86 flat images, built elsewhere, on Liege.

    KUT_DIR=DIR [KUT_DIR32=DIR] tests/kut.py [--accel soft|kvm] [--tcg] [--jobs N] [--ledger FILE] [NAME...]

KUT_DIR is a built checkout for x86_64, KUT_DIR32 one for i386; without the latter, what exists for i386 only is left
out. Every test of x86/unittests.cfg is run (or the NAMEs), unless LEFT_OUT says why it makes no sense here; those
that are for both architectures a second time as NAME-32. The CPU is that of the section, as far as Liege has it. A
test's verdict is its exit code by port 0xf4 (the machine ends with status 2 * code + 1); a timeout is a failure. The
logs go to build/kut-logs. --tcg runs each test in QEMU's TCG, too, by the section's own options. --ledger writes the
table as Markdown; with NAMEs, its other rows stay. The exit status is 1 if a test failed which EXPECTED does not
know. Nothing of that suite is part of this project.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
LIEGE = pathlib.Path(os.environ.get("BUILD", TOP / "build")) / "liege"
LOGS = TOP / "build" / "kut-logs"
TIMEOUT, TIMEOUT_TCG = 600, 100
PASS, FAIL, SKIP, ABORT = 1, 3, 77, 127  # how the machine ends: what the test gives exit(), halved by report.c, * 2 + 1

# Tests that ask for a machine that is not ours.
LEFT_OUT = [
    (r"intel_iommu", "needs an IOMMU, and QEMU's edu device to use it"),
    (r"vmware_backdoors", "needs VMware's port"),
    (r"vmexit_inl_pmtimer", "needs a PM timer, which hardware-reduced ACPI does not have"),
    (r"s3", "needs suspend to RAM, and firmware that wakes up from it"),
]
# Why tests skip themselves, or only look that the feature is absent.
SKIPPED = [
    (r"svm.*", "needs SVM for the guest"),
    (r"vmx(?!exit).*|ept.*", "needs VMX for the guest"),
    (r"pmu.*", "needs a performance monitoring unit"),
    (r"hyperv_.*", "needs Hyper-V's interfaces"),
    (r"asyncpf", "asynchronous page faults are not offered"),
    (r"access_fep", "needs KVM's forced emulation prefix"),
    (r"cet|tsx-ctrl|lam", "a processor feature that is not offered"),
]
# Failures that are understood: test, what of its output may fail (None: the whole test), reason.
EXPECTED = {}
# What QEMU's "max", of which most sections speak, has beyond our portable model; and what KVM always gives a guest.
MAX = ["+pku", "+pks", "+la57"]
MAX_OF_HOST = ["clflushopt", "clwb"]  # where the host has them
KVM_GIVES = ["+kvm_pv_ipi"]
OUR_NAMES = {"tsc-deadline": "tsc_deadline_timer"}
CHANGES = {"x2apic", "tsc-deadline", "pcid", "invpcid", "umip", "pku", "smap", "smep"}  # followed in -cpu


def read_cfg(path):
    """The sections of unittests.cfg as dictionaries, in order."""
    tests = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            tests.append({"name": line.strip("[]")})
        else:
            key, _, value = line.partition("=")
            tests[-1][key.strip()] = value.strip()
    return tests


def parameters(test, folder, work):
    """Image, arguments, number of CPUs, MiB of memory and -cpu of one test; writes its environment to `work`."""
    params = test.get("qemu_params", "")
    m = re.search(r"-m (\d+)(g?)", params)
    memory = (int(m.group(1)) * (1024 if m.group(2) else 1)) if m else 512
    args = subprocess.run(["sh", "-c", "echo " + test.get("test_args", "").strip("\"'")], capture_output=True,
                          text=True, check=True).stdout.strip()
    cpus = test.get("smp", "1")
    env = work / "env"
    env.write_text(f"NR_CPUS={cpus}\nMEMSIZE={memory}\nTEST_DEVICE=1\nBOOTLOADER=liege\n", encoding="ascii")
    cpu = re.search(r"-cpu (\S+)", params)
    return folder / "x86" / test["file"], args, cpus, memory, cpu.group(1) if cpu else "qemu64", env


def our_cpu(cpu, accel):
    """What comes nearest to QEMU's `cpu`."""
    name, *changes = cpu.split(",")
    spec = ["default"]
    if accel == "soft":
        spec += KVM_GIVES
        if name in ("max", "host"):
            host = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii").split()
            spec += MAX + ["+" + f for f in MAX_OF_HOST if f in host]
    for c in changes:
        if c[0] in "+-" and c[1:] in CHANGES:
            spec.append(c[0] + OUR_NAMES.get(c[1:], c[1:]))
        elif c.startswith(("phys-bits=", "vendor=")):
            spec.append(c)
    return ",".join(spec)


def command(test, folder, accel, work):
    """The command that runs one test."""
    image, args, cpus, memory, cpu, env = parameters(test, folder, work)
    return [str(LIEGE), "run", "--accel", accel, "--cpu", our_cpu(cpu, accel), "--kernel", str(image), "--initrd",
            str(env), "--debug-exit", "--testdev", "--no-reboot", "--cpus", cpus, "--memory", f"{memory}M",
            "--cmdline", f"{image} {args}".strip()]


def tcg_command(test, folder, work):
    """The same for QEMU, as the suite's own x86/run has it."""
    image, args, cpus, memory, cpu, env = parameters(test, folder, work)
    params = re.sub(r"-cpu \S+|-enable-kvm|-m \S+|,kernel-irqchip=split", "", test.get("qemu_params", ""))
    cpu = re.sub(r"^host|,hv_passthrough|,migratable=no|,[-+]vmx-mbec", lambda m: "max" if m[0] == "host" else "", cpu)
    return ["qemu-system-x86_64", "--no-reboot", "-nodefaults", "-device", "pc-testdev", "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x4", "-display", "none", "-serial", "stdio", "-device", "pci-testdev",
            "-machine", "accel=tcg", "-cpu", cpu, "-m", str(memory), "-smp", cpus, "-kernel", str(image), "-initrd",
            str(env), "-append", args, *shlex.split(params)]


def summary(text):
    """The suite's own last words, for the ledger."""
    fails = re.findall(r"^FAIL: (.*?)\s*$", text, re.M)
    if fails:
        return f"{len(fails)} of its checks fail, the first: {fails[0][:80]}"
    m = re.findall(r"SUMMARY: (.*?)\s*$", text, re.M)
    if m:
        return m[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:100] if lines else ""


def known(name, text):
    """Why this test failed, where all that failed in it is understood; else None."""
    rows = EXPECTED.get(name, [])
    if rows and rows[0][0] is None:
        return rows[0][1]
    fails = re.findall(r"^FAIL: (.*?)\s*$", text, re.M)
    if not fails or not all(any(f == r[0] for r in rows) for f in fails):
        return None
    return "; ".join(f"{what}: {why}" for what, why in rows if what in fails)


def folder_of(test):
    """Where its image is: None if nowhere."""
    folder = os.environ.get("KUT_DIR32" if test.get("arch") == "i386" else "KUT_DIR")
    return pathlib.Path(folder) if folder and (pathlib.Path(folder) / "x86" / test["file"]).exists() else None


def execute(argv, log, limit):
    """Run a machine; its exit status (None: no end in time) and what the test says of itself."""
    with open(log, "wb") as f:
        f.write((shlex.join(argv) + "\n").encode())
        f.flush()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT) as p:
            try:
                status = p.wait(limit)
            except subprocess.TimeoutExpired:
                p.kill()
                status = None
    return status, summary("\n".join(log.read_text(errors="replace").splitlines()[1:]))


def run(test, accel):
    """Run one test: (result, note, seconds)."""
    name = test["name"]
    section = name.removesuffix("-32")
    for pattern, why in LEFT_OUT:
        if re.fullmatch(pattern, section):
            return "left out", why, 0.0
    if not folder_of(test):
        return "left out", "not built", 0.0
    limit = max(TIMEOUT, int(test.get("timeout", "0")))
    start = time.time()
    with tempfile.TemporaryDirectory() as work:
        argv = command(test, folder_of(test), accel, pathlib.Path(work))
        status, note = execute(argv, LOGS / f"{name}.log", limit)
    seconds = time.time() - start
    absent = next((why for pattern, why in SKIPPED if re.fullmatch(pattern, section)), None)
    if status is None:
        return "FAIL", f"no end in {limit} s: {note}", seconds
    if status == PASS and not note.startswith("liege: "):  # an error of ours has that status, too
        return "pass", f"{note}; {absent}" if absent else note, seconds
    if status == SKIP:
        return "skip", absent or note, seconds
    if status == ABORT:
        return "FAIL", f"aborted: {note}", seconds
    return "FAIL", (note if status == FAIL else f"status {status}: {note}"), seconds


def run_tcg(test, seconds):
    """QEMU's word: pass, skip, FAIL, or "" where it is not asked. Ours took `seconds`."""
    if test.get("accel") == "kvm" or not folder_of(test):
        return ""
    with tempfile.TemporaryDirectory() as work:
        argv = tcg_command(test, folder_of(test), pathlib.Path(work))
        status, note = execute(argv, LOGS / f"{test['name']}.tcg.log", max(TIMEOUT_TCG, 3 * seconds))
    if note.startswith(argv[0]):
        return ""  # QEMU's own error: it does not know the machine that the section asks for
    return {PASS: "pass", SKIP: "skip"}.get(status, "FAIL")


def chosen(names):
    """The tests of the suite, or those with these names."""
    tests = [t for t in read_cfg(pathlib.Path(os.environ["KUT_DIR"]) / "x86" / "unittests.cfg") if "file" in t]
    both = []
    for t in tests:
        both.append(t)
        short = dict(t, name=t["name"] + "-32", arch="i386")
        if "arch" not in t and not t["name"].startswith("vmexit") and folder_of(short):
            both.append(short)
    return [t for t in both if not names or t["name"] in names]


def names(rows, wanted):
    """The tests for whose two results that is true."""
    return ", ".join(r[0] for r in rows if wanted(r[1], r[2])) or "none"


def write_ledger(path, accel, tcg, total, rows):
    """The table, as Markdown."""
    head = ["Written by `tests/kut.py --ledger`; see there for how to run it. `skip`: the test itself finds what it "
            "needs missing; `left out`: not run; `known`: a failure with its reason.",
            f"Accelerator: {accel}. {total}. Checks against the clock (the APIC timer's) can fail on a busy host; the "
            "run repeats such a test once."]
    if tcg:
        theirs = names(rows, lambda a, b: b == "pass" != a)
        ours = names(rows, lambda a, b: a == "pass" and b == "FAIL")
        head.append(f"QEMU's TCG on the same images ({tcg}): {count(r[2] for r in rows if r[2])}. It is not asked "
                    f"where the suite wants KVM; no end in {TIMEOUT_TCG} s, nor in three times what Liege took, is a "
                    f"failure. It passes and Liege does not: {theirs}. Liege passes and it does not: {ours}.")
    with open(path, "w", encoding="utf-8") as f:
        f.write("# kvm-unit-tests on Liege\n\n")
        for paragraph in head:
            f.write(textwrap.fill(paragraph, 110, break_on_hyphens=False) + "\n\n")
        f.write("| test | result | TCG | note |\n|---|---|---|---|\n" if tcg else
                "| test | result | note |\n|---|---|---|\n")
        for name, result, other, note in rows:
            note = note.replace("|", "/")
            f.write(f"| {name} | {result} | {other} | {note} |\n" if tcg else f"| {name} | {result} | {note} |\n")


def read_ledger(path):
    """The rows of a ledger that was written with --tcg."""
    with open(path, encoding="utf-8") as f:
        cells = [tuple(c.strip() for c in line.split("|")[1:-1]) for line in f if line.startswith("| ")]
    return [c for c in cells[1:] if len(c) == 4]


def merged(rows, path):
    """The ledger's rows with those of this run in their places."""
    new = {r[0]: r for r in rows}
    old = read_ledger(path)
    return [new.pop(r[0], r) for r in old] + list(new.values())


def count(results):
    """How many of each."""
    results = list(results)
    kinds = ("pass", "known", "skip", "left out", "FAIL")
    return ", ".join(f"{results.count(k)} {k}" for k in kinds if k in results or k in ("pass", "FAIL"))


def judged(test, accel):
    """Run one test, again if it failed and nothing is known about it: (result, note, seconds)."""
    for again in (False, True):
        result, note, seconds = run(test, accel)
        if result != "FAIL":
            break
        why = known(test["name"], (LOGS / f"{test['name']}.log").read_text(errors="replace"))
        if why:
            return "known", why, seconds
        note += " (second attempt)" if again else ""
    return result, note, seconds


def beside(test, accel, tcg):
    """What judged() gives, and QEMU's word."""
    ours = judged(test, accel)
    return ours, run_tcg(test, ours[2]) if tcg else ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--accel", default="soft")
    p.add_argument("--tcg", action="store_true")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--ledger")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    if not os.environ.get("KUT_DIR"):
        print("optional: KUT_DIR names no built kvm-unit-tests")
        sys.exit(77)
    tests = chosen(a.names)
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = []
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        both = pool.map(lambda t: beside(t, a.accel, a.tcg), tests)
        for t, ((result, note, seconds), other) in zip(tests, both):
            rows.append((t["name"], result, other, note))
            print(f"{t['name']:<32} {result:<9} {seconds:6.1f} s  {other:<5} {note}", flush=True)
    results = [r[1] for r in rows]
    print(count(results))
    if a.ledger:
        if a.names and a.tcg and os.path.exists(a.ledger):
            rows = merged(rows, a.ledger)
        tcg = a.tcg and subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                                       check=True).stdout.split("\n")[0].split(" (")[0]
        write_ledger(a.ledger, a.accel, tcg, count(r[1] for r in rows), rows)
    sys.exit(1 if "FAIL" in results else 0)


main()
