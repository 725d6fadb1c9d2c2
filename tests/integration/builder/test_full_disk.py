"""A disk that becomes full in the middle of a build: a sentence, nothing half-made, and it works again with room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.core.errors import StorageFull
from tests.integration.builder.conftest import HANDLER, Make

PAGE = 4096
FILES = {"handler.py": "import greet\n" + HANDLER, "requirements.txt": "greet\npolite\n", "data": "x" * 20_000}


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """The data directory on a disk of 8 MiB."""
    options = "size=8m,mode=0711"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", data_dir], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here (that takes root)")
    yield data_dir
    subprocess.run(["umount", "--lazy", data_dir], check=True)


def leave_free(disk: Path, pages: int) -> Path:
    """Fill it up to so many pages."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    found = os.statvfs(disk)
    filler.write_bytes(b"x" * (max(0, found.f_bavail * found.f_frsize // PAGE - pages) * PAGE))
    return filler


@pytest.mark.parametrize("pages", [0, 20, 28, 40, 56])  # from the first folder over uv's cache to the environment
async def test_it_is_told_wherever_it_happens_and_leaves_nothing(
    small_disk: Path, links: Path, make_workshop: Make, pages: int
) -> None:
    workshop = await make_workshop()
    tar = workshop.tar(FILES)
    filler = leave_free(small_disk, pages)
    with pytest.raises(StorageFull, match="is full"):
        await workshop.builder.build(name="x", template="python3-http", tar=tar, progress=workshop.said.append)
    assert workshop.leftovers() == []
    assert not [p for p in (small_disk / "cache/locks").iterdir() if p.name.startswith(".")]
    filler.unlink()
    bundle = await workshop.build(FILES)
    assert bundle.preimports == ("greet",)
