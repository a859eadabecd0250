"""Insight into translated code: the report of the hottest blocks, and the map that perf reads."""
import os
import re
import shutil
import subprocess

import pytest
from conftest import CMDLINE, KERNEL, SHELL, liege

BOOT = ["run", "--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline"]
LINE = re.compile(r"[0-9a-f]+ [0-9a-f]+ \[guest (kernel|user)\] (\S+\+0x[0-9a-f]+ )?0x[0-9a-f]+ physical 0x[0-9a-f]+$")


@pytest.mark.parametrize("extra", [[], ["--engine-process"]], ids=lambda e: "".join(e) or "threads")
def test_the_hottest_blocks_are_printed_with_their_instructions(tmp_path, extra):
    names = tmp_path / "kallsyms"
    names.write_text("".join(f"{0xffffffff81000000 + i * 0x80000:x} T kernel_{i}\n" for i in range(64)))
    r = liege(*BOOT, CMDLINE + " liege.run=true", "--profile", "--symbols", names, *extra, timeout=240)
    assert r.returncode == 0, r.stdout + r.stderr
    m = re.search(r"^profile +(\d+) samples: ([\d.]+) % in translated code, ([\d.]+) % on the way in and out, "
                  r"([\d.]+) % in the engine", r.stderr, re.M)
    assert m and int(m.group(1)) > 20, r.stderr
    assert abs(sum(float(m.group(i)) for i in (2, 3, 4)) - 100) < 0.2, m.group(0)
    blocks = re.findall(r"^ *([\d.]+) %  \(engine [\d.]+ %\)  [0-9a-f]{16}.*$", r.stderr, re.M)
    assert len(blocks) == 10 and sorted(map(float, blocks), reverse=True) == list(map(float, blocks)), r.stderr
    assert len(re.findall(r"^        [0-9a-f]{16}  [a-z]", r.stderr, re.M)) > 10, r.stderr
    assert re.search(r"  kernel  kernel_\d+\+0x[0-9a-f]+$", r.stderr, re.M), r.stderr


def test_perf_names_translated_code(shell, tmp_path):
    m = shell("--perf-map")
    file = f"/tmp/perf-{m.process.pid}.map"
    data = tmp_path / "perf.data"
    try:
        assert os.stat(file).st_mode & 0o777 == 0o600  # it says where a guest's code is
        m.type("sh -c 'while :; do :; done'\n")
        if shutil.which("perf"):
            done = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-o", data, "-p", str(m.process.pid),
                                   "sleep", "2"], capture_output=True, text=True, check=False)
        m.process.kill()
        m.process.wait()
        lines = open(file, encoding="ascii").read().splitlines()
        whole = [line for line in lines[1:-1] if not LINE.match(line)]  # the last may not be written to its end
        assert lines[0].endswith(" [liege glue]") and len(lines) > 10_000 and not whole, whole[:5]
        assert any("[guest user]" in line for line in lines)
        if not shutil.which("perf") or done.returncode:
            pytest.skip("optional: perf may not sample here")
        report = subprocess.run(["perf", "report", "-i", data, "--stdio", "--sort", "sym"], capture_output=True,
                                text=True, check=True).stdout
        assert re.search(r"[\d.]+%  \[\.\] \[guest user\] 0x[0-9a-f]+ physical", report), report[:2000]
    finally:
        os.unlink(file)


def test_a_file_without_symbols_is_refused(tmp_path):
    file = tmp_path / "x"
    file.write_text("nothing\n")
    for path in (file, tmp_path / "absent"):
        r = liege(*BOOT, CMDLINE, "--profile", "--symbols", path)
        assert r.returncode == 1 and str(path) in r.stderr and r.stderr.count("\n") == 1, r.stderr
