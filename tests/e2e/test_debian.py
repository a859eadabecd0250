"""A Debian system on a disk: login, services, package from the host, files that survive, a clean file system."""
import functools
import hashlib
import http.server
import subprocess
import threading

import pytest
from conftest import CMDLINE, GUEST, KERNEL, TOP

pytestmark = pytest.mark.full
IMAGE = GUEST / "debian.img"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    subprocess.run(["make", "-s", "guest-debian"], cwd=TOP, check=True, timeout=1200)
    copy = tmp_path_factory.mktemp("debian") / "disk.img"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(IMAGE), str(copy)], check=True)
    return copy


def boot(machine, image, accel="soft"):
    m = machine("--accel", accel, "--memory", "1G", "--kernel", KERNEL, "--initrd", GUEST / "disk.cpio",
                "--disk", image, "--net", "user", "--rng", "--cmdline", CMDLINE + " root=/dev/vda")
    m.expect("login: ", 600)
    m.type("root\n")
    m.expect(r"root@liege:~# ", 120)
    # A shell without line editing: it writes what Machine.run reads, the line as typed and then the output, and no
    # escape sequences.
    m.type("exec env SYSTEMD_PAGER=cat PAGER=cat PS1='plain''-root# ' bash --noediting --norc\n")
    m.expect(r"plain-root# ", 120)
    return m


def power_off(m, image):
    m.type("systemctl poweroff\n")
    assert m.wait(300) == 0
    check = subprocess.run(["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


def make_package(folder):
    """A tiny Debian package and the repository around it."""
    root = folder / "pkg"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "DEBIAN/control").write_text("Package: liege-hello\nVersion: 1.0\nArchitecture: all\n"
                                         "Maintainer: Liege tests <tests@localhost>\n"
                                         "Description: says hello\n")
    hello = root / "usr/bin/liege-hello"
    hello.write_text("#!/bin/sh\necho hello from a package\n")
    hello.chmod(0o755)
    repo = folder / "repo"
    repo.mkdir()
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", str(root), str(repo / "liege-hello_1.0_all.deb")],
                   check=True, capture_output=True)
    deb = (repo / "liege-hello_1.0_all.deb").read_bytes()
    (repo / "Packages").write_text((root / "DEBIAN/control").read_text()
                                   + f"Filename: ./liege-hello_1.0_all.deb\nSize: {len(deb)}\n"
                                   f"SHA256: {hashlib.sha256(deb).hexdigest()}\n\n")
    return repo


def test_debian_boots_installs_and_keeps_its_files(machine, image, tmp_path):
    repo = make_package(tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(repo))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    m = boot(machine, image)
    out, _ = m.run("systemctl is-system-running --wait; systemctl --failed --no-legend", 600)
    assert out.strip() == "running", out  # and no failed unit behind it
    out, status = m.run(f"echo 'deb [trusted=yes] http://10.0.2.2:{server.server_port}/ ./' > /etc/apt/sources.list; "
                        "apt-get -q update && "
                        "apt-get -q -y install liege-hello && liege-hello", 600)
    assert status == 0 and "hello from a package" in out, out
    _, status = m.run("head -c 3000000 /dev/urandom > /root/keep && sha256sum /root/keep > /root/keep.sum", 120)
    assert status == 0
    power_off(m, image)
    server.shutdown()
    m = boot(machine, image)
    out, status = m.run("sha256sum -c /root/keep.sum && liege-hello", 120)
    assert status == 0 and "OK" in out and "hello from a package" in out, out
    power_off(m, image)
