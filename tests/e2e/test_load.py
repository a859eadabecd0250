"""Data under load: fio with checksums on a virtio disk, and a hundred megabytes each way over the network."""
import hashlib
import http.server
import os
import socket
import subprocess
import threading

import pytest
from conftest import CMDLINE, KERNEL, SHELL, TOP, Machine


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
    data = os.urandom(100 << 20)
    digest = hashlib.sha256(data).hexdigest()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    m = start(SHELL, "--net", f"user,hostfwd=tcp:127.0.0.1:{port}:7")
    try:
        out, status = m.run(f"wget -q -O /tmp/in http://10.0.2.2:{server.server_port}/x && sha256sum /tmp/in", 1800)
        assert status == 0 and digest in out
        m.run("(nc -l -p 7 < /tmp/in > /dev/null; true) & sleep 1")
        back, got = hashlib.sha256(), 0
        with socket.create_connection(("127.0.0.1", port), timeout=600) as s:
            while got < len(data):
                part = s.recv(1 << 16)
                if not part:
                    break
                back.update(part)
                got += len(part)
        assert back.hexdigest() == digest
    finally:
        server.shutdown()
        m.close()
