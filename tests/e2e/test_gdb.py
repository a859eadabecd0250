"""The GDB server, driven by gdb itself."""
import re
import subprocess
import time

import pytest
from conftest import CMDLINE, KERNEL, SHELL, liege
from test_devices import free_port


def gdb(port, *commands, timeout=120):
    args = ["gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off", "-ex", "set tcp connect-timeout 30",
            "-ex", f"target remote 127.0.0.1:{port}"]
    for c in commands:
        args += ["-ex", c]
    return subprocess.run(args, capture_output=True, text=True, timeout=timeout, check=False).stdout


@pytest.fixture(scope="module")
def start_kernel():
    """Address of start_kernel without KASLR, from the guest's own kallsyms (entering the ELF directly, nothing is moved)."""
    r = liege("run", "--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' nokaslr liege.run="grep -w start_kernel /proc/kallsyms; grep -w rest_init /proc/kallsyms"', timeout=300)
    return {name: int(a, 16) for a, name in re.findall(r"^([0-9a-f]{16}) \w (start_kernel|rest_init)", r.stdout, re.M)}


def test_stops_at_start_kernel_and_steps(machine, start_kernel):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE + " nokaslr")
    at = start_kernel["start_kernel"]
    out = gdb(port, f"hbreak *{at:#x}", "continue", "info registers rip cr3", "stepi", "stepi", "info registers rip", "x/2i $rip", "info threads",
              "delete", "detach")
    rips = [int(x, 16) for x in re.findall(r"rip\s+(0x[0-9a-f]+)", out)]
    assert rips[0] == at and rips[1] != at and rips[1] >> 30 == at >> 30, out
    assert "CPU 0" in out
    m.expect("LIEGE-GUEST-READY", 300)  # and it runs on after the detach


def test_software_breakpoint_watchpoint_and_memory(machine, start_kernel):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE + " nokaslr")
    at, rest = start_kernel["start_kernel"], start_kernel["rest_init"]
    out = gdb(port, f"hbreak *{at:#x}", "continue", "delete", f"break *{rest:#x}", "continue", "info registers rip",
              f"x/4xb {rest:#x}", "watch *(long *)($rsp - 8)", "continue", "info registers rip", "delete", "detach", timeout=200)
    rips = [int(x, 16) for x in re.findall(r"rip\s+(0x[0-9a-f]+)", out)]
    assert rips[0] == rest, out
    first = re.search(rf"{rest:#x}.*?:\s+(0x[0-9a-f]{{2}})", out)
    assert first and first.group(1) != "0xcc", out  # what is planted does not show
    assert "atchpoint" in out and len(rips) > 1 and rips[1] != rest, out
    m.expect("LIEGE-GUEST-READY", 300)


def test_client_that_vanishes_leaves_the_machine_running(machine):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE)
    p = subprocess.Popen(["gdb", "-nx", "-q", "-ex", f"target remote 127.0.0.1:{port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    time.sleep(3)
    p.kill()
    p.wait()
    p.stdin.close()
    p.stdout.close()
    m.expect("LIEGE-GUEST-READY", 300)
