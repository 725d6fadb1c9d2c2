"""OpenFaaS' scaling labels on a real server, under real load."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.harness import Server, wait_for

QUICK = "def handle(event, context):\n    return 'hi'\n"
SLOW = "import time\n\n\ndef handle(event, context):\n    time.sleep(0.5)\n    return 'hi'\n"
BUSY = (
    "import time\n\n\ndef handle(event, context):\n"
    "    until = time.process_time() + 0.05\n    while time.process_time() < until:\n        pass\n    return 'hi'\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def labels(**words: object) -> dict[str, str]:
    return {f"com.openfaas.scale.{word.replace('_', '-')}": str(value) for word, value in words.items()}


@contextmanager
def load(server: Server, name: str, *, callers: int) -> Iterator[None]:
    """So many callers, each with one call at a time, for as long as the block lasts; every call is answered well."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            assert server.call(f"/function/{name}").status == 200

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call) for _ in range(callers)]
        try:
            yield
        finally:
            over.set()
    for done in calls:
        done.result()


def scaled(server: Server, name: str, replicas: int, why: str) -> None:
    def is_so() -> bool:
        found = server.function(name)
        return (found["replicas"], found["ready_replicas"], found["why"]) == (replicas, replicas, why)

    with contextlib.suppress(AssertionError):
        wait_for(is_so, seconds=40)
        return
    found = server.function(name)
    raise AssertionError(f"{found['ready_replicas']} of {found['replicas']}, {found['why']}")


def test_by_calls_a_second_it_scales_out_under_load_and_back_when_idle(server: Server) -> None:
    """Any closed loop of two callers makes far more than the 3 calls a second that fill three replicas."""
    given = labels(type="rps", target=1, target_proportion=1, max=3, zero_duration="2s")
    server.deploy("fast", QUICK, labels=given)
    with load(server, "fast", callers=2):
        scaled(server, "fast", 3, "maximum")
    scaled(server, "fast", 0, "idle")


@pytest.mark.slow
def test_by_calls_in_flight_it_keeps_its_target(server: Server) -> None:
    """Six calls in flight, of which a replica should have two."""
    given = labels(type="capacity", target=2, target_proportion=1, max=9, zero_duration="2s")
    server.deploy("slow", SLOW, labels=given, concurrency=20)
    with load(server, "slow", callers=6):
        scaled(server, "slow", 3, "capacity")
    scaled(server, "slow", 0, "idle")


def test_by_processor_it_scales_out_while_it_computes(server: Server) -> None:
    """One caller keeps most of a processor busy, and a replica should use a twentieth of one."""
    given = labels(type="cpu", target=50, target_proportion=1, max=2, zero_duration="2s")
    server.deploy("busy", BUSY, labels=given)
    with load(server, "busy", callers=1):
        scaled(server, "busy", 2, "maximum")
    scaled(server, "busy", 0, "idle")


def test_equal_bounds_keep_exactly_so_many(server: Server) -> None:
    server.deploy("fixed", SLOW, labels=labels(min=2, max=2, zero_duration="1s"), concurrency=1)
    scaled(server, "fixed", 2, "fixed")
    with load(server, "fixed", callers=6):
        scaled(server, "fixed", 2, "fixed")
    wait_for(lambda: server.function("fixed")["idle_seconds"] > 2, what="an idle time beyond zero-duration")
    scaled(server, "fixed", 2, "fixed")


def test_with_zero_a_minimum_goes_to_none_when_idle_and_comes_back_whole(server: Server) -> None:
    server.deploy("pair", QUICK, labels=labels(min=2, zero="true", zero_duration="2s"))
    scaled(server, "pair", 2, "minimum")
    scaled(server, "pair", 0, "idle")
    assert server.call("/function/pair").status == 200
    scaled(server, "pair", 2, "minimum")


@pytest.mark.slow
def test_more_than_five_calls_a_second_add_a_fifth_of_the_maximum(server: Server) -> None:
    server.deploy("ruled", QUICK, labels=labels(min=1, max=10))
    with load(server, "ruled", callers=1):
        scaled(server, "ruled", 3, "rule")
    scaled(server, "ruled", 1, "warm")


def test_a_scale_call_goes_beyond_the_maximum_and_to_zero(server: Server) -> None:
    server.deploy("asked", QUICK, labels=labels(max=2, factor=0, zero_duration="1h"))
    for replicas in (4, 0):
        body = b'{"serviceName": "asked", "replicas": %d}' % replicas
        assert server.call("/system/scale-function/asked", body, auth=True).status == 202
        scaled(server, "asked", replicas, "scaled")
    assert server.call("/function/asked").status == 200
