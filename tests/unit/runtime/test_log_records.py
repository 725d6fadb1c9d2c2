"""Records: what is printed comes out as it went in, whoever else prints at the same time."""

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotlight_runtime.logs import (
    MAX_TEXT_BYTES,
    LogFile,
    Logs,
    Record,
    RecordStream,
    current_call,
    format_lines,
    format_record,
    is_call_id,
    parse_line,
)

call_ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)
lines = st.binary().map(lambda data: data.replace(b"\n", b""))


@given(st.integers(0, 10**17), st.sampled_from("oes"), call_ids, st.text().filter(lambda text: "\n" not in text))
def test_a_record_is_read_as_it_was_written(microseconds: int, stream: str, call_id: str, text: str) -> None:
    line = format_record(microseconds, stream, call_id, text.encode("utf-8", "surrogatepass"))
    expected = text.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")
    assert parse_line(line) == Record(microseconds, stream, None if call_id == "-" else call_id, expected)


@given(lines)
def test_any_line_can_be_read(line: bytes) -> None:
    record = parse_line(line)
    assert record.stream in ("o", "e", "s")
    assert parse_line(line + b"\n") == record


@given(lines.filter(lambda line: not line.startswith(b"\x1e")))
def test_a_line_that_is_no_record_is_stderr_of_an_unknown_time(line: bytes) -> None:
    assert parse_line(line) == Record(None, "e", None, line.decode("utf-8", "backslashreplace"))


@pytest.mark.parametrize(
    "line", [b"\x1e", b"\x1e1 o -", b"\x1ex o - t", b"\x1e1 x - t", b"\x1e" + b"9" * 21 + b" o - t"]
)
def test_what_only_looks_like_a_record_is_none(line: bytes) -> None:
    assert parse_line(line).microseconds is None


@settings(deadline=None, max_examples=40)
@given(st.text(st.sampled_from("aé€😀\n"), max_size=20), st.integers(1, 40_000))
def test_long_lines_are_cut_into_pieces_that_join_to_the_line(text: str, times: int) -> None:
    data = (text * (times * 4 // max(1, len(text)))).encode()
    records = [parse_line(line) for line in format_lines("o", "c", data).splitlines()]
    assert "".join(record.text for record in records) == data.decode().replace("\n", "")
    assert all(len(record.text.encode()) <= MAX_TEXT_BYTES for record in records)


@pytest.mark.parametrize(("text", "good"), [("c1", True), ("", False), ("a b", False), ("a\n", False), ("é", False)])
def test_a_call_id_can_stand_in_a_record(text: str, good: bool) -> None:
    assert is_call_id(text) is good


@pytest.fixture
def log(tmp_path: Path) -> "OpenLog":
    return OpenLog(tmp_path)


class OpenLog:
    def __init__(self, folder: Path, rotate_bytes: int = 2**20) -> None:
        self.path, self.previous = folder / "log", folder / "log.1"
        self._fds = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND) for path in (self.path, self.previous)]
        self.file = LogFile(*self._fds, rotate_bytes=rotate_bytes)

    def records(self) -> list[Record]:
        return [parse_line(line) for line in self.path.read_bytes().splitlines()]

    def texts(self) -> list[str]:
        return [record.text for record in self.records()]


def test_a_line_waits_for_its_newline(log: OpenLog) -> None:
    stream = RecordStream(log.file, "o", 1)
    stream.write(b"one ")
    stream.flush()
    assert log.texts() == []
    stream.write(b"line\ntwo\nthree")
    assert log.texts() == ["one line", "two"]
    stream.end_line()
    assert log.texts() == ["one line", "two", "three"]


def test_an_empty_line_is_a_record(log: OpenLog) -> None:
    RecordStream(log.file, "o", 1).write(b"\n\n")
    assert log.texts() == ["", ""]


@given(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\r", b"")), max_size=20))
def test_however_it_is_cut_the_same_lines_come_out(parts: list[bytes]) -> None:
    written: list[bytes] = []

    class File:
        lock = threading.RLock()

        def write(self, records: bytes) -> None:
            written.append(records)

    stream = RecordStream(File(), "o", 1)  # type: ignore[arg-type]
    for part in parts:
        stream.write(part)
    stream.end_all_lines()
    texts = [parse_line(line).text for line in b"".join(written).split(b"\n")[:-1]]
    whole = b"".join(parts).decode("utf-8", "backslashreplace")
    assert texts == whole.removesuffix("\n").split("\n") * bool(whole)


def test_threads_and_calls_do_not_cut_each_others_lines(log: OpenLog) -> None:
    stream = RecordStream(log.file, "o", 1)

    def print_slowly(name: str) -> None:
        current_call.set(name)
        for _ in range(50):
            for letter in (*name, "\n"):
                stream.write(letter.encode())

    threads = [threading.Thread(target=print_slowly, args=(name * 9,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(log.texts()) == sorted(name * 9 for name in "abcd" for _ in range(50))
    assert all(record.text == record.call_id for record in log.records())


def test_a_line_over_the_bound_does_not_wait_for_its_newline(log: OpenLog) -> None:
    RecordStream(log.file, "o", 1).write(b"x" * (MAX_TEXT_BYTES + 10))
    assert log.texts() == ["x" * MAX_TEXT_BYTES]


def test_the_log_is_turned_over_and_keeps_its_inode(tmp_path: Path) -> None:
    log = OpenLog(tmp_path, rotate_bytes=64 * 1024)
    inode = log.path.stat().st_ino
    for number in range(2000):
        log.file.write(format_record(number, "o", "-", b"x" * 80))
    assert log.path.stat().st_ino == inode
    assert log.path.stat().st_size < 70 * 1024
    kept = [parse_line(line).microseconds for line in log.previous.read_bytes().splitlines()]
    kept += [record.microseconds for record in log.records()]
    assert kept == list(range(2000 - len(kept), 2000))


def test_of_a_log_that_is_much_too_large_the_last_part_is_kept(tmp_path: Path) -> None:
    log = OpenLog(tmp_path, rotate_bytes=1000)
    log.path.write_bytes(b"".join(b"%09d\n" % number for number in range(1000)))
    log.file.rotate_when_large()
    assert log.path.stat().st_size == 0
    assert log.previous.read_bytes().splitlines()[-1] == b"000000999"
    assert log.previous.stat().st_size == 1000


def test_a_log_that_cannot_be_written_costs_nobody_anything(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    LogFile(full, full).write(b"x")
    os.close(full)


def test_prints_go_to_records_once_installed(log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    logs = Logs(log.file)
    logs.install()
    print("to", "stdout")
    print("to stderr", file=sys.stderr, end="")
    logs.end_all_lines()
    logs.system("from us\nin two lines\n", "c1")
    assert [(record.stream, record.call_id, record.text) for record in log.records()] == [
        ("o", None, "to stdout"), ("e", None, "to stderr"), ("s", "c1", "from us"), ("s", "c1", "in two lines"),
    ]  # fmt: skip
