"""A scene for each test: a folder, and a backend that outlives control planes."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.config import Settings
from tests.integration.control.scene import Scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="pl-control-") as folder:
        yield Scene(Path(folder))
        with contextlib.suppress(OSError):
            Settings(data_dir=Path(folder)).run_dir.rmdir()
