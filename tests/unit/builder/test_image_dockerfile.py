"""A Dockerfile's instructions, stages, bases, arguments and secrets are known before an engine reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.image_dockerfile import (
    base_images,
    declared,
    has_stage,
    instructions,
    needs_buildkit,
    on_image,
    secrets_wanted,
    takes_only,
    with_secrets,
)

DOCKERFILE = """\
# a comment
ARG VERSION=3.11
FROM python:${VERSION}-slim AS environment
RUN one \\
    # in between
    && two

# between
COPY a b
FROM environment AS function
COPY --from=environment /x /y
"""


def bases(dockerfile: str, arguments: dict[str, str] | None = None) -> list[str]:
    return [each.name for each in base_images(dockerfile, arguments or {})]


def test_instructions_have_the_line_that_they_begin_on() -> None:
    assert [(each.word, each.line, each.stage, each.vertex) for each in instructions(DOCKERFILE)] == [
        ("ARG", 2, "", 0), ("FROM", 3, "environment", 1), ("RUN", 4, "environment", 2), ("COPY", 9, "environment", 3),
        ("FROM", 10, "function", 0), ("COPY", 11, "function", 1),
    ]  # fmt: skip
    assert instructions(DOCKERFILE)[2].text == "RUN one && two"


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_a_dockerfile(text: str) -> None:
    assert all(each.line >= 1 for each in instructions(text))
    base_images(text, {})
    assert with_secrets(text, frozenset()) == text


def test_the_images_that_a_build_begins_with_are_found() -> None:
    assert bases(DOCKERFILE) == ["python:3.11-slim"]
    assert bases(DOCKERFILE, {"VERSION": "3.13"}) == ["python:3.13-slim"]
    assert bases("FROM --platform=linux/amd64 a:1 AS x\nFROM scratch\nFROM x\nFROM b") == ["a:1", "b"]
    assert [each.line for each in base_images("\nFROM a\nFROM b", {})] == [2, 3]
    assert has_stage(DOCKERFILE, "environment")
    assert not has_stage("FROM python:3.11", "environment")


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("ARG V=1\nFROM a:${V:-2}", ["a:1"]),
        ("FROM a:${V:-2}", ["a:2"]),
        ("FROM --platform=${TARGETPLATFORM:-linux/amd64} w:1 AS w\nFROM a", ["w:1", "a"]),
        ("ARG V\nFROM a:$V", []),
        ("FROM\n", []),
    ],
)
def test_a_base_with_variables_is_filled_or_left_to_the_engine(dockerfile: str, expected: list[str]) -> None:
    assert bases(dockerfile) == expected


def test_the_arguments_that_a_dockerfile_takes_are_known() -> None:
    assert declared("ARG A=1 B\nFROM x\nARG C\nENV D=1") == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("RUN --mount=type=cache,target=/x true", True),
        ("RUN <<EOF", True),
        ("COPY --link a b", True),
        ("# syntax=docker/dockerfile:1", True),
        ("RUN cat < x << 2", False),
        ("RUN echo mount", False),
        ("# with-secret: pip.conf", False),
    ],
)
def test_what_needs_buildkit_is_seen(line: str, needs: bool) -> None:
    assert needs_buildkit(f"{line}\nFROM x\n") == needs


def test_a_stage_that_was_built_before_takes_the_place_of_its_instructions() -> None:
    found = on_image(DOCKERFILE, "environment", "made:1")
    assert [(each.text, each.line) for each in instructions(found)] == [
        ("ARG VERSION=3.11", 2),
        ("FROM made:1 AS environment", 3),
        ("FROM environment AS function", 10),
        ("COPY --from=environment /x /y", 11),
    ]
    assert on_image("FROM a AS b\nRUN c", "b", "made:1").split() == ["FROM", "made:1", "AS", "b"]


@pytest.mark.parametrize(
    ("line", "alone"),
    [
        ("COPY function/ /home/app/function/", True),
        ("COPY --chown=1:1 function/a function/b /x/", True),
        ("COPY --from=environment /x /y", True),
        ("RUN true", True),
        ("COPY . .", False),
        ("COPY functional /x", False),
        ("ADD function/ index.js /x/", False),
        ('COPY ["function/a", "/x"]', False),
        ("RUN --mount=type=bind,source=x,target=/x true", False),
    ],
)
def test_what_is_wanted_of_a_context_is_seen(line: str, alone: bool) -> None:
    assert takes_only(f"FROM x\n{line}\n", "function") == alone


def test_secrets_are_mounted_where_a_comment_asks_for_them_and_no_line_moves() -> None:
    text = "FROM x\n# with-secret: pip.conf\n#with-secret: npmrc\n\nRUN one\nRUN two\n"
    assert secrets_wanted(text) == {"pip.conf", "npmrc"}
    one = "RUN --mount=type=secret,id=npmrc,target=/run/secrets/npmrc,mode=0444 one"
    assert with_secrets(text, frozenset({"npmrc"})) == text.replace("RUN one", one)
    assert with_secrets(text, frozenset({"npmrc", "pip.conf"})).count("--mount=") == 2
    assert with_secrets(text, frozenset({"other"})) == text
