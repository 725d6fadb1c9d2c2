"""What engines print while they build becomes a log, and a failed build names its line and shows its last lines."""

import pytest

from pilotlight.builder.image_failures import SHOWN_LINES, base_failure, build_failure
from pilotlight.builder.image_log import ClassicLog, PlainLog, Step, step_of, tidy
from pilotlight.core.errors import RevisionFailed, StartFailed

DOCKERFILE = "FROM x AS one\n\nRUN a \\\n  && b\nFROM one\nCOPY c d\nRUN e\n"


def test_a_step_that_fails_names_its_line_and_shows_what_it_printed() -> None:
    step = Step(text="RUN one && two", line=4, lines=("two: not found",))
    error = build_failure(step, "The command '/bin/sh -c one' returned a non-zero code: 127")
    assert (error.slug, error.location and error.location.line) == ("image-build-failed", 4)
    assert error.detail == "Dockerfile:4: RUN one && two: exited with code 127\n  two: not found"


def test_of_a_long_output_the_last_lines_are_shown() -> None:
    step = Step(text="RUN make", line=1, lines=tuple(f"line {number}" for number in range(100)))
    shown = build_failure(step, "returned a non-zero code: 2").detail.splitlines()[1:]
    assert shown == [f"  line {number}" for number in range(100 - SHOWN_LINES, 100)]


@pytest.mark.parametrize(
    ("said", "line", "says"),
    [
        ("dockerfile parse error line 2: unknown instruction: BLAH", 2, "Dockerfile:2: unknown instruction: BLAH"),
        ("Dockerfile parse error on line 9: unknown flag: x", 9, "Dockerfile:9: unknown flag: x"),
        ("the Dockerfile (Dockerfile) cannot be empty", None, "the image cannot be built: the Dockerfile"),
    ],
)
def test_a_dockerfile_that_the_engine_cannot_read_is_told_with_its_line(said: str, line: int | None, says: str) -> None:
    error = build_failure(Step(), said)
    assert error.detail.startswith(says)
    assert (error.location.line if error.location else None) == line


@pytest.mark.parametrize(
    "said",
    [
        "COPY failed: file not found in build context or excluded by .dockerignore: stat gone.txt: file does not exist",
        "COPY failed: stat /var/lib/docker/tmp/docker-builder1/gone.txt: no such file or directory",
        'failed to compute cache key: "/gone.txt" not found: not found',
        'failed to calculate checksum of ref 1::2: "/gone.txt": not found',
    ],
)
def test_a_file_that_is_not_in_the_context_is_named(said: str) -> None:
    error = build_failure(Step(text="COPY gone.txt /", line=2), said)
    assert error.detail == (
        "Dockerfile:2: COPY gone.txt /: there is no gone.txt in the build's context, or .dockerignore leaves it out"
    )


def test_an_engine_in_trouble_is_not_the_sources_fault() -> None:
    said = "failed to create endpoint x on network bridge: could not find bridge docker0: no such network interface"
    error = build_failure(Step(text="RUN true", line=2), said)
    assert (error.slug, error.status, error.location) == ("unavailable", 503, None)


def test_mounts_without_buildkit_say_what_is_missing() -> None:
    assert build_failure(Step(), "Dockerfile parse error line 2: Unknown flag: mount").slug == "buildkit-missing"


def test_a_base_that_is_missing_is_told_with_its_line_and_a_registry_that_is_away_stays_its_own_trouble() -> None:
    missing = base_failure(3, RevisionFailed("x:1 cannot be pulled: no such tag", slug="image-not-found"))
    assert (missing.slug, missing.detail) == ("base-image", "Dockerfile:3: x:1 cannot be pulled: no such tag")
    away = base_failure(3, StartFailed("x:1 cannot be pulled: no route", slug="registry-unreachable"))
    assert (away.slug, away.status, away.detail[:13]) == ("registry-unreachable", 503, "Dockerfile:3:")


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
    error = build_failure(Step(text="RUN pip install -r r.txt", line=3, lines=(line,)), "code: 1")
    assert error.slug == slug
    assert says in error.detail


