"""Builds and pushes that are cancelled while the engine is being asked: what it makes nevertheless is taken back."""

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from pilotlight.builder.image_pool import BUILD, Workbench
from pilotlight.engine.client import Engine, connect
from pilotlight.engine.images import parse_image
from pilotlight.engine.registry import Pushes
from tests.engines import BASE_IMAGE, docker_engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]
NOT_WAITING_SECONDS = 0.3
"""In which who did not wait for the engine would be done with taking back what is not there yet."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    docker_engine()
    made = connect(None, call_seconds=60)
    yield made
    made.close()


class Gate:
    """Holds up one verb of the engine's client in its thread; what it asked for is done when it is `done`."""

    def __init__(self, engine: Engine, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.open, self.done = threading.Event(), threading.Event(), threading.Event()
        real: Callable[..., Any] = getattr(engine._client, verb)

        def held(*arguments: Any, **named: Any) -> Any:
            self.begun.set()
            self.open.wait()
            try:
                return real(*arguments, **named)
            finally:
                self.done.set()

        monkeypatch.setattr(engine._client, verb, held)

    async def cancelled_within(self, work: Awaitable[object]) -> None:
        """The work, cancelled when it stands here; then the engine does what it was asked."""
        task = asyncio.ensure_future(work)
        await asyncio.to_thread(self.begun.wait)
        task.cancel()
        await asyncio.wait([task], timeout=NOT_WAITING_SECONDS)
        self.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(self.done.wait)


async def test_a_container_that_is_being_made_when_its_build_is_left_goes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = secrets.token_hex(5)
    gate = Gate(engine, "post", monkeypatch)
    await gate.cancelled_within(Workbench(engine, owner).run(BASE_IMAGE, ["true"], 5.0))
    assert await engine.call(lambda client: client.containers(all=True, filters={"label": f"{BUILD}={owner}"})) == []


async def test_a_name_that_is_being_given_when_its_push_is_left_is_taken_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = parse_image(f"127.0.0.1:9/team/{secrets.token_hex(5)}:1")
    gate = Gate(engine, "tag", monkeypatch)
    await gate.cancelled_within(Pushes(engine).push(BASE_IMAGE, target, None, lambda _step, _said: None))
    assert await engine.call(lambda client: client.images(name=target.repository)) == []
