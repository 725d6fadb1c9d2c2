"""The run directory's files: written whole, read back, and never trusted further than that."""

import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidInput
from pilotlight.core.spec import function_key
from pilotlight.providers.base import Pool
from pilotlight.providers.process.records import ReplicaRecord, RunDir, ZygoteRecord, check_id, listen

REPLICA = ReplicaRecord(id="a", function=function_key("f"), revision="1", zygote="z", pid=7, started=8, socket="s")
ZYGOTE = ZygoteRecord(id="z", pool=Pool(environment="e", namespace="n", preimports=("numpy",), variables=(("A", "1"),)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a name that no other test has: in shared memory the secrets lie under its end."""
    return tmp_path / f"run-{secrets.token_hex(6)}"


@pytest.fixture
def run(folder: Path) -> Iterator[RunDir]:
    run = RunDir(folder, Sandbox())
    run.claim()
    yield run
    run.remove()


def test_records_are_read_back(run: RunDir) -> None:
    run.write(REPLICA)
    run.write(ZYGOTE)
    assert run.replicas() == [REPLICA]
    assert run.zygotes() == [ZYGOTE]


def test_a_record_is_replaced_whole(run: RunDir, folder: Path) -> None:
    for slots in (0, 4):
        run.write(
            ReplicaRecord(**{name: getattr(REPLICA, name) for name in REPLICA.__struct_fields__} | {"slots": slots})
        )
    assert [record.slots for record in run.replicas()] == [4]
    assert os.listdir(folder / "records") == ["replica-a.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', "\x00"])
def test_a_record_that_cannot_be_read_is_removed(run: RunDir, folder: Path, text: str) -> None:
    path = folder / "records" / "replica-x.json"
    path.write_text(text)
    assert run.replicas() == []
    assert not path.exists()


def test_dropping_twice_is_dropping_once(run: RunDir) -> None:
    run.write(REPLICA)
    run.drop_replica(REPLICA)
    run.drop_replica(REPLICA)
    assert run.replicas() == []


def test_nothing_is_left_after_removing(run: RunDir, folder: Path) -> None:
    run.write(REPLICA)
    run.store_secrets("a", {"key": b"value"})
    run.remove()
    assert not folder.exists()


def test_others_files_in_the_directory_stay(run: RunDir, folder: Path) -> None:
    (folder / "api.sock").touch()
    run.remove()
    assert os.listdir(folder) == ["api.sock"]


def test_a_directory_of_somebody_else_is_refused(folder: Path) -> None:
    folder.symlink_to(folder.parent)
    with pytest.raises(InvalidInput, match="is not a directory of user"):
        RunDir(folder, Sandbox()).claim()


def test_secrets_are_readable_by_their_owner_alone(run: RunDir) -> None:
    folder = run.store_secrets("a", {"key": b"value"})
    assert folder is not None
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{folder}/key").st_mode) == 0o400


def test_secrets_are_replaced_by_those_of_the_next_try(run: RunDir) -> None:
    run.store_secrets("a", {"old": b"1"})
    folder = run.store_secrets("a", {"new": b"2"})
    assert folder is not None
    assert os.listdir(folder) == ["new"]


@pytest.mark.parametrize("replica", ["", "../a", "a/b", "a.b", "x" * 65, "-a"])
def test_ids_that_are_no_file_names_are_refused(replica: str) -> None:
    with pytest.raises(InvalidInput):
        check_id(replica)


def test_socket_paths_are_short_however_long_the_id_is(run: RunDir) -> None:
    assert len(os.path.basename(run.replica_socket("x" * 64))) <= 17


def test_a_listening_socket_is_ours_alone_and_replaces_one_that_was_left(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listen(path).close()
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
