"""Starts that fail because a container engine is away: callers wait for a while, then they are told."""

import pytest

from pilotlight.control import reconciler
from pilotlight.engine.failures import unreachable
from pilotlight.providers.base import Launch, Running
from pilotlight.providers.fake import FakeProvider
from tests.integration.control.scene import HELLO, Scene, hello
from tests.provider_support import eventually


class Away:
    """The provider's engine, until it is back."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._start = provider.start
        self.tries = 0
        provider.start = self.start  # type: ignore[method-assign]

    async def start(self, launch: Launch) -> Running:
        self.tries += 1
        raise unreachable("unix:///none", "there is no such socket")

    def is_back(self) -> None:
        self._provider.start = self._start  # type: ignore[method-assign]


async def test_callers_wait_and_are_told_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reconciler.AGAIN_SECONDS, reconciler.ENGINE_AWAY, 0.05)
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        away = Away(fake)
        router.report(waiting=3)
        await eventually(lambda: away.tries > 4)
        assert router.routes[HELLO].failure is None
        away.is_back()
        await router.until(router.endpoints)


async def test_one_that_stays_away_is_told_and_found_again_soon_after_it_is_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reconciler.NO_FAULT_SECONDS, reconciler.ENGINE_AWAY, 0.0)
    monkeypatch.setitem(reconciler.LONGEST_PAUSE_SECONDS, reconciler.ENGINE_AWAY, 0.1)
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        away = Away(fake)
        router.report(waiting=3)
        await router.until(lambda: router.routes[HELLO].failure is not None)
        failure = router.routes[HELLO].failure
        assert failure is not None
        assert failure.slug == "engine-unreachable"
        await eventually(lambda: away.tries > 8)
        away.is_back()
        await router.until(router.endpoints)


async def test_a_deploy_that_changes_nothing_ends_the_pause_after_a_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reconciler.NO_FAULT_SECONDS, reconciler.ENGINE_AWAY, 0.0)
    monkeypatch.setitem(reconciler.LONGEST_PAUSE_SECONDS, reconciler.ENGINE_AWAY, 600.0)
    monkeypatch.setattr(reconciler, "backoff_seconds", lambda failures: 600.0)
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        away = Away(fake)
        router.report(waiting=3)
        await router.until(lambda: router.routes[HELLO].failure is not None)
        away.is_back()
        assert (await plane.deploy(hello())).unchanged
        await router.until(router.endpoints)
        assert router.routes[HELLO].failure is None
