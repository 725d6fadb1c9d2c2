"""What functions are told of where they call functions, and the doors that routers hold open for it."""

import pytest

from pilotlight.control.plane import ControlPlane
from pilotlight.core.spec import FunctionSpec
from pilotlight.link.messages import Door
from pilotlight.providers.base import Gateway
from pilotlight.providers.fake import FakeBackend
from tests.integration.control.scene import Scene, hello

DOOR = Door(address="172.18.0.1", network="172.18.0.0/16")
OTHER = Door(address="172.19.0.1", network="172.19.0.0/16")
BY_DOOR = {"openfaas-fn": Gateway(door=DOOR), "more": Gateway(door=OTHER)}


def told(backend: FakeBackend) -> list[str | None]:
    """What the replicas that run were told."""
    return [found.launch.variables.get("PILOTLIGHT_GATEWAY") for found in backend.replicas.values()]


async def deploy_in_more(plane: ControlPlane) -> None:
    await plane.namespaces.create("more", {}, {})
    await plane.deploy(FunctionSpec(name="second", namespace="more", image=hello().image))


async def test_what_shares_the_machines_network_is_told_the_servers_own_address(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        assert (told(scene.backend), router.doors) == (["http://127.0.0.1:8080"], ())


async def test_containers_are_told_a_door_that_is_open_by_then(scene: Scene) -> None:
    async with scene.plane(gateways=BY_DOOR) as (plane, router, _):
        await plane.deploy(hello())
        assert (told(scene.backend), router.doors) == ([f"http://{DOOR.address}:8080"], (DOOR,))
        await deploy_in_more(plane)
        assert router.doors == (DOOR, OTHER)


async def test_doors_are_there_again_before_the_first_route_after_a_crash(scene: Scene) -> None:
    async with scene.plane(gateways=BY_DOOR) as (plane, _, _fake):
        await plane.deploy(hello())
    async with scene.plane(gateways=BY_DOOR) as (_, router, _fake):
        assert router.doors == (DOOR,)


async def test_a_door_that_no_router_can_open_is_told_to_nobody(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    async with scene.plane(gateways=BY_DOOR) as (plane, router, _):
        router.shut = {DOOR.address: "permission denied"}
        await plane.deploy(hello())
        await plane.deploy(FunctionSpec(name="second", image=hello().image))
        assert told(scene.backend) == [None, None]
    said = capfd.readouterr()
    assert (said.out + said.err).count("permission denied") == 1


async def test_an_address_that_is_set_is_told_as_it_is_and_none_where_there_is_none(scene: Scene) -> None:
    gateways = {"openfaas-fn": Gateway(url="http://10.0.0.1:80"), "more": Gateway(why="the engine is elsewhere")}
    async with scene.plane(gateways=gateways) as (plane, router, _):
        await plane.deploy(hello())
        await deploy_in_more(plane)
        assert (told(scene.backend), router.doors) == (["http://10.0.0.1:80", None], ())


async def test_the_door_of_a_namespace_without_functions_is_closed(scene: Scene) -> None:
    async with scene.plane(gateways=BY_DOOR) as (plane, router, _):
        await plane.deploy(hello())
        await deploy_in_more(plane)
        await plane.remove(hello().key)
        await router.until(lambda: router.version and router.doors == (OTHER,))
