"""Run kvm-unit-tests' x86 flat images, built elsewhere, on Liege.

    KUT_DIR=DIR [KUT_DIR32=DIR] tests/kut.py [--accel soft|kvm] [--jobs N] [--ledger FILE] [NAME...]

KUT_DIR is a built checkout for x86_64, KUT_DIR32 one for i386; without the latter, what exists for i386 only is left
out. Every test of x86/unittests.cfg is run (or the NAMEs), unless PASS_OVER says why it makes no sense here. A test's
verdict is its exit code by port 0xf4 (the machine ends with status 2 * code + 1); a timeout is a failure. The logs go
to build/kut-logs. --ledger writes the table as Markdown. The exit status is 1 if a test failed which EXPECTED does
not know. Nothing of that suite is part of this project.
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
TIMEOUT = 240
EXIT_SKIP, EXIT_ABORT = 77, 127  # codes a test ends with (port 0xf4), besides 0 and 1

# Groups and tests that ask for what no model of ours has, or for a machine that is not ours.
PASS_OVER = [
    (r"svm.*", "needs SVM for the guest"),
    (r"vmx(?!exit).*|ept.*", "needs VMX for the guest"),
    (r"pmu.*", "needs a performance monitoring unit"),
    (r"hyperv_.*", "needs Hyper-V's interfaces"),
    (r"intel_iommu", "needs an IOMMU"),
    (r"vmware_backdoors", "needs VMware's port"),
    (r"s3", "needs suspend to RAM and a CMOS firmware"),
    (r"pku|pks|la57|cet|lam|tsx-ctrl", "a processor feature that no model offers"),
    (r"asyncpf", "asynchronous page faults are not offered"),
    (r"access_fep", "needs KVM's forced emulation prefix"),
    (r"access-reduced-maxphyaddr", "needs a model with 36 physical address bits"),
    (r"vmexit_inl_pmtimer", "needs a PM timer"),
]
# Failures that are understood: test, what of its output may fail (None: the whole test), reason.
PV_IPI = ("PV IPIs testing", "KVM's hypercall for IPIs is not offered")
TWO_NMIS = ("multiple nmi", "two NMIs that meet before the first is taken are one, as on a processor; KVM counts two")
EXPECTED = {
    "x2apic": [PV_IPI, TWO_NMIS],
    "xapic": [PV_IPI, TWO_NMIS],
    "syscall": [(None, "SYSCALL outside 64-bit mode exists on AMD processors only; the models are Intel's")],
    "realmode": [(None, "waits for a tick of the timer as a BIOS programs it; without that one check all others pass")],
}


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


def command(test, folder, accel, env_file):
    """The command that runs one test."""
    cpus = test.get("smp", "1")
    params = test.get("qemu_params", "")
    m = re.search(r"-m (\d+)(g?)", params)
    memory = (int(m.group(1)) * (1024 if m.group(2) else 1)) if m else 512
    args = subprocess.run(["sh", "-c", "echo " + test.get("test_args", "").strip("\"'")], capture_output=True,
                          text=True, check=True).stdout.strip()
    env_file.write_text(f"NR_CPUS={cpus}\nMEMSIZE={memory}\nTEST_DEVICE=1\nBOOTLOADER=liege\n", encoding="ascii")
    image = folder / "x86" / test["file"]
    model = "x86-64-v3" if re.search(r"-cpu (max|host)", params) else "default"
    return [str(LIEGE), "run", "--accel", accel, "--cpu", model, "--kernel", str(image), "--initrd", str(env_file),
            "--debug-exit", "--testdev", "--no-reboot", "--cpus", cpus, "--memory", f"{memory}M",
            "--cmdline", f"{image} {args}".strip()]


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


def run(test, accel):
    """Run one test: (result, note, seconds)."""
    name = test["name"]
    for pattern, why in PASS_OVER:
        if re.fullmatch(pattern, name):
            return "left out", why, 0.0
    folder = os.environ.get("KUT_DIR32" if test.get("arch") == "i386" else "KUT_DIR")
    if not folder:
        return "left out", "exists for i386 only; no KUT_DIR32", 0.0
    if not (pathlib.Path(folder) / "x86" / test["file"]).exists():
        return "left out", "not built", 0.0
    limit = max(TIMEOUT, int(test.get("timeout", "0")))
    if EXPECTED.get(name, [("", "")])[0][0] is None:
        limit = 20  # understood as a whole: not waited for
    start = time.time()
    with tempfile.TemporaryDirectory() as work:
        argv = command(test, pathlib.Path(folder), accel, pathlib.Path(work) / "env")
        log = LOGS / f"{name}.log"
        with open(log, "wb") as f:
            f.write((shlex.join(argv) + "\n").encode())
            f.flush()
            try:
                status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT,
                                        timeout=limit, check=False).returncode
            except subprocess.TimeoutExpired:
                status = None
    seconds = time.time() - start
    note = summary("\n".join(log.read_text(errors="replace").splitlines()[1:]))
    if status is None:
        return "FAIL", f"no end in {limit} s: {note}", seconds
    if status == 1:
        # A crash of ours has status 1, too, but not the suite's summary; its absence is told by the note.
        return "pass", note, seconds
    if status == EXIT_SKIP * 2 + 1 & 0xff:
        return "skip", note, seconds
    if status == EXIT_ABORT * 2 + 1:
        return "FAIL", f"aborted: {note}", seconds
    return "FAIL", (note if status == 3 else f"status {status}: {note}"), seconds


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--accel", default="soft")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--ledger")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    folder = os.environ.get("KUT_DIR")
    if not folder:
        print("optional: KUT_DIR names no built kvm-unit-tests")
        sys.exit(77)
    tests = read_cfg(pathlib.Path(folder) / "x86" / "unittests.cfg")
    tests = [t for t in tests if "file" in t and (not a.names or t["name"] in a.names)]
    LOGS.mkdir(parents=True, exist_ok=True)
    rows, unknown = [], 0
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for t, (result, note, seconds) in zip(tests, pool.map(lambda t: run(t, a.accel), tests)):
            if result == "FAIL" and not known(t["name"], (LOGS / f"{t['name']}.log").read_text(errors="replace")):
                result, note, seconds = run(t, a.accel)  # checks against the clock fail on a busy host: once more
                note += " (second attempt)"
            if result == "FAIL":
                why = known(t["name"], (LOGS / f"{t['name']}.log").read_text(errors="replace"))
                if why:
                    result, note = "known", why
            unknown += result == "FAIL"
            rows.append((t["name"], result, note))
            print(f"{t['name']:<32} {result:<9} {seconds:6.1f} s  {note}", flush=True)
    count = {r: sum(1 for row in rows if row[1] == r) for r in ("pass", "known", "skip", "left out", "FAIL")}
    total = ", ".join(f"{n} {r}" for r, n in count.items())
    print(total)
    if a.ledger:
        with open(a.ledger, "w", encoding="utf-8") as f:
            head = ("Written by `tests/kut.py --ledger`; see there for how to run it. `skip`: the test itself finds "
                    "what it needs missing; `left out`: not run; `known`: a failure with its reason.",
                    f"Accelerator: {a.accel}. {total}. Checks against the clock (the APIC timer's) can fail on a busy "
                    "host; the run repeats such a test once.")
            f.write("\n\n".join(["# kvm-unit-tests on Liege", *(textwrap.fill(p, 110) for p in head),
                                 "| test | result | note |\n|---|---|---|\n"]))
            for name, result, note in rows:
                f.write(f"| {name} | {result} | {note.replace('|', '/')} |\n")
    sys.exit(1 if unknown else 0)


main()
