"""What end-to-end tests share: the binary under test, guests, and a machine on a pseudo-terminal or on pipes."""
import hashlib
import http.server
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build"))
LIEGE = BUILD / "liege"
GUEST = TOP / "build" / "guest"
KERNEL = GUEST / "kernel" / "vmlinuz"
SHELL = GUEST / "shell.cpio"
CMDLINE = "console=ttyS0 quiet mitigations=off"


def pytest_configure(config):
    config.addinivalue_line("markers", "full: only in make test-full")
    config.addinivalue_line("markers", "soak: only in make soak")
    config.addinivalue_line("markers", "bed: runs in the nested KVM bed")


def liege(*args, timeout=60, **kw):
    """Run liege to its end without a terminal; a CompletedProcess with text output."""
    return subprocess.run([str(LIEGE), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, errors="replace", check=False, **kw)


class Machine:
    """A liege process whose console can be read and typed at."""

    def __init__(self, args, use_pty=True, env=None):
        self.text = ""
        self.at = 0
        self.master = None
        if use_pty:
            self.master, slave = pty.openpty()
            self.process = subprocess.Popen([str(LIEGE), *map(str, args)], stdin=slave, stdout=slave,
                                            stderr=subprocess.PIPE, env=env, start_new_session=True)
            os.close(slave)
            self.out = self.master
        else:
            self.process = subprocess.Popen([str(LIEGE), *map(str, args)], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
            self.out = self.process.stdout.fileno()
        os.set_blocking(self.out, False)

    def read(self, seconds):
        """Take what comes within `seconds`; False at the end of output."""
        ready, _, _ = select.select([self.out], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.out, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def expect(self, pattern, timeout=60):
        """Wait for a regular expression after what was matched last; the match. Fails with the output so far."""
        end = time.time() + timeout
        regex = re.compile(pattern, re.S)
        while True:
            m = regex.search(self.text, self.at)
            if m:
                self.at = m.end()
                return m
            left = end - time.time()
            if left <= 0 or not self.read(min(left, 1)):
                m = regex.search(self.text, self.at)
                if m:
                    self.at = m.end()
                    return m
                err = ""
                if self.process.poll() is not None:
                    err = self.process.stderr.read().decode(errors="replace")
                pytest.fail(f"no {pattern!r} within {timeout} s; status {self.process.poll()}; stderr: {err}; "
                            f"console:\n{self.text[-3000:]}")

    def type(self, text):
        data = text.encode()
        if self.master is not None:
            os.write(self.master, data)
        else:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def run(self, command, timeout=60):
        """A command at the guest's shell prompt; its output."""
        mark = f"END{len(self.text)}"
        typed = f"{command}; echo {mark[:3]}''{mark[3:]} $?"
        self.type(typed + "\n")
        m = self.expect(rf"(.*?){mark} (\d+)\n", timeout)
        out = m.group(1)
        # what was typed is there twice where the shell was not yet at its prompt: the terminal's echo and its own
        return out[out.find("\n", max(0, out.rfind(typed[-12:]))) + 1:], int(m.group(2))

    def wait(self, timeout=60):
        """Wait for the process to end, reading on; its status."""
        end = time.time() + timeout
        while time.time() < end and self.read(0.2):
            if self.process.poll() is not None:
                break
        status = self.process.wait(max(1, end - time.time()))
        while self.read(0) and select.select([self.out], [], [], 0)[0]:
            pass
        return status

    def stderr(self):
        return self.process.stderr.read().decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.master is not None:
            os.close(self.master)
        for f in (self.process.stdin, self.process.stdout, self.process.stderr):
            if f:
                f.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def megabytes_each_way(m, port, count, timeout):
    """A guest on a user network fetches so many megabytes by HTTP and sends them back from its port 7, which the
    host's `port` is forwarded to."""
    data = os.urandom(count << 20)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out, status = m.run(f"wget -q -O /tmp/in http://10.0.2.2:{server.server_port}/x && sha256sum /tmp/in", timeout)
        server.shutdown()
    assert status == 0 and hashlib.sha256(data).hexdigest() in out
    m.run("(nc -l -p 7 < /tmp/in > /dev/null; true) & sleep 1")
    back = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        while len(back) < len(data):
            part = s.recv(1 << 16)
            if not part:
                break
            back += part
    assert back == data


@pytest.fixture
def machine():
    """machine(*args): start `liege run ARGS` on a terminal; killed after the test."""
    started = []

    def start(*args, use_pty=True, env=None):
        m = Machine(["run", *args], use_pty, env)
        started.append(m)
        return m

    yield start
    for m in started:
        m.close()


@pytest.fixture
def shell(machine):
    """shell(*args): a booted shell guest at its prompt."""

    def start(*args, cmdline="", timeout=120):
        m = machine("--kernel", KERNEL, "--initrd", SHELL, "--accel", "soft",
                    "--cmdline", f"{CMDLINE} {cmdline}", *args)
        m.expect("LIEGE-GUEST-READY", timeout)
        m.expect(r"liege:\S*# ", timeout)
        return m

    return start
