"""What a function scales by reaches its decisions, and what was decided reaches whoever asks."""

import asyncio
import errno
import time
from functools import partial
from typing import Any, NoReturn

import pytest

from pilotlight.control import launcher
from pilotlight.control.views import FunctionView
from pilotlight.core.errors import StorageFull
from pilotlight.core.scaling import Scaling
from pilotlight.providers.base import Ended, Launch
from pilotlight.store.sql import Store
from tests.integration.control.scene import HELLO, Scene, hello

BROKEN = Ended(id="", reason="load-failed", detail="init raised KeyError", slug="init-failed")


async def seen(plane: Any, condition: Any, seconds: float = 5) -> FunctionView:
    """The function as it is told, once it is so."""
    async with asyncio.timeout(seconds):
        while not condition(plane.functions()[0]):
            await asyncio.sleep(0.002)
    view: FunctionView = plane.functions()[0]
    return view


async def test_calls_that_are_counted_are_a_rate(scene: Scene) -> None:
    """300 calls in the last 10 s, of which a replica should have 10 a second."""
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(scale=Scaling(type="rps", target=10, target_proportion=1)))
        router.report(calls=300, in_flight=1)
        view = await seen(plane, lambda view: view.ready == 3)
        assert view.why == "rps"
        assert (router.routes[HELLO].scaling_type, router.routes[HELLO].target_load) == ("rps", 10)


async def test_openfaas_rule_counts_what_succeeds(scene: Scene) -> None:
    """Of 300 calls in 10 s all fail: the rule does not hold, however long one waits."""
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(scale=Scaling(factor=20)))
        router.report(in_flight=1)
        await seen(plane, lambda view: view.in_flight == 1)
        router.report(calls=300, errors=300, in_flight=1)
        await seen(plane, lambda view: view.calls == 300)
        state = plane._reconciler.functions[HELLO]
        assert state.memory.rule is None
        router.report(calls=600, errors=300, in_flight=1)
        await seen(plane, lambda _: state.memory.rule is not None)


@pytest.mark.parametrize("scale", [Scaling(type="rps"), Scaling(factor=20)])
async def test_calls_without_the_functions_key_are_no_load(scene: Scene, scale: Scaling) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(auth="key", scale=scale))
        state = plane._reconciler.functions[HELLO]
        router.report(in_flight=1)
        await seen(plane, lambda view: view.in_flight == 1)
        router.report(calls=9000, codes={401: 9000}, in_flight=1)
        await seen(plane, lambda view: view.calls == 9000)
        assert state.calls is not None
        assert state.calls.per_second(time.monotonic(), over_seconds=60) == 0
        router.report(calls=9600, codes={401: 9000, 200: 600}, in_flight=1)
        await seen(plane, lambda _: state.calls.per_second(time.monotonic(), over_seconds=60) > 0)


async def test_processor_time_is_read_only_where_a_function_scales_by_it(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _fake):
        await plane.deploy(hello(scale=Scaling(type="cpu")))
        state = plane._reconciler.functions[HELLO]
        assert state.cpu is None
        await seen(plane, lambda _: state.cpu is not None)


