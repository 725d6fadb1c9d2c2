"""How a user's own error is told: the sentence, and the place in the user's own files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pilotlight_runtime.failures import LoadFailed, describe, import_failure, init_failure, user_traceback


def _raised(function: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        function()
    return caught.value


def _in_file(path: Path, source: str) -> Callable[[], object]:
    path.write_text(source)
    return lambda: exec(compile(source, str(path), "exec"), {})


def test_the_deepest_own_line_is_the_place(tmp_path: Path) -> None:
    error = _raised(_in_file(tmp_path / "handler.py", "import json\n\njson.loads('x')\n"))
    failure = init_failure(error, str(tmp_path))
    assert (failure.file, failure.line, failure.source) == ("handler.py", 3, "json.loads('x')")
    assert failure.detail == "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"


def test_an_error_outside_of_the_functions_files_has_no_place(tmp_path: Path) -> None:
    failure = import_failure(_raised(lambda: 1 // 0), str(tmp_path))
    assert (failure.slug, failure.file, failure.line) == ("load-failed", None, None)


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("import no_such", "no module named no_such: add it to requirements.txt"),
        ("raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')",
         "no module named PIL: add pillow to requirements.txt"),
        ("raise ModuleNotFoundError(\"No module named 'function.a'\", name='function.a')",
         "there is no a.py in the function's folder"),
        ("raise ModuleNotFoundError('install the extra [gpu]', name='x')", "install the extra [gpu]"),
    ],
)  # fmt: skip
def test_a_missing_module_says_what_to_do(tmp_path: Path, source: str, detail: str) -> None:
    failure = import_failure(_raised(_in_file(tmp_path / "handler.py", source)), str(tmp_path))
    assert (failure.slug, failure.detail, failure.line) == ("import-failed", detail, 1)


@pytest.mark.parametrize(
    ("source", "line", "detail"),
    [
        ("x = (1,\n", 1, "'(' was never closed"),
        ("def f():\nreturn 1\n", 2, "expected an indented block after function definition on line 1"),
        ("if True:\n\tx = 1\n        y = 2\n", 3, "inconsistent use of tabs and spaces in indentation"),
    ],
)
def test_a_syntax_error_has_line_column_and_source(tmp_path: Path, source: str, line: int, detail: str) -> None:
    path = tmp_path / "handler.py"
    failure = import_failure(_raised(lambda: compile(source, str(path), "exec")), str(tmp_path))
    assert (failure.slug, failure.file, failure.line, failure.detail) == ("handler-syntax", "handler.py", line, detail)
    assert failure.source == source.splitlines()[line - 1]
    assert failure.column is not None


def test_a_syntax_error_in_a_dependency_is_an_import_that_failed(tmp_path: Path) -> None:
    failure = import_failure(_raised(lambda: compile("x =", "/elsewhere/a.py", "exec")), str(tmp_path))
    assert failure.slug == "import-failed"


def test_the_message_on_the_channel_has_every_member() -> None:
    message = LoadFailed("init-failed", "d", file="handler.py", line=3).message()
    assert message == {
        "type": "failed", "slug": "init-failed", "detail": "d", "file": "handler.py", "line": 3, "column": None,
        "source": None,
    }  # fmt: skip


def test_an_exception_is_described_in_one_line() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(ValueError("two\nlines")) == "ValueError: two lines"
    assert describe(KeyError()) == "KeyError"
    assert describe(Odd()) == "Odd"


def test_of_a_message_of_megabytes_the_beginning_is_told() -> None:
    told = describe(ValueError("x" * 10**7))
    assert told.startswith("ValueError: xxx")
    assert len(told) < 3000


def test_tracebacks_of_causes_lose_our_frames_too(tmp_path: Path) -> None:
    source = """
from pilotlight_runtime.launch import encode
try:
    encode({1: set()})
except TypeError as error:
    raise ValueError("x") from error
"""
    error = _raised(_in_file(tmp_path / "handler.py", source))
    text = user_traceback(error)
    assert "pilotlight_runtime" not in text.replace("from pilotlight_runtime", "")
    assert text.count("handler.py") == 2
    assert text.endswith("ValueError: x\n")
