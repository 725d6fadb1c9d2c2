"""Memory: what counts, and how often it is looked at."""

import subprocess
import sys
import threading

import pytest

from pilotlight_runtime.limits import FAR_SECONDS, NEAR_SECONDS, MemoryWatch, own_bytes, resident_bytes

MIB = 2**20


def test_what_is_our_own_is_never_more_than_what_is_resident() -> None:
    assert 0 < own_bytes() <= resident_bytes() + MIB


def test_far_from_the_limit_it_looks_seldom() -> None:
    used, pause = MemoryWatch(2**20, lambda *_: None).look(0.0)
    assert (used > 0, pause) == (True, FAR_SECONDS)


def test_near_the_limit_it_looks_often() -> None:
    limit = resident_bytes() // MIB + 10
    assert MemoryWatch(limit, lambda *_: None).look(0.0)[1] == NEAR_SECONDS


def test_what_is_shared_does_not_count() -> None:
    """A forked child has all that its parent has, and almost nothing of its own."""
    code = """
import os
from pilotlight_runtime.limits import *
held = bytearray(b"x") * 200_000_000
pid = os.fork()
if pid == 0:
    used, _ = MemoryWatch(120, print).look(0.0)
    os._exit(not (resident_bytes() > 190_000_000 and used < 120 * 2**20))
print(os.waitpid(pid, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"


def test_the_exact_figure_is_taken_again_when_more_is_used() -> None:
    watch = MemoryWatch(1, lambda *_: None)
    used, _ = watch.look(0.0)
    held = bytearray(b"x") * 50_000_000
    assert watch.look(0.1)[0] > used + 40_000_000
    del held


def test_over_the_limit_it_says_so_once_with_limit_and_use() -> None:
    said: list[tuple[int, int]] = []
    told = threading.Event()
    watch = MemoryWatch(1, lambda limit, used: (said.append((limit, used)), told.set()))  # type: ignore[arg-type, func-returns-value]
    watch.start()
    assert told.wait(10)
    ((limit, used),) = said
    assert limit == 1 < used


@pytest.mark.parametrize(("code", "expected"), [
    ("set_limits(open_files=64, processes=99999999); print(r.getrlimit(r.RLIMIT_NOFILE))", "(64, 64)"),
    ("set_limits(open_files=64, processes=50); print(r.getrlimit(r.RLIMIT_NPROC), r.getrlimit(r.RLIMIT_CORE))",
     "(50, 50) (0, 0)"),
    ("set_limits(open_files=64, processes=50); set_limits(open_files=128, processes=50);"
     "print(r.getrlimit(r.RLIMIT_NOFILE))", "(64, 64)"),
])  # fmt: skip
def test_limits_are_set_and_never_raised(code: str, expected: str) -> None:
    program = f"import resource as r\nfrom pilotlight_runtime.limits import set_limits\n{code}"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == expected
