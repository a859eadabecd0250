"""The judge of `make bench-engine`: figures made up here go through bench/engine.py, by machines that only print
them."""
import json
import os
import re
import subprocess
import sys

import pytest

from conftest import BUILD, TOP

sys.path.insert(0, str(TOP / "bench"))
import engine  # noqa: E402
import guest  # noqa: E402

# Every row of guestbench, and its unit.
ROWS = {**dict(re.findall(r'^\trun\("(\w+)",.*"([\w/]+)"\);$', (TOP / "bench" / "guestbench.c").read_text(), re.M)),
        "touch64m": "ms"}
STATS = {"translated": 99.5, "code size": 3.2}


def figures(times, init=1.0):
    """{name: (value, unit)} of a machine on which each row takes `times` as long as on the host of these tests."""
    rows = {n: (times if u in guest.SMALLER_IS_BETTER else 1 / times, u) for n, u in ROWS.items()}
    return {engine.INIT: (init, "s")} | rows


def machines():
    """What holds every threshold: ten times as fast as the peer, half as fast as the host."""
    return {"native": figures(1), "liege": figures(2, 0.9), "qemu": figures(20, 2.0),
            "latency": {f"{n}_{p}": (us, "us") for n in engine.LATENCY for p, us in (("p50", 20.0), ("p99", 100.0))}}


def change(machine, row, factor):
    """Change a figure of machines(): `factor` times as long."""
    def apply(m):
        value, unit = m[machine][row]
        m[machine][row] = (value * factor if unit in guest.SMALLER_IS_BETTER else value / factor, unit)
    return apply


def failing(m, stats=None, asked=()):
    return sorted((v["of"], v["row"], v["bound"]) for v in engine.judge(m, STATS if stats is None else stats, asked)
                  if not v["holds"])


def test_the_harness_names_rows_that_there_are():
    named = {r for t in engine.THRESHOLDS if t.of in ("peer", "native") for r in t.rows or ()} | set(engine.NATIVE)
    assert named - {engine.INIT} <= set(ROWS)


def test_figures_at_their_bounds_hold():
    m = machines()
    change("liege", "stat", 4)(m)  # 2.5 times the peer
    change("liege", "tmpfs_write", 10)(m)  # 1.0 times
    change("liege", "byte_scan", 1.25)(m)  # 2.5 times native
    assert not failing(m, {"translated": 99, "code size": 4})


@pytest.mark.parametrize("row, machine, factor, expected", [
    ("stat", "liege", 4.1, [("peer", "stat", ">= 2.5")]),
    ("memcpy_4k", "liege", 1.3, [("peer", "memcpy_4k", ">= 8")]),  # a rate: less is worse
    ("matmul_sse2", "qemu", 0.79, [("peer", "matmul_sse2", ">= 8")]),
    ("tmpfs_file", "liege", 10.6, [("peer", "tmpfs_file", ">= 0.95")]),
    ("touch64m", "liege", 10.6, [("peer", "touch64m", ">= 0.95")]),
    ("sha256_64m", "liege", 1.3, [("native", "sha256_64m", "<= 2.5")]),
    ("fib_call", "native", 0.79, [("native", "fib_call", "<= 2.5")]),
    (engine.INIT, "liege", 1.2, [("peer", engine.INIT, ">= 2")]),
])
def test_a_figure_beyond_its_bound_is_named(row, machine, factor, expected):
    m = machines()
    change(machine, row, factor)(m)
    assert failing(m) == expected


def test_a_late_interrupt_is_named():
    m = machines()
    m["latency"]["kick_irq_p99"] = (100.1, "us")
    del m["latency"]["irq_timer_p50"]
    assert failing(m) == [("latency", "irq_timer_p50", "<= 20"), ("latency", "kick_irq_p99", "<= 100")]


def test_the_mean_is_of_rows_and_geometric():
    m = machines()
    for row in list(ROWS)[::2]:
        change("liege", row, 7)(m)  # a mean of about sqrt(10 * 10 / 7), below 4
    assert ("mean", "geometric mean", ">= 4") in failing(m)
    m = machines()
    change("liege", engine.INIT, 1e6)(m)
    assert failing(m) == [("peer", engine.INIT, ">= 2")]


def test_a_missing_figure_does_not_hold():
    m = machines()
    del m["liege"]["getppid"]
    assert failing(m) == [("peer", "getppid", ">= 0.95"), ("peer", "getppid", ">= 2.5")]
    assert failing(machines(), {}) == [("stats", "code size", "<= 4"), ("stats", "translated", ">= 99")]
    m = machines()
    del m["qemu"]["matmul_avx2"]  # a row the peer cannot run judges nobody
    assert not failing(m)


def test_rows_not_asked_for_are_not_judged():
    m = {k: {n: v for n, v in rows.items() if n in ("stat", engine.INIT)} for k, rows in machines().items()}
    assert not failing(m, asked=["stat"])
    assert failing(m)


def test_the_median_of_runs_counts():
    assert engine.medians([{"a": (1.0, "ns")}, {"a": (9.0, "ns")}, {"a": (2.0, "ns")}]) == {"a": (2.0, "ns")}


def test_what_a_row_prepares_is_not_in_its_figure(tmp_path):
    exe, _ = guest.build(str(tmp_path))
    env = os.environ | {"GB_MS": "1", "GB_REPS": "1", "GB_ONLY": "chase_64m"}
    r = guest.expect_end("native", guest.run([exe], 60, env))
    # ns a load; 50000 and more with the shuffle that its first call does
    assert guest.parse(r.stdout)["chase_64m"][0] < 5000