async def test_a_new_control_plane_lets_nothing_go_before_it_knows_the_load(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        router.report(waiting=16)
        await router.until(lambda: len(router.endpoints()) == 4)
        router.report(in_flight=16)
        await seen(plane, lambda view: view.waiting == 0)
    async with scene.plane() as (plane, router, _):
        router.report(in_flight=1)
        view = await seen(plane, lambda view: view.why == "adopted" and view.in_flight == 1)
        assert (view.wanted, view.ready) == (4, 4)


async def test_what_describe_needs_is_told(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        before = await seen(plane, lambda view: view.why == "warm")
        assert (before.slots, before.free_slots, before.failure) == (4, 4, None)
        assert before.idle_seconds is not None
        router.report(in_flight=3)
        busy = await seen(plane, lambda view: view.in_flight == 3)
        assert (busy.slots, busy.free_slots, busy.idle_seconds) == (4, 1, 0.0)
        assert busy.decided_at >= before.decided_at > busy.created_at - 60


async def test_while_no_router_says_anything_idleness_is_unknown(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        assert router._writer is not None
        router._writer.close()
        view = await seen(plane, lambda view: view.idle_seconds is None)
        assert view.ready == 1


async def test_a_failing_function_says_when_it_is_tried_again(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        fake.load_failure = BROKEN
        router.report(waiting=1)
        view = await seen(plane, lambda view: view.failure is not None)
        assert view.failure is not None
        assert (view.state, view.failure.slug, view.failure.starts) == ("failing", "init-failed", 2)
        assert view.failure.next_try_at > view.decided_at


async def test_a_scale_call_that_is_over_does_not_come_back_with_the_next_control_plane(scene: Scene) -> None:
    spec = hello(scale=Scaling(min=2, idle_seconds=60))
    async with scene.plane() as (plane, router, _):
        await plane.deploy(spec)
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        router.report(waiting=1)
        await seen(plane, lambda view: view.ready == 2)
        async with asyncio.timeout(5):
            while await stored_scale_call(scene) is not None:
                await asyncio.sleep(0.01)
    async with scene.plane() as (plane, router, _):
        router.report(in_flight=1)
        view = await seen(plane, lambda view: view.idle_seconds == 0)
        assert (view.ready, view.wanted) == (2, 2)
        assert view.why != "scaled"


async def stored_scale_call(scene: Scene) -> int | None:
    """Read beside the control plane that runs."""
    store = await Store.open(scene.folder / "store.db")
    try:
        [function] = await store.functions()
        return function.scaled_to
    finally:
        await store.close()


async def test_a_scale_call_that_idleness_ended_does_not_come_back_with_the_next_call(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(scale=Scaling(idle_seconds=0.2)))
        await plane.scale(HELLO, 3)
        await seen(plane, lambda view: view.why == "idle")
        router.report(waiting=1)
        view = await seen(plane, lambda view: view.why != "idle")
        assert (view.why, view.wanted) == ("waiting", 1)


async def test_replicas_that_nobody_wants_any_more_when_they_are_ready_do_not_stay(scene: Scene) -> None:
    """From zero and back by two scale calls, with no call between them: no router has a word to say about it."""
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await seen(plane, lambda view: not view.replicas and HELLO not in plane._reconciler._active)
        fake.ready_delay = None
        await plane.scale(HELLO, 2)
        await seen(plane, lambda _: len(fake.backend.replicas) == 2)
        await plane.scale(HELLO, 0)
        for replica in tuple(fake.backend.replicas):
            await fake.make_ready(replica)
        await seen(plane, lambda view: not view.replicas)
        assert not fake.backend.replicas


async def test_a_fault_in_a_start_is_a_failed_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no replica that starts for ever, of which there are enough then."""
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await seen(plane, lambda view: not view.replicas)
        with monkeypatch.context() as patch:
            patch.setattr(fake, "start", _out_of_descriptors)
            router.report(waiting=1)
            view = await seen(plane, lambda view: view.failure is not None)
            assert view.failure is not None
            assert (view.failure.slug, view.replicas) == ("start-failed", ())
        await plane.deploy(hello())  # which ends the pause
        await seen(plane, lambda view: view.ready == 1)


async def test_a_fault_in_a_stop_leaves_no_replica_that_nobody_stops(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello())
        faults: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(fake, "stop", partial(_failing_stop, faults))
            await plane.scale(HELLO, 0)
            await seen(plane, lambda _: faults)
        await seen(plane, lambda view: not view.replicas)
        assert not fake.backend.replicas


async def test_a_fault_in_the_stop_of_a_proof_hides_no_error_and_leaves_no_replica(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello())
        faults: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(launcher, "END_SECONDS", 0.1)
            patch.setattr(fake, "stop", partial(_failing_stop, faults))
            patch.setattr(plane._store, "make_live", _full_disk)
            with pytest.raises(StorageFull):
                await plane.deploy(hello(environment={"A": "2"}))
        (proof,) = set(faults)
        async with asyncio.timeout(10):
            while proof in fake.backend.replicas:
                await asyncio.sleep(0.01)


async def _full_disk(*_: object) -> NoReturn:
    raise StorageFull("the disk is full")


async def _failing_stop(faults: list[str], replica: str, *, grace_seconds: float) -> NoReturn:
    faults.append(replica)
    raise PermissionError(errno.EPERM, "Operation not permitted")


async def _out_of_descriptors(_: Launch) -> NoReturn:
    raise OSError(errno.EMFILE, "Too many open files")
