"""The system suite in its three places: how it is run there, and how the logs are compared.

    places.py BUILD bochs|bed...

Compares the places given with the software engine; prints what differs. Exit status 1: something does that should not,
77: the place is not installed here."""
import functools
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from differences import DIFFERENCES, MISSING

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = ["system64", "system32"]
BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"
# The newest of Bochs' processors that has UMIP, SMAP, PCID and FSGSBASE as ours have. A slow clock: the serial line's
# time counts in it. Bochs reads memory that it has not set, and meson fills that with MALLOC_PERTURB_.
BOCHSRC = """romimage: file={bios}
vgaromimage: file={vga}
megs: 64
ata0-master: type=disk, path={work}/disk.img, mode=flat, cylinders=20, heads=16, spt=63
boot: disk
display_library: term
log: {work}/bochs.log
com1: enabled=1, mode=file, dev={work}/com1
cpu: model=corei3_cnl, ips=5000000, ignore_bad_msrs=0
panic: action=fatal
"""


class Absent(Exception):
    """The place is not installed here."""


def lines(text):
    """The suite's own lines of a console."""
    text = text.replace("\r", "").replace("\0", "")
    if "system: begin" not in text or "system: end" not in text:
        raise AssertionError("the suite did not come to its end: " + text[-2000:])
    return text[text.index("system: begin"):text.index("system: end")].splitlines()[1:]


def soft(build, image):
    run = subprocess.run([build / "liege", "run", "--accel", "soft", "--cpu", "default,+pku", "--memory", "64M",
                          "--debug-exit", "--kernel", build / f"tests/system/{image}.bin"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, errors="replace", timeout=120, check=False)
    if run.returncode != 11:
        raise AssertionError(f"status {run.returncode}: {run.stdout[-2000:]} {run.stderr[-2000:]}")
    return lines(run.stdout)


def bochs(build, image):
    if not shutil.which("bochs"):
        raise Absent("bochs is not installed")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        disk = b"".join((build / "tests/system" / f).read_bytes() for f in ("boot.bin", image + ".bin"))
        assert len(disk) <= 1025 * 512, "boot.S does not load so much"
        (work / "disk.img").write_bytes(disk.ljust(20 * 16 * 63 * 512, b"\0"))
        (work / "bochsrc").write_text(BOCHSRC.format(bios=BIOS, vga=VGA, work=work))
        (work / "rc").write_text("c\n")
        run = subprocess.run(["timeout", "-k", "2", "120", "bochs", "-q", "-f", work / "bochsrc", "-rc", work / "rc"],
                             cwd=work, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                             env={"TERM": "xterm", "PATH": "/usr/bin:/bin"})
        if not (work / "com1").exists():
            raise AssertionError((run.stdout[-500:] + run.stderr[-500:]).decode(errors="replace"))
        return lines((work / "com1").read_text(errors="replace"))


@functools.cache
def bed_console(build):
    """What all images print, one after the other: the bed is booted once."""
    run = subprocess.run([HERE.parent / "bed/run.sh", build / "liege"] +
                         [build / f"tests/system/{image}.bin" for image in IMAGES] + ["--",
                          f"for i in {' '.join(IMAGES)}; do liege run --accel kvm --memory 64M --debug-exit "
                          "--cmdline bed --kernel $i.bin; [ $? = 11 ] || exit 1; done"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600,
                         check=False)
    if run.returncode == 77:
        raise Absent(run.stderr)
    return run.stdout


def bed(build, image):
    begin = "system: begin"
    parts = bed_console(build).split(begin)[1:]
    n = IMAGES.index(image)
    if n >= len(parts):
        raise AssertionError("the suite did not begin: " + bed_console(build)[-2000:])
    return lines(begin + parts[n])


def results(log):
    """Name to result; what has no result (headings, missing features) apart."""
    cases = {}
    for line in log:
        name, colon, result = line.rpartition(": ")
        if colon:
            assert name not in cases, f"two cases are called {name}"
            cases[name] = result
    return cases, [line for line in log if ": " not in line]


def compare(image, place, ours, theirs):
    """Complaints about a place's log beside the software engine's, and how many cases there are."""
    if place == "bed":  # KVM, and QEMU below it, push RF for some faults only
        ours, theirs = ([re.sub(r" (old)?rf=[01]\b", "", line) for line in log] for log in (ours, theirs))
    (mine, my_headings), (other, headings) = results(ours), results(theirs)
    bad, used, differences = [], set(), DIFFERENCES[image][place]
    for log, who in ((my_headings, "soft"), (headings, place)):
        missing = {line[3:] for line in log if line.startswith("no ")}
        if missing != MISSING[who]:
            bad.append(f"{who} lacks {sorted(missing)}, expected {sorted(MISSING[who])}")
    if list(mine) != list(other):
        bad.append(f"the logs have other cases: {sorted(set(mine) ^ set(other))[:5]}")
        return bad, len(mine)
    for name, result in mine.items():
        if result.startswith("lost"):
            bad.append(f"{name}\n    {result}: in the setup, or between cases")
        if other[name] == result or (other[name].startswith("no ") and other[name][3:] in MISSING[place]):
            continue
        entry = next((i for i, (_, cases) in enumerate(differences) if re.fullmatch(cases, name)), None)
        if entry is None:
            bad.append(f"{name}\n    soft   {result}\n    {place:<6} {other[name]}")
        used.add(entry)
    bad += [f"nothing differs any more: {reason}" for i, (reason, _) in enumerate(differences) if i not in used]
    return bad, len(mine)


def main():
    build, places = pathlib.Path(sys.argv[1]), sys.argv[2:]
    failed = False
    for place in places:
        total = 0
        for image in IMAGES:
            try:
                theirs = globals()[place](build, image)
            except Absent as why:
                print(why)
                sys.exit(77)
            bad, cases = compare(image, place, soft(build, image), theirs)
            total += cases
            print("".join(f"{image}: {line}\n" for line in bad), end="")
            failed |= bool(bad)
        print(f"{place}: {total} cases compared")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
