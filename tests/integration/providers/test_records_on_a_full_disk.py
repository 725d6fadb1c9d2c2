"""Records on a disk that is full: a whole one is never replaced by half of one."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.config import Sandbox
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.process.records import ReplicaRecord, RunDir

PAGE = 4096


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    folder = tmp_path / f"run-{secrets.token_hex(6)}"  # its end names the secrets' place in shared memory
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here (that takes root)")
    made = RunDir(folder, Sandbox())
    made.claim()
    yield made
    made.remove()
    subprocess.run(["umount", "--lazy", folder], check=True)


def record(**changes: object) -> ReplicaRecord:
    values: dict[str, object] = {"id": "a", "revision": "r", "zygote": "z", "pid": 1, "started": 1, "socket": "s"}
    return ReplicaRecord(function=FunctionKey("f.ns"), **values | changes)  # type: ignore[arg-type]


def test_a_record_that_was_written_in_part_leaves_the_one_before(run_dir: RunDir, tmp_path: Path) -> None:
    run_dir.write(record())
    [folder] = tmp_path.iterdir()
    found = os.statvfs(folder)
    (folder / "filler").write_bytes(b"x" * (found.f_bavail - 1) * PAGE)
    with pytest.raises(OSError, match="No space left"):
        run_dir.write(record(spare_log="x" * 2 * PAGE))
    assert run_dir.replicas() == [record()]