def machine(path, rows, status, init, total_ms=0.0):
    """A program that prints what a guest would, and keeps its arguments."""
    text = "".join(f"{n} {v:.9f} {u}\r\n" for n, (v, u) in rows.items() if n != engine.INIT)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {path}.args\nsleep {init}\n"
                    f"echo GUESTBENCH BEGIN\ncat {path}.rows\n"
                    f"echo total_time {total_ms} ms\necho GUESTBENCH END\n"
                    "case \"$*\" in *--stats*) printf 'translated         99.5 %% of instructions\\n"
                    f"code size          3.2 host bytes per guest byte\\n' >&2;; esac\nexit {status}\n")
    path.with_name(path.name + ".rows").write_text(text)
    path.chmod(0o755)


def harness(folder, *options, **liege):
    """Run the harness on machines made up: the exit status, the text, the JSON."""
    made = {"times": 1e-6, "init": 0, "total_ms": 0.0} | liege
    machine(folder / "liege", figures(made["times"]), 3, made["init"], made["total_ms"])
    machine(folder / "qemu-system-x86_64", figures(1e-5), 0, 2)
    r = subprocess.run([sys.executable, str(TOP / "bench" / "engine.py"), "--build", str(folder),
                        "--json", str(folder / "out.json"), *options],
                       env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "GB_MS": "1"},
                       capture_output=True, text=True, timeout=120, check=False)
    return r, json.loads((folder / "out.json").read_text()) if (folder / "out.json").exists() else None


def test_both_machines_get_the_same_guest_in_turn_and_check_passes(tmp_path):
    rows = "getppid,stat,fib_call,memcpy_4k"
    r, result = harness(tmp_path, "--rows", rows, "--runs", "2", "--check")
    assert r.returncode == 0, r.stdout + r.stderr
    assert all(v["holds"] for v in result["thresholds"])
    assert {v["row"] for v in result["thresholds"]} >= {*rows.split(","), engine.INIT}
    assert result["runs"] == {"native": 2, "liege": 2, "qemu": 2, "qemu max": 1}
    order = re.findall(r"^(native|liege|qemu|qemu max) +[\d.]+ s", r.stderr, re.M)
    assert order == ["native", "liege", "qemu"] * 2 + ["qemu max"]
    liege, qemu = ((tmp_path / f"{n}.args").read_text().splitlines() for n in ("liege", "qemu-system-x86_64"))
    for ours, theirs in (("--kernel", "-kernel"), ("--initrd", "-initrd"), ("--cmdline", "-append")):
        assert liege[liege.index(ours) + 1] == qemu[qemu.index(theirs) + 1]


def test_check_alone_makes_the_status(tmp_path):
    slow = {"times": 1e-5, "init": 2}  # no faster than the peer
    r, result = harness(tmp_path, "--rows", "stat,tmpfs_file", "--quick", **slow)
    assert r.returncode == 0, r.stdout + r.stderr
    assert [v["row"] for v in result["thresholds"] if not v["holds"]] == ["stat", engine.INIT]
    assert re.search(r"^stat .* 1\.00!", r.stdout, re.M) and re.search(r"^tmpfs_file .* 1\.00 +-$", r.stdout, re.M)
    r, _ = harness(tmp_path, "--rows", "stat,tmpfs_file", "--quick", "--check", **slow)
    assert r.returncode == 1, r.stdout + r.stderr


@pytest.mark.parametrize("by_guest, by_host, off", [
    (0.0, 0.2, False),  # a busy host read the last line late
    (30.0, 30.9, False),
    (30.0, 31.6, True),
    (33.0, 31.0, True),
    (1.0, 2.0, True),
])
def test_a_clock_may_be_off_by_what_a_busy_host_takes_to_read_a_line(by_guest, by_host, off):
    assert engine.clock_is_off(by_guest, by_host) == off


def test_a_guest_whose_clock_lies_is_found(tmp_path):
    r, _ = harness(tmp_path, "--rows", "stat", "--quick", "--check", total_ms=5000.0)
    assert r.returncode == 1 and "liege: the guest's clock counted 5.00 s" in r.stdout, r.stdout + r.stderr


def test_a_machine_that_ends_early_ends_the_bench(tmp_path):
    machine(tmp_path / "liege", figures(1), 4, 0)
    r = subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import guest\n"
                        "guest.expect_end('liege', guest.run([sys.argv[2]]), 3)", str(TOP / "bench"),
                        str(tmp_path / "liege")],
                       capture_output=True, text=True, timeout=60, check=False)
    assert r.returncode == 1 and "liege ended with status 4" in r.stderr


def test_the_benches_of_latency_print_their_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("KICK_SAMPLES", "100")
    rows = guest.latency(tmp_path, BUILD)
    assert list(rows) == ["irq_timer_p50", "irq_timer_p99", "irq_message_p50", "irq_message_p99", "port_read"]
    assert rows["port_read"][0] > 0
    rows |= guest.kick(BUILD)
    kicks = ["kick_irq", "kick_string", "kick_wake", "kick_exit"]
    assert list(rows)[5:] == [f"{n}_{p}" for n in kicks for p in ("p50", "p99")]
    for kind in ["irq_timer", "irq_message", *kicks]:
        assert 0 < rows[f"{kind}_p50"][0] <= rows[f"{kind}_p99"][0]
    for kind in ("irq_timer", "irq_message"):
        # What only the engine's own look at the clock, every few ms, would uncover is later than this.
        assert rows[f"{kind}_p50"][0] < 1000
