"""A router that ends makes room for the next one, and keeps no caller from what it was about to send."""

import asyncio
import os
import socket
from time import monotonic

from pilotlight.core.spec import function_key
from tests.integration.router.rig import PATIENCE, Rig, slowly, until


async def test_a_connection_that_was_just_used_gets_one_more_answer(rig: Rig) -> None:
    await rig.function()
    caller = await rig.caller()
    caller.send("POST", "/function/f", b"x")
    await caller.answer()
    _let_it_end(rig)
    await until(lambda: _refused(rig.port))
    caller.send("POST", "/function/f", b"x")
    answer = await caller.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_what_was_answered_last_is_counted(rig: Rig) -> None:
    replica = await rig.function(slowly)
    calls = [asyncio.create_task(rig.call()) for _ in range(3)]
    await until(lambda: len(replica.requests) == 3)
    _let_it_end(rig)
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 3
    await until(lambda: rig.link.levels(function_key("f"))[-1].codes == {200: 3})
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0


async def test_both_ports_are_free_while_it_drains(rig: Rig) -> None:
    replica = await rig.function(slowly)
    call = asyncio.create_task(rig.call())
    await until(lambda: replica.requests)
    _let_it_end(rig)
    await until(lambda: _free(rig.port) and _free(rig.metrics_port))
    assert not call.done()
    assert (await call).status == 200


async def test_an_idle_connection_is_closed_after_a_moment(rig: Rig) -> None:
    caller = await rig.caller()
    caller.send("GET", "/healthz")
    await caller.answer()
    began = monotonic()
    _let_it_end(rig)
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0
    assert monotonic() - began < 1.8  # not the two seconds after which a drain is cut


def _let_it_end(rig: Rig) -> None:
    os.close(rig.lifeline)
    rig.lifeline = -1


def _refused(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True
