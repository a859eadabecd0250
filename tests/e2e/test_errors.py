"""Bad input: one clear line that names what, where and the remedy; a proper status; no crash."""
import os
import socket
import subprocess

import pytest
from conftest import KERNEL, SHELL, liege


def one_line(r, status, *words):
    lines = [x for x in r.stderr.splitlines() if "using the software engine" not in x]
    assert r.returncode == status, r.stderr
    assert len(lines) == 1 and lines[0].startswith("liege: "), r.stderr
    for w in words:
        assert w in lines[0], lines[0]


@pytest.mark.parametrize("args,status,words", [
    (["run"], 2, ["--kernel"]),
    (["rnu"], 2, ["did you mean 'run'"]),
    (["run", "--kernle", "x"], 2, ["did you mean --kernel"]),
    (["run", "--kernel"], 2, ["needs a value"]),
    (["run", "--kernel", "/nowhere/vmlinuz"], 1, ["/nowhere/vmlinuz", "no such file"]),
    (["run", "--kernel", "/etc"], 1, ["/etc", "directory"]),
    (["run", "--kernel", "/etc/hostname"], 1, ["/etc/hostname"]),
    (["run", "--kernel", KERNEL, "--memory", "0"], 2, ["memory"]),
    (["run", "--kernel", KERNEL, "--memory", "1K"], 2, ["memory"]),
    (["run", "--kernel", KERNEL, "--memory", "banana"], 2, ["banana", "512M"]),
    (["run", "--kernel", KERNEL, "--symbols", "/proc/kallsyms"], 2, ["--profile", "--perf-map"]),
    (["run", "--kernel", KERNEL, "--code-cache", "0"], 2, ["code-cache", "1M to 1G"]),
    (["run", "--kernel", KERNEL, "--code-cache", "1023K"], 2, ["code-cache", "1M to 1G"]),
    (["run", "--kernel", KERNEL, "--code-cache", "2G"], 2, ["code-cache", "1M to 1G"]),
    (["run", "--kernel", KERNEL, "--code-cache", "plenty"], 2, ["--code-cache", "plenty"]),
    (["run", "--kernel", KERNEL, "--memory", "900G"], 1, ["more than this host's"]),
    (["run", "--kernel", KERNEL, "--cpus", "0"], 2, ["--cpus"]),
    (["run", "--kernel", KERNEL, "--cpus", "1000"], 2, ["--cpus"]),
    (["run", "--kernel", KERNEL, "--accel", "tcg"], 2, ["tcg", "soft"]),
    (["run", "--kernel", KERNEL, "--cpu", "pentium"], 1, ["pentium"]),
    (["run", "--kernel", KERNEL, "--cpu", "default,+pentium"], 1, ["pentium"]),
    (["run", "--kernel", KERNEL, "--disk", "/nowhere.img"], 1, ["/nowhere.img"]),
    (["run", "--kernel", KERNEL, "--disk", "/tmp"], 1, ["/tmp", "directory"]),
    (["run", "--kernel", KERNEL, "--net", "tap=nosuchtap0"], 1, ["nosuchtap0"]),
    (["run", "--kernel", KERNEL, "--net", "bridge"], 2, ["user", "tap"]),
    (["run", "--kernel", KERNEL, "--net", "user,hostfwd=tcp:99999:1"], 2, ["99999"]),
    (["run", "--kernel", KERNEL, "--console", "printer"], 2, ["printer"]),
    (["run", "--kernel", KERNEL, "--gdb", "tcp:x"], 1, ["tcp:x"]),
    (["run", "--kernel", KERNEL, "--config", "/nowhere.json"], 2, ["/nowhere.json"]),
    (["run", "--kernel", KERNEL, "extra"], 2, ["extra"]),
    (["run", "--kernel", KERNEL, "--board", "pc98"], 2, ["pc98"]),
])
def test_bad_arguments(args, status, words):
    one_line(liege(*args), status, *words)


def test_truncated_kernel(tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(KERNEL.read_bytes()[:100000])
    one_line(liege("run", "--kernel", cut), 1, str(cut))


def test_initrd_too_large(tmp_path):
    big = tmp_path / "big"
    with open(big, "wb") as f:
        f.truncate(300 << 20)
    one_line(liege("run", "--kernel", KERNEL, "--initrd", big, "--memory", "256M"), 1, str(big))


def test_qcow2_given_as_raw(tmp_path):
    img = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(img), "1M"], check=True)
    one_line(liege("run", "--kernel", KERNEL, "--disk", img), 1, "qcow2")


def test_disk_locked_by_another_machine(tmp_path, machine):
    img = tmp_path / "d.img"
    img.write_bytes(bytes(1 << 20))
    m = machine("--accel", "soft", "--kernel", KERNEL, "--initrd", SHELL, "--disk", img, "--cmdline", "console=ttyS0")
    m.expect("Linux version", 30)
    one_line(liege("run", "--kernel", KERNEL, "--disk", img), 1, str(img), "lock")
    r = subprocess.run(["qemu-img", "resize", "-f", "raw", str(img), "2M"], capture_output=True, text=True, check=False)
    assert r.returncode != 0 and "lock" in r.stderr


def test_port_in_use():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    port = s.getsockname()[1]
    one_line(liege("run", "--kernel", KERNEL, "--net", f"user,hostfwd=tcp:{port}:22"), 1, str(port))
    one_line(liege("run", "--kernel", KERNEL, "--gdb", f"tcp:{port}"), 1, str(port))


def test_config_file_round_trip(tmp_path):
    cfg = tmp_path / "c.json"
    args = ["--kernel", KERNEL, "--memory", "256M", "--cpus", "2", "--code-cache", "8M", "--disk",
            "a,,b.img,serial=S1,readonly", "--net",
            "user,hostfwd=tcp:127.0.0.1:2222:22,mac=52:54:00:00:00:01", "--rng"]
    first = liege("run", *args, "--print-config")
    cfg.write_text(first.stdout)
    second = liege("run", "--config", cfg, "--print-config")
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout and '"a,b.img"' in first.stdout
    assert '"code-cache": "8M"' in first.stdout


@pytest.mark.parametrize("text,word", [("{", "line 1"), ("[]", "object"), ('{"memroy": 1}', "memory"),
                                       ('{"cpus": "two"}', "cpus"), ('{"disks": [{"format": "raw"}]}', "disks")])
def test_bad_config_file(tmp_path, text, word):
    cfg = tmp_path / "c.json"
    cfg.write_text(text)
    one_line(liege("run", "--config", cfg), 2, word)


def test_kvm_without_permission_falls_to_soft_and_says_so():
    if os.getuid() != 0 or not os.path.exists("/dev/kvm"):
        pytest.skip("optional: needs root and /dev/kvm")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    from conftest import LIEGE
    r = subprocess.run([*drop, str(LIEGE), "run", "--accel", "kvm", "--kernel", "/proc/version"],
                       capture_output=True, text=True, check=False)
    assert r.returncode == 1 and "/dev/kvm" in r.stderr and "soft" in r.stderr
    r = subprocess.run([*drop, str(LIEGE), "host"], capture_output=True, text=True, check=False)
    assert "takes soft" in r.stdout and "/dev/kvm" in r.stdout
