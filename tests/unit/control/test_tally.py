"""Counts of starts and ends: whose they are, and that they go with their function."""

import gc

import pytest

from pilotlight.config import ControlSettings
from pilotlight.control.launcher import Launcher
from pilotlight.control.tally import Tallies
from pilotlight.core.errors import Unschedulable
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.providers.base import Ended, Pool
from pilotlight.providers.fake import FakeProvider

F = function_key("f", "ns")


def ended(replica: str, reason: str) -> Ended:
    return Ended(id=replica, reason=reason, detail=f"it was {reason}", last_lines=("bye",))


def test_ends_are_counted_by_reason_once_for_each_replica() -> None:
    tallies = Tallies()
    for replica in ("a", "b", "c"):
        tally = tallies.expect_end(F, replica)
    for event in (ended("a", "stopped"), ended("a", "stopped"), ended("b", "stuck"), ended("unknown", "exit")):
        tallies.ended(event)
    assert tally is tallies.of(F)
    assert tally.ends == {"stopped": 1, "stuck": 1}


def test_what_never_began_does_not_end() -> None:
    tallies = Tallies()
    tally = tallies.expect_end(F, "a")
    tallies.expect_no_end("a")
    tallies.ended(ended("a", "stopped"))
    assert not tally.ends


async def test_a_start_for_which_no_node_has_room_is_waited_for_no_end() -> None:
    launcher = Launcher(FakeProvider(nodes=()), ControlSettings())
    spec = FunctionSpec(name="f", image="i")
    bundle = Bundle(digest="d", environment="e", template="python3-http", contract="http")
    revision = Revision(id="r", number=1, spec=spec, bundle=bundle, created_at=0)
    with pytest.raises(Unschedulable):
        await launcher.launch(revision, "a", Pool(environment="e", namespace="openfaas-fn"))
    tally = launcher.tallies.of(revision.function)
    launcher.tallies.ended(ended("a", "stopped"))
    assert not tally.ends


def test_the_last_one_that_had_to_be_killed_is_remembered() -> None:
    tallies = Tallies(unix=lambda: 7.0)
    tally = tallies.expect_end(F, "a")
    tallies.ended(ended("a", "killed"))
    assert tally.last_killed is not None
    assert (tally.last_killed.at, tally.last_killed.replica, tally.last_killed.last_lines) == (7.0, "a", ("bye",))


def test_a_removed_functions_counts_go_with_its_last_replica() -> None:
    tallies = Tallies()
    tallies.expect_end(F, "a").starts["ready"] += 1
    gc.collect()
    assert tallies.of(F).starts == {"ready": 1}
    tallies.ended(ended("a", "stopped"))
    gc.collect()
    assert not tallies.of(F).starts
