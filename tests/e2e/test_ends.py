"""What a guest asks for happens at once: no instruction is executed after the write that resets or powers off."""
import re

import pytest
from conftest import BUILD, liege

IMAGE = BUILD / "tests" / "guests" / "ends.elf"
# The last character of the command line (tests/guests/ends.S), and the exit status.
WAYS = {"a": 3, "k": 3, "9": 3, "c": 3, "p": 0, "d": 5 * 2 + 1}
ACCELS = {"soft": ["--accel", "soft"],
          "process": ["--accel", "soft", "--engine-process"],
          "kvm": ["--accel", "kvm", "--cpu", "x86-64-v1"]}


def usable(accel):
    if accel == "kvm":
        r = liege("run", *ACCELS["kvm"], "--kernel", IMAGE, "--cmdline", "p", timeout=30)
        if r.returncode == 1 and r.stderr:
            pytest.skip("optional: no usable /dev/kvm: " + r.stderr.strip()[:100])
    return ACCELS[accel]


@pytest.mark.parametrize("accel", ACCELS)
def test_nothing_runs_after_the_write_that_ends(accel):
    args = usable(accel)
    for way, status in WAYS.items():
        for cpus in (1, 2):
            r = liege("run", *args, "--kernel", IMAGE, "--cmdline", way, "--cpus", cpus, "--memory", "16M",
                      "--no-reboot", "--debug-exit", timeout=30)
            assert (r.stdout, r.returncode) == ("B", status), (way, cpus, r.stdout, r.stderr)


@pytest.mark.parametrize("accel", ACCELS)
def test_nothing_runs_after_the_write_that_resets_though_the_machine_goes_on(machine, accel):
    m = machine(*usable(accel), "--kernel", IMAGE, "--cmdline", "a", "--memory", "16M", use_pty=False)
    m.expect("X|B{50}", 60)
    assert re.fullmatch("B+", m.text), m.text
