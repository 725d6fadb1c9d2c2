"""Where a replica's secrets lie: in memory, for its user alone, and for no longer than it lives."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidInput
from pilotlight.providers.process.records import RunDir, is_in_memory, secrets_dir

SHARED_MEMORY = Path("/dev/shm")
needs_shared_memory = pytest.mark.skipif(
    not (is_in_memory(SHARED_MEMORY) and os.access(SHARED_MEMORY, os.W_OK)), reason="no shared memory"
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    run = RunDir(tmp_path / "pilotlight-0-test", Sandbox())
    run.claim()
    yield run
    run.remove()


def test_each_value_is_a_file_for_its_user_alone(run: RunDir) -> None:
    folder = Path(run.store_secrets("r1", {"token": b"\x00v", "tls.crt": b""}) or "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"token": b"\x00v", "tls.crt": b""}
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "token")]
    assert modes == [0o700, 0o400]


def test_a_start_that_is_made_again_writes_them_again(run: RunDir) -> None:
    run.store_secrets("r1", {"token": b"old", "other": b"x"})
    folder = Path(run.store_secrets("r1", {"token": b"new"}) or "")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("token", b"new")]


def test_without_secrets_there_is_no_folder(run: RunDir) -> None:
    assert run.store_secrets("r1", {}) is None


@pytest.mark.parametrize("name", ["../x", ".x", "a/b", "", "x" * 254])
def test_a_name_that_is_no_file_of_the_folder_is_refused(run: RunDir, name: str) -> None:
    with pytest.raises(InvalidInput):
        run.store_secrets("r1", {name: b"v"})


def test_they_go_with_their_replica_and_strangers_are_swept(run: RunDir) -> None:
    folders = [Path(run.store_secrets(each, {"token": b"v"}) or "") for each in ("r1", "r2", "r3")]
    run.drop_start("r1")
    run.sweep([], ["r3"])
    assert [folder.exists() for folder in folders] == [False, False, True]
    run.remove()
    assert not folders[2].parent.exists()


@needs_shared_memory
def test_they_lie_in_memory_also_when_the_run_directory_does_not(tmp_path: Path) -> None:
    found = secrets_dir(tmp_path / "pilotlight-0-abc")
    assert is_in_memory(found.parent) or is_in_memory(tmp_path)
    assert (found.name == "secrets") == is_in_memory(tmp_path)


@needs_shared_memory
def test_in_a_run_directory_in_memory_they_lie_there() -> None:
    assert secrets_dir(SHARED_MEMORY / "pilotlight-0-abc") == SHARED_MEMORY / "pilotlight-0-abc" / "secrets"


def test_what_is_not_there_is_not_in_memory(tmp_path: Path) -> None:
    assert not is_in_memory(tmp_path / "nothing")
    assert not is_in_memory(Path("/proc"))
