"""The GDB server, driven by gdb itself."""
import re
import subprocess
import time

import pytest
from conftest import BUILD, CMDLINE, KERNEL, SHELL, liege, free_port


def gdb(port, *commands, timeout=120):
    args = ["gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off",
            "-ex", "set tcp connect-timeout 30", "-ex", f"target remote 127.0.0.1:{port}"]
    for c in commands:
        args += ["-ex", c]
    return subprocess.run(args, capture_output=True, text=True, timeout=timeout, check=False).stdout


@pytest.fixture(scope="module")
def start_kernel():
    """Address of start_kernel without KASLR, from the guest's own kallsyms (entering the ELF directly, nothing is
    moved)."""
    r = liege("run", "--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' nokaslr liege.run="grep -w start_kernel /proc/kallsyms; grep -w rest_init /proc/kallsyms"',
              timeout=300)
    return {name: int(a, 16) for a, name in re.findall(r"^([0-9a-f]{16}) \w (start_kernel|rest_init)", r.stdout, re.M)}


def test_stops_at_start_kernel_and_steps(machine, start_kernel):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL,
                "--cmdline", CMDLINE + " nokaslr")
    at = start_kernel["start_kernel"]
    out = gdb(port, f"hbreak *{at:#x}", "continue", "info registers rip cr3", "stepi", "stepi",
              "info registers rip", "x/2i $rip", "info threads", "delete", "detach")
    rips = [int(x, 16) for x in re.findall(r"rip\s+(0x[0-9a-f]+)", out)]
    assert rips[0] == at and rips[1] != at and rips[1] >> 30 == at >> 30, out
    assert "CPU 0" in out
    m.expect("LIEGE-GUEST-READY", 300)  # and it runs on after the detach


def test_software_breakpoint_watchpoint_and_memory(machine, start_kernel):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL,
                "--cmdline", CMDLINE + " nokaslr")
    at, rest = start_kernel["start_kernel"], start_kernel["rest_init"]
    out = gdb(port, f"hbreak *{at:#x}", "continue", "delete", f"break *{rest:#x}", "continue", "info registers rip",
              f"x/4xb {rest:#x}", "watch *(long *)($rsp - 8)", "continue", "info registers rip", "delete", "detach",
              timeout=200)
    rips = [int(x, 16) for x in re.findall(r"rip\s+(0x[0-9a-f]+)", out)]
    assert rips[0] == rest, out
    first = re.search(rf"{rest:#x}.*?:\s+(0x[0-9a-f]{{2}})", out)
    assert first and first.group(1) != "0xcc", out  # what is planted does not show
    assert "atchpoint" in out and len(rips) > 1 and rips[1] != rest, out
    m.expect("LIEGE-GUEST-READY", 300)


def test_client_that_vanishes_leaves_the_machine_running(machine):
    port = free_port()
    m = machine("--accel", "soft", "--gdb", f"tcp:{port}", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE)
    p = subprocess.Popen(["gdb", "-nx", "-q", "-ex", f"target remote 127.0.0.1:{port}"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(3)
    p.kill()
    p.wait()
    p.stdin.close()
    p.stdout.close()
    m.expect("LIEGE-GUEST-READY", 300)


CALLS = BUILD / "tests" / "guests" / "calls.elf"  # C with DWARF; ends with 3 by port 0xf4
CALLS_DONE = 3 * 2 + 1


def debug_calls(machine, accel, *commands):
    """gdb's output for `commands` in calls.c, and the machine's exit status."""
    port = free_port()
    m = machine("--accel", accel, *(["--cpu", "x86-64-v1"] if accel == "kvm" else []), "--gdb", f"tcp:{port}",
                "--kernel", CALLS, "--debug-exit", use_pty=False)
    time.sleep(0.3)
    if accel == "kvm" and m.process.poll() is not None:
        pytest.skip("optional: no usable /dev/kvm: " + m.stderr().strip()[:100])
    out = gdb(port, f"symbol-file {CALLS}", *commands, timeout=60)
    return out, m.wait(30)


@pytest.mark.parametrize("accel", ["soft", "kvm"])
def test_c_function_by_name_backtrace_with_arguments_and_finish(machine, accel):
    out, status = debug_calls(machine, accel, "hbreak innermost", "continue", "bt", "info args", "print watched",
                              "finish", "next", "next", "info locals", "up", "info locals", "print a",
                              "delete", "detach")
    frames = re.findall(r"^#(\d) .*?(\w+) \(([^)]*)\) at [^ ]*calls\.c:\d+", out, re.M)
    names = [name for _, name, _ in frames]
    assert names[:4] == ["innermost", "middle", "outer", "guest_main"], out
    arguments = {name: args for _, name, args in frames[:4]}
    assert "depth=8" in arguments["innermost"] and '"liege"' in arguments["innermost"], out
    assert arguments["middle"] == "factor=7" and arguments["outer"] == "a=2, b=5", out
    assert "$1 = 11" in out, out
    assert re.search(r"Value returned is \$\d+ = 116", out), out  # 'l' + 8
    assert "got = 116" in out and re.search(r"\$\d+ = 2$", out, re.M), out
    assert status == CALLS_DONE


@pytest.mark.parametrize("accel", ["soft", "kvm"])
def test_steps_go_into_and_over_c_calls(machine, accel):
    out, status = debug_calls(machine, accel, "hbreak outer", "continue", "step", "frame", "next", "next", "frame",
                              "stepi", "delete", "detach")
    assert re.search(r"middle \(factor=7\)", out), out  # stepped into the call
    assert re.search(r"^\d+\s+return got \* factor;", out, re.M), out  # over innermost()
    assert status == CALLS_DONE


@pytest.mark.parametrize("accel", ["soft", "kvm"])
def test_watch_on_a_global_tells_old_and_new_value(machine, accel):
    out, status = debug_calls(machine, accel, "watch watched", "continue", "bt 1", "continue", "bt 1", "delete",
                              "detach")
    if accel == "kvm" and "Old value" not in out and status == CALLS_DONE:
        pytest.skip("optional: this /dev/kvm does not honour data breakpoints")
    changes = re.findall(r"Old value = (-?\d+)\s+New value = (-?\d+)", out)
    assert changes[:2] == [("11", "800"), ("800", "810")], out
    assert re.search(r"#0 .*innermost", out) and re.search(r"#0 .*guest_main", out), out
    assert status == CALLS_DONE


def test_software_breakpoint_in_c_with_a_condition(machine):
    out, status = debug_calls(machine, "soft", "hbreak guest_main", "continue",
                              "break calls.c:innermost if depth == 8", "continue", "print name", "delete", "detach")
    assert '"liege"' in out and status == CALLS_DONE, out
