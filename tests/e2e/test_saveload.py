"""A whole machine is saved, loaded in a new process, and goes on."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import BUILD, CMDLINE, KERNEL, SHELL, Machine

SAVELOAD = BUILD / "tests" / "machine" / "saveload"


@pytest.fixture
def start():
    """start(config, state, memory, *more): a saveload process on pipes; killed after the test."""
    started = []

    def run(config, state, memory, *more):
        m = Machine.__new__(Machine)
        m.text, m.at, m.master = "", 0, None
        m.process = subprocess.Popen([str(SAVELOAD), str(config), str(state), str(memory), *more],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        m.out = m.process.stdout.fileno()
        os.set_blocking(m.out, False)
        started.append(m)
        return m

    yield run
    for m in started:
        m.close()


@pytest.mark.parametrize("cpus,process", [(1, False), (2, False), (2, True)])
def test_a_busy_machine_goes_on_where_it_was(start, tmp_path, cpus, process):
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(4 << 20))
    config = tmp_path / "vm.json"
    config.write_text(json.dumps({
        "accel": "soft", "engine-process": process, "memory": "256M", "cpus": cpus, "kernel": str(KERNEL),
        "initrd": str(SHELL), "cmdline": CMDLINE, "rng": True,
        "disks": [{"path": str(disk)}], "nets": [{"user": True}], "console": "stdio"}))
    state, memory = tmp_path / "state", tmp_path / "memory"
    m = start(config, state, memory)
    m.expect(r"liege:\S*# ", 120)
    # A counter in the background, a checksum of the disk before, and a variable that only this shell knows.
    m.run("x=remembered; (i=0; while true; do i=$((i+1)); echo $i > /tmp/c; mv /tmp/c /tmp/count; done) & sleep 1")
    before, _ = m.run("sha256sum /dev/vda; cat /tmp/count; date +%s")
    m.process.send_signal(signal.SIGUSR1)
    assert m.wait(60) == 0, m.stderr()
    time.sleep(1)
    m = start(config, state, memory, "--load")
    m.type("\n")
    m.expect(r"liege:\S*# ", 30)
    after, status = m.run("echo $x; sha256sum /dev/vda; cat /tmp/count; date +%s; "
                          "ping -c 1 -W 2 10.0.2.2 >/dev/null && echo NET")
    assert status == 0 and "remembered" in after and "NET" in after, after
    digest = re.search(r"([0-9a-f]{64})", before).group(1)
    assert digest in after
    assert int(re.search(r"/dev/vda\s+(\d+)", after).group(1)) > int(re.search(r"/dev/vda\s+(\d+)", before).group(1))
    m.type("poweroff\n")
    assert m.wait(60) == 0, m.stderr()


def test_damaged_files_are_refused(start, tmp_path):
    config = tmp_path / "vm.json"
    config.write_text(json.dumps({"accel": "soft", "memory": "64M", "kernel": str(KERNEL), "initrd": str(SHELL),
                                  "cmdline": CMDLINE, "console": "stdio"}))
    state, memory = tmp_path / "state", tmp_path / "memory"
    m = start(config, state, memory)
    time.sleep(1)
    m.process.send_signal(signal.SIGUSR1)
    assert m.wait(60) == 0, m.stderr()
    good = state.read_bytes()
    for damage, word in [(good[:100], "cut short"), (good[:-1] + bytes([good[-1] ^ 1]), "damaged"),
                         (b"x" * 50, "not a saved state")]:
        state.write_bytes(damage)
        r = subprocess.run([str(SAVELOAD), str(config), str(state), str(memory), "--load"], capture_output=True,
                           text=True, check=False)
        assert r.returncode == 1 and word in r.stderr, r.stderr
    state.write_bytes(good)
    os.truncate(memory, 1 << 20)
    r = subprocess.run([str(SAVELOAD), str(config), str(state), str(memory), "--load"], capture_output=True,
                       text=True, check=False)
    assert r.returncode == 1 and "memory" in r.stderr
