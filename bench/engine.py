"""The software engine beside QEMU's translator, in alternating runs: a table of ratios, the thresholds it must hold,
and a result file.

    engine.py [--build DIR] [--runs N] [--quick] [--rows NAME,...] [--check] [--json FILE] [--timeout SECONDS]

Each round runs guestbench on the host (the rows of NATIVE), in Liege (--accel soft) and in QEMU (-cpu Nehalem); every
figure is the median of its rounds. Once per call QEMU runs with -cpu max too, and Liege with --stats, untimed, as
counting may cost something. --check ends with status 1 where a threshold does not hold; without it they are only
marked. --quick is one short round. With --rows (or GB_ONLY) only those are run and judged, without a mean, and only
--json writes a file. See guest.py for the guest and the machines.
"""
import argparse
import collections
import os
import re
import statistics
import sys
import tempfile
import textwrap

import guest

# Rows that spend their time in user code: what the host itself does is the other end of the scale.
NATIVE = ("int_loop", "fib_call", "qsort_4k", "matmul_sse2", "sha256_64m", "byte_scan", "memcpy_1m", "memcpy_4k")
# Not rows: boot_uptime is the guest's own view of what INIT measures; total_time checks the guest's clock.
NOT_ROWS = ("boot_uptime", guest.TOTAL)
INIT = "start_to_init"  # seconds from the start of the process to the first line of the guest's init
SHORT = {"GB_MS": 50, "GB_REPS": 2}
# Lines of --stats: name, and the pattern its figure is found by.
STATS = {"translated": r"^translated\s+([\d.]+) %", "code size": r"^code size\s+([\d.]+) host bytes per guest byte",
         "instructions": r"^instructions\s+(\d+)"}
# A guest whose clock is further off the host's measures nothing: a share, and seconds that a line may lie unread on a
# busy host.
CLOCK_ERROR, CLOCK_SLACK = 0.03, 0.25
BUSY = 0.75  # a machine that got less of a CPU than this tells about the host's load, not about itself

# Microseconds from an interrupt's cause to its handler, the host's other CPU idle: of the local APIC's timer, of
# another CPU's message, of a message by a thread of the host. latency.c and kick.c.
LATENCY = ("irq_timer", "irq_message", "kick_irq")

# What must hold: of: "peer" (times as fast as QEMU), "native" (times as long as the host), "mean" (geometric, of
# all "peer"), "stats", "latency". rows: names, None for each there is. A figure that is missing does not hold.
Threshold = collections.namedtuple("Threshold", "of rows least most", defaults=(None, None))
THRESHOLDS = (
    Threshold("peer", None, least=0.95),
    Threshold("peer", ("matmul_sse2", "memcpy_1m", "memcpy_4k"), least=8),
    Threshold("peer", ("getppid", "stat", "pipe_rtt", "fork_exec", "anon_fault"), least=2.5),
    Threshold("peer", (INIT,), least=2),
    Threshold("native", ("qsort_4k", "sha256_64m", "fib_call", "byte_scan"), most=2.5),
    Threshold("mean", ("geometric mean",), least=4),
    Threshold("stats", ("translated",), least=99),
    Threshold("stats", ("code size",), most=4),
    Threshold("latency", tuple(f"{n}_p50" for n in LATENCY), most=20),
    Threshold("latency", tuple(f"{n}_p99" for n in LATENCY), most=100),
)


def say(text):
    print(text, file=sys.stderr, flush=True)


def clock_is_off(by_guest, by_host):
    """Seconds that the guest counted from its first line to its last, and that the host did."""
    return abs(by_guest - by_host) > CLOCK_ERROR * by_host + CLOCK_SLACK


