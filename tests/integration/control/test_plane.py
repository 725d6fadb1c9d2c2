"""The control plane from end to end: what it promises to users, to routers, and to its own next start."""

import asyncio

import msgspec
import pytest

from pilotlight.control.plane import ControlPlane
from pilotlight.control.views import DeployMode
from pilotlight.core.errors import (
    BundleNotFound,
    Conflict,
    FunctionNotFound,
    InvalidSpec,
    PilotlightError,
    RevisionFailed,
    SecretNotFound,
    StartFailed,
)
from pilotlight.core.spec import Scaling
from pilotlight.providers.base import Ended
from tests.integration.control.scene import HELLO, Scene, hello

BROKEN = Ended(
    id="", reason="load-failed", detail="init raised KeyError", slug="init-failed", file="handler.py", line=3
)


async def until(condition: object, seconds: float = 5) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def state_is(plane: ControlPlane, state: str) -> None:
    await until(lambda: [view.state for view in plane.functions()] == [state])


async def test_a_deploy_returns_when_the_router_has_the_proven_replica(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        deployed = await plane.deploy(hello())
        assert (deployed.created, deployed.unchanged, deployed.applied) == (True, False, True)
        assert [endpoint.slots for endpoint in router.endpoints()] == [4]
        assert (deployed.view.revision, deployed.view.state, deployed.view.ready) == (1, "ready", 1)


async def test_calls_of_a_first_deploy_wait_for_it(scene: Scene) -> None:
    async with scene.plane(ready_delay=None) as (plane, router, fake):
        deploying = asyncio.create_task(plane.deploy(hello(queue=7)))
        await router.until(lambda: HELLO in router.routes)
        assert (router.routes[HELLO].queue, router.endpoints(), router.routes[HELLO].failure) == (7, (), None)
        router.report(waiting=3)
        await until(lambda: fake.backend.replicas)
        await fake.make_ready(next(iter(fake.backend.replicas)))
        assert (await deploying).created
        assert len(router.endpoints()) == 1


async def test_a_first_deploy_that_fails_is_waited_for_no_longer(scene: Scene) -> None:
    async with scene.plane(load_failure=BROKEN) as (plane, router, _):
        with pytest.raises(RevisionFailed):
            await plane.deploy(hello())
        await router.until(lambda: HELLO not in router.routes)


async def test_a_first_deploy_that_wants_a_key_lets_nobody_wait_without_it(scene: Scene) -> None:
    async with scene.plane(start_delay=0.1) as (plane, router, _):
        deploying = asyncio.create_task(plane.deploy(hello(auth="key")))
        await router.until(lambda: HELLO in router.routes)
        assert router.routes[HELLO].key_digests
        await deploying


async def test_deploying_the_same_again_makes_no_revision(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello())
        again = await plane.deploy(hello())
        assert (again.unchanged, again.view.revision, fake.backend.starts) == (True, 1, 1)


async def test_a_new_revision_drains_the_old_one(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello(1))
        [old] = router.endpoints()
        await plane.deploy(hello(2))
        assert [e.draining for e in router.endpoints() if e.replica == old.replica] in ([], [True])
        await router.until(lambda: old.replica not in {e.replica for e in router.endpoints()})
        await until(lambda: old.replica not in fake.backend.replicas)
        assert len(router.endpoints()) == 1


async def test_a_busy_function_hands_over_to_as_many_replicas_as_it_needs(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(1))
        await plane.scale(HELLO, 4)
        await router.until(lambda: len(router.endpoints()) == 4)
        router.report(in_flight=12)
        await until(lambda: plane.functions()[0].in_flight == 12)
        await plane.deploy(hello(2))
        assert sum(not endpoint.draining for endpoint in router.endpoints()) == 3


async def test_a_revision_that_fails_changes_nothing(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello(1))
        before = router.endpoints()
        fake.load_failure = BROKEN
        with pytest.raises(RevisionFailed, match="init raised KeyError") as caught:
            await plane.deploy(hello(2))
        assert caught.value.slug == "init-failed"
        assert caught.value.state == "nothing changed, revision 1 keeps serving"
        assert caught.value.location is not None
        assert caught.value.location.line == 3
        assert router.endpoints() == before
        assert set(fake.backend.replicas) == {before[0].replica}


async def test_a_node_s_failure_is_not_the_function_s(scene: Scene) -> None:
    async with scene.plane(fail_starts=1) as (plane, _, _fake):
        with pytest.raises(StartFailed):
            await plane.deploy(hello())
        assert (await plane.deploy(hello())).created


async def test_modes_are_kept(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _fake):
        with pytest.raises(FunctionNotFound):
            await plane.deploy(hello(), DeployMode.UPDATE)
        await plane.deploy(hello(), DeployMode.CREATE)
        with pytest.raises(Conflict):
            await plane.deploy(hello(2), DeployMode.CREATE)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"image": "docker.io/library/nginx:latest"}, InvalidSpec),
        ({"image": "bundle/hello@sha256:" + "9" * 64}, BundleNotFound),
        ({"secrets": ("token",)}, SecretNotFound),
    ],
)
async def test_what_cannot_run_is_refused_before_anything_is_done(
    scene: Scene, change: dict[str, object], error: type[PilotlightError]
) -> None:
    async with scene.plane() as (plane, _, fake):
        with pytest.raises(error):
            await plane.deploy(msgspec.structs.replace(hello(), **change))
        assert (fake.backend.starts, plane.functions()) == (0, [])


