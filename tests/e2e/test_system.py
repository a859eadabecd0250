"""Privileged and system instructions (tests/system): the same log from the software engine and from Bochs."""
import shutil
import subprocess

import pytest
from conftest import BUILD, liege

FOLDER = BUILD / "tests" / "system"
BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"
BOCHSRC = """romimage: file={bios}
vgaromimage: file={vga}
megs: 64
floppya: 1_44={work}/floppy.img, status=inserted
boot: floppy
display_library: term
log: {work}/bochs.log
com1: enabled=1, mode=file, dev={work}/com1
cpu: model=corei7_sandy_bridge_2600k, ips=50000000, ignore_bad_msrs=0
panic: action=fatal
"""


def lines(text):
    text = text.replace("\r", "").replace("\0", "")
    assert "system: begin" in text and "system: end" in text, text[-2000:]
    return text[text.index("system: begin"):text.index("system: end")].splitlines()


@pytest.fixture(scope="module")
def soft():
    r = liege("run", "--accel", "soft", "--kernel", FOLDER / "system.bin", "--debug-exit", timeout=30)
    assert r.returncode == 11, r.stdout + r.stderr
    return lines(r.stdout)


def test_faults_carry_vector_error_code_and_address(soft):
    for line in ("mov ds, not present: vector b error 28", "mov ss, not present: vector c error 28",
                 "ltr busy: vector d error 58", "no execute, execute: vector e error 11 at 205000",
                 "reserved bit, write: vector e error b at 205000"):
        assert line in soft, soft


def test_bochs_says_the_same(soft, tmp_path):
    if not shutil.which("bochs"):
        pytest.skip("optional: bochs is not installed")
    image = (FOLDER / "boot.bin").read_bytes() + (FOLDER / "system.bin").read_bytes()
    assert len(image) <= 65 * 512
    (tmp_path / "floppy.img").write_bytes(image.ljust(1474560, b"\0"))
    (tmp_path / "bochsrc").write_text(BOCHSRC.format(bios=BIOS, vga=VGA, work=tmp_path))
    (tmp_path / "rc").write_text("c\n")
    p = subprocess.run(["timeout", "-k", "2", "20", "bochs", "-q", "-f", tmp_path / "bochsrc", "-rc",
                        tmp_path / "rc"], cwd=tmp_path, stdin=subprocess.DEVNULL,
                       capture_output=True, env={"TERM": "xterm", "PATH": "/usr/bin:/bin"}, check=False)
    com1 = tmp_path / "com1"
    assert com1.exists(), p.stdout[-500:] + p.stderr[-500:]
    assert lines(com1.read_text(errors="replace")) == soft
