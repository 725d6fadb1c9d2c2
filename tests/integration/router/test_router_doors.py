"""Doors: where functions' containers reach the router, and what they find there."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from pilotlight.link.messages import Door
from tests.integration.router.rig import PATIENCE, Answer, Rig, slowly, until

DOOR = Door(address="127.1.0.1", network="127.1.0.0/16")
"""All of 127/8 is this machine's; 127.1.0.0/16 stands for a bridge."""


async def ask(rig: Rig, path: str, host: str = DOOR.address, local: str = "127.1.0.9", method: str = "GET") -> Answer:
    caller = await rig.caller(host, local)
    caller.send(method, path)
    return await caller.answer(to_head=method == "HEAD")


def refused(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as sock:
        return sock.connect_ex((host, port)) != 0


async def test_a_function_is_called_by_a_door(rig: Rig) -> None:
    replica = await rig.function()
    assert await rig.link.listen(DOOR) == {}
    assert (await ask(rig, "/function/f")).body == b"hello"
    assert replica.requests[-1].headers["x-forwarded-for"] == "127.1.0.9"
    assert (await rig.call()).status == 200


@pytest.mark.parametrize(
    "path", ["/system/functions", "/api/v1/functions", "/ui", "/", "/healthz", "/metrics", "//function/f"]
)
async def test_nothing_but_functions_is_served_there(rig: Rig, path: str) -> None:
    await rig.function()
    await rig.link.listen(DOOR)
    answer = await ask(rig, path)
    assert (answer.status, answer.json()["type"]) == (404, "path-not-found")
    assert (await ask(rig, path, method="HEAD")).status == 404


async def test_an_asynchronous_call_is_answered_there_as_elsewhere(rig: Rig) -> None:
    await rig.link.listen(DOOR)
    assert (await ask(rig, "/async-function/f", method="POST")).status == (
        await rig.call("/async-function/f", "POST")
    ).status


async def test_a_caller_from_another_network_is_let_go_without_a_word(rig: Rig) -> None:
    await rig.function()
    await rig.link.listen(DOOR)
    caller = await rig.caller(DOOR.address, "127.2.0.9")
    caller.send("GET", "/function/f")
    with contextlib.suppress(ConnectionResetError):
        assert await caller.closed() == b""


async def test_a_door_that_is_no_longer_wanted_is_closed_and_others_stay(rig: Rig) -> None:
    other = Door(address="127.3.0.1", network="127.3.0.0/16")
    await rig.function()
    await rig.link.listen(DOOR, other)
    await rig.link.listen(other)
    assert refused(DOOR.address, rig.port)
    assert (await ask(rig, "/function/f", other.address, "127.3.0.9")).status == 200


async def test_a_door_that_cannot_be_opened_is_told_and_harms_nobody(rig: Rig) -> None:
    elsewhere = Door(address="192.0.2.77", network="192.0.2.0/24")
    odd = Door(address="127.4.0.1", network="everything")
    shut = await rig.link.listen(DOOR, elsewhere, odd)
    assert set(shut) == {elsewhere.address, odd.address}
    assert "assign" in shut[elsewhere.address]
    await rig.function()
    assert (await ask(rig, "/function/f")).status == 200


async def test_one_that_is_in_use_is_opened_once_it_is_free(rig: Rig) -> None:
    with socket.create_server((DOOR.address, rig.port)):
        assert "in use" in (await rig.link.listen(DOOR))[DOOR.address]
    assert await rig.link.listen(DOOR) == {}
    assert (await ask(rig, "/system/info")).status == 404


async def test_doors_stay_open_while_the_control_plane_is_away(rig: Rig) -> None:
    await rig.function()
    await rig.link.listen(DOOR)
    await rig.link.stop()
    assert (await ask(rig, "/function/f")).status == 200
    await rig.link.start()
    await until(lambda: len(rig.link.hellos) == 2)
    assert (await ask(rig, "/function/f")).status == 200


async def test_a_call_waits_in_the_door_of_a_router_that_was_killed(rig: Rig) -> None:
    await rig.function()
    await rig.link.listen(DOOR)
    rig.process.send_signal(signal.SIGKILL)
    await rig.process.wait()
    assert refused("127.0.0.1", rig.port)  # the public socket is the supervisor's, which the rig leaves out
    waiting = await rig.caller(DOOR.address, "127.1.0.9")
    waiting.send("GET", "/function/f")
    os.close(rig.lifeline)
    await rig.start()
    assert (await waiting.answer()).body == b"hello"
    rig.process.send_signal(signal.SIGKILL)  # and once more: it was put back
    await rig.process.wait()
    assert not refused(DOOR.address, rig.port)
    os.close(rig.lifeline)
    await rig.start()


async def test_a_router_that_ends_lets_go_of_its_doors_at_once(rig: Rig) -> None:
    replica = await rig.function(slowly)
    await rig.link.listen(DOOR)
    call = asyncio.create_task(ask(rig, "/function/f"))
    await until(lambda: replica.requests)
    rig.process.terminate()
    await until(lambda: refused(DOOR.address, rig.port))
    rig.link.version += 1
    assert (await call).status == 200
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0
    assert refused(DOOR.address, rig.port)  # also not from the shelf


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_server_that_listens_everywhere_serves_functions_alone_at_a_door(rig: Rig, host: str) -> None:
    await rig.function()
    rig.process.terminate()
    await rig.process.wait()
    os.close(rig.lifeline)
    rig.host, rig.port = host, 0
    await _start_on_all(rig)
    assert await rig.link.listen(DOOR) == {}
    assert (await ask(rig, "/function/f")).status == 200
    assert (await ask(rig, "/healthz")).status == 404
    assert (await ask(rig, "/healthz", "127.0.0.1", "127.0.0.1")).status == 200


async def _start_on_all(rig: Rig) -> None:
    said = len(rig.link.hellos)
    await rig.start()
    await until(lambda: len(rig.link.hellos) > said)
    await rig.link.applied()


async def test_doors_count_as_one_with_the_public_socket_for_the_limit_of_connections(rig: Rig) -> None:
    await rig.function()
    await rig.link.listen(DOOR)
    callers = [await rig.caller(DOOR.address, "127.1.0.9") for _ in range(rig.settings.router.connections)]
    for caller in callers:
        caller.send("GET", "/function/f")
        assert (await caller.answer()).status == 200
    late = await rig.caller(DOOR.address, "127.1.0.9")
    late.send("GET", "/function/f")
    answer = asyncio.create_task(late.answer())
    done, _ = await asyncio.wait([answer], timeout=0.2)
    assert not done
    for caller in callers:
        caller.close()
    assert (await answer).status == 200