async def test_a_waiting_request_starts_what_it_needs_once(scene: Scene) -> None:
    async with scene.plane(start_delay=0.05) as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await state_is(plane, "cold")
        started = fake.backend.starts
        for waiting in (1, 2, 4, 8):
            router.report(waiting=waiting)
        await router.until(lambda: len(router.endpoints()) == 2)
        assert fake.backend.starts - started == 2


async def test_idle_functions_go_to_zero(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello(scale=Scaling(idle_seconds=0.2)))
        await router.until(lambda: not router.endpoints())
        await until(lambda: not fake.backend.replicas)
        assert [view.state for view in plane.functions()] == ["cold"]
        assert plane.functions()[0].why == "idle"


async def test_no_report_is_not_idleness(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello(scale=Scaling(idle_seconds=0.1)))
        assert router._writer is not None
        router._writer.close()
        await asyncio.sleep(0.5)
        assert len(fake.backend.replicas) == 1


async def test_a_drain_waits_for_the_router_s_word(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        router.auto_drain = False
        [endpoint] = router.endpoints()
        await plane.scale(HELLO, 0)
        assert router.endpoints()[0].draining
        assert set(fake.backend.replicas) == {endpoint.replica}
        router.drained(endpoint.replica)
        await until(lambda: not fake.backend.replicas)


async def test_a_drain_ends_at_its_deadline(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        router.auto_drain = False
        await plane.scale(HELLO, 0)
        await until(lambda: not fake.backend.replicas)


async def test_a_draining_replica_is_taken_back_when_somebody_calls(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        router.auto_drain = False
        [endpoint] = router.endpoints()
        await plane.scale(HELLO, 0)
        router.report(waiting=1)
        await router.until(lambda: not router.endpoints()[0].draining)
        assert (router.endpoints()[0].replica, fake.backend.starts) == (endpoint.replica, 1)


async def test_a_removed_function_is_gone_from_the_routes_when_the_call_returns(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.remove(HELLO)
        assert HELLO not in router.routes
        await until(lambda: not fake.backend.replicas)
        with pytest.raises(FunctionNotFound):
            await plane.remove(HELLO)


async def test_a_replica_that_dies_leaves_the_route_and_is_explained(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        [endpoint] = router.endpoints()
        fake.crash(endpoint.replica)
        await router.until(lambda: endpoint.replica not in {e.replica for e in router.endpoints()})
        view = await plane.function(HELLO)
        assert view.last_end is not None
        assert view.last_end.replica == endpoint.replica


async def test_a_function_that_cannot_start_says_so_and_when_it_is_tried_again(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello())
        await plane.scale(HELLO, 0)
        await state_is(plane, "cold")
        fake.load_failure = BROKEN
        router.report(waiting=1)
        await router.until(lambda: router.routes[HELLO].failure is not None)
        failure = router.routes[HELLO].failure
        assert failure is not None
        assert (failure.slug, "next try in 1 s" in failure.detail) == ("init-failed", True)
        assert plane.functions()[0].state == "failing"
        fake.load_failure = None
        await router.until(lambda: router.routes[HELLO].failure is None)
        await router.until(router.endpoints)


async def test_the_next_control_plane_finds_everything(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        before = router.endpoints()
    async with scene.plane() as (plane, router, fake):
        assert [e.replica for e in router.endpoints()] == [e.replica for e in before]
        assert (plane.functions()[0].revision, fake.backend.starts) == (1, 1)
        await plane.deploy(hello(2))
        assert plane.functions()[0].revision == 2


async def test_replicas_that_nobody_wants_are_ended_at_the_next_start(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello())
        await plane._store.remove(HELLO)
        assert len(fake.backend.replicas) == 1
    async with scene.plane() as (plane, router, fake):
        assert router.routes == {}
        await until(lambda: not fake.backend.replicas)


async def test_a_deploy_goes_on_when_its_client_leaves(scene: Scene) -> None:
    async with scene.plane(start_delay=0.1) as (plane, router, _):
        client = asyncio.create_task(plane.deploy(hello()))
        await asyncio.sleep(0.02)
        client.cancel()
        await router.until(router.endpoints)
        assert plane.functions()[0].state == "ready"


async def test_a_hundred_functions_cost_nothing_while_idle(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _fake):
        for number in range(100):
            await plane.deploy(msgspec.structs.replace(hello(scale=Scaling(idle_seconds=0.05)), name=f"f{number}"))
        await until(lambda: {view.state for view in plane.functions()} == {"cold"})
        await until(lambda: not plane._reconciler._active)
