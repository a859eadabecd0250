"""The console: raw terminal, escapes, pipes, signals."""
import fcntl
import os
import re
import shlex
import signal
import struct
import subprocess
import termios

import pytest
from conftest import BUILD, CMDLINE, KERNEL, LIEGE, SHELL, liege


def test_escape_x_quits_and_the_terminal_is_restored(shell):
    m = shell()
    before = termios.tcgetattr(m.master)
    assert not before[3] & termios.ECHO  # raw while it runs
    m.type("\x01x")
    assert m.wait(30) == 1
    assert termios.tcgetattr(m.master)[3] & termios.ECHO


def test_escape_h_helps(shell):
    m = shell()
    m.type("\x01h")
    m.expect("Ctrl-A x", 10)


def test_pipes_work_without_a_terminal(machine):
    m = machine("--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE, use_pty=False)
    m.expect(r"liege:\S*# ", 120)
    m.type("echo $((6*7))\npoweroff\n")
    m.expect(r"\b42\r?\n", 30)
    assert m.wait(60) == 0


# Input that is there before the guest is: its driver tests and clears the port several times before it listens.
EARLY = "echo " + "".join(f"{i:03}" for i in range(100))


@pytest.mark.parametrize("redirect,cpus", [("cat commands |", 1),
                                           pytest.param("cat commands |", 2, marks=pytest.mark.full),
                                           pytest.param("<commands", 1, marks=pytest.mark.full)])
def test_commands_given_at_the_start_arrive_whole(tmp_path, redirect, cpus):
    (tmp_path / "commands").write_text(f"{EARLY}\nuname -a\npoweroff\n")
    run = shlex.join([str(LIEGE), "run", "--accel", "soft", "--cpus", str(cpus), "--kernel", str(KERNEL), "--initrd",
                      str(SHELL), "--cmdline", CMDLINE])
    r = subprocess.run(["sh", "-c", f"{redirect} {run}"], cwd=tmp_path, capture_output=True, timeout=240, check=False)
    lines = r.stdout.decode(errors="replace").replace("\r", "").split("\n")
    assert r.returncode == 0, r.stdout + r.stderr
    assert EARLY[5:] in lines, r.stdout
    assert any(line.startswith("Linux liege 6.1") for line in lines), r.stdout


@pytest.mark.parametrize("text", ["x\n", EARLY + "\n"])
def test_a_guest_that_polls_gets_its_input(text):
    r = subprocess.run([str(LIEGE), "run", "--accel", "soft", "--memory", "16M", "--debug-exit", "--kernel",
                        str(BUILD / "tests" / "guests" / "echo.elf")], input=text.encode(), capture_output=True,
                       timeout=60, check=False)
    assert (r.stdout.decode(), r.returncode) == (text, 1), r.stderr


def test_console_to_a_file(tmp_path):
    log = tmp_path / "console.log"
    r = liege("run", "--accel", "soft", "--console", f"file={log}", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + " liege.run=true", timeout=240)
    assert r.returncode == 0 and "LIEGE-RUN-STATUS 0" in log.read_text()


def test_sigterm_presses_the_power_button(shell):
    m = shell()
    m.process.send_signal(signal.SIGTERM)
    assert m.wait(60) == 0
    assert "Power down" in m.text or "power" in m.text.lower()


def test_a_second_sigterm_ends_at_once(shell):
    m = shell(cmdline="noacpid")
    m.process.send_signal(signal.SIGSTOP)
    m.process.send_signal(signal.SIGCONT)
    m.process.send_signal(signal.SIGTERM)
    m.process.send_signal(signal.SIGTERM)
    assert m.wait(30) in (0, 1)


def test_killed_by_abort_restores_the_terminal(shell):
    m = shell()
    os.kill(m.process.pid, signal.SIGABRT)
    m.process.wait(30)
    assert termios.tcgetattr(m.master)[3] & termios.ECHO


HVC = "console=hvc0 quiet mitigations=off"


@pytest.mark.parametrize("extra", [[], pytest.param(["--virtio-mmio"], marks=pytest.mark.full)], ids=["pci", "mmio"])
def test_the_console_is_a_virtio_console(machine, extra):
    m = machine("--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", HVC,
                "--console-device", "virtio", *extra)
    m.expect(r"liege:\S*# ", 120)
    assert m.run("tty") == ("/dev/hvc0\n", 0)
    assert m.run("cat /sys/class/tty/console/active") == ("hvc0\n", 0)
    assert m.run("seq 3000") == ("".join(f"{i}\n" for i in range(1, 3001)), 0)
    fcntl.ioctl(m.master, termios.TIOCSWINSZ, struct.pack("4H", 33, 111, 0, 0))
    m.process.send_signal(signal.SIGWINCH)
    m.run("sleep 2")
    out, status = m.run("stty size")  # before its answer, the shell may write the prompt and the typed line anew
    assert (out.splitlines()[-1], status) == ("33 111", 0), out
    m.type("\x01x")
    assert m.wait(30) == 1


def test_a_serial_line_beside_a_virtio_console(machine, tmp_path):
    """Without a command line of one's own the kernel speaks on both, and the shell is on the virtio console."""
    log = tmp_path / "serial.log"
    m = machine("--accel", "soft", "--console-device", "virtio", "--serial", f"file={log}", "--kernel", KERNEL,
                "--initrd", SHELL)
    m.expect(r"liege:\S*# ", 120)
    assert m.run("tty") == ("/dev/hvc0\n", 0)
    m.type("poweroff\n")
    assert m.wait(60) == 0
    early = log.read_text(errors="replace")
    assert "Linux version" in early and "console=ttyS0 console=hvc0" in early and "liege:" not in early, early


def test_a_pty_for_each(machine):
    m = machine("--accel", "soft", "--console-device", "virtio", "--console", "pty", "--serial", "pty",
                "--kernel", KERNEL, "--initrd", SHELL)
    line = b""
    while line.count(b"\n") < 2:
        line += os.read(m.process.stderr.fileno(), 4096)
    console, serial = re.findall(rb"liege: (?:console|serial line) on (/dev/pts/\d+)", line)
    assert console != serial and all(os.path.exists(p) for p in (console, serial))


def test_several_initrds_are_one_to_linux(machine, tmp_path):
    second = tmp_path / "second.cpio"
    (tmp_path / "extra").write_text("from the second\n")
    with open(second, "wb") as f:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tmp_path, input=b"extra\n", stdout=f, check=True)
    r = liege("run", "--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--initrd", second, "--cmdline",
              CMDLINE + ' liege.run="cat /extra"', timeout=240)
    assert r.returncode == 0 and "from the second" in r.stdout, r.stdout + r.stderr
