"""What the kernel says of processes."""

import os
import signal
import subprocess
import sys

import psutil

from pilotlight_runtime.process import start_time_ticks

RUN = "import os, sys\nfrom pilotlight_runtime.process import *\n"


def test_the_start_time_is_the_kernels() -> None:
    ticks = start_time_ticks(os.getpid())
    assert ticks is not None
    started = psutil.boot_time() + ticks / os.sysconf("SC_CLK_TCK")
    assert abs(started - psutil.Process().create_time()) < 1.5


def test_a_name_with_brackets_and_spaces_confuses_nobody() -> None:
    code = "open('/proc/self/comm', 'w').write(') (x 1 2'); print(start_time_ticks(os.getpid()))"
    assert int(_python(code)) > 0


def test_a_process_that_is_gone_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert start_time_ticks(child.pid) is None


def test_not_dumpable_is_what_the_kernel_then_says() -> None:
    assert _python("import ctypes\nset_not_dumpable()\nprint(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))") == "0"


def test_a_child_dies_with_its_parent_unless_that_was_taken_back() -> None:
    code = """
import ctypes, signal
def signal_now():
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(value), 0, 0, 0)
    return value.value
set_parent_death_signal(signal.SIGKILL); first = signal_now()
set_parent_death_signal(0); print(first, signal_now())
"""
    assert _python(code) == f"{int(signal.SIGKILL)} 0"


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", RUN + code], check=True, capture_output=True, text=True).stdout.strip()
