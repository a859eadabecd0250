"""Privileged and system instructions (tests/system): the same log from the software engine and from Bochs. The bed has
its own test, in tests/bed."""
import sys

import pytest
from conftest import BUILD, TOP

sys.path.insert(0, str(TOP / "tests" / "system"))
import places  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="module")
def logs():
    """image(name): the software engine's log."""
    return {image: places.soft(BUILD, image) for image in places.IMAGES}


def test_faults_carry_vector_error_code_and_address(logs):
    for line in ("mov ds, not present: np 48 +0", "mov ss, not present: ss 48 +0", "ltr, busy: gp a0 +0",
                 "kernel, no execute, execute: pf 11@205000 at 205000", "reserved bit, write: pf b@205000 +0"):
        assert any(got.startswith(line) for got in logs["system64"]), line
    for line in ("call gate with one parameter, user: ud at", "task, not present: ljmp: np 1a0 +0",
                 "v86, cli, IOPL 0: gp 0 +0", "PAE: reserved bit 62, write, user: pf f@405000 +0"):
        assert any(got.startswith(line) for got in logs["system32"]), line


def test_bochs_says_the_same(logs):
    for image, ours in logs.items():
        try:
            bad, _ = places.compare(image, "bochs", ours, places.bochs(BUILD, image))
        except places.Absent as why:
            pytest.skip(f"optional: {why}")
        assert not bad, "\n".join(bad)