class Bench:
    """The machines, and the rows of every run of each: self.runs[machine] is a list of {name: (value, unit)}."""

    def __init__(self, options, folder):
        self.options, self.build = options, os.path.abspath(options.build)
        self.kernel = os.path.join(self.build, "guest", "kernel", "vmlinuz")
        self.exe, self.cpio = guest.build(folder)
        self.knobs = {k: os.environ.get(k, v) for k, v in SHORT.items()} if options.quick else {}
        self.knobs["GB_ONLY"] = options.rows
        self.runs, self.share, self.clock = collections.defaultdict(list), {}, {}

    def liege(self, knobs, *extra):
        return guest.liege_command(self.build, self.kernel, self.cpio, guest.command_line(**knobs), *extra)

    def measure(self, machine, command, status=0, env=None):
        """Add one run. The host's clock is the judge of the guest's; what the machine got of a CPU tells how busy the
        host was."""
        r = guest.expect_end(machine, guest.run(command, self.options.timeout, env), status)
        rows = guest.parse(r.stdout)
        host = r.at[guest.TOTAL] - r.at[guest.BEGIN]
        self.clock.setdefault(machine, []).append((rows[guest.TOTAL][0] / 1000, host))
        self.share[machine] = min(self.share.get(machine, 1), r.cpu / r.wall)
        found = {k: v for k, v in rows.items() if k not in NOT_ROWS}
        if machine != "native":
            found = {INIT: (r.at[guest.BEGIN], "s")} | found
        self.runs[machine].append(found)
        say(f"{machine:<9} {r.wall:6.1f} s, init after {r.at[guest.BEGIN]:.2f} s")

    def round(self):
        only = ",".join(n for n in NATIVE if not self.options.rows or n in self.options.rows.split(","))
        if only:
            self.measure("native", [self.exe], env=os.environ | guest.knobs(**dict(self.knobs, GB_ONLY=only)))
        self.measure("liege", self.liege(self.knobs), 3)
        self.measure("qemu", guest.qemu_command(self.kernel, self.cpio, guest.command_line(**self.knobs)))

    def other_cpu(self):
        self.measure("qemu max", guest.qemu_command(self.kernel, self.cpio, guest.command_line(**self.knobs), "max"))

    def latency(self, folder):
        rows = guest.latency(folder, self.build) | guest.kick(self.build)
        self.runs["latency"].append({n: v for n, v in rows.items() if n.rpartition("_")[0] in LATENCY})

    def stats(self):
        """{name: figure} out of a short run with --stats."""
        command = self.liege(self.knobs | SHORT, "--stats")
        r = guest.expect_end("liege --stats", guest.run(command, self.options.timeout), 3)
        found = {name: re.search(pattern, r.stderr, re.M) for name, pattern in STATS.items()}
        return {name: float(m.group(1)) for name, m in found.items() if m}


def medians(runs):
    """{name: (median, unit)} in the order of the first run."""
    values = collections.defaultdict(list)
    for run in runs:
        for name, (value, unit) in run.items():
            values[name, unit].append(value)
    return {name: (statistics.median(v), unit) for (name, unit), v in values.items()}


def ratios(figures, other):
    """{name: how many times as fast as `other` Liege is}, for rows that both have."""
    liege, there = figures["liege"], figures.get(other, {})
    found = {n: guest.ratio(v, unit, there[n][0]) for n, (v, unit) in liege.items() if n in there}
    return {n: r for n, r in found.items() if r}


def judge(figures, stats, asked=()):
    """Every threshold's figures: a list of dicts of, row, bound, value, holds. `asked`: of the rows, only these; no
    mean."""
    peer = ratios(figures, "qemu")
    rows = [r for n, r in peer.items() if n != INIT]
    known = {"peer": peer, "native": {n: 1 / r for n, r in ratios(figures, "native").items()}, "stats": stats,
             "latency": {n: v for n, (v, _) in figures.get("latency", {}).items()},
             "mean": {"geometric mean": statistics.geometric_mean(rows)} if rows else {}}
    verdicts = []
    for t in THRESHOLDS:
        for row in t.rows or [n for n in figures["qemu"] if n != INIT]:
            if asked and (t.of == "mean" or (t.of != "stats" and row not in [*asked, INIT])):
                continue
            value = known[t.of].get(row)
            holds = value is not None and (t.least is None or value >= t.least) and (t.most is None or value <= t.most)
            bound = f">= {t.least:g}" if t.least is not None else f"<= {t.most:g}"
            verdicts.append({"of": t.of, "row": row, "bound": bound, "value": value, "holds": holds})
    return verdicts


def number(value, width, digits=2, mark=""):
    if value is None:
        return f"{'-':>{width}} "
    return f"{value:{width}.{digits}f}{mark or ' '}"


