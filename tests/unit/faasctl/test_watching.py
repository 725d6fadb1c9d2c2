"""What `faasctl dev` sees of a folder."""

import os
from pathlib import Path

import pytest

from faasctl.dev.watch import LONGEST_SECONDS, SHORTEST_SECONDS, Watcher, differing, is_below, pause, snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello" / "inner").mkdir(parents=True)
    for name in ("handler.py", "inner/more.py"):
        (tmp_path / "hello" / name).write_text("one")
    return tmp_path


def test_a_save_is_seen_however_an_editor_makes_it(folder: Path) -> None:
    handler, watcher = folder / "hello/handler.py", Watcher([folder / "hello"])
    assert watcher.changed() == []
    handler.write_text("other")
    assert watcher.changed() == [str(handler)]
    beside = folder / "beside"
    beside.write_text("third")
    os.utime(beside, ns=(handler.stat().st_mtime_ns, handler.stat().st_mtime_ns))
    beside.rename(handler)
    assert watcher.changed() == [str(handler)]
    assert watcher.changed() == []


def test_new_and_removed_files_are_changes(folder: Path) -> None:
    watcher = Watcher([folder / "hello"])
    (folder / "hello/new.py").touch()
    (folder / "hello/inner/more.py").unlink()
    assert watcher.changed() == [str(folder / "hello/inner/more.py"), str(folder / "hello/new.py")]


def test_a_folder_that_goes_and_comes_back_is_seen(folder: Path) -> None:
    watcher = Watcher([folder / "hello"])
    (folder / "hello").rename(folder / "away")
    assert len(watcher.changed()) == 2
    (folder / "away").rename(folder / "hello")
    assert len(watcher.changed()) == 2


@pytest.mark.parametrize("name", ["handler.py~", ".handler.py.swp", "#handler.py#", "x.pyc", ".git", "__pycache__"])
def test_what_is_never_uploaded_is_not_watched(folder: Path, name: str) -> None:
    watcher = Watcher([folder / "hello"])
    (folder / "hello" / name).touch()
    (folder / "hello/.#handler.py").symlink_to("somebody@machine.123")
    assert watcher.changed() == []


def test_links_that_lead_in_a_circle_end(folder: Path) -> None:
    (folder / "hello/inner/up").symlink_to(folder / "hello")
    assert sorted(snapshot([folder / "hello"])) == [
        str(folder / "hello/handler.py"),
        str(folder / "hello/inner/more.py"),
    ]


def test_roots_can_be_exchanged_and_a_save_meanwhile_is_not_lost(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/handler.py").write_text("one")
    watcher = Watcher([folder / "hello"])
    (folder / "hello/handler.py").write_text("two!")
    watcher.follow([folder / "hello", folder / "other"])
    assert watcher.changed() == [str(folder / "hello/handler.py")]
    watcher.follow([folder / "other"])
    assert watcher.changed() == []
    (folder / "other/handler.py").write_text("two!")
    assert watcher.changed() == [str(folder / "other/handler.py")]


def test_waiting_ends_when_there_is_nothing_to_wait_for(folder: Path) -> None:
    assert Watcher([folder]).wait(lambda: False) == []


def test_the_pause_follows_from_what_a_look_takes() -> None:
    assert pause(0.0) == SHORTEST_SECONDS
    assert pause(0.001) == pytest.approx(0.1)
    assert pause(60.0) == LONGEST_SECONDS


def test_differences_are_new_gone_and_changed() -> None:
    before = {"same": (1, 1, 1), "gone": (1, 1, 1), "changed": (1, 1, 1)}
    after = {"same": (1, 1, 1), "new": (1, 1, 1), "changed": (2, 1, 1)}
    assert differing(before, after) == ["changed", "gone", "new"]


def test_a_path_is_below_its_folder_and_not_below_one_with_a_similar_name() -> None:
    assert is_below("hello/handler.py", Path("hello"))
    assert is_below("stack.yaml", Path("stack.yaml"))
    assert not is_below("hello2/handler.py", Path("hello"))
