"""The form in which errors are shown: places, carets, and nothing that a terminal could obey."""

from hypothesis import given
from hypothesis import strategies as st

from faasctl.errors import CliError, ExitCode, Place, Problem
from faasctl.output import paint, render_error, table
from pilotlight_problems import find


def shown(**members: object) -> str:
    return render_error(CliError(ExitCode.FAILED, Problem(**members)))  # type: ignore[arg-type]


def test_the_grammar() -> None:
    place = Place(file="stack.yaml", line=9, column=5, source="    enviroment:", width=10, remark="did you mean X?")
    text = shown(slug="s", detail="what", place=place, origin="there", help=("one", "two"), state="as before")
    assert text == (
        "error[s]: what\n"
        "  --> stack.yaml:9:5\n"
        "   |\n"
        " 9 |     enviroment:\n"
        "   |     ^^^^^^^^^^ did you mean X?\n"
        "  = from: there\n"
        "  = help: one\n"
        "          two\n"
        "  = state: as before\n"
    )


def test_the_caret_stands_under_its_character_after_wide_ones() -> None:
    place = Place(file="f", line=1, column=3, source="日本x", width=1)
    *_, source, caret, _help = shown(slug="s", detail="d", place=place).splitlines()
    assert source == " 1 | 日本x"
    assert caret == "   |     ^"  # five columns: a blank and two characters of two columns each


def test_a_tab_takes_one_column_in_the_excerpt() -> None:
    place = Place(file="f", line=1, column=2, source="\tx")
    *_, source, caret, _help = shown(slug="s", detail="d", place=place).splitlines()
    assert source.index("x") == caret.index("^")


def test_who_gives_no_help_gets_the_help_of_the_table() -> None:
    assert shown(slug="stack-missing", detail="d").endswith(f"  = help: {find('stack-missing').cure}\n")


def test_a_remark_at_the_place_is_help_enough() -> None:
    place = Place(file="f", line=1, column=1, source="x", remark="did you mean y?")
    assert "help" not in shown(slug="stack-unknown-key", detail="d", place=place)


def test_a_column_beyond_the_line_draws_no_caret() -> None:
    place = Place(file="f", line=1, column=99, source="short")
    assert "^" not in shown(slug="s", detail="d", place=place)


def test_a_very_long_line_is_cut_around_the_caret() -> None:
    place = Place(file="f", line=1, column=5000, source="x" * 10_000)
    assert max(map(len, shown(slug="s", detail="d", place=place).splitlines())) < 200


def test_a_problem_as_json_has_its_place() -> None:
    problem = Problem(slug="s", detail="d", help=("do this",), place=Place(file="f", line=3))
    members = CliError(ExitCode.FAILED, problem).to_json()
    assert members == {"type": "s", "title": "s", "detail": "d", "hint": "do this", "file": "f", "line": 3}


def test_several_problems_are_one_json_object() -> None:
    problem = Problem(slug="s", detail="d")
    assert len(CliError(ExitCode.USAGE, problem, problem).to_json()["errors"]) == 2  # type: ignore[arg-type]


def test_columns_of_a_table_line_up() -> None:
    lines = [paint(line, colour=False) for line in table([["A", "B"], ["long", "x"]])]
    assert lines == ["A      B", "long   x"]


@given(text=st.text())
def test_no_text_reaches_a_terminal_as_a_command(text: str) -> None:
    place = Place(file=text, line=1, column=1, source=text, remark=text)
    out = shown(slug="s", detail=text, place=place, origin=text, help=(text,), state=text)
    assert not any(ord(char) < 32 and char != "\n" for char in out)
    assert "\x9b" not in out
