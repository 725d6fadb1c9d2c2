"""A log that cannot be written costs nothing but its lines."""

import subprocess
import sys
from pathlib import Path

import pytest

LOGS = """
import structlog
from pilotlight.log_lines import LogLines
structlog.configure(logger_factory=LogLines(), processors=[structlog.processors.LogfmtRenderer()])
structlog.get_logger().warning("hello", name="a\\udcffb")
print("went on")
"""


@pytest.mark.parametrize("place", ["/dev/full", "closed"])
def test_it_goes_on(place: str, tmp_path: Path) -> None:
    redirect = "2>&-" if place == "closed" else f"2>{place}"
    command = ["/bin/sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, LOGS]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}, check=True)
    assert done.stdout == b"went on\n"


def test_a_line_is_an_event() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stderr == b"event=hello name=a\\udcffb\n" or done.stderr == b"name=a\\udcffb event=hello\n"
