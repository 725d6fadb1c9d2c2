"""What is said of an engine at the server's start."""

from typing import Any

import pytest

from pilotlight.core.errors import StartFailed
from pilotlight.engine.about import lacks
from pilotlight.engine.failures import NO_SOCKET, NOT_ALLOWED, unreachable

WHOLE = {
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
    "OSType": "linux",
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"MemoryLimit": False}, ["memory limits"]),
        ({"SwapLimit": False}, ["swap"]),
        ({"MemoryLimit": False, "SwapLimit": False}, ["memory limits"]),
        ({"CpuCfsQuota": False, "PidsLimit": False}, ["CPU", "processes"]),
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}, ["without root"]),
        ({"SecurityOptions": ["name=apparmor"]}, ["seccomp"]),
        ({"SecurityOptions": None}, []),
        ({"OSType": "windows"}, ["Linux"]),
    ],
)
def test_each_thing_that_an_engine_lacks_is_one_sentence(changed: dict[str, Any], words: list[str]) -> None:
    said = lacks(WHOLE | changed)
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_an_engine_that_says_little_lacks_nothing() -> None:
    assert lacks({}) == ()


@pytest.mark.parametrize(
    ("url", "why", "cure"),
    [
        ("unix:///var/run/docker.sock", NOT_ALLOWED, "usermod -aG docker"),
        ("unix:///var/run/docker.sock", NO_SOCKET, "systemctl start docker"),
        ("unix:///var/run/docker.sock", "connection refused", "systemctl start docker"),
        ("tcp://10.0.0.9:2375", "connection refused", None),
    ],
)
def test_an_engine_that_cannot_be_reached_is_told_with_what_helps_there(url: str, why: str, cure: str | None) -> None:
    error = unreachable(url, why)
    assert isinstance(error, StartFailed)
    assert url in error.detail
    assert why in error.detail
    assert cure is None or cure in (error.hint or "")