def test_a_syntax_error_in_the_handler_is_at_its_place() -> None:
    lines = ('  File "/home/app/function/handler.py", line 7', "SyntaxError: '(' was never closed")
    error = build_failure(Step(text="RUN python -m compileall", line=3, lines=lines), "code: 1")
    assert error.slug == "handler-syntax"
    assert error.location is not None
    assert (error.location.file, error.location.line) == ("handler.py", 7)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Error processing tar file(exit status 1): write /function/a: no space left on device"),
        ("tar: /x: Cannot write: No space left on device", "The command returned a non-zero code: 2"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "code: 1"),
        ("", "failed to copy: write /var/lib/docker/x: disk quota exceeded"),
    ],
)
def test_a_full_disk_is_the_engines_and_says_what_to_remove(line: str, said: str) -> None:
    error = build_failure(Step(text="RUN pip install x", line=1, lines=(line,)), said)
    assert (error.slug, error.detail) == ("storage-full", "the disk of the Docker engine is full")
    assert error.hint is not None
    assert "docker image prune" in error.hint


def test_progress_bars_colours_and_passwords_are_no_log() -> None:
    assert tidy(
        "Collecting six\n   \u2501\u2501\u2501 1.0 MB\n\x1b[31mERROR: bad\x1b[0m\r\n ---> 123\n  File x\n"
        "at https://u:p@index/simple\nSuccessfully built 1234\n"
    ) == [
        "ERROR: bad",
        "  File x",
        "at https://***@index/simple",
    ]


def test_an_engines_log_knows_the_step_that_it_is_in() -> None:
    said: list[str] = []
    log = ClassicLog(DOCKERFILE, said.append)
    for text in ("Step 1/5 : FROM x AS one\n", " ---> 1\n", "Step 2/5 : RUN a   && b\n", "oh no\n"):
        log.take({"stream": text})
    log.take({"error": "e", "errorDetail": {"message": "returned a non-zero code: 1"}})
    assert log.step == Step(text="RUN a && b", line=3, lines=("oh no",))
    assert log.error == "returned a non-zero code: 1"
    assert said == ["Step 1/5 : FROM x AS one", "Step 2/5 : RUN a   && b", "oh no"]
    assert step_of("no step") is None


def test_buildkits_log_tells_steps_apart_that_run_side_by_side() -> None:
    said: list[str] = []
    log = PlainLog(DOCKERFILE, said.append)
    for line in (
        '#0 building with "default" instance using docker driver',
        "#1 [internal] load metadata for docker.io/library/x:latest",
        "#1 DONE 0.1s",
        "#2 [one 2/2] RUN a   && b",
        "#3 [stage-1 2/2] RUN e",
        "#2 0.123 from a",
        "#3 0.456 from e",
        "#2 0.5 \x1b[1mstill a\x1b[0m",
        "#2 CACHED",
        "#3 ERROR: executor failed running [/bin/sh -c e]: exit code: 3",
        "------",
        " > [stage-1 2/2] RUN e:",
        "#3 0.456 from e",
        "------",
        "ERROR: failed to solve: executor failed running [/bin/sh -c e]: exit code: 3",
    ):
        log.take(line)
    assert log.step.text == "RUN e"
    assert log.step.line == 7
    assert log.step.lines[0] == "from e"
    assert log.error == "executor failed running [/bin/sh -c e]: exit code: 3"
    assert said[:5] == ["[one 2/2] RUN a   && b", "[stage-1 2/2] RUN e", "from a", "from e", "still a"]


def test_what_buildkits_client_says_before_it_builds_is_kept() -> None:
    log = PlainLog("FROM x", lambda _line: None)
    log.take("ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?")
    assert log.error is not None
    assert log.error.startswith("Cannot connect")
    log.take(
        "ERROR: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: "
        "failed to create LLB definition: dockerfile parse error line 2: unknown instruction: BLAH"
    )
    assert log.error == "dockerfile parse error line 2: unknown instruction: BLAH"
