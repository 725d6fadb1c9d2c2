"""Functions' logs on disk: read in order, from the end, while they grow and when they are turned over."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.spec import function_key
from pilotlight.providers.base import LogLine
from pilotlight.providers.process import logfiles
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight_runtime.logs import format_record

F = function_key("f", "ns")


def record(seconds: float, text: str, stream: str = "o", call_id: str = "-") -> bytes:
    return format_record(int(seconds * 1e6), stream, call_id, text.encode())


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    return LogFiles(tmp_path)


def write(files: LogFiles, replica: str, data: bytes, *, before: bool = False) -> None:
    path = Path(files.path(F, replica))
    if path.exists() and not before:
        with path.open("ab") as file:
            file.write(data)
        return
    pair = files.open(F, replica)
    os.write(pair.previous if before else pair.log, data)
    os.close(pair.log)
    os.close(pair.previous)


async def read(files: LogFiles, **options: object) -> list[LogLine]:
    wanted = {"tail": None, "since": None, "follow": False} | options
    return [line async for line in files.read(F, **wanted)]  # type: ignore[arg-type]


async def texts(files: LogFiles, **options: object) -> list[str]:
    return [line.text for line in await read(files, **options)]


async def test_lines_of_several_replicas_are_merged_by_time(files: LogFiles) -> None:
    write(files, "a", record(1, "one") + record(3, "three"))
    write(files, "b", record(2, "two") + record(4, "four"))
    assert await texts(files) == ["one", "two", "three", "four"]


async def test_the_part_before_comes_before(files: LogFiles) -> None:
    write(files, "a", record(1, "one"), before=True)
    write(files, "a", record(1, "two"))
    assert await texts(files) == ["one", "two"]


async def test_a_line_has_its_stream_its_call_and_its_replica(files: LogFiles) -> None:
    write(files, "a", record(1, "x", "e", "call-1") + record(2, "y", "s"))
    first, second = await read(files)
    assert (first.replica, first.stream, first.call_id, first.time) == ("a", "stderr", "call-1", 1.0)
    assert (second.stream, second.call_id) == ("system", None)


async def test_a_line_without_a_time_has_that_of_the_line_before(files: LogFiles) -> None:
    write(files, "a", b"early\n" + record(5, "x") + b"written directly\n")
    assert [(line.text, line.time) for line in await read(files)] == [
        ("early", 5.0), ("x", 5.0), ("written directly", 5.0),
    ]  # fmt: skip


async def test_a_last_line_without_a_newline_is_shown(files: LogFiles) -> None:
    write(files, "a", record(5, "x") + b"Segmentation fault")
    assert await texts(files) == ["x", "Segmentation fault"]


async def test_the_tail_counts_over_all_replicas(files: LogFiles) -> None:
    write(files, "a", b"".join(record(number, f"a{number}") for number in range(0, 20, 2)))
    write(files, "b", b"".join(record(number, f"b{number}") for number in range(1, 20, 2)))
    assert await texts(files, tail=3) == ["b17", "a18", "b19"]


async def test_the_tail_of_a_large_file_reads_only_its_end(files: LogFiles) -> None:
    write(files, "a", b"".join(record(number, "x" * 1000) for number in range(1000)) + record(2000, "last"))
    assert (await texts(files, tail=2))[-1] == "last"


async def test_since_leaves_out_what_was_before(files: LogFiles) -> None:
    now = time.time()
    write(files, "a", record(now - 10, "old") + record(now, "new"))
    assert await texts(files, since=now - 5) == ["new"]


async def test_a_follower_sees_what_comes_once_and_across_turning_over(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "POLL_SECONDS", 0.01)
    write(files, "a", record(1, "one"))
    following = files.read(F, tail=None, since=None, follow=True)
    seen = [(await anext(following)).text]
    write(files, "a", record(2, "two"))
    seen.append((await anext(following)).text)
    write(files, "a", record(3, "three"))
    path = Path(files.path(F, "a"))
    path.with_name("a.1.log").write_bytes(path.read_bytes())
    path.write_bytes(record(4, "four"))
    async with asyncio.timeout(5):
        seen += [(await anext(following)).text, (await anext(following)).text]
    assert seen == ["one", "two", "three", "four"]


async def test_a_follower_waits_for_the_rest_of_a_line(files: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "POLL_SECONDS", 0.01)
    line = record(1, "whole")
    write(files, "a", line[:9])
    following = files.read(F, tail=None, since=None, follow=True)
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    write(files, "a", line[9:])
    assert (await asyncio.wait_for(waiting, 5)).text == "whole"


def test_pruning_keeps_running_replicas_and_the_newest(files: LogFiles) -> None:
    for number in range(15):
        write(files, f"r{number:02}", record(number, "x"))
        os.utime(files.path(F, f"r{number:02}"), (number, number))
    files.prune(F, {"r00"})
    left = sorted({file.replica for file in files._files(F)})
    assert left == ["r00", *(f"r{number:02}" for number in range(6, 15))]


def test_pruning_keeps_within_the_bytes(files: LogFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "TOTAL_BYTES", 100)
    for number in range(4):
        write(files, f"r{number}", b"x" * 40)
        os.utime(files.path(F, f"r{number}"), (number, number))
    files.prune(F, set())
    assert sorted(file.replica for file in files._files(F)) == ["r2", "r3"]


def test_empty_files_of_ended_replicas_go(files: LogFiles) -> None:
    write(files, "silent", b"")
    write(files, "running", b"")
    files.prune(F, {"running"})
    assert {file.replica for file in files._files(F)} == {"running"}


def test_last_lines_are_texts_alone(files: LogFiles) -> None:
    write(files, "a", record(1, "one") + b"two\n" + record(3, "three"))
    assert files.last_lines(F, "a", 2) == ("two", "three")
    assert files.last_lines(F, "never") == ()


async def test_a_spare_pair_gets_its_name_afterwards(files: LogFiles, tmp_path: Path) -> None:
    files.begin()
    write(files, "a", record(1, "one"))
    assert not Path(files.path(F, "a")).exists()
    assert await texts(files) == ["one"]
    assert files.last_lines(F, "a") == ("one",)
    files.leave()
    assert os.listdir(tmp_path / ".spare") == []


async def test_a_spare_pair_gets_its_name_after_a_crash(files: LogFiles, tmp_path: Path) -> None:
    files.begin()
    pair = files.open(F, "a")
    os.write(pair.log, record(1, "one"))
    second = LogFiles(tmp_path)
    second.expect(F, "a", pair.spare)
    second.begin()
    assert await texts(second) == ["one"]
    os.close(pair.log)
    os.close(pair.previous)
    second.leave()
    files.leave()


async def test_a_function_without_logs_has_none(files: LogFiles) -> None:
    assert await read(files) == []
    files.forget(F)


@given(lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)), tail=st.integers(0, 8))
def test_any_bytes_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], tail: int) -> None:
    files = LogFiles(tmp_path_factory.mktemp("logs"))
    write(files, "a", b"".join(line + b"\n" for line in lines))
    assert len(asyncio.run(read(files, tail=tail))) == min(tail, len(lines))
    assert len(asyncio.run(read(files))) == len(lines)


async def test_a_note_on_an_end_comes_after_the_last_line(files: LogFiles) -> None:
    write(files, "a", record(1, "one") + b"without its newline")
    files.note(F, "a", "killed")
    line = (await read(files))[-1]
    assert (line.stream, line.text) == ("system", "killed")
    assert await texts(files, tail=2) == ["without its newline", "killed"]


def test_a_note_makes_no_file(files: LogFiles) -> None:
    files.note(F, "never", "killed")
    assert not os.path.exists(files.path(F, "never"))


async def test_a_log_that_is_much_too_long_is_cut_to_its_last_part(
    files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "GUARD_BYTES", 1000)
    monkeypatch.setattr(logfiles, "KEPT_BYTES", 100)
    write(files, "a", b"".join(record(number, f"line {number}") for number in range(100)))
    path = files.path(F, "a")
    inode = os.stat(path).st_ino
    files.guard([path, files.path(F, "never")])
    assert (os.stat(path).st_size, os.stat(path).st_ino) == (0, inode)
    assert (await texts(files))[-1] == "line 99"
    assert os.stat(path.replace(".log", ".1.log")).st_size == 100


def test_a_log_within_its_bounds_is_left_alone(files: LogFiles) -> None:
    write(files, "a", record(1, "one"))
    path = files.path(F, "a")
    before = os.stat(path)
    files.guard([path])
    assert os.stat(path) == before
