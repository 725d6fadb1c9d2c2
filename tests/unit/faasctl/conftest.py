"""A folder with the handlers that the stack files of these tests name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faasctl.errors import CliError, Problem
from faasctl.stack import Stack, read_stack

Read = Callable[..., Stack]
Mistakes = Callable[..., list[Problem]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("hello", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "handler.py").write_text("def handle(event, context): pass\n")
    return tmp_path


@pytest.fixture
def read(project: Path) -> Read:
    """A stack file's text, read."""

    def reader(text: str, **env: str) -> Stack:
        return read_stack(text.encode(), project / "stack.yaml", env)

    return reader


@pytest.fixture
def mistakes(read: Read) -> Mistakes:
    """The problems of a stack file's text."""

    def reader(text: str, **env: str) -> list[Problem]:
        with pytest.raises(CliError) as caught:
            read(text, **env)
        assert caught.value.exit_code == 2
        return list(caught.value.problems)

    return reader
