"""Run the test suites and sum them up.

    test.py short|full|soak [SHARD]

Each job runs in its own log under build/test-logs. The last line is `N passed, N failed, N skipped`; exit status
1 when anything failed. A test that skips is a failure unless its reason begins with "optional:". A dated result with
the commit is written to results/.
"""
import datetime
import json
import os
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PY = "/usr/bin/python3"
LOGS = os.path.join(TOP, "build", "test-logs")


class Job:
    """One command, and how its output is counted: "meson", "pytest", "status" (its exit status is one test) or
    "build" (no test)."""

    def __init__(self, name, command, count="status", timeout=3600, env=None):
        self.name, self.command, self.count, self.timeout, self.env = name, command, count, timeout, env or {}


def configure(folder, *options, env=""):
    return f"{{ [ -f {folder}/build.ninja ] || {env} meson setup {folder} {' '.join(options)}; }} && ninja -C {folder}"


def meson_tests(folder, suites, extra=""):
    chosen = " ".join(f"--suite {s}" for s in suites)
    return f"meson test -C {folder} --no-rebuild --print-errorlogs {chosen} {extra}"


ASAN = "ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1"
SHORT = [
    Job("build", configure("build"), "build"),
    Job("guest", "make -s guest-shell", "build"),
    Job("lint", "tools/lint.sh"),
    Job("laws", meson_tests("build", ["laws"]), "meson"),
    Job("unit", meson_tests("build", ["unit"]), "meson"),
    Job("guests", meson_tests("build", ["guests"], "--timeout-multiplier 4"), "meson"),
    Job("bed", meson_tests("build", ["bed"], "--timeout-multiplier 2"), "meson"),
    Job("insn", meson_tests("build", ["insn"], "--timeout-multiplier 4"), "meson"),
    Job("lockstep", meson_tests("build", ["lockstep"], "--timeout-multiplier 4"), "meson"),
    Job("asan-build", configure("build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false"), "build"),
    Job("asan-unit", f"{ASAN} " + meson_tests("build-asan", ["unit"], "--timeout-multiplier 6"), "meson"),
    Job("tsan-build", configure("build-tsan", "-Db_sanitize=thread", "-Db_lundef=false"), "build"),
    Job("tsan-unit", meson_tests("build-tsan", ["unit"], "--timeout-multiplier 10"), "meson"),
    Job("e2e", f"{PY} -m pytest -q -p no:cacheprovider -n 2 --dist loadfile tests/e2e "
        "-m 'not full and not soak' -rs", "pytest"),
]
FULL = {
    "e2e": [Job("e2e-full", f"{PY} -m pytest -q -p no:cacheprovider tests/e2e -m 'not soak' -rs "
                "--ignore tests/e2e/test_hammer.py", "pytest")],
    "hammer": [Job("hammer", f"{PY} -m pytest -q -p no:cacheprovider tests/e2e/test_hammer.py -k 'not sanitized' -rs",
                   "pytest")],
    "hammer-asan": [Job("hammer-asan",
                        f"{PY} -m pytest -q -p no:cacheprovider tests/e2e/test_hammer.py -k sanitized -rs", "pytest")],
    "bed": [Job("bed-fio", "tests/bed/fio.sh long build/liege build/guest"),
            Job("bed-vmx-linux", "tests/bed/linux.sh build/liege build/tests/machine/saveload build/guest",
                env={"BED_MACHINE": "bochs"}),
            Job("bed-vmx-gdb", "tests/bed/vmx.sh gdb build/liege build/tests/guests/calls.elf")],
    "insn": [Job("insn-2m", "build/tests/insn/lab --cases 2000000 --seed 1"),
             Job("blocks-1m", "build/tests/insn/blocks --cases 1000000 --seed 2"),
             Job("seeded", "tests/insn/seeded.sh")],
    "lockstep": [Job("lockstep-boot", "tests/lockstep/boot.sh 1"),
                 Job("lockstep-seeded", "tests/lockstep/seeded.sh", timeout=2 * 3600)],
    "fuzz": [Job("fuzz", "tools/fuzz.sh 600")],
    "workloads": [Job("workloads", "make -s workloads GROUP=programs", "pytest")],
}
SOAK = {
    "e2e": [Job("e2e-soak", f"{PY} -m pytest -q -p no:cacheprovider tests/e2e -m soak -rs", "pytest", 6 * 3600)],
    "insn": [Job("insn-20m", "build/tests/insn/lab --cases 20000000 --seed 2", timeout=6 * 3600),
             Job("blocks-10m", "build/tests/insn/blocks --cases 10000000 --seed 3", timeout=6 * 3600)],
    "pairs": [Job("pairs", "tests/guests/pairs.sh 5 1000")],
    "lockstep": [Job("lockstep-long", "tests/lockstep/boot.sh 8", timeout=6 * 3600)],
    "fuzz": [Job("fuzz-hour", "tools/fuzz.sh 3600", timeout=12 * 3600)],
    "workloads": [Job("workloads-all", "make -s workloads", "pytest", 8 * 3600)],
}


