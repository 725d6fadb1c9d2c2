"""What uv prints becomes one error with the line of requirements.txt; the texts are uv's own."""

import pytest

from pilotlight.builder.failures import REASON_LINES, failure_of
from pilotlight.builder.requirements import Requirements, read_requirements
from pilotlight.core.errors import InvalidRequirements, StorageFull, Unavailable

FAILED = "error: No solution found when resolving dependencies"


def requirements(text: str) -> Requirements:
    return read_requirements(lambda path: text.encode() if path == "requirements.txt" else None, {})


CASES = {
    "not found": (
        "numpy\npilow==11.0\n",
        [FAILED, "  cause: Because pilow was not found in the package registry and you require pilow==11.0, we can"],
        "requirement-not-found",
        2,
        "requirements.txt:2: no package is called `pilow`",
    ),
    "no version": (
        "numpy==99.0\n",
        [FAILED, "  cause: Because there is no version of numpy==99.0 and you require numpy==99.0, we can conclude"],
        "requirement-no-version",
        1,
        "`numpy` has no such version",
    ),
    "no version in a range": (
        "six\nnumpy>=9,<10\n",
        [FAILED, "  cause: Because only numpy<=2.4.6 is available and you require numpy>=9,<10, we can conclude that"],
        "requirement-no-version",
        2,
        "`numpy` has no such version",
    ),
    "conflict": (
        "six\nnumpy<2\nnumpy>=2\n",
        [FAILED, "  cause: Because you require numpy<2 and numpy>=2, we can conclude that your requirements are"],
        "requirement-conflict",
        2,
        "contradict",
    ),
    "no wheel": (
        "tensorflow==2.4.0\n",
        [FAILED, "  cause: Because tensorflow==2.4.0 has no wheels with a matching Python ABI tag (e.g., `cp311`)"],
        "requirement-build-failed",
        1,
        "`tensorflow` has no wheel for Python 3.11",
    ),
    "build failed": (
        "badpkg==1.0\n",
        ["error: Failed to build `badpkg==1.0`", "  cause: The build backend returned an error", "  gcc: not found"],
        "requirement-build-failed",
        1,
        "gcc: not found",
    ),
    "other Python": (
        "new\n",
        [
            FAILED,
            "Because the current Python version (3.11.2) does not satisfy Python>=3.13 and new depends on Python>=3.13",
        ],
        "requirement-no-version",
        1,
        "not for this version of Python",
    ),
    "unparsable": (
        "six\nnumpy===\n",
        ["error: Couldn't parse requirement in `requirements.in` at position 4", "  cause: Unexpected end of version"],
        "invalid-requirements",
        2,
        "Unexpected end of version",
    ),
    "address": (
        "numpy @ https://example.com/numpy-1.0-py3-none-any.whl\n",
        [
            "error: Failed to download `numpy @ https://example.com/numpy-1.0-py3-none-any.whl`",
            "  cause: Failed to fetch: https://example.com/numpy-1.0-py3-none-any.whl",
            "  cause: HTTP status client error (404 Not Found) for url (https://example.com/...)",
        ],
        "requirement-not-found",
        1,
        "nothing at the address",
    ),
    "older drawing": (
        "pilow\n",
        [
            "  \u00d7 No solution found when resolving dependencies:",
            "  \u2570\u2500\u25b6 Because pilow was not found in the package registry",
        ],
        "requirement-not-found",
        1,
        "requirements.txt:1: no package is called `pilow`",
    ),
}


@pytest.mark.parametrize(("text", "lines", "slug", "line", "words"), CASES.values(), ids=CASES)
def test_a_failure_names_the_line_and_the_reason(text: str, lines: list[str], slug: str, line: int, words: str) -> None:
    error = failure_of(lines, requirements(text), "3.11.2")
    assert isinstance(error, InvalidRequirements)
    assert (error.slug, error.location and error.location.line) == (slug, line)
    assert words in error.detail


def test_a_dependency_that_is_missing_points_to_what_needs_it() -> None:
    lines = [
        FAILED,
        "cause: Because foo was not found in the package registry and bar==1 depends on foo, we can conclude",
    ]
    error = failure_of(lines, requirements("six\nbar\n"), "3.11.2")
    assert error.location
    assert (error.slug, error.location.line) == ("requirement-not-found", 2)
    assert "bar==1 depends on foo" in error.detail


@pytest.mark.parametrize(
    ("name", "meant"), [("pilow", "`pillow`"), ("sklearn", "`scikit-learn`"), ("cv2", "`opencv-python-headless`")]
)
def test_a_name_that_is_none_brings_the_well_known_one(name: str, meant: str) -> None:
    lines = [FAILED, f"cause: Because {name} was not found in the package registry and you require {name}"]
    error = failure_of(lines, requirements(f"six\n{name} >= 1  # why\n"), "3.11.2")
    assert error.hint.startswith(f"Did you mean {meant}?")
    assert error.location
    assert (error.location.line, error.location.column) == (2, 1)


def test_a_name_like_nothing_known_brings_no_guess() -> None:
    lines = [FAILED, "cause: Because zzzqqq was not found in the package registry and you require zzzqqq"]
    assert "Did you mean" not in failure_of(lines, requirements("zzzqqq\n"), "3.11.2").hint


@pytest.mark.parametrize(
    "line",
    [
        "  cause: failed to lookup address information: dns error",
        "error: Request failed after 3 retries in 8.3s",
        "  cause: invalid peer certificate: UnknownIssuer",
        "error: Failed to read `--find-links` directory: /gone",
    ],
)
def test_an_index_that_cannot_be_reached_is_not_the_users_mistake(line: str) -> None:
    error = failure_of(
        ["error: Failed to fetch: https://me:secret@host/simple/idna/", line], requirements("idna"), "3.11"
    )
    assert isinstance(error, Unavailable)
    assert error.slug == "index-unreachable"
    assert "secret" not in error.detail


def test_refused_credentials_are_said_to_be_that() -> None:
    lines = [
        FAILED,
        "cause: Because idna was not found in the package registry and you require idna",
        "An index URL (https://h/) could not be queried due to a lack of valid authentication credentials",
    ]
    assert failure_of(lines, requirements("idna"), "3.11").slug == "index-refused"


def test_a_full_disk_is_a_full_disk() -> None:
    lines = ["error: Failed to install: x.whl", "  cause: No space left on device (os error 28)"]
    assert isinstance(failure_of(lines, requirements("x"), "3.11"), StorageFull)


def test_a_long_story_is_cut() -> None:
    error = failure_of(["error: Failed to build `x`", *(f"line {n}" for n in range(99))], requirements("x"), "3.11")
    assert len(error.detail.splitlines()) == 1 + REASON_LINES


def test_hints_for_uvs_own_command_line_are_not_passed_on() -> None:
    error = failure_of(
        [FAILED, "cause: Because there is no version of x==9", "hint: use --strategy"], requirements("x"), "3"
    )
    assert "--strategy" not in error.detail
