"""Directories that appear whole or not at all, and belong to nobody but the platform."""

import errno
import os
from pathlib import Path

import pytest

from pilotlight.builder.files import make_staging, publish, remove, seal, storage_errors, write_atomically
from pilotlight.core.errors import StorageFull


def test_a_published_directory_leaves_staging(tmp_path: Path) -> None:
    made = make_staging(tmp_path)
    (made / "file").write_text("x")
    publish(made, tmp_path / "place")
    assert (tmp_path / "place/file").read_text() == "x"
    assert not made.exists()


def test_the_first_one_stays(tmp_path: Path) -> None:
    for text in ("first", "second"):
        made = make_staging(tmp_path)
        (made / "file").write_text(text)
        publish(made, tmp_path / "place")
    assert (tmp_path / "place/file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_many_files_are_published_too(tmp_path: Path) -> None:
    made = make_staging(tmp_path)
    for number in range(100):
        (made / str(number)).touch()
    publish(made, tmp_path / "place")
    assert len(list((tmp_path / "place").iterdir())) == 100


def test_sealing_follows_no_link_and_keeps_only_files_folders_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    made = tmp_path / "made"
    made.mkdir()
    (made / "link").symlink_to(outside)
    (made / "folder").symlink_to(tmp_path)
    os.mkfifo(made / "pipe")
    (made / "program").touch(mode=0o777)
    (made / "program").chmod(0o4777)
    seal(made)
    assert sorted(path.name for path in made.iterdir()) == ["folder", "link", "program"]
    assert (made / "program").stat().st_mode & 0o7777 == 0o755
    assert outside.stat().st_mode & 0o7777 == 0o600


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"one")
    write_atomically(tmp_path / "file", b"two")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"two"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_error(number: int) -> None:
    with pytest.raises(StorageFull), storage_errors():
        raise OSError(number, "full")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), storage_errors():
        raise PermissionError(errno.EACCES, "no")


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
