"""What replicas say to the provider: they run users' code, and may say anything."""

import pytest

from pilotlight.providers.process.messages import Ending, Failed, Ready, from_replica


def test_what_a_replica_of_ours_says_is_understood() -> None:
    assert from_replica({"type": "ready", "slots": 4, "phases": {"load": 2.5}}) == Ready(slots=4, phases={"load": 2.5})
    failed = {"type": "failed", "slug": "import-failed", "detail": "No module\n'x'."}
    assert from_replica(failed) == Failed(slug="import-failed", detail="No module\n'x'.")
    ending = {"type": "ending", "reason": "out-of-memory", "detail": "d"}
    assert from_replica(ending) == Ending(reason="out-of-memory", detail="d")


@pytest.mark.parametrize("word", ["", "x\n", "x\r\nSet-Cookie: a", 'x"} 1', "x" * 65, "\u00e4"])
def test_words_that_reach_headers_and_metrics_are_words(word: str) -> None:
    assert from_replica({"type": "ready", "slots": 4, "phases": {word: 1.0}}) is None
    assert from_replica({"type": "failed", "slug": word, "detail": "d"}) is None
    assert from_replica({"type": "ending", "reason": word, "detail": "d"}) is None
