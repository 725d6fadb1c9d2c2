"""What a `faasctl dev` session says about a save, in one line."""

import os
import time
from pathlib import Path

import pytest

from faasctl.dev.session import _in_one_line, _moment_of, _secret, _shown
from faasctl.errors import Place, Problem


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (
            Problem(
                slug="handler-syntax",
                detail="hello: handler.py:7: not valid Python 3.11: '(' was never closed",
                place=Place(file="hello/handler.py", line=7, column=3),
            ),
            "hello/handler.py:7: not valid Python 3.11: '(' was never closed",
        ),
        (
            Problem(
                slug="stack-unknown-key",
                detail="hello: unknown key `timout`",
                place=Place(file="stack.yaml", line=5, remark="did you mean `timeout`?"),
            ),
            "stack.yaml:5: unknown key `timout` (did you mean `timeout`?)",
        ),
        (Problem(slug="x", detail="hello: it ended\nlast words"), "it ended"),
    ],
)
def test_a_problem_is_one_line_with_its_place(problem: Problem, line: str) -> None:
    assert _in_one_line(problem, "hello") == line


def test_several_files_are_counted() -> None:
    assert _shown(["hello/a.py"]) == "hello/a.py"
    assert _shown(["hello/a.py", "hello/b.py"]) == "hello/a.py and 1 other"
    assert _shown(["a", "b", "c"]) == "a and 2 others"


def test_a_save_is_as_old_as_its_file_where_that_can_be_believed(tmp_path: Path) -> None:
    saved = tmp_path / "handler.py"
    saved.touch()
    half_a_second_ago = time.time() - 0.5
    os.utime(saved, (half_a_second_ago, half_a_second_ago))
    assert 0.5 <= time.monotonic() - _moment_of([str(saved)]) < 2
    for unbelievable in (time.time() - 3600, time.time() + 3600):
        os.utime(saved, (unbelievable, unbelievable))
        before = time.monotonic()
        assert _moment_of([str(saved)]) >= before
    assert _moment_of([str(tmp_path / "gone")]) >= before


def test_a_secret_is_its_files_text_without_the_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a\nb\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert _secret(tmp_path, "token") == "a\nb"
    assert _secret(tmp_path, "binary") is None
    assert _secret(tmp_path, "none") is None
