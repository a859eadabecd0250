"""A stock Debian kernel boots to a shell on the software engine."""
import re

import pytest
from conftest import CMDLINE, KERNEL, SHELL, liege


def test_shell_runs_commands_and_poweroff_gives_status_0(shell):
    m = shell()
    out, status = m.run("uname -a")
    assert status == 0 and "Linux liege 6.1" in out
    m.type("poweroff\n")
    assert m.wait(60) == 0


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_every_cpu_comes_up(cpus):
    r = liege("run", "--accel", "soft", "--cpus", cpus, "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' liege.run="grep -c ^processor /proc/cpuinfo"', timeout=240)
    assert r.returncode == 0, r.stdout + r.stderr
    assert re.search(rf"^{cpus}\r?$", r.stdout, re.M), r.stdout
    assert "LIEGE-RUN-STATUS 0" in r.stdout


@pytest.mark.parametrize("cpu,extra,there,gone", [
    ("default,-pcid,+pku", [], {"smap", "pku", "ospke"}, {"pcid", "la57"}),  # ospke: the kernel has switched it on
    # Linux shows la57 where it pages with five levels; only the code that unpacks it switches to that
    pytest.param("default,+la57", ["--kernel-decompress"], {"pcid", "la57"}, {"pku"}, marks=pytest.mark.full)])
def test_the_kernel_uses_the_features_that_were_asked_for(cpu, extra, there, gone):
    r = liege("run", "--accel", "soft", "--cpu", cpu, *extra, "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' liege.run="grep -m1 flags /proc/cpuinfo"', timeout=400)
    assert r.returncode == 0, r.stdout + r.stderr
    flags = set(re.search(r"^flags\s*:(.*)$", r.stdout, re.M).group(1).split())
    assert there <= flags and not gone & flags, sorted(flags)


@pytest.mark.parametrize("memory,low", [("128M", 60), pytest.param("1G", 900, marks=pytest.mark.full), ("4G", 3800)])
def test_all_memory_is_seen(memory, low):
    r = liege("run", "--accel", "soft", "--memory", memory, "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' liege.run="grep MemTotal /proc/meminfo"', timeout=240)
    kib = int(re.search(r"MemTotal:\s+(\d+) kB", r.stdout).group(1))
    assert kib // 1024 >= low, r.stdout


@pytest.mark.parametrize("extra,kind,register", [
    # hardware-reduced: Linux expects EFI, and finds our program at the BIOS's reset vector
    ("", "efi", "the ACPI reset register"),
    ("reboot=a", "acpi", "the ACPI reset register"),
    ("reboot=k", "kbd", "the keyboard controller")])
def test_reset_with_no_reboot_gives_status_3(extra, kind, register):
    r = liege("run", "--accel", "soft", "--no-reboot", "--verbose", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              f'{CMDLINE} {extra} liege.run="cat /sys/kernel/reboot/type; reboot -f"', timeout=240)
    assert r.returncode == 3, r.stdout + r.stderr
    assert re.search(rf"^{kind}\r?$", r.stdout, re.M), r.stdout
    assert f"the guest resets the machine by {register}\n" in r.stderr, r.stderr


def test_reset_without_it_boots_again(machine):
    m = machine("--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline", CMDLINE)
    m.expect(r"liege:\S*# ", 120)
    m.type("reboot -f\n")
    m.expect("LIEGE-GUEST-READY", 120)
    m.expect(r"liege:\S*# ", 60)


def test_stats_report_instructions():
    r = liege("run", "--accel", "soft", "--stats", "--kernel", KERNEL, "--initrd", SHELL,
              "--cmdline", CMDLINE + " liege.run=true", timeout=240)
    m = re.search(r"instructions\s+(\d+) \(([\d.]+) M/s", r.stderr)
    assert m and int(m.group(1)) > 100_000_000, r.stderr


@pytest.mark.parametrize("extra", [[], pytest.param(["--engine-process"], marks=pytest.mark.full)])
def test_a_boot_with_the_smallest_code_cache(extra):
    r = liege("run", "--accel", "soft", *extra, "--cpus", "2", "--code-cache", "1M", "--stats", "--kernel", KERNEL,
              "--initrd", SHELL, "--cmdline", CMDLINE + ' liege.run="nproc"', timeout=240)
    assert r.returncode == 0 and "2" in r.stdout.split(), r.stdout + r.stderr
    m = re.search(r"code cache\s+([\d.]+) of 1.0 MiB used, (\d+) evictions", r.stderr)
    assert m and float(m.group(1)) <= 1 and int(m.group(2)) >= 8, r.stderr
    translated = re.search(r"translated\s+([\d.]+) %", r.stderr)
    assert translated and float(translated.group(1)) > 95, r.stderr


@pytest.mark.full
@pytest.mark.parametrize("extra", [[], ["--engine-process"]], ids=lambda e: "".join(e) or "threads")
def test_programs_are_right_while_their_code_gives_way(shell, extra):
    m = shell("--cpus", "2", "--code-cache", "1M", *extra, timeout=240)
    # by both CPUs at once: packed and unpacked it is the same; awk's sum of squares is known; no name is there twice
    checks = ['[ "$(gzip -c /bin/busybox | gunzip -c | sha256sum)" = "$want" ] || echo WRONG gzip',
              "[ $(seq 20000 | awk '{s += $1 * $1} END {printf \"%.0f\", s}') = 2666866670000 ] || echo WRONG awk",
              "[ $(find / -xdev | sort -r | sort | uniq -d | wc -l) = 0 ] || echo WRONG sort"]
    loop = f"for i in 1 2 3 4; do {'; '.join(checks)}; done"
    m.run(f"job() {{ want=$(sha256sum < /bin/busybox); {loop}; echo DONE $1; }}")
    out, status = m.run("job one & job two & wait", 900)
    assert status == 0 and "DONE one" in out and "DONE two" in out and "WRONG" not in out, out


@pytest.mark.parametrize("extra", [["--virtio-mmio"], pytest.param(["--kernel-decompress"], marks=pytest.mark.full),
                                   ["--engine-process"]])
def test_other_ways_to_boot(extra):
    r = liege("run", "--accel", "soft", *extra, "--net", "user", "--kernel", KERNEL, "--initrd", SHELL, "--cmdline",
              CMDLINE + ' liege.run="ip addr show eth0"', timeout=400)
    assert r.returncode == 0 and "10.0.2.15" in r.stdout, r.stdout + r.stderr
