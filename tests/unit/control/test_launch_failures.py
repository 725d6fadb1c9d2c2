"""Why a start failed, as the error that its deployer and its callers see."""

import pytest

from pilotlight.control.launcher import failure_of
from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Ended


def test_a_crash_at_start_carries_its_last_lines() -> None:
    error = failure_of(Ended(id="a", reason="exit", detail="exited with code 4", last_lines=("loading", "no model")))
    assert (error.slug, error.last_lines) == ("crashed-at-start", ("loading", "no model"))
    assert error.detail == "exited with code 4. Its last words: no model"
    assert error.problem()["last_lines"] == ("loading", "no model")


def test_out_of_memory_at_start_says_what_to_raise() -> None:
    error = failure_of(
        Ended(id="a", reason="out-of-memory", detail="out of memory: 70 MiB in use, the limit is 64 MiB")
    )
    assert error.slug == "out-of-memory"
    assert "limits: memory:" in error.hint


@pytest.mark.parametrize("reason", ["stopped", "killed"])
def test_one_that_was_stopped_is_not_the_functions_fault(reason: str) -> None:
    assert isinstance(failure_of(Ended(id="a", reason=reason, detail="")), StartFailed)


@pytest.mark.parametrize(
    ("file", "detail", "named"),
    [
        ("handler.py", "No module named 'six'", "the function's requirements.txt "),
        ("handler.js", "Error: Cannot find module 'six'", "the function's package.json "),
        (None, "Error: Cannot find package 'six' imported from /home/app/function/handler.mjs", "package.json "),
        (None, "cannot load such gem", "requirements.txt or package.json"),
    ],
)
def test_a_missing_module_is_to_be_added_where_its_language_has_it(file: str | None, detail: str, named: str) -> None:
    error = failure_of(Ended(id="a", reason="load-failed", slug="import-failed", detail=detail, file=file))
    assert named in (error.hint or "")
