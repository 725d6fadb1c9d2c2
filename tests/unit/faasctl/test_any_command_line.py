"""Whatever somebody types: one of our exit codes, one of our sentences, never a bug of ours."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faasctl.__main__ import main
from faasctl.errors import ExitCode
from faasctl.menu import ALIASES, HABITS, NAMES, TOPICS

BECOMES_ANOTHER_PROGRAM_OR_WRITES = {"serve", "dev", "new"}
COMMANDS = [name for name in [*NAMES, *ALIASES, *HABITS] if name not in BECOMES_ANOTHER_PROGRAM_OR_WRITES]
FLAGS = [
    "--help", "-h", "--json", "-j", "-q", "-v", "--all", "--yes", "-n", "--namespace=", "--tail", "--since", "--call",
    "--sort", "-d", "-f", "-H", "-X", "--query", "--from-literal", "--rotate", "--grace", "--local", "--password-stdin",
    "--interval", "--", "-", "--=", "-nx", "--jsn",
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(FLAGS),
    st.sampled_from([*TOPICS, "create", "list", "remove", "hello", "0", "1h", ""]),
    st.text(max_size=8),
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FAASCTL_SERVER", "http://127.0.0.1:1")
    with (tmp_path / "empty").open("w+") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(command=st.sampled_from(COMMANDS), words=st.lists(WORDS, max_size=5))
def test_any_words_end_in_an_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["faasctl", command, *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code in set(ExitCode)
    assert "error[internal]" not in err, err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
