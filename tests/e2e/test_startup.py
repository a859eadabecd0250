"""What liege brings along before it does anything: few libraries, little CPU time."""
import re
import resource
import subprocess

from conftest import LIEGE, liege

# The C library and a handful. What is heavy (slirp with glib, the unpackers) is opened on demand.
ALLOWED = {"libc.so.6", "libm.so.6", "liburing.so.2", "libZydis.so.4.0", "libZycore.so.1.4", "libjansson.so.4",
           "libseccomp.so.2", "libcap-ng.so.0"}


def test_few_libraries_are_linked_and_only_known_ones():
    out = subprocess.run(["ldd", str(LIEGE)], capture_output=True, text=True, check=True).stdout
    linked = set(re.findall(r"^\s*(lib\S+\.so\S*) ", out, re.M))
    assert linked and linked <= ALLOWED, f"new at start-up: {sorted(linked - ALLOWED)}"


def test_the_first_output_costs_little_cpu_time():
    best = 1e9
    for _ in range(10):
        was = resource.getrusage(resource.RUSAGE_CHILDREN)
        r = liege("version")
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert r.returncode == 0 and r.stdout
        best = min(best, now.ru_utime + now.ru_stime - was.ru_utime - was.ru_stime)
    # CPU time, not elapsed, and the best of ten: 33 libraries would cost 7 ms, those above cost about 1 ms. A
    # sanitizer's start-up is no part of it.
    assert best < 0.010, f"{best * 1000:.1f} ms"


def test_the_version_needs_no_library_opened_later():
    trace = subprocess.run([str(LIEGE), "version"], capture_output=True, text=True, env={"LD_DEBUG": "files"},
                           check=True).stderr
    assert "libslirp" not in trace and "libglib" not in trace and "liblzma" not in trace
