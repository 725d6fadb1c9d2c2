"""What Tab offers without a server."""

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.cli import cli
from faasctl.completion import SUBCOMMANDS, complete
from faasctl.menu import NAMES, TOPICS

STACK = """
provider:
  name: openfaas

functions:
  # one
  hello:
    lang: python3-http
    handler: ./hello

  'resize':
    lang: python3-http
configuration:
  copy: [lib]
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAASCTL_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def words(*typed: str) -> list[str]:
    return [line.partition("\t")[0] for line in complete([*typed])]


def test_the_first_word_is_a_command_with_its_meaning() -> None:
    assert words("") == NAMES
    assert words("desc") == ["describe"]
    assert "Show all about one function" in complete(["desc"])[0]


def test_options_are_those_of_the_command() -> None:
    assert {"--help", "--json", "--namespace", "--sort"} <= set(words("list", "--"))
    assert words("logs", "hello", "--fol") == ["--follow"]
    assert "--from-file" in words("secret", "create", "--")


def test_families_offer_their_members() -> None:
    assert words("secret", "") == list(SUBCOMMANDS["secret"])
    assert words("namespace", "re") == ["remove"]


def test_the_templates_are_the_projects_and_the_installed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "template/ruby").mkdir(parents=True)
    (tmp_path / "template/ruby/Dockerfile").write_text("")
    monkeypatch.chdir(tmp_path)
    assert words("new", "x", "--lang", "") == [
        "bash", "dockerfile", "node", "python3-asgi", "python3-http", "python3-lambda", "ruby",
    ]  # fmt: skip
    assert words("new", "x", "--lang", "nod") == ["node"]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_members_that_are_offered_are_all_there_are(name: str) -> None:
    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, click.Group)
    assert set(SUBCOMMANDS[name]) == set(found.commands)


def test_help_offers_topics() -> None:
    assert set(TOPICS) <= set(words("help", ""))
    assert words("completion", "") == ["bash", "zsh", "fish"]


def test_functions_of_the_stack_file_are_offered_once(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text(STACK)
    assert words("up", "") == ["hello", "resize"]
    assert words("up", "hello", "") == ["resize"]
    assert words("push", "") == words("publish", "") == ["hello", "resize"]
    (tmp_path / "other.yml").write_text("functions:\n  third:\n    lang: x\n")
    assert words("deploy", "-f", "other.yml", "") == ["third"]


def test_where_a_value_is_wanted_nothing_is_offered() -> None:
    assert words("logs", "--since", "") == []
    assert words("up", "-f", "") == []


@pytest.mark.parametrize("typed", [("describe", ""), ("nonsense", ""), ("secret", "remove", ""), ("list", "-n", "")])
def test_a_failure_is_silent(typed: tuple[str, ...]) -> None:
    assert words(*typed) == []


@given(typed=st.lists(st.text(max_size=10), max_size=4))
def test_any_words_get_an_answer(typed: list[str]) -> None:
    assert isinstance(complete(typed), list)
