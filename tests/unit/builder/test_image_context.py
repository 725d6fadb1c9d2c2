"""An image's context is the same whoever packs it, and a failed build names its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.docker import _BuildLog, _has_stage, index_arguments
from pilotlight.builder.image_context import Context, ContextFile, base_images, instructions, read_folder
from pilotlight.builder.image_failures import Step, build_failure, step_of, tidy
from pilotlight.builder.image_functions import requirements_text, with_dockerfile
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.requirements import read_requirements
from pilotlight.core.errors import InvalidInput

DOCKERFILE = """\
# a comment
ARG VERSION=3.11
FROM python:${VERSION}-slim AS environment
RUN one \\
    && two

# between
COPY a b
FROM environment AS function
COPY --from=environment /x /y
"""
FILES = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=40), min_size=1, max_size=6
)


def context(files: dict[str, bytes], **changes: object) -> Context:
    return Context(files={path: ContextFile(data=data) for path, data in files.items()}, **changes)  # type: ignore[arg-type]


@given(FILES)
def test_the_same_files_in_any_order_are_the_same_context(files: dict[str, bytes]) -> None:
    backwards = dict(reversed(files.items()))
    assert context(files).digest == context(backwards).digest
    assert context(files).tar() == context(backwards).tar()


@given(FILES, FILES)
def test_different_files_have_different_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (context(one).digest == context(other).digest) == (one == other)


def test_arguments_and_base_count_and_proxies_do_not() -> None:
    files = {"Dockerfile": b"FROM x"}
    plain = context(files).digest
    assert context(files, arguments={"A": "1"}).digest != plain
    assert context(files, base="x=sha256:2").digest != plain
    assert context(files, arguments={"HTTPS_PROXY": "http://p:3128"}).digest == plain


def test_a_program_stays_one() -> None:
    one = Context(files={"run": ContextFile(data=b"", executable=True)})
    assert one.digest != context({"run": b""}).digest
    assert b"0000755" in one.tar()


def test_what_tools_leave_in_a_folder_is_left_out_and_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"")
    (tmp_path / "handler.py").write_text("1")
    assert list(read_folder(tmp_path, below="function")) == ["function/handler.py"]
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="a link"):
        read_folder(tmp_path)


def test_instructions_have_the_line_that_they_begin_on() -> None:
    assert [(text.split()[0], line) for text, line in instructions(DOCKERFILE)] == [
        ("ARG", 2), ("FROM", 3), ("RUN", 4), ("COPY", 8), ("FROM", 9), ("COPY", 10),
    ]  # fmt: skip
    assert instructions(DOCKERFILE)[2][0] == "RUN one && two"


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_a_dockerfile(text: str) -> None:
    assert all(line >= 1 for _, line in instructions(text))
    base_images(text, {})


def test_the_images_that_a_build_begins_with_are_found() -> None:
    assert base_images(DOCKERFILE, {}) == ["python:3.11-slim"]
    assert base_images(DOCKERFILE, {"VERSION": "3.13"}) == ["python:3.13-slim"]
    assert base_images("FROM --platform=linux/amd64 a:1 AS x\nFROM scratch\nFROM x\nFROM b", {}) == ["a:1", "b"]
    assert _has_stage(DOCKERFILE, "environment")
    assert not _has_stage("FROM python:3.11", "environment")


def test_a_step_that_fails_names_its_line_and_shows_what_it_printed() -> None:
    step = Step(number=3, text="RUN one && two", lines=("two: not found",))
    error = build_failure(step, "The command '/bin/sh -c one' returned a non-zero code: 127", DOCKERFILE)
    assert (error.slug, error.location and error.location.line) == ("image-build-failed", 4)
    assert error.detail == "Dockerfile:4: RUN one && two: exited with code 127\n  two: not found"


def test_a_dockerfile_that_the_engine_cannot_read_has_no_step() -> None:
    error = build_failure(
        Step(number=0, text="", lines=()), "dockerfile parse error line 1: unknown instruction: X", "X"
    )
    assert error.detail == "the image cannot be built: dockerfile parse error line 1: unknown instruction: X"


@pytest.mark.parametrize(
    ("line", "slug", "says"),
    [
        ("ERROR: Could not find a version that satisfies the requirement nope==1 (from versions: none)",
         "requirement-not-found", "no package is called `nope`"),
        ("ERROR: Could not find a version that satisfies the requirement six==99 (from versions: 1.0, 1.1)",
         "requirement-no-version", "`six` has no such version"),
        ("ERROR: ResolutionImpossible: for help visit ...", "requirement-conflict", "contradict"),
        ("ERROR: Failed building wheel for thing", "requirement-build-failed", "`thing`"),
        ("WARNING: Retrying: NewConnectionError('Failed to establish')", "index-unreachable", "cannot be reached"),
        ("ERROR: Invalid requirement: 'x=1'", "invalid-requirements", "is no requirement"),
    ],
)  # fmt: skip
def test_what_pip_says_is_a_requirement_of_the_user(line: str, slug: str, says: str) -> None:
    error = build_failure(Step(number=3, text="RUN pip install -r r.txt", lines=(line,)), "code: 1", DOCKERFILE)
    assert error.slug == slug
    assert says in error.detail


def test_a_syntax_error_in_the_handler_is_at_its_place() -> None:
    lines = ('  File "/home/app/function/handler.py", line 7', "SyntaxError: '(' was never closed")
    error = build_failure(Step(number=3, text="RUN python -m compileall", lines=lines), "code: 1", DOCKERFILE)
    assert error.slug == "handler-syntax"
    assert error.location is not None
    assert (error.location.file, error.location.line) == ("handler.py", 7)


def test_a_full_disk_is_the_engines() -> None:
    assert build_failure(Step(number=1, text="x", lines=()), "no space left on device", "").slug == "storage-full"


def test_progress_bars_colours_and_passwords_are_no_log() -> None:
    assert tidy(
        "Collecting six\n   \u2501\u2501\u2501 1.0 MB\n\x1b[31mERROR: bad\x1b[0m\r\n ---> 123\n  File x\nat https://u:p@index/simple\n"
    ) == [
        "ERROR: bad",
        "  File x",
        "at https://***@index/simple",
    ]


def test_a_log_knows_the_step_that_it_is_in() -> None:
    said: list[str] = []
    log = _BuildLog(said.append)
    for text in ("Step 1/2 : FROM x\n", " ---> 1\n", "Step 2/2 : RUN y\n", "oh no\n"):
        log.take({"stream": text})
    log.take({"error": "e", "errorDetail": {"message": "returned a non-zero code: 1"}})
    assert (log.step.number, log.step.text, log.step.lines) == (2, "RUN y", ("oh no",))
    assert log.error == "returned a non-zero code: 1"
    assert said == ["Step 1/2 : FROM x", "Step 2/2 : RUN y", "oh no"]
    assert step_of("no step") is None


def test_a_password_never_becomes_a_build_argument() -> None:
    with pytest.raises(InvalidInput, match="PIP_INDEX_URL"):
        index_arguments(IndexSettings(variables={"UV_DEFAULT_INDEX": "https://u:p@index.example/simple"}))
    found = index_arguments(IndexSettings(variables={"UV_INDEX": "file:///opt/x https://index.example/simple"}))
    assert found == {"PIP_EXTRA_INDEX_URL": "https://index.example/simple"}


def test_the_dockerfile_of_a_template_is_its_own_or_that_of_the_one_it_is_like(tmp_path: Path) -> None:
    for name, text in (("base", "language: base"), ("child", "like: base"), ("round", "like: round"), ("bare", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "template.yml").write_text(text)
    (tmp_path / "base" / "Dockerfile").write_text("FROM x")
    found = [with_dockerfile(tmp_path, name).name for name in ("base", "child", "round", "bare", "none")]
    assert found == ["base", "base", "round", "bare", "none"]


def test_requirements_keep_their_hashes() -> None:
    text = b"six==1.17.0 --hash=sha256:" + b"a" * 64 + b"\n# note\nidna\n"
    wanted = read_requirements(lambda path: text if path == "requirements.txt" else None, {}).wanted
    assert requirements_text(wanted) == b"six==1.17.0 --hash=sha256:" + b"a" * 64 + b"\nidna\n"
