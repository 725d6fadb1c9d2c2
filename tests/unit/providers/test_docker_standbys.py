"""When a standby is made and given up; what starts its container here is an object."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pilotlight.config import DockerSettings
from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Launch, Pool
from pilotlight.providers.docker import standbys as module
from pilotlight.providers.docker.standbys import Standbys, budget_mib
from tests.provider_support import a_launch, eventually

LAUNCH = a_launch("a", pool=Pool(environment="", namespace="test", revision="1"))


class SlowStarter:
    """As standbys see a Starter: it goes on until it is told to fail."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.go = asyncio.Event()
        self.fault: Exception = StartFailed("no room")

    async def start(self, launch: Launch, *, standby: bool) -> Any:
        self.begun.append(launch.id)
        await self.go.wait()
        self.done.append(launch.id)
        raise self.fault


def standbys_of(starter: Any) -> Standbys:
    site: Any = SimpleNamespace(options=DockerSettings())
    common: Any = SimpleNamespace(folders=None, berths=None)
    return Standbys(site, common, starter, node_memory_mib=1024)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATER_SECONDS", 0.01)


async def test_a_start_that_was_given_up_is_waited_for_when_all_ends(quick: None) -> None:
    """An engine finishes what it has begun, and what it made is removed, or it would be left over."""
    starter = SlowStarter()
    standbys = standbys_of(starter)
    standbys.prepare("1", wanted=True)
    standbys.seen(LAUNCH)
    await eventually(lambda: starter.begun)
    standbys.prepare("1", wanted=False)
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, starter.go.set)
    await standbys.stop()
    assert starter.done == starter.begun
    assert not standbys.busy


async def test_who_leaves_does_not_wait_for_what_is_being_made(quick: None) -> None:
    starter = SlowStarter()
    standbys = standbys_of(starter)
    standbys.prepare("1", wanted=True)
    standbys.seen(LAUNCH)
    await eventually(lambda: starter.begun)
    standbys.leave()
    await eventually(lambda: not standbys._making)
    assert not starter.done
    assert not standbys.busy


@pytest.mark.parametrize("fault", [StartFailed("no room"), KeyError("of ours")])
async def test_one_that_could_not_be_made_is_tried_again_later(
    quick: None, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    starter = SlowStarter()
    starter.fault = fault
    starter.go.set()
    standbys = standbys_of(starter)
    standbys.prepare("1", wanted=True)
    standbys.seen(LAUNCH)
    await eventually(lambda: len(starter.done) == 2)
    standbys.leave()
    assert len(set(starter.done)) == len(starter.done)
    assert not standbys.busy


@pytest.mark.parametrize(
    ("options", "mib"),
    [
        (DockerSettings(), 256.0),
        (DockerSettings(standby_memory_mib=100), 100),
        (DockerSettings(standbys=False, standby_memory_mib=100), 0.0),
    ],
)
def test_standbys_have_a_quarter_of_a_nodes_memory_unless_it_is_said(options: DockerSettings, mib: float) -> None:
    assert budget_mib(options, 1024) == mib
