"""What an engine says while it pushes."""

from typing import Any

import pytest

from pilotlight.core.errors import InvalidInput
from pilotlight.engine.images import parse_image
from pilotlight.engine.registry import PushLog, checked_target

MIB = 2**20


def told(*steps: dict[str, Any]) -> PushLog:
    log = PushLog()
    for step in steps:
        log.take(step)
    return log


def sending(layer: str, current: int, total: int) -> dict[str, Any]:
    return {"status": "Pushing", "id": layer, "progressDetail": {"current": current, "total": total}}


def test_it_counts_layers_and_what_was_sent_of_them() -> None:
    log = told(
        {"status": "The push refers to repository [r/a]"},
        {"status": "Preparing", "progressDetail": {}, "id": "a"},
        {"status": "Preparing", "progressDetail": {}, "id": "b"},
        sending("a", 2 * MIB, 8 * MIB),
        {"status": "Layer already exists", "progressDetail": {}, "id": "b"},
    )
    assert (log.begun, str(log)) == (True, "1 of 2 layers, 2.0 of 8.0 MiB")


def test_what_an_engine_sends_beyond_a_layers_size_is_not_counted() -> None:
    assert str(told(sending("a", 9 * MIB, 8 * MIB))) == "0 of 1 layers, 8.0 of 8.0 MiB"


def test_nothing_is_said_before_anything_is_known() -> None:
    assert not told({"status": "Preparing", "progressDetail": {}, "id": "a"}).begun


def test_a_layer_that_is_tried_again_is_told_until_it_goes_on() -> None:
    log = told(sending("a", MIB, 8 * MIB), {"status": "Retrying in 5 seconds", "progressDetail": {}, "id": "a"})
    assert "tries again" in str(log)
    log.take(sending("a", 2 * MIB, 8 * MIB))
    assert "tries again" not in str(log)


def test_the_digest_comes_at_the_end() -> None:
    step = {"progressDetail": {}, "aux": {"Tag": "1", "Digest": "sha256:d", "Size": 948}}
    assert told(step).digest == "sha256:d"


@pytest.mark.parametrize("step", [{"error": "no"}, {"error": "x", "errorDetail": {"message": "no"}}])
def test_an_error_is_kept(step: dict[str, Any]) -> None:
    assert told(step).error == "no"


@pytest.mark.parametrize("image", ["hello", "hello:1", "docker.io/hello:1", f"r.example/a@sha256:{'0' * 64}"])
def test_nothing_can_be_pushed_to_nowhere(image: str) -> None:
    with pytest.raises(InvalidInput):
        checked_target(parse_image(image))


@pytest.mark.parametrize("image", ["ada/hello", "localhost:5000/hello:1", "r.example/hello"])
def test_a_registry_or_an_account_is_enough(image: str) -> None:
    assert str(checked_target(parse_image(image))) == parse_image(image).tagged
