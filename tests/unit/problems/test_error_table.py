"""Every error that a user can meet has its row: found by reading the sources, not by remembering to add it."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasctl.errors import ExitCode
from pilotlight.api.problems import Crash
from pilotlight.core.errors import InvalidSetting, PilotlightError
from pilotlight_problems import Row, find, groups, near, rows
from pilotlight_problems.__main__ import page

ROOT = Path(__file__).parents[3]
SOURCES = [
    path
    for folder in ("platform/pilotlight", "runtime/pilotlight_runtime", "faasctl")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
FIRST_ARGUMENT = {"failed", "LoadFailed", "CannotServe", "_error", "_kind", "_problem", "problem", "_count_failure"}
"""Calls whose first text with a hyphen is a slug."""


@functools.cache
def slugs_raised() -> tuple[tuple[str, str], ...]:
    """(slug, where) of each slug that stands in the sources as it is."""
    return tuple(_slugs_raised())


def _slugs_raised() -> Iterator[tuple[str, str]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            for text in _slugs_of(node):
                yield text, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def _slugs_of(node: ast.AST) -> list[str]:
    match node:
        case ast.keyword(arg="slug", value=ast.Constant(value=str(text))):
            return [text]
        case ast.Assign(targets=[ast.Name(id="default_slug")], value=ast.Constant(value=str(text))):
            return [text]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in FIRST_ARGUMENT:
            texts = [a.value for a in arguments[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            return [text for text in texts[:1] if " " not in text and "-" in text]
    return []


def classes(root: type[PilotlightError] = PilotlightError) -> Iterator[type[PilotlightError]]:
    for child in root.__subclasses__():
        yield child
        yield from classes(child)


def test_the_sources_raise_errors_that_this_test_can_see() -> None:
    found = {slug for slug, _ in slugs_raised()}
    assert {"handler-syntax", "stack-unknown-key", "queue-full", "not-found", "import-failed"} <= found
    assert len(found) > 60


def test_every_slug_in_the_sources_has_a_row() -> None:
    assert {slug: where for slug, where in slugs_raised() if slug not in rows()} == {}


def test_the_routers_statuses_are_those_of_the_table() -> None:
    """It writes its answers without the classes of errors, for speed."""
    tree = ast.parse((ROOT / "platform/pilotlight/router/problems.py").read_text())
    said = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            if "status" in given and "slug" in given:
                said[given["slug"]] = given["status"]
    assert len(said) >= 15
    assert said == {slug: find(str(slug)).status for slug in said}


def test_every_row_is_raised_somewhere_or_made_of_an_end_of_a_replica() -> None:
    texts = "\n".join(path.read_text() for path in SOURCES)
    unused = [slug for slug in rows() if f'"{slug}"' not in texts and not slug.startswith("replica-")]
    assert unused == []


def name_of(kind: type[PilotlightError]) -> str:
    return kind.__name__


KINDS: list[type[PilotlightError]] = sorted(set(classes()), key=name_of)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_an_error_of_the_server_has_a_status(kind: type[PilotlightError]) -> None:
    assert kind is InvalidSetting or find(kind.default_slug).status >= 400


@pytest.mark.parametrize("row", rows().values(), ids=lambda row: row.slug)
def test_a_row_says_what_why_and_what_next(row: Row) -> None:
    assert row.status == 0 or 400 <= row.status <= 599
    assert ExitCode(row.exit_code) is not ExitCode.OK
    for text in (row.sentence, row.cause, row.cure):
        assert text
        assert text == " ".join(text.split())
    assert row.sentence.endswith(".")
    assert row.cure != row.sentence


def test_a_crash_of_ours_says_nothing_of_itself_but_where_to_look() -> None:
    assert (Crash().status, Crash().slug) == (500, "internal")


def test_a_slug_of_another_release_is_an_internal_error_here() -> None:
    assert find("of-another-release").slug == "internal"


def test_a_misspelt_slug_finds_its_neighbour() -> None:
    assert near("handler-sintax")[0] == "handler-syntax"


def test_the_troubleshooting_page_is_the_table() -> None:
    assert (ROOT / "docs" / "troubleshooting.md").read_text() == page(), (
        "run: python -m pilotlight_problems > docs/troubleshooting.md"
    )


def test_every_row_stands_on_the_page_under_its_heading() -> None:
    text = page()
    for title, group in groups().items():
        section = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
        assert all(f"### {row.slug}\n" in section for row in group)
