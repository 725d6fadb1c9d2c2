"""Twenty deploys under load: no request fails, and once a deploy has said that it is done nobody gets an old answer."""

import asyncio
import os
import time

import pytest

from tests.harness import Server
from tests.traces import wait_until_nothing_is_astray
from tests.witness import Asked, Witnessed, steadily

RATE = int(os.environ.get("PILOTLIGHT_TEST_RATE", "500"))
"""Requests a second. A machine that is busy with other things holds fewer; the number asked stays the same."""
REDEPLOYS = 20
PAUSE_SECONDS = 0.2


@pytest.mark.slow
def test_twenty_redeploys_under_load_fail_no_request_and_leave_no_old_answer(own_server: Server) -> None:
    function = Witnessed(own_server, "busy", concurrency=20).build()
    first, status = function.deploy()
    assert status == 201
    asked, done_at = asyncio.run(_redeploy_under_load(function))
    assert [each for each in asked if not each.ok] == []
    assert _old_answers(asked, done_at) == []
    assert {each.revision for each in asked} == set(range(first, first + REDEPLOYS + 1))
    assert all(times == 1 for times in function.executions().values())
    wait_until_nothing_is_astray(own_server)


async def _redeploy_under_load(function: Witnessed) -> tuple[list[Asked], dict[int, float]]:
    """All requests, and when the deploy of each revision had returned."""
    seconds = REDEPLOYS * (PAUSE_SECONDS + 0.2)
    load = asyncio.create_task(steadily(function, rate=RATE, seconds=seconds, callers=16))
    done_at = {}
    for _ in range(REDEPLOYS):
        await asyncio.sleep(PAUSE_SECONDS)
        number, status = await asyncio.to_thread(function.deploy)
        assert status == 200
        done_at[number] = time.perf_counter()
    return await load, done_at


def _old_answers(asked: list[Asked], done_at: dict[int, float]) -> list[Asked]:
    """To requests that were sent when a newer revision's deploy had returned."""
    return [each for each in asked if any(each.revision < number for number, at in done_at.items() if each.sent > at)]
