"""The commands' help: one screen, examples first, and an answer for every foreign word."""

from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from faasctl.cli import cli, unknown_command
from faasctl.commands.invoke import cold_phases, server_timing
from faasctl.commands.serve import settings_of
from faasctl.errors import CliError
from faasctl.menu import ALIASES, HABITS, NAMES, first_page


def page(*words: str) -> str:
    return CliRunner().invoke(cli, [*words, "--help"]).output


def test_the_first_page_is_one_screen_and_names_every_command() -> None:
    text = first_page()
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    assert [
        name for name in NAMES if f" {name} " not in text and f" {name}," not in text and f" {name}:" not in text
    ] == []


def test_click_prints_the_same_first_page() -> None:
    assert page() == first_page()


@pytest.mark.parametrize("name", NAMES)
def test_a_commands_page_begins_with_two_examples(name: str) -> None:
    text = page(name)
    before_options = text.partition("Options:")[0]
    assert before_options.count(f"  faasctl {name}") >= 1
    assert len(import_module(f"faasctl.commands.{name}").command.examples) == 2


def test_aliases_lead_to_commands() -> None:
    assert set(ALIASES.values()) <= set(NAMES)
    assert not set(ALIASES) & set(NAMES)
    assert "Remove" in page("rm")


@pytest.mark.parametrize("word", HABITS)
def test_a_foreign_word_gets_the_right_command(word: str) -> None:
    assert word not in (*NAMES, *ALIASES)
    assert HABITS[word] in str(unknown_command(word))


def test_a_typo_gets_the_nearest_command() -> None:
    assert "did you mean `deploy`?" in str(unknown_command("deplyo"))


def test_no_command_shares_a_flag_with_two_meanings() -> None:
    for name in NAMES:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for each in (command, *getattr(command, "commands", {}).values()):
            flags = [flag for parameter in each.params for flag in parameter.opts if flag.startswith("-")]
            assert len(flags) == len(set(flags)), (name, each.name)


def test_every_command_that_prints_data_takes_json() -> None:
    without = {"new", "template", "serve", "dev", "help", "completion", "invoke", "secret", "namespace"}
    for name in set(NAMES) - without:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert "--json" in [flag for parameter in command.params for flag in parameter.opts], name


def test_serve_passes_on_only_what_was_given() -> None:
    given = settings_of({"data_dir": "/d", "port": 9000, "metrics_port": 0, "host": None, "keep": False}, ())
    assert given == {"data_dir": "/d", "port": 9000, "metrics_port": 0}


def test_serve_takes_dotted_settings() -> None:
    given = settings_of({"data_dir": "/d"}, ("pool.spares=4", "router.read_timeout_seconds=1.5", "host=::1"))
    assert given["pool"] == {"spares": 4}
    assert given["router"] == {"read_timeout_seconds": 1.5}
    assert given["host"] == "::1"


@pytest.mark.parametrize("word", ["x", "=1", "a..b=1", "data_dir.x=1"])
def test_serve_refuses_what_is_no_setting(word: str) -> None:
    with pytest.raises(CliError):
        settings_of({"data_dir": "/d"}, (word,))


@pytest.mark.parametrize(
    ("header", "phases"),
    [
        ("wait;dur=8.3, claim;dur=2.1, handler;dur=1", {"wait": 8.3, "claim": 2.1}),
        ("db;dur=3, wait;dur=1, wait;dur=8.3, load;dur=4, handler;dur=1", {"wait": 8.3, "load": 4.0}),
        ("db;dur=3, wait;dur=1", {}),
        ("", {}),
    ],
)
def test_only_the_routers_own_entries_make_a_cold_start(header: str, phases: dict[str, float]) -> None:
    assert cold_phases(header) == phases


def test_what_is_no_duration_is_left_out() -> None:
    assert list(server_timing('a;desc="x";dur="4.6", cache, x;dur=abc, y;dur=-1, ;dur=')) == [("a", 4.6)]
