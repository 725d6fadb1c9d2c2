"""Zygotes for tests: one that many launch from, and as many of one's own as a test needs."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.runtime.zygote_harness import Zygote


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pl-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_zygote(folder: Path) -> Iterator[Callable[..., Zygote]]:
    """A factory: keyword arguments are the zygote's configuration."""
    zygotes: list[Zygote] = []

    def start(variables: dict[str, str] | None = None, **config: object) -> Zygote:
        zygotes.append(Zygote(folder, variables or {}, **config))
        return zygotes[-1]

    yield start
    for zygote in zygotes:
        zygote.end()


@pytest.fixture(scope="session")
def shared_zygote(folder: Path) -> Iterator[Zygote]:
    zygote = Zygote(folder, {}, spares=1)
    yield zygote
    zygote.end()


@pytest.fixture
def zygote(shared_zygote: Zygote) -> Zygote:
    """For tests that only launch from it."""
    return shared_zygote
