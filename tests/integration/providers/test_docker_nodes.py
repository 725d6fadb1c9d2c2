"""Several engines, each a node: the machine's, and a second one that comes and goes."""

import gc
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import DockerSettings, Settings
from pilotlight.core.errors import RevisionFailed, StartFailed
from pilotlight.engine.client import DEFAULT_URL
from pilotlight.providers.base import BecameReady, Ended, Launch, Pool
from pilotlight.providers.docker import DockerProvider
from tests.engines import environment_image
from tests.provider_support import Watch, a_launch, call, eventually
from tests.second_engine import SecondEngine, second_engine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("docker-faults"),
    pytest.mark.timeout(300),
    # The docker package leaves the socket of a refused connection to the collector, which warns.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"),
]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def second() -> Iterator[SecondEngine]:
    with second_engine() as made:
        made.load(environment_image())
        yield made


@pytest.fixture
def opened(opened: Open, second: SecondEngine) -> Open:
    """With both engines."""

    async def open_another() -> DockerProvider:
        provider: DockerProvider = await opened(engines=(DEFAULT_URL, f"other={second.url}"))
        return provider

    return open_another


def pooled(replica: str, node: str) -> Launch:
    pool = Pool(environment="env", namespace="test", image=environment_image())
    return a_launch(replica, node=node, bundle="eval", pool=pool, image=None)


async def test_replicas_run_on_the_node_that_they_were_placed_on_and_are_found_there_again(opened: Open) -> None:
    provider = await opened()
    assert [node.name for node in await provider.nodes()] == ["local", "other"]
    watching = Watch(provider)
    for name, launch in {
        "a": a_launch("a", node="local"),
        "b": a_launch("b", node="other"),
        "c": pooled("c", "local"),
        "d": pooled("d", "other"),
    }.items():
        running = await provider.start(launch)
        await watching.until(BecameReady, name, 60)
        assert running.node == launch.node
        assert await call(running.address, "1 + 1", "/eval") == "2"
    watching.cancel()
    provider._leave()
    again = await opened()
    assert {(each.id, each.node, each.ready) for each in await again.list()} == {
        ("a", "local", True),
        ("b", "other", True),
        ("c", "local", True),
        ("d", "other", True),
    }
    watching = Watch(again)
    for name in ("a", "b", "c", "d"):
        await again.stop(name, grace_seconds=5)
        assert (await watching.until(Ended, name)).reason == "stopped"
    watching.cancel()


async def test_a_node_whose_engine_is_away_takes_no_starts_until_it_is_back(opened: Open, second: SecondEngine) -> None:
    provider: DockerProvider = await opened()
    watching = Watch(provider)
    await provider.start(pooled("on-the-other", "other"))
    await watching.until(BecameReady, "on-the-other", 60)
    second.end()
    try:
        await eventually(lambda: not provider._nodes["other"].is_up, 30)
        here, other = await provider.nodes()
        assert (here.name, here.away, other.name) == ("local", "", "other")
        assert re.fullmatch(r"the Docker engine at unix:\S+ does not answer", other.away)
        with pytest.raises(StartFailed) as refused:
            await provider.start(a_launch("late", node="other"))
        assert refused.value.slug == "engine-unreachable"
        with pytest.raises(RevisionFailed, match="pilotlight-nowhere"):  # and not that an engine is away
            await provider.pin("pilotlight-nowhere:1", {})
        running = await provider.start(pooled("here", "local"))
        await watching.until(BecameReady, "here", 60)
        assert await call(running.address, "1 + 1") == "2"
    finally:
        second.start()
    await eventually(lambda: provider._nodes["other"].is_up, 60)
    assert [node.away for node in await provider.nodes()] == ["", ""]
    # It restores what ran, so the replica is the one from before.
    assert {each.id for each in await provider.list()} == {"on-the-other", "here"}
    watching.cancel()
    gc.collect()


async def test_a_node_that_is_away_at_the_start_joins_later_and_what_ran_there_is_gone(
    opened: Open, second: SecondEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: DockerProvider = await opened()
    await first.start(pooled("left", "other"))
    first._leave()
    monkeypatch.setattr("pilotlight.providers.docker.provider.JOIN_SECONDS", 0.5)
    second.end()
    try:
        provider: DockerProvider = await opened()
        here, other = await provider.nodes()
        assert (here.away, other.name, other.cpu_milli) == ("", "other", 0)
        assert "cannot be reached" in other.away
        with pytest.raises(StartFailed) as refused:
            await provider.start(a_launch("late", node="other"))
        assert refused.value.slug == "engine-unreachable"
        assert await provider.list() == []
    finally:
        second.start()
    await eventually(lambda: "other" in provider._nodes, 60)
    assert [node.away for node in await provider.nodes()] == ["", ""]
    watching = Watch(provider)
    await provider.start(pooled("here", "other"))
    await watching.until(BecameReady, "here", 60)
    assert [each.id for each in await provider.list()] == ["here"]
    watching.cancel()
    gc.collect()


async def test_an_engine_that_cannot_be_reached_is_named() -> None:
    data_dir = Path(tempfile.mkdtemp(prefix="pilotlight-data-"))
    docker = DockerSettings(engines=("gone=unix:///nowhere/engine.sock",))
    provider = DockerProvider(settings=Settings(data_dir=data_dir, docker=docker))
    try:
        with pytest.raises(StartFailed, match=r"unix:///nowhere/engine\.sock cannot be reached"):
            await provider.open()
    finally:
        await provider.close(keep=False)
        shutil.rmtree(data_dir)
