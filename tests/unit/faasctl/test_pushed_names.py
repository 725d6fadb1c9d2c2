"""Under which name an image is pushed: the stack file's, with what --tag adds to it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from faasctl.errors import CliError
from faasctl.pushing import named_image, pushable, tagged
from faasctl.rollout import Built
from faasctl.stack import Function

BUILT = Built(reference=f"bundle/hello@sha256:{'0123456789abcdef' * 4}", environment="e")


def function(image: str | None = "r.example/team/hello:1", handler: Path | None = Path("hello")) -> Function:
    return Function(name="hello", lang="python3-http", handler=handler, image=image, spec={})


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("r.example/a:1", "r.example/a:1"),
        ("r.example/a", "r.example/a:latest"),
        ("r.example:5000/a", "r.example:5000/a:latest"),
        ("ada/hello", "ada/hello:latest"),
    ],
)
def test_the_stack_files_name_counts(image: str, expected: str) -> None:
    assert tagged(named_image(function(image)), "latest", function(), BUILT) == expected


def test_a_digest_of_the_build_follows_the_tag() -> None:
    assert tagged("r.example/a", "digest", function(), BUILT) == "r.example/a:latest-0123456789ab"


@pytest.mark.parametrize(
    ("image", "slug", "word"),
    [
        (None, "push-no-registry", "no `image:`"),
        ("hello:latest", "push-no-registry", "names no registry"),
        ("docker.io/hello:latest", "push-no-registry", "names no registry"),
        (f"r.example/hello@sha256:{'0' * 64}", "push-no-registry", "there already"),
        ("r.example/Hello:1", "image-name", "lower case"),
        ("r.example/Hello", "image-name", "lower case"),
    ],
)
def test_what_can_never_be_pushed_is_told_before_anything_is_built(image: str | None, slug: str, word: str) -> None:
    with pytest.raises(CliError, match=word) as error:
        named_image(function(image))
    assert [problem.slug for problem in error.value.problems] == [slug]
    assert all(problem.helps() for problem in error.value.problems)


def test_upper_case_is_for_tags() -> None:
    assert named_image(function("r.example/hello:V1")) == "r.example/hello:V1"


def test_what_is_ready_made_is_left_out_unless_it_is_meant() -> None:
    both = [function(), function(handler=None)]
    assert pushable(both, ()) == both[:1]
    with pytest.raises(CliError, match="ready-made"):
        pushable(both, ("hello",))
    with pytest.raises(CliError, match="ready-made"):
        pushable(both[1:], ())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    for words in (
        ("init", "-q", "-b", "feature/one"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"),
        ("tag", "v1"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    return tmp_path


def test_git_says_which_version_it_is(repository: Path) -> None:
    made = function(handler=repository)
    sha = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "--short=8", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert tagged("r.example/a:1", "sha", made, BUILT) == f"r.example/a:1-{sha}"
    assert tagged("r.example/a:1", "branch", made, BUILT) == f"r.example/a:1-feature-one-{sha}"
    assert tagged("r.example/a", "describe", made, BUILT) == "r.example/a:latest-v1"


def test_a_folder_that_git_does_not_know_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="git cannot say"):
        tagged("r.example/a", "sha", function(handler=tmp_path), BUILT)
