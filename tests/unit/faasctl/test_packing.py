"""A folder as a tar: the same bytes for the same files, and nothing from outside."""

import os
import tarfile
from pathlib import Path

import pytest

from faasctl.errors import CliError
from faasctl.pack import pack


def names(folder: Path, *extra: Path) -> list[str]:
    packed = pack(folder, extra)
    with packed.file, tarfile.open(fileobj=packed.file) as tar:
        return tar.getnames()


def content(folder: Path) -> bytes:
    with pack(folder).file as file:
        return file.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    (folder / "inner").mkdir(parents=True)
    (folder / "handler.py").write_text("x = 1\n")
    (folder / "inner" / "data.bin").write_bytes(b"12345")
    return folder


def test_files_are_there_by_their_relative_names(folder: Path) -> None:
    assert names(folder) == ["handler.py", "inner/data.bin"]


def test_counts_and_sizes_are_told(folder: Path) -> None:
    packed = pack(folder)
    with packed.file as file:
        assert (packed.files, packed.content_bytes) == (2, 11)
        assert packed.tar_bytes == len(file.read())


def test_times_and_owners_change_nothing(folder: Path) -> None:
    before = content(folder)
    os.utime(folder / "handler.py", (1, 1))
    (folder / "handler.py").chmod(0o600)
    assert content(folder) == before


def test_a_changed_byte_changes_the_tar(folder: Path) -> None:
    before = content(folder)
    (folder / "handler.py").write_text("x = 2\n")
    assert content(folder) != before


def test_a_program_stays_one(folder: Path) -> None:
    (folder / "run.sh").write_text("")
    (folder / "run.sh").chmod(0o777)
    packed = pack(folder)
    with packed.file, tarfile.open(fileobj=packed.file) as tar:
        assert {member.name: member.mode for member in tar}["run.sh"] == 0o755


@pytest.mark.parametrize("name", [".git", "__pycache__", ".venv", "node_modules"])
def test_what_belongs_to_tools_is_left_out(folder: Path, name: str) -> None:
    (folder / "inner" / name).mkdir()
    (folder / "inner" / name / "file").write_text("")
    (folder / "old.pyc").write_text("")
    assert names(folder) == ["handler.py", "inner/data.bin"]


def test_a_virtual_environment_of_any_name_is_left_out(folder: Path) -> None:
    (folder / "env39").mkdir()
    (folder / "env39" / "pyvenv.cfg").write_text("")
    assert names(folder) == ["handler.py", "inner/data.bin"]


def test_a_link_inside_becomes_the_file(folder: Path) -> None:
    (folder / "link.py").symlink_to("handler.py")
    (folder / "also").symlink_to("inner")
    assert names(folder) == ["also/data.bin", "handler.py", "inner/data.bin", "link.py"]


def test_a_link_to_the_outside_is_refused(folder: Path) -> None:
    (folder / "secret").symlink_to("/etc/hostname")
    with pytest.raises(CliError, match="outside of the handler's folder"):
        pack(folder)


def test_a_link_to_nothing_is_refused(folder: Path) -> None:
    (folder / "lost").symlink_to("nowhere")
    with pytest.raises(CliError, match="link to nothing"):
        pack(folder)


def test_a_link_in_a_circle_is_refused(folder: Path) -> None:
    (folder / "inner" / "up").symlink_to("..")
    with pytest.raises(CliError, match="a folder that holds it"):
        pack(folder)


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(CliError, match="neither a file nor a folder"):
        pack(folder)


def test_a_name_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / os.fsdecode(b"a\xff")).write_text("")
    with pytest.raises(CliError, match="not UTF-8"):
        pack(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no files"):
        pack(tmp_path)


def test_copied_paths_lie_beside_the_handler(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "util.py").write_text("")
    (tmp_path / "one.txt").write_text("")
    found = names(folder, tmp_path / "common", tmp_path / "one.txt")
    assert found == ["common/util.py", "handler.py", "inner/data.bin", "one.txt"]


@pytest.mark.parametrize("name", ["handler.py~", ".handler.py.swp", ".handler.py.swo", "#handler.py#", "a.pyc"])
def test_what_editors_leave_is_not_uploaded(tmp_path: Path, name: str) -> None:
    (tmp_path / "handler.py").touch()
    (tmp_path / name).touch()
    (tmp_path / ".#handler.py").symlink_to("somebody@machine.123")
    (tmp_path / ".pilotlight").mkdir()
    (tmp_path / ".pilotlight/store.db").touch()
    assert names(tmp_path) == ["handler.py"]


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="there is no folder"):
        pack(tmp_path / "hello")
    (tmp_path / "handler.py").touch()
    with pytest.raises(CliError, match="common any more"):
        pack(tmp_path, (tmp_path / "common",))
