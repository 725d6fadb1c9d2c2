"""What is known of an image's watchdog by its variables, what it is told, and what is asked of it."""

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.config import DockerSettings
from pilotlight.providers.docker.containers import Place, creation, record_of
from pilotlight.providers.docker.ends import Death, how_it_ended
from pilotlight.providers.docker.probe import ask, parse_head, until_ready
from pilotlight.providers.docker.watchdogs import (
    NO_WATCHDOG,
    Asked,
    Watchdog,
    ends_at_once,
    listens,
    until_behind,
    variables_of,
    watchdog_of,
)
from tests.provider_support import a_launch

HTTP = {"fprocess": "node x", "mode": "http", "upstream_url": "http://127.0.0.1:3000"}
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:0BB8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
"""
IPV6 = TABLE.replace("00000000:1F90", "00000000000000000000000000000000:0BB8")


@pytest.mark.parametrize(
    ("variables", "watchdog"),
    [
        ({}, NO_WATCHDOG),
        ({"mode": "http", "upstream_url": "http://127.0.0.1:3000"}, NO_WATCHDOG),
        ({"fprocess": "cat"}, Watchdog(process="cat", asks_ready=False)),
        ({"fprocess": "a", "function_process": "b"}, Watchdog(process="b", asks_ready=False)),
        ({"fprocess": "cat", "ready_path": "/ready"}, Watchdog(process="cat")),
        ({"fprocess": "cat", "max_inflight": "4"}, Watchdog(process="cat", asks_ready=False, most=4)),
        ({"fprocess": "cat", "max_inflight": "0"}, Watchdog(process="cat", asks_ready=False)),
        ({"fprocess": "cat", "max_inflight": "-1"}, Watchdog(process="cat", asks_ready=False)),
        (HTTP, Watchdog(process="node x", asks_ready=False, port_behind=3000)),
        (HTTP | {"http_upstream_url": "http://[::1]"}, Watchdog(process="node x", asks_ready=False, port_behind=80)),
        (HTTP | {"upstream_url": "http://elsewhere:3000"}, Watchdog(process="node x", asks_ready=False)),
        (HTTP | {"upstream_url": "http://127.0.0.1:99999"}, Watchdog(process="node x", asks_ready=False)),
        (HTTP | {"upstream_url": ""}, Watchdog(process="node x", asks_ready=False)),
        (HTTP | {"mode": "streaming"}, Watchdog(process="node x", asks_ready=False)),
    ],
)  # fmt: skip
def test_a_watchdog_is_known_by_its_variables(variables: dict[str, str], watchdog: Watchdog) -> None:
    assert watchdog_of(variables) == watchdog


@given(st.dictionaries(st.sampled_from(["fprocess", "mode", "upstream_url", "max_inflight"]), st.text()))
def test_no_variable_is_too_strange(variables: dict[str, str]) -> None:
    found = watchdog_of(variables)
    assert found.port_behind is None or 0 < found.port_behind < 65536
    assert found.most is None or found.most > 0


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, {}),
        ({"fprocess": "cat"}, {"healthcheck_interval": "1ms"}),
        ({"fprocess": "cat", "healthcheck_interval": "5s"}, {}),
        ({"fprocess": "cat", "healthcheck_interval": ""}, {}),
    ],
)
def test_a_watchdog_ends_at_once_unless_it_is_told_how(variables: dict[str, str], told: dict[str, str]) -> None:
    assert ends_at_once(variables) == told


def test_the_engines_lines_become_variables() -> None:
    assert variables_of(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("table", "port", "there"),
    [(TABLE, 8080, True), (TABLE, 3000, False), (IPV6, 3000, True), (TABLE, 0x1F9, False), ("", 8080, False),
     ("x\ny", 1, False)],
)  # fmt: skip
def test_who_listens_stands_in_the_kernels_table(table: str, port: int, there: bool) -> None:
    assert listens(table, port) is there


def created(image: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    place = Place(owner="o", network="net", published=False, init=True, secrets_dir=None)
    return creation(a_launch("a", **changes), {"Id": "i", "Config": image}, place, DockerSettings())


def test_a_container_with_a_watchdog_is_known_again_and_told_to_end_at_once() -> None:
    body = created({"Env": ["fprocess=cat", "max_inflight=5"]}, variables={"ready_path": "/r"}, concurrency=2)
    assert "healthcheck_interval=1ms" in body["Env"]
    state = {"Running": True, "Status": "running", "Pid": 7}
    config = {"Labels": body["Labels"], "Env": ["fprocess=cat", "max_inflight=5", *body["Env"]]}
    inspected = {"Id": "c", "Created": "2026-11-22T06:00:00Z", "Config": config, "State": state, "NetworkSettings": {}}
    record = record_of(inspected)
    assert record is not None
    assert (record.asked.container, record.asked.pid, record.asked.watchdog.asks_ready) == ("c", 7, True)
    assert record.asked.most == 2  # what its user says, where that is less
    assert "healthcheck_interval=1ms" not in created({"Env": ["A=b"]})["Env"]


@pytest.mark.parametrize(("wanted", "given"), [(None, True), (True, True), (False, False)])
def test_a_root_can_be_written_to_where_the_function_says_so(wanted: bool | None, given: bool) -> None:
    assert created({}, read_only_root=wanted)["HostConfig"]["ReadonlyRootfs"] is given


@pytest.mark.parametrize(
    ("code", "last", "slug"),
    [
        (2, "sh: 1: cannot create /x: Read-only file system", "image-writes"),
        (1, "OSError: [Errno 30] Read-only file system: '/x'", "image-writes"),
        (1, "chown: changing ownership of '/x': Operation not permitted", "image-rights"),
        (1, 'mkdir() "/var/cache/nginx" failed (13: Permission denied)', "image-rights"),
        (1, "it was Tuesday", None),
        (0, "Permission denied", None),
    ],
)
def test_what_the_kernel_refused_stands_in_the_last_words(code: int, last: str, slug: str | None) -> None:
    ended = how_it_ended("a", Death(exit_code=code), stopping=False, last_lines=("starting", last))
    assert (ended.reason, ended.slug) == ("exit", slug)


def test_one_that_was_told_to_end_lacked_nothing() -> None:
    last = ("Permission denied",)
    assert how_it_ended("a", Death(exit_code=1), stopping=True, last_lines=last).slug is None


class Container:
    """Answers each path with a head that a test gives, and notes what it was asked."""

    def __init__(self, **heads: bytes) -> None:
        self.heads = {f"/_/{name}": head for name, head in heads.items()}
        self.paths: list[str] = []

    async def __aenter__(self) -> "Container":
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = f"tcp:{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.paths.append(path)
        writer.write(self.heads[path] + b"\r\n\r\n")
        writer.close()


CLASSIC = Watchdog(process="cat", asks_ready=False, most=3)


async def test_a_watchdog_is_not_asked_for_what_it_takes_for_a_call() -> None:
    async with Container(health=b"HTTP/1.1 200 OK") as container:
        found = await ask(Asked(address=container.address, watchdog=CLASSIC))
    assert (found.ready, found.slots, container.paths) == (True, 3, ["/_/health"])


async def test_our_own_watchdog_says_that_it_may_be_asked() -> None:
    health = b"HTTP/1.1 200 OK\r\nX-Pilotlight-Ready: 1"
    async with Container(health=health, ready=b"HTTP/1.1 503 no") as container:
        found = await ask(Asked(address=container.address, watchdog=CLASSIC))
    assert (found.ready, container.paths) == (False, ["/_/health", "/_/ready"])


async def test_a_watchdog_that_is_not_healthy_is_not_ready() -> None:
    async with Container(health=b"HTTP/1.1 503 no") as container:
        assert not (await ask(Asked(address=container.address, watchdog=CLASSIC))).ready


async def test_who_has_no_watchdog_is_asked_whether_it_is_ready() -> None:
    async with Container(ready=b"HTTP/1.1 200 OK\r\nX-Pilotlight-Slots: 7") as container:
        found = await ask(Asked(address=container.address))
    assert (found.ready, found.slots, container.paths) == (True, 7, ["/_/ready"])


def test_the_head_of_our_own_is_told_from_others() -> None:
    assert parse_head(b"HTTP/1.1 200 OK\r\nX-Pilotlight-Ready: 1\r\n\r\n").ours
    assert not parse_head(b"HTTP/1.1 200 OK\r\nX-Ready: 1\r\n\r\n").ours


async def test_a_server_behind_is_waited_for_where_its_kernel_can_be_asked() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        behind = Watchdog(process="cat", asks_ready=False, port_behind=server.getsockname()[1])
        async with Container(health=b"HTTP/1.1 200 OK") as container:
            asked = Asked(address=container.address, pid=os.getpid(), watchdog=behind)  # every group's name holds ""
            waiting = asyncio.create_task(until_ready(asked))
            await asyncio.wait({waiting}, timeout=0.05)
            assert not waiting.done()
            server.listen()
            async with asyncio.timeout(5):
                assert (await waiting).ready


async def test_a_server_behind_that_cannot_be_seen_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    behind = Watchdog(process="cat", asks_ready=False, port_behind=port)
    async with asyncio.timeout(1):
        await until_behind(Asked(address="tcp:127.0.0.1:9", container="no such container", pid=1, watchdog=behind))
