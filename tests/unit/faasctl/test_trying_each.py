"""Several functions by one command: none waits for another's mistake, and the account at the end is whole."""

import io
import json

from faasctl.each import try_each
from faasctl.errors import CliError, ExitCode, failed
from faasctl.output import Screen

ALL = {"a": "a", "b": "b", "c": "c"}


def tried(failing: dict[str, CliError], *, as_json: bool = False) -> tuple[list[str], CliError | None, str]:
    """What came out, what it ends with, and what was said on the way."""
    stderr = io.StringIO()
    screen = Screen(stdout=io.StringIO(), stderr=stderr)
    screen.json = as_json

    def act(name: str) -> str:
        if name in failing:
            raise failing[name]
        return name.upper()

    results, error = try_each(screen, ALL, act, done="Deployed")
    return results, error, stderr.getvalue()


def test_all_that_go_well_end_without_an_error() -> None:
    assert tried({}) == (["A", "B", "C"], None, "")


def test_each_failure_is_told_at_once_and_the_end_is_the_account() -> None:
    results, error, said = tried({"a": failed("init-failed", "a: no"), "c": failed("init-failed", "c: no")})
    assert results == ["B"]
    assert [line for line in said.splitlines() if line.startswith("error")] == [
        "error[init-failed]: a: no",
        "error[init-failed]: c: no",
    ]
    assert error is not None
    assert (error.exit_code, error.problems) == (ExitCode.FAILED, ())
    assert error.summary == "Deployed: b. Not deployed: a, c."


def test_failures_of_several_kinds_end_as_a_failure() -> None:
    _, error, _ = tried({"a": failed("init-failed", "no"), "b": failed("secret-not-found", "no")})
    assert error is not None
    assert error.exit_code == ExitCode.FAILED


def test_a_server_that_is_gone_is_not_asked_again() -> None:
    for slug in ("server-unreachable", "server-silent", "credentials-refused"):
        results, error, _ = tried({"b": failed(slug, "no")})
        assert results == ["A"]
        assert error is not None
        assert error.summary == "Deployed: a. Not deployed: b. Not tried: c."


def test_as_json_the_error_has_the_problems_of_all_and_nothing_is_said_before() -> None:
    _, error, said = tried({"a": failed("init-failed", "a: no"), "c": failed("init-failed", "c: no")}, as_json=True)
    assert error is not None
    assert said == ""
    told = json.loads(json.dumps(error.to_json()))
    assert told["detail"] == "Deployed: b. Not deployed: a, c."
    assert [each["detail"] for each in told["errors"]] == ["a: no", "c: no"]


def test_as_json_one_failure_of_several_has_the_account_too() -> None:
    _, error, _ = tried({"b": failed("init-failed", "b: no")}, as_json=True)
    assert error is not None
    told = error.to_json()
    assert (told["type"], told["detail"]) == ("init-failed", "b: no")
    assert told["summary"] == "Deployed: a, c. Not deployed: b."


def test_one_alone_ends_with_its_own_error() -> None:
    own = failed("init-failed", "no")

    def act(_: str) -> str:
        raise own

    assert try_each(Screen(stdout=io.StringIO(), stderr=io.StringIO()), {"a": "a"}, act, done="Deployed") == ([], own)
