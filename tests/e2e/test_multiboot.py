"""A Multiboot kernel of our own (tests/guests/multiboot.S) with a module, by the real binary."""
import pytest
from conftest import BUILD, liege

IMAGE = BUILD / "tests" / "guests" / "multiboot.elf"
DONE = 5 * 2 + 1  # what it ends with, by port 0xf4


def run(module, *args, accel="soft"):
    return liege("run", "--accel", accel, "--kernel", IMAGE, "--initrd", module, "--debug-exit", *args, timeout=30)


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "module.txt"
    path.write_text("what the module says")
    return path


@pytest.mark.parametrize("memory,top", [("64M", 0x4000000), ("512M", 0x20000000)])
def test_kernel_finds_command_line_module_and_memory(module, memory, top):
    r = run(module, "--cmdline", "one two=3", "--memory", memory)
    assert r.returncode == DONE, r.stdout + r.stderr
    lines = dict(line.split(": ", 1) for line in r.stdout.replace("\r", "").splitlines() if ": " in line)
    assert "one two=3" in lines["cmdline"], r.stdout
    assert lines["text"] == "what the module says", r.stdout
    assert abs(int(lines["memory"], 16) - top) <= 0x100000, r.stdout


def test_the_timer_ticks_where_a_bios_has_put_it(module):
    """The loader must leave the interrupt controller with the values of a BIOS (Multiboot 0.6.96, 3.2)."""
    r = run(module)
    assert r.returncode == DONE, r.stdout + r.stderr
    assert "vector: 00000008" in r.stdout, r.stdout


def test_module_of_several_pages_arrives_whole(tmp_path):
    module = tmp_path / "big"
    text = "".join(f"{i:07x}" for i in range(3000))
    module.write_text(text)
    r = run(module)
    assert r.returncode == DONE and text in r.stdout, r.stdout[:200] + r.stderr


def test_without_a_module_the_kernel_says_so():
    r = liege("run", "--accel", "soft", "--kernel", IMAGE, "--debug-exit", timeout=30)
    assert "failed: 00000003" in r.stdout or "failed: 00000004" in r.stdout, r.stdout + r.stderr
    assert r.returncode in ((0x43 * 2 + 1), (0x44 * 2 + 1)), r.returncode


def test_the_same_on_kvm_where_it_is(module):
    r = run(module, "--cpu", "x86-64-v1", accel="kvm")
    if r.returncode == 1 and r.stderr:
        pytest.skip("optional: no usable /dev/kvm: " + r.stderr.strip()[:100])
    assert r.returncode == DONE and "what the module says" in r.stdout, r.stdout + r.stderr
