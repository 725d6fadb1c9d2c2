"""`${NAME}` in a stack file: as OpenFaaS has it, and never more than a part of one value."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.errors import Problem
from faasctl.stack import Stack
from faasctl.variables import mask

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
        ("${NONE:-http://a:1/b}", "http://a:1/b"),
    ],
)
def test_a_reference_becomes_its_value(written: str, expected: str) -> None:
    masked = mask(written, {"A": "one", "EMPTY": ""})
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
    (problem,) = mistakes(HELLO + "    namespace: ${A^^}\n")
    assert problem.slug == "stack-variable"
    assert read(HELLO + "# a comment may say ${A^^}\n")


@given(text=st.text(alphabet="${}A-:\n #x", max_size=60))
def test_masking_moves_nothing(text: str) -> None:
    masked = mask(text, {})
    assert len(masked.text) == len(text)
    assert [len(line) for line in masked.text.split("\n")] == [len(line) for line in text.split("\n")]
