"""The console: raw terminal, escapes, pipes, signals."""
import os
import signal
import termios

from conftest import CMDLINE, KERNEL, SHELL, liege


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
