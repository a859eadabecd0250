"""Data under load: fio with checksums on a virtio disk, and a hundred megabytes each way over the network."""
import subprocess

import pytest
from conftest import CMDLINE, KERNEL, SHELL, TOP, Machine, free_port, megabytes_each_way


@pytest.fixture(scope="module")
def with_fio(tmp_path_factory):
    """The shell guest with Debian's fio and its libraries: a second archive behind the first."""
    out = tmp_path_factory.mktemp("fio") / "fio.cpio"
    subprocess.run([TOP / "tools/guest/programs.sh", SHELL, out, "fio"], check=True)
    return out


def start(initrd, *args):
    m = Machine(["run", "--accel", "soft", "--memory", "1G", "--kernel", KERNEL, "--initrd", initrd,
                 "--cmdline", CMDLINE, *args])
    m.expect("LIEGE-GUEST-READY", 400)
    m.expect(r"liege:\S*# ", 60)
    return m


def fio(m, device, jobs, mib, options, timeout):
    command = (f"fio --name=v --filename={device} --thread --numjobs={jobs} "
               f"--size={mib}M --offset_increment={mib}M --direct=1 --rw=randwrite --verify=crc32c --do_verify=1 "
               f"--verify_fatal=1 --randseed=7 "
               f"--ioengine=libaio --iodepth=8 --group_reporting {options}")
    out, status = m.run(command, timeout)
    assert status == 0 and "err= 0" in out and "verify:" not in out, out[-3000:]
    return out


@pytest.mark.parametrize("args", [["--cpus", "1"], ["--cpus", "2", "--virtio-mmio"]], ids=["pci", "mmio"])
def test_random_writes_read_back_as_written(with_fio, tmp_path, args):
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(16 << 20))
    m = start(with_fio, "--disk", disk, *args)
    try:
        fio(m, "/dev/vda", 2, 2, "--bs=4k --fsync=32", 300)
    finally:
        m.close()
    assert any(disk.read_bytes()[:4 << 20])


@pytest.mark.full
@pytest.mark.parametrize("direct", ["", ",direct"])
def test_random_writes_of_many_jobs_and_sizes(with_fio, tmp_path, direct):
    disk = tmp_path / "disk.img"
    with open(disk, "wb") as f:
        f.truncate(256 << 20)
    m = start(with_fio, "--disk", f"{disk}{direct}", "--cpus", "4")
    try:
        fio(m, "/dev/vda", 4, 32, "--bsrange=4k-64k --bs_unaligned=0 --fsync=64", 1800)
        fio(m, "/dev/vda", 4, 8, "--bs=512 --fsync=256 --iodepth=32", 1800)
    finally:
        m.close()


@pytest.mark.full
def test_a_hundred_megabytes_each_way():
    port = free_port()
    m = start(SHELL, "--net", f"user,hostfwd=tcp:127.0.0.1:{port}:7")
    try:
        megabytes_each_way(m, port, 100, 1800)
    finally:
        m.close()
