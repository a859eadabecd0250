"""What the host takes away from a vCPU is the guest's steal time: the eighth number of /proc/stat, which top calls
st."""
import contextlib
import os
import subprocess
import sys

import pytest

SECONDS = 3


def family(pid):
    """The process and those that it forked, with all their threads."""
    for task in os.listdir(f"/proc/{pid}/task"):
        yield int(task)
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            for child in f.read().split():
                yield from family(int(child))


@contextlib.contextmanager
def a_rival(pid):
    """The machine shares one CPU of the host with somebody who wants all of it."""
    cpu = min(os.sched_getaffinity(0))
    for task in family(pid):
        os.sched_setaffinity(task, {cpu})
    spin = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as p:
        try:
            yield
        finally:
            p.kill()


def hundredths(m):
    """(all, idle, stolen), in hundredths of seconds."""
    out, status = m.run("head -n1 /proc/stat")
    assert status == 0
    line = next(x for x in out.splitlines() if x.startswith("cpu "))
    n = [int(x) for x in line.split()[1:9]]
    return sum(n), n[3] + n[4], n[7]


def during(m, command):
    was = hundredths(m)
    m.run(command, 120)
    return [b - a for a, b in zip(was, hundredths(m))]


@pytest.mark.parametrize("extra", [[], ["--engine-process"]], ids=lambda e: "".join(e) or "threads")
def test_the_guest_is_told_what_a_rival_takes(shell, extra):
    m = shell(*extra)
    with a_rival(m.process.pid):
        total, _, stolen = during(m, f"timeout {SECONDS} sh -c 'while :; do :; done'")
        # half of it, as the host's scheduler sees it; less where it favours the machine
        assert 0.2 * SECONDS * 100 < stolen <= total, (total, stolen)
        total, idle, stolen = during(m, f"sleep {SECONDS}")
        assert stolen < 0.3 * SECONDS * 100 < idle, (total, idle, stolen)  # who sleeps is robbed of nothing
