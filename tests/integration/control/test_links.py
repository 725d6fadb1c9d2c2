"""Routers that die at the wrong moment; on the control plane's own loop, where writing to the dead is an error."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvloop

from pilotlight.control.links import Links
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import Applied, Hello, Level, Levels, Route, encode

HELLO = function_key("hello")


async def _join(socket: Path) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(encode(Hello(epoch="r1", router="main")))
    return writer


async def _publish_while_a_router_dies(socket: Path) -> None:
    links = Links(epoch="c1", on_level=lambda _: None, on_drained=lambda _: None)
    async with asyncio.timeout(10), links.serving(socket):
        writer = await _join(socket)
        while not links.routers:
            await asyncio.sleep(0)
        writer.transport.abort()
        number = 1
        while links.routers:
            links.publish(Route(function=HELLO, queue=number))
            number += 1
            await asyncio.sleep(0)
        assert number > 1


def test_changing_a_route_does_not_fail_with_a_router_that_has_just_died(tmp_path: Path) -> None:
    """There is a moment in which its connection is gone and nobody has dismissed it yet."""
    uvloop.run(_publish_while_a_router_dies(tmp_path / "link.sock"))


def _no_keys(_: FunctionKey) -> NoReturn:
    raise ValueError("as a fault of ours would")


async def _join_where_the_welcome_fails(socket: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    links = Links(epoch="c1", on_level=lambda _: None, on_drained=lambda _: None, key_seconds=_no_keys)
    links.publish(Route(function=HELLO, key_digests=("0" * 64,)))
    async with asyncio.timeout(10), links.serving(socket):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(encode(Hello(epoch="r1", router="main")))
        await reader.read()
        writer.close()
        assert links.routers == 0


def test_a_router_that_could_not_be_welcomed_is_not_waited_for(tmp_path: Path) -> None:
    """Deploys wait for every router that is there, and so would they for ever."""
    uvloop.run(_join_where_the_welcome_fails(tmp_path / "link.sock"))


async def test_what_is_said_of_a_function_before_it_was_known_is_of_an_earlier_one(tmp_path: Path) -> None:
    """It was removed and is there again, and a router that has not heard of either says how busy it is."""
    links = Links(epoch="c1", on_level=lambda _: None, on_drained=lambda _: None)
    links.publish(Route(function=HELLO))
    async with asyncio.timeout(10), links.serving(tmp_path / "link.sock"):
        writer = await _join(tmp_path / "link.sock")
        writer.write(_applied(links.version) + _busy(in_flight=2, full=True))
        await until(lambda: _in_flight(links) == 2)
        links.withdraw(HELLO)
        version = links.publish(Route(function=HELLO))
        writer.write(_busy(in_flight=1) + _applied(version))
        assert await links.applied(version, timeout=5)
        assert _in_flight(links) == 0
        writer.write(_busy(in_flight=3))
        await until(lambda: _in_flight(links) == 3)
        writer.close()


def _applied(version: int) -> bytes:
    return encode(Applied(version=version))


def _busy(*, in_flight: int, full: bool = False) -> bytes:
    return encode(Levels(levels=(Level(function=HELLO, in_flight=in_flight),), full=full))


def _in_flight(links: Links) -> int:
    level = links.level(HELLO)
    return -1 if level is None else level.in_flight


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)
