"""The laws of the tree, as tests: laws.py floors|headers|sizes|words. Prints each breach; exit status 1 when there is
one."""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Rooms from the ground up. A room includes lower rooms, itself, and rooms of its own floor that stand before it
# where the order is given.
FLOORS = [
    ["base"], ["host", "x86"], ["guest", "state"],
    ["accel", "backend/block", "backend/net", "backend/chr", "accel/soft", "accel/kvm"],
    ["device/core", "device/pci", "device/virtio", "device/pc"],
    ["board", "boot"], ["vm"], ["gdb"], ["cli"],
]
ORDERED = {"accel": ["accel"], "accel/kvm": ["accel", "accel/soft"], "accel/soft": ["accel"],
           "device/pci": ["device/core"], "device/virtio": ["device/core", "device/pci"], "device/pc": ["device/core"],
           "state": [], "guest": [], "x86": [], "host": []}
ROOMS = sorted((r for f in FLOORS for r in f), key=len, reverse=True)


def room_of(path):
    return next((r for r in ROOMS if path.startswith(r + "/")), None)


def floor_of(room):
    return next(i for i, f in enumerate(FLOORS) if room in f)


def files(folder):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", folder], cwd=TOP, capture_output=True,
                         text=True, check=True).stdout
    return [p for p in out.split() if os.path.exists(os.path.join(TOP, p))]


def sources(*endings):
    return [p for p in files("src") if p.endswith(endings)]


def floors():
    bad = []
    for path in sources(".c", ".h"):
        room = room_of(path[4:])
        if room is None:
            bad.append(f"{path}: in no room of tools/laws.py")
            continue
        for line in open(os.path.join(TOP, path), encoding="utf-8"):
            m = re.match(r'\s*#include "([^"]+)"', line)
            other = room_of(m.group(1)) if m else None
            if not other or other == room:
                continue
            if floor_of(other) > floor_of(room) or (floor_of(other) == floor_of(room)
                                                    and other not in ORDERED.get(room, [])):
                bad.append(f"{path}: includes {m.group(1)}, which is not below {room}")
    return bad


def headers():
    bad = []
    for path in sources(".h"):
        r = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Isrc", "-fsyntax-only", "-x", "c", path],
                           cwd=TOP, capture_output=True, text=True, check=False)
        if r.returncode:
            bad.append(f"{path}: does not compile alone: {r.stderr.splitlines()[0] if r.stderr else ''}")
    return bad


def sizes():
    bad = []
    for path in sources(".c", ".h"):
        lines = open(os.path.join(TOP, path), encoding="utf-8").read().splitlines()
        if len(lines) > 620:
            bad.append(f"{path}: {len(lines)} lines: more than one thing?")
    return bad + columns()


def columns():
    """120 columns, in whatever is text; but a row of a Markdown table cannot be wrapped, nor fuzz inputs laid out."""
    bad = []
    for path in files("."):
        if path.startswith(("tests/fuzz/corpus/", "results/")):
            continue
        try:
            lines = open(os.path.join(TOP, path), encoding="utf-8").read().splitlines()
        except UnicodeDecodeError:
            continue
        bad += [f"{path}:{n}: {len(line)} columns" for n, line in enumerate(lines, 1)
                if len(line) > 120 and not (path.endswith(".md") and line.startswith("|"))]
    return bad


def words():
    bad = []
    for path in sources(".c", ".h"):
        for n, line in enumerate(open(os.path.join(TOP, path), encoding="utf-8"), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                bad.append(f"{path}:{n}: unfinished: {line.strip()}")
    return bad


breaches = {"floors": floors, "headers": headers, "sizes": sizes, "words": words}[sys.argv[1]]()
print("\n".join(breaches))
sys.exit(1 if breaches else 0)
