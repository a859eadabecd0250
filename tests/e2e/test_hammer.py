"""A guest that uses everything wrongly (tests/hammer) ends in one of a guest's ways; neither liege nor the sanitizers
have anything to say."""
import os
import signal
import subprocess

import pytest
from conftest import BUILD, TOP

GUEST = BUILD / "tests" / "hammer" / "hammer.elf"
DONE = 21 * 2 + 1  # EXIT_DONE through --debug-exit
ENDS = {DONE: "done", 0: "powered off", 3: "reset", 4: "crashed", 45: "lost its way"}
PORTS, ALL, RESETS = 0x01, 0x7f, 0xff


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
    assert said.count("\n") < 2000, "a guest can fill the host's log"
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
    ends = [hammer(build, tmp_path, seed, RESETS, 1, "--cpus", "2") for seed in range(100, 106)]
    assert set(ends) - {"done"}


@pytest.mark.full
@pytest.mark.parametrize("extra", [[], ["--virtio-mmio"], ["--engine-process", "--testdev"]],
                         ids=lambda e: "".join(e) or "pci")
def test_many_seeds(build, tmp_path, extra):
    ends = [hammer(build, tmp_path, seed, ALL, 8, "--cpus", "4", *extra) for seed in range(1000, 1020)]
    assert ends.count("done") > len(ends) // 2