def table(figures, verdicts):
    """One line per row; a ratio that does not hold its threshold is followed by `!`."""
    failing = {(v["of"], v["row"]) for v in verdicts if not v["holds"]}
    peer, native = ratios(figures, "qemu"), ratios(figures, "native")
    machines = [m for m in ("native", "liege", "qemu", "qemu max") if m in figures]
    lines = [f"{'row':<15}{'unit':>9}" + "".join(f"{m:>13} " for m in machines) + f"{'x qemu':>9} {'native x':>9} "]
    for name in dict.fromkeys(n for m in ("liege", "qemu") for n in figures[m]):
        unit = next(figures[m][name][1] for m in ("liege", "qemu") if name in figures[m])
        slower = 1 / native[name] if name in native else None
        lines.append((f"{name:<15}{unit:>9}" + "".join(number(figures[m].get(name, (None,))[0], 13) for m in machines) +
                      number(peer.get(name), 9, mark="!" if ("peer", name) in failing else "") +
                      number(slower, 9, mark="!" if ("native", name) in failing else "")).rstrip())
    return "\n".join(lines)


def summary(bench, stats, verdicts):
    """The text below the table, and whether all is well."""
    lines = [f"{v['row']:<15}{number(v['value'], 9, mark='' if v['holds'] else '!')} ({v['bound']})"
             for v in verdicts if v["of"] in ("mean", "stats", "latency")]
    lines += [f"{n:<15}{v:9.0f}" for n, v in stats.items() if n == "instructions"]
    busy = " - a busy host: judge by a quieter one" if min(bench.share.values()) < BUSY else ""
    lines.append("share of a CPU, least of all runs: " + ", ".join(f"{m} {s:.2f}" for m, s in bench.share.items())
                 + busy)
    liars = {m: pairs for m, pairs in bench.clock.items() if any(clock_is_off(*p) for p in pairs)}
    for m, pairs in liars.items():
        by_guest, by_host = max(pairs, key=lambda p: abs(p[0] - p[1]))
        lines.append(f"{m}: the guest's clock counted {by_guest:.2f} s where the host's counted {by_host:.2f} s: "
                     "its rows mean nothing")
    failed = collections.defaultdict(list)
    for v in verdicts:
        if not v["holds"]:
            value = "none" if v["value"] is None else format(v["value"], ".2f")
            failed[v["of"], v["bound"]].append(f"{v['row']}={value}")
    count = sum(map(len, failed.values()))
    lines.append(f"{len(verdicts) - count} of {len(verdicts)} thresholds hold" + (", not:" if count else ""))
    for (of, bound), rows in failed.items():
        lines.append(textwrap.fill(", ".join(rows), 118, initial_indent=f"  {of} {bound}: ", subsequent_indent="    "))
    return "\n".join(lines), not failed and not liars


def options():
    a = argparse.ArgumentParser()
    a.add_argument("--build", default=os.path.join(guest.TOP, "build"))
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--quick", action="store_true")
    a.add_argument("--rows", default=os.environ.get("GB_ONLY"))
    a.add_argument("--check", action="store_true")
    a.add_argument("--json")
    a.add_argument("--timeout", type=int, default=900)
    return a.parse_args()


def main():
    a = options()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(a, folder)
        for _ in range(1 if a.quick else a.runs):
            bench.round()
            if not a.rows or any(n.startswith(LATENCY) for n in a.rows.split(",")):
                bench.latency(folder)
        bench.other_cpu()
        stats = bench.stats()
    figures = {machine: medians(runs) for machine, runs in bench.runs.items()}
    asked = a.rows.split(",") if a.rows else []
    unknown = set(asked).difference(*figures.values())
    if unknown:
        raise SystemExit(f"bench: no such row: {', '.join(sorted(unknown))}")
    verdicts = judge(figures, stats, asked)
    text, good = summary(bench, stats, verdicts)
    print(table(figures, verdicts) + "\n" + text)
    result = {"runs": {m: len(r) for m, r in bench.runs.items()}, "quick": a.quick,
              "figures": guest.as_json(figures), "stats": stats, "thresholds": verdicts,
              "cpu_share": bench.share, "clock_guest_host_s": bench.clock,
              "each": {m: [{n: v for n, (v, _) in rows.items()} for rows in r] for m, r in bench.runs.items()}}
    if a.json:
        guest.write_result(a.json, result)
    if not a.rows:
        guest.write_result(guest.dated("bench-engine-quick" if a.quick else "bench-engine"), result)
    sys.exit(1 if a.check and not good else 0)


if __name__ == "__main__":
    main()
