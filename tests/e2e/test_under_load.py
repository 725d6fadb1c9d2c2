"""What must hold when many call at once, and when the control plane dies meanwhile."""

import asyncio
import os
import signal

import pytest

from tests.harness import Server, wait_for
from tests.load import burst, steady

SLOW = """
import time

def handle(event, context):
    time.sleep(0.05)
    return "done"
"""


@pytest.mark.parametrize(("concurrency", "needed"), [(1, 40), (4, 25), (100, 1)])
def test_a_hundred_first_requests_start_what_their_slots_need(server: Server, concurrency: int, needed: int) -> None:
    name = f"cold{concurrency}"
    server.deploy(name, SLOW, concurrency=concurrency, scale={"max": 40})
    server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0})
    wait_for(lambda: not server.function(name)["replicas_detail"], what="scale to zero")
    before = replicas_started(server, name)
    outcome = asyncio.run(burst(f"{server.url}/function/{name}", 100))
    assert (outcome.statuses, outcome.bodies) == ({200: 100}, {b"done": 100}), outcome.errors[:3]
    assert replicas_started(server, name) - before <= 1.2 * needed


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_control_plane_dies_under_load_and_nobody_notices(own_server: Server) -> None:
    server = own_server
    server.deploy("warm", "async def handle(event, context):\n    return 'one'\n")
    url = f"{server.url}/function/warm"

    async def kill_three_times() -> None:
        for _ in range(3):
            await asyncio.sleep(7)
            [victim] = server.processes()["app"]
            os.kill(victim, signal.SIGKILL)

    async def scene() -> None:
        outcome, _ = await asyncio.gather(steady(url, rate=500, seconds=30), kill_three_times())
        assert outcome.failed() == 0, (outcome.statuses, outcome.errors[:5])
        assert outcome.total == 15_000

    asyncio.run(scene())
    wait_for(lambda: server.call("/api/v1/info").status == 200, what="the control plane")
    assert len(server.function("warm")["replicas_detail"]) >= 1
    server.deploy("warm", "async def handle(event, context):\n    return 'two'\n")
    assert server.call("/function/warm", b"").body == b"two"


def test_a_deploy_under_load_fails_no_request(server: Server) -> None:
    server.deploy("busy", "def handle(event, context):\n    return '0'\n")
    url = f"{server.url}/function/busy"

    async def scene() -> None:
        load = asyncio.create_task(steady(url, rate=200, seconds=8))
        for number in range(1, 5):
            handler = f"def handle(event, context):\n    return '{number}'\n"
            await asyncio.to_thread(server.deploy, "busy", handler)
        outcome = await load
        assert outcome.failed() == 0, (outcome.statuses, outcome.errors[:5])

    asyncio.run(scene())
    assert server.call("/function/busy", b"").body == b"4"


def replicas_started(server: Server, name: str) -> int:
    """Every replica has a log file of its own."""
    folder = server.data_dir / "logs" / f"{name}.openfaas-fn"
    return sum(1 for file in folder.glob("*.log") if not file.name.endswith(".1.log"))
