"""`${NAME}` in a stack file: as OpenFaaS has it, and never more than a part of one value."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.errors import Problem
from faasctl.stack import Stack, read_stack
from faasctl.variables import BadReference, mask

Read = Callable[..., Stack]
Mistakes = Callable[..., list[Problem]]
HELLO = "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${A}", "one"),
        ("x-${A}-${A}", "x-one-one"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${NONE-other}", "other"),
        ("${NONE:-}", ""),
        ("${NONE}", ""),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("a$$b", "a$b"),
        ("x$$${A}", "x$one"),
        ("$${NONE:-${A}}", "${NONE:-one}"),
        ("${NONE:-${A}}", "one"),
        ("${NONE:-${ALSO_NONE:-x}y}z", "xyz"),
        ("${NONE=other}", "other"),
        ("${EMPTY:=other}", "other"),
        ("${A:+yes}${EMPTY:+yes}${EMPTY+set}${NONE+set}", "yesset"),
        ("${#A}${#NONE}", "30"),
        ("${A^}${A^^}${UP,}${UP,,}", "OneONEuPup"),
        ("${PATH_:11:5}", "ideas"),
        ("${PATH_:11}", "ideas/a.b.c"),
        ("${PATH_: -3}", "b.c"),
        ("${PATH_:1:-6}", "home/bozo/ideas"),
        ("${PATH_:99}", ""),
        ("${PATH_#*/}", "home/bozo/ideas/a.b.c"),
        ("${PATH_##*/}", "a.b.c"),
        ("${PATH_%.*}", "/home/bozo/ideas/a.b"),
        ("${PATH_%%.*}", "/home/bozo/ideas/a"),
        ("${PATH_#x}", "/home/bozo/ideas/a.b.c"),
        ("${PATH_/o/0}", "/h0me/bozo/ideas/a.b.c"),
        ("${PATH_//o/0}", "/h0me/b0z0/ideas/a.b.c"),
        ("${PATH_//\\//-}", "-home-bozo-ideas-a.b.c"),
        ("${PATH_/#\\/home/~}", "~/bozo/ideas/a.b.c"),
        ("${PATH_/%.c/}", "/home/bozo/ideas/a.b"),
        ("${PATH_/.b}", "/home/bozo/ideas/a.c"),
        ("${A//}", "one"),
        ("${NONE:-http://a:1/b}", "http://a:1/b"),
    ],
)
def test_a_reference_becomes_its_value(written: str, expected: str) -> None:
    masked = mask(written, {"A": "one", "EMPTY": "", "UP": "UP", "PATH_": "/home/bozo/ideas/a.b.c"})
    assert masked.reveal(masked.text) == expected


def test_a_value_cannot_change_the_file(read: Read) -> None:
    stack = read(HELLO + "    environment: {A: ${A}, B: '${A}'}\n", A="x: y #, {[\n  evil: 1")
    assert stack.functions[0].spec["environment"] == {"A": "x: y #, {[\n  evil: 1", "B": "x: y #, {[\n  evil: 1"}


def test_a_reference_may_give_a_number(read: Read) -> None:
    assert read(HELLO + "    concurrency: ${N:-4}\n", N="7").functions[0].spec["concurrency"] == 7


def test_the_place_of_a_later_mistake_is_the_users_own(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO + "    labels: {a: ${A}, b: [1]}\n", A="a very much longer value")
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (5, 26)
    assert problem.place.source == "    labels: {a: ${A}, b: [1]}"


def test_what_is_not_set_is_said_once_and_counts_as_empty(read: Read) -> None:
    stack = read(HELLO + "    environment: {A: ${A}, B: ${A}}\n")
    assert stack.functions[0].spec["environment"] == {"A": "", "B": ""}
    assert len(stack.notes) == 1
    assert "${A} is not set" in stack.notes[0]


def test_a_form_that_is_not_understood_is_refused_where_it_counts(mistakes: Mistakes, read: Read) -> None:
    (problem,) = mistakes(HELLO + "    namespace: dev${A!}\n")
    assert problem.slug == "stack-variable"
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (5, 19)
    assert read(HELLO + "# a comment may say ${A!}\n")


@pytest.mark.parametrize("form", ["${A", "${A:-x", "${A:-${B}", "${}", "${A!}", "${1}", "${A:x}", "${#A:-1}", "${A^x}"])
def test_what_is_no_form_is_told_where_it_stands(mistakes: Mistakes, form: str) -> None:
    (problem,) = mistakes(HELLO + f"    labels:\n      a: 'x {form}'\n")
    assert problem.slug == "stack-variable"
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (6, 13)


def test_a_variable_may_be_asked_for(mistakes: Mistakes, read: Read) -> None:
    text = HELLO + "    labels: {a: '${A:?the team, as vision}'}\n"
    (problem,) = mistakes(text)
    assert "${A}: the team, as vision" in problem.detail
    assert read(text, A="vision").functions[0].spec["labels"] == {"a": "vision"}


def test_variables_can_be_left_as_they_are(project: Path) -> None:
    text = HELLO + "    labels: {a: '${A', b: $$, c: '${A:-x}'}\n"
    stack = read_stack(text.encode(), project / "stack.yaml", {"A": "1"}, substitute=False)
    assert stack.functions[0].spec["labels"] == {"a": "${A", "b": "$$", "c": "${A:-x}"}


@given(text=st.text(alphabet="${}A-:\n #x/%^,?1\\", max_size=60))
def test_masking_moves_nothing(text: str) -> None:
    masked = mask(text, {"A": "one"})
    with suppress(BadReference):
        masked.reveal(masked.text)
    assert len(masked.text) == len(text)
    assert [len(line) for line in masked.text.split("\n")] == [len(line) for line in text.split("\n")]
