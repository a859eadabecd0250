"""A guest that uses everything wrongly (tests/hammer) ends in one of a guest's ways; neither liege nor the sanitizers
have anything to say."""
import os
import signal
import subprocess
import time

import pytest
from conftest import BUILD, TOP

GUEST = BUILD / "tests" / "hammer" / "hammer.elf"
DONE = 21 * 2 + 1  # EXIT_DONE through --debug-exit
ENDS = {DONE: "done", 0: "powered off", 3: "reset", 4: "crashed", 45: "lost its way"}
PORTS, ALL, RESETS, RUBBISH = 0x01, 0x7f, 0x80, 0x100
LINES_AT_ONCE, LINES_A_SECOND = 20, 2  # what all of a guest's messages are limited to (src/base/log.h)
LINES_OF_THE_END = 100  # a triple fault shows the registers of its CPU; a person's end says its line


@pytest.fixture(scope="module", params=["plain", "sanitized"])
def build(request):
    if request.param == "plain":
        return BUILD
    folder = TOP / "build-asan"
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", folder, "-Db_sanitize=address,undefined", "-Db_lundef=false"], cwd=TOP,
                       check=True, capture_output=True)
    subprocess.run(["ninja", "-C", folder, "liege"], check=True, capture_output=True)
    return folder


def hammer(folder, tmp_path, seed, what, rounds, *extra, patience=300):
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(4 << 20))
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
           "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    args = [folder / "liege", "run", "--accel", "soft", "--kernel", GUEST, "--memory", "64M", "--debug-exit",
            "--no-reboot", "--console", "none", "--rng", "--disk", disk, "--net", "user,restrict",
            "--cmdline", f"seed={seed} rounds={rounds} what={what}", *extra]
    start = time.monotonic()
    with subprocess.Popen(list(map(str, args)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, errors="replace", env=env) as p:
        try:
            _, said = p.communicate(timeout=patience)
            end = ENDS.get(p.returncode)
        except subprocess.TimeoutExpired:
            # Code made of registers and rubbish may halt, or run in circles, for ever. Liege still listens.
            p.send_signal(signal.SIGINT)
            _, said = p.communicate(timeout=60)
            end = "lost its way" if p.returncode == 1 else None
        finally:
            p.kill()
    assert end, f"seed {seed}: status {p.returncode}\n{said[-6000:]}"
    assert "Sanitizer" not in said and "runtime error" not in said, said[-6000:]
    seconds = time.monotonic() - start
    few = LINES_AT_ONCE + LINES_A_SECOND * (seconds + 1) + LINES_OF_THE_END * (end != "done")
    assert said.count("\n") <= few, f"in {seconds:.0f} s a guest fills the host's log\n{said[-6000:]}"
    return end


@pytest.mark.parametrize("extra", [[], ["--virtio-mmio"], ["--testdev"], ["--no-acpi"], ["--engine-process"]],
                         ids=lambda e: "".join(e) or "pci")
def test_everything_at_once_comes_to_its_end(build, tmp_path, extra):
    # there each access passes between two processes: test_many_seeds has them all
    rounds = 1 if "--engine-process" in extra else 2
    ends = [hammer(build, tmp_path, seed, ALL, rounds, "--cpus", "2", *extra) for seed in (1, 2)]
    assert "done" in ends  # or the guest always loses its own feet, and little is reached


def test_the_engine_process_does_not_poll_for_what_cannot_run(tmp_path):
    """VMM and engine on one host CPU: polling for the other's turn delays it. Some 600,000 port accesses take seconds,
    not minutes."""
    was = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(was)})
    try:
        assert hammer(BUILD, tmp_path, 1, PORTS, 1, "--engine-process", patience=60) == "done"
    finally:
        os.sched_setaffinity(0, was)


def test_resets_and_power_off_are_normal_ends(build, tmp_path):
    ends = [hammer(build, tmp_path, seed, ALL | RESETS, 1, "--cpus", "2") for seed in range(100, 106)]
    assert set(ends) - {"done"}


def test_a_guest_that_runs_rubbish_with_all_privileges_ends_somehow(build, tmp_path):
    """It may go to sleep for ever, too, which is an end as good as the others: what it does is not for liege to fail
    on."""
    for seed in range(200, 204):
        hammer(build, tmp_path, seed, ALL | RUBBISH, 4, "--cpus", "2", patience=30)


# Each access passes between two processes with the last: a seed takes a minute there, and several with the sanitizers.
@pytest.mark.full
@pytest.mark.parametrize("extra,seeds", [([], 20), (["--virtio-mmio"], 20), (["--engine-process", "--testdev"], 10)],
                         ids=["pci", "mmio", "process"])
def test_many_seeds(build, tmp_path, extra, seeds):
    rounds = 8
    if build != BUILD:
        seeds //= 2
        rounds = 2 if "--engine-process" in extra else 4
    ends = [hammer(build, tmp_path, seed, ALL, rounds, "--cpus", "4", *extra) for seed in range(1000, 1000 + seeds)]
    assert ends.count("done") >= len(ends) * 4 // 5, ends  # this guest protects itself: few lose their feet


@pytest.mark.full
def test_many_guests_that_run_rubbish(build, tmp_path):
    for seed in range(2000, 2020 if build == BUILD else 2010):
        hammer(build, tmp_path, seed, ALL | RUBBISH, 8, "--cpus", "4", patience=30)
