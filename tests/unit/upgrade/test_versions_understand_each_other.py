"""What a newer platform says to an older runtime, and the other way round: unknown words change nothing."""

import dataclasses
import json

import msgspec
import pytest

from pilotlight.link.messages import Endpoint, Welcome
from pilotlight.providers.process.messages import Hello, Launched, Ready, from_replica, from_zygote
from pilotlight.providers.process.records import ReplicaRecord, ZygoteRecord
from pilotlight_runtime.replica import Order


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ({"type": "hello", "pid": 7, "moods": ["calm"]}, Hello(pid=7)),
        ({"type": "launched", "id": "a", "pid": 7, "started": 1, "why": {}}, Launched(id="a", pid=7, started=1)),
        ({"type": "sang", "song": 1}, None),
    ],
)
def test_a_zygote_may_say_more_than_we_know(said: dict[str, object], understood: object) -> None:
    assert from_zygote(said) == understood


def test_a_replica_may_say_more_than_we_know() -> None:
    assert from_replica({"type": "ready", "slots": 4, "asynchronous": False, "mood": "calm"}) == Ready(slots=4)


def test_a_launch_may_have_more_than_a_replica_knows() -> None:
    launch = dict.fromkeys((field.name for field in dataclasses.fields(Order)), "x") | {
        "mood": "calm",
        "type": "launch",
    }
    assert Order.of(launch).bundle == "x"


@pytest.mark.parametrize("kind", [ZygoteRecord, ReplicaRecord, Endpoint, Welcome])
def test_records_and_messages_of_a_newer_version_can_be_read(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.forbid_unknown_fields is False


def test_a_record_of_an_older_version_can_be_read() -> None:
    """What was written first has these, and nothing else may be required."""
    first = {"id": "a", "function": "f.ns", "revision": "1", "zygote": "z", "pid": 7, "started": 1, "socket": "s"}
    assert msgspec.json.decode(json.dumps(first), type=ReplicaRecord).slots == 0