def count_meson(text):
    def number(key):
        m = re.search(rf"^{key}:\s+(\d+)", text, re.M)
        return int(m.group(1)) if m else 0
    passed = number("Ok") + number("Expected Fail")
    failed = number("Fail") + number("Unexpected Pass") + number("Timeout")
    if passed + failed + number("Skipped") == 0:
        failed = 1  # nothing ran at all
    if os.path.exists("/dev/kvm"):
        return passed, failed + number("Skipped"), 0
    return passed, failed, number("Skipped")  # only what needs /dev/kvm skips


def count_pytest(text):
    n = {}
    for value, what in re.findall(r"(\d+) (passed|failed|error|skipped)",
                                  text.strip().splitlines()[-1] if text.strip() else ""):
        n[what] = int(value)
    optional = sum(int(v) for v in re.findall(r"^SKIPPED \[(\d+)\] \S+ optional:", text, re.M))
    skipped = n.get("skipped", 0)
    bad = max(0, skipped - optional)
    return n.get("passed", 0), n.get("failed", 0) + n.get("error", 0) + bad, min(skipped, optional)


def run(job):
    os.makedirs(LOGS, exist_ok=True)
    log = os.path.join(LOGS, job.name + ".log")
    start = time.time()
    with open(log, "wb") as f:
        try:
            status = subprocess.run(job.command, shell=True, cwd=TOP, stdout=f, stderr=subprocess.STDOUT,
                                    stdin=subprocess.DEVNULL, timeout=job.timeout,
                                    env={**os.environ, **job.env}, check=False).returncode
        except subprocess.TimeoutExpired:
            status = 124
    text = open(log, encoding="utf-8", errors="replace").read()
    if job.count == "meson":
        counts = count_meson(text)
    elif job.count == "pytest":
        counts = count_pytest(text)
    elif job.count == "status":
        counts = (1, 0, 0) if status == 0 else (0, 1, 0)
    else:
        counts = (0, 0 if status == 0 else 1, 0)
    passed, failed, skipped = counts
    if status != 0 and failed == 0:
        failed = 1
    seconds = time.time() - start
    print(f"{job.name:<12} {passed:4} passed {failed:3} failed {skipped:3} skipped  {seconds:7.1f} s", flush=True)
    if failed:
        print("".join("    " + line + "\n" for line in text.splitlines()[-60:]), flush=True)
    return {"name": job.name, "passed": passed, "failed": failed, "skipped": skipped, "seconds": round(seconds, 1)}


def main():
    kind = sys.argv[1] if len(sys.argv) > 1 else "short"
    shard = sys.argv[2] if len(sys.argv) > 2 else None
    if kind == "short":
        jobs = SHORT
    else:
        table = {"full": FULL, "soak": SOAK}.get(kind)
        if table is None or (shard and shard not in table):
            sys.exit(f"test.py: no such suite: {kind} {shard or ''}")
        jobs = SHORT[:2] + [j for name, part in table.items() if shard in (None, name) for j in part]
    results = []
    for job in jobs:
        results.append(run(job))
        if job.count == "build" and results[-1]["failed"]:
            break
    total = {k: sum(r[k] for r in results) for k in ("passed", "failed", "skipped")}
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=TOP, capture_output=True, text=True,
                            check=False).stdout.strip()
    if kind != "short" or os.environ.get("CI") != "true":
        os.makedirs(os.path.join(TOP, "results"), exist_ok=True)
        name = f"{datetime.date.today()}-{kind}{'-' + shard if shard else ''}.json"
        with open(os.path.join(TOP, "results", name), "w", encoding="utf-8") as f:
            json.dump({"date": str(datetime.date.today()), "commit": commit, "kind": kind, "jobs": results,
                       **total}, f, indent=1)
            f.write("\n")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    sys.exit(1 if total["failed"] else 0)


main()
