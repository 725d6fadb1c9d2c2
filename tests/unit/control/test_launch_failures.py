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
