"""How replicas end, and what their users are told: in `describe`, in the counts, in the log, as a caller."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness import Server, wait_for
from tests.load import steady

SETTINGS = {
    "control.drain_seconds": 2,
    "control.kill_grace_seconds": 1,
    "control.max_stream_seconds": 3,
    "control.tick_seconds": 0.2,
}
SLOW = "import time\ndef handle(event, context):\n    time.sleep(float(event.body or 0))\n    return {!r}\n"
STREAM = "import time\ndef handle(event, context):\n    while True:\n        yield 'x'\n        time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(settings=SETTINGS) as server:
        yield server


def test_a_long_request_finishes_while_its_replica_is_replaced(server: Server) -> None:
    server.deploy("long", SLOW.format("old"))
    with _Calling(server, "/function/long", b"1.5") as call:
        server.deploy("long", SLOW.format("new"))
        assert server.call("/function/long", b"0").body == b"new"
    assert call.answer == (200, b"old")


def test_a_replica_that_does_not_finish_in_its_grace_is_killed_and_that_is_said(server: Server) -> None:
    server.deploy("endless", SLOW.format("old"))
    with _Calling(server, "/function/endless", b"50") as call:
        server.deploy("endless", SLOW.format("new"))
        end = wait_for(lambda: server.function("endless")["last_end"], seconds=8, what="the end")
    assert (end["reason"], end["detail"]) == ("killed", "killed: it did not end within 1 s after it was told to")
    assert server.function("endless")["ends"]["killed"] == 1
    assert any("killed: it did not end" in line["text"] for line in _log(server, "endless"))
    assert call.answer[0] == 502
    assert server.call("/function/endless", b"0").body == b"new"


def test_a_replica_that_ignores_sigterm_is_ended(server: Server) -> None:
    init = "import signal\nasync def init():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    server.deploy("deaf", init + SLOW.format("deaf"))
    server.api("POST", "/api/v1/functions/deaf/scale", {"replicas": 0})
    wait_for(lambda: not server.function("deaf")["replicas_detail"], seconds=8, what="its end")
    assert server.function("deaf")["ends"] == {"killed": 1}


def test_a_stream_ends_at_its_maximum_age_with_a_line_in_the_log(server: Server) -> None:
    server.deploy("stream", STREAM)
    began = time.monotonic()
    _read_stream(server, "/function/stream")
    assert 2.5 < time.monotonic() - began < 5
    line = wait_for(lambda: next(iter(_log(server, "stream")), None), what="the line")
    assert (line["stream"], line["text"]) == (
        "system",
        "stream-ended: it lasted 3 s, which is the most that is allowed",
    )


def test_a_draining_replica_does_not_wait_for_a_stream(server: Server) -> None:
    server.deploy("drips", STREAM.replace("0.1", "0.2"))
    reader = threading.Thread(target=_read_stream, args=(server, "/function/drips"))
    reader.start()
    wait_for(lambda: server.function("drips")["in_flight"], what="the stream")
    server.api("POST", "/api/v1/functions/drips/scale", {"replicas": 0})
    wait_for(lambda: not server.function("drips")["replicas_detail"], seconds=5, what="the end")
    reader.join(5)
    assert not reader.is_alive()


def test_a_thread_that_never_returns_ends_its_replica(server: Server) -> None:
    server.deploy("stuck", SLOW.format("done"), timeout="500ms")
    answer = server.call("/function/stuck", b"60")
    assert answer.status == 504
    end = wait_for(lambda: server.function("stuck")["last_end"], seconds=15, what="the end")
    assert end["reason"] == "stuck"
    assert "the handler still runs after 5.5 s" in end["detail"]
    assert any(line.startswith("stuck: ") for line in end["last_lines"])
    assert server.function("stuck")["ends"]["stuck"] == 1
    assert server.call("/function/stuck", b"0").body == b"done"


def test_a_function_that_uses_too_much_memory_is_told_its_limit_and_its_use(server: Server) -> None:
    handler = (
        "def handle(event, context):\n    print('filling')\n    return str(len(bytearray(b'x') * int(event.body)))"
    )
    server.deploy("greedy", handler + "\n", limits={"memory": "100Mi"})
    assert server.call("/function/greedy", b"1000000").status == 200
    end = _end_of(server, "greedy", b"2000000000")
    assert end["reason"] == "out-of-memory"
    assert end["detail"].endswith("MiB in use, the limit is 100 MiB")
    assert "filling" in end["last_lines"]


def test_the_caller_whose_replica_ran_out_of_memory_is_told_so(server: Server) -> None:
    server.deploy("told", "def handle(event, context):\n    return str(len(bytearray(b'x') * int(event.body)))\n",
                  limits={"memory": "100Mi"})  # fmt: skip
    answer = server.call("/function/told", b"2000000000")
    assert (answer.status, answer.json()["call_id"]) == (502, answer.headers["x-call-id"])
    assert "the limit is 100 MiB" in answer.json()["detail"]
    address = urlsplit(json.loads((server.data_dir / "server.json").read_text())["metrics_url"])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    assert 'pilotlight_replica_ends_total{function_name="told.openfaas-fn",reason="out-of-memory"} 1' in metrics


def test_a_child_process_does_not_hide_its_memory(server: Server) -> None:
    handler = """
import subprocess, sys
def handle(event, context):
    subprocess.run([sys.executable, "-c", "held = bytearray(b'x') * 300_000_000; import time; time.sleep(30)"])
"""
    server.deploy("hides", handler, limits={"memory": "150Mi"})
    end = _end_of(server, "hides", b"")
    assert end["reason"] == "out-of-memory"
    assert end["detail"].endswith("the limit is 150 MiB")


@pytest.mark.parametrize(
    ("statement", "reason", "detail"),
    [
        ("os._exit(3)", "exit", "exited with code 3"),
        ("ctypes.string_at(0)", "signal", "killed by signal 11 (SIGSEGV)"),
    ],
    ids=["exit", "signal"],
)
def test_a_crash_in_a_request_is_told_with_its_last_lines(
    server: Server, statement: str, reason: str, detail: str
) -> None:
    name = f"ends-{reason}"
    server.deploy(name, f"import ctypes, os\ndef handle(event, context):\n    print('last words')\n    {statement}\n")
    end = _end_of(server, name, b"")
    assert (end["reason"], end["detail"]) == (reason, detail)
    assert "last words" in end["last_lines"]
    assert detail in server.faasctl("describe", name).out
    assert _log(server, name)[-1]["text"] == detail


def test_a_crash_at_a_later_start_has_its_last_lines_too(server: Server) -> None:
    flag = server.folder / "broken"
    handler = f"import os\nif os.path.exists({str(flag)!r}):\n    print('no model here')\n    os._exit(4)\n"
    server.deploy("later", handler + SLOW.format("fine"))
    server.api("POST", "/api/v1/functions/later/scale", {"replicas": 0})
    wait_for(lambda: not server.function("later")["replicas_detail"], what="scale to zero")
    flag.touch()
    answer = server.call("/function/later", b"0")
    assert answer.status == 503
    assert "exited with code 4" in answer.json()["detail"]
    assert answer.json()["call_id"]
    found = server.function("later")
    assert (found["last_end"]["reason"], found["last_end"]["last_lines"]) == ("crashed-at-start", ["no model here"])
    assert found["starts"]["crashed-at-start"] >= 2
    assert found["ends"]["exit"] >= 2


MEGABYTES = """
import os, time
while True:
    os.write(1, b"y" * 99 + b"\\n" + b"x" * (2**20 - 101) + b"\\n")
    time.sleep(0.007)
"""
FLOODS = {
    "prints": "while True:\n        print('x' * 1000)",
    "writes": "exec(MEGABYTES)",
    "child": "subprocess.run([sys.executable, '-c', MEGABYTES])",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", FLOODS)
def test_a_log_flood_harms_nobody_else(server: Server, kind: str) -> None:
    server.deploy("quiet", SLOW.format("quiet"))
    server.deploy(
        f"flood-{kind}",
        f"import subprocess, sys\nMEGABYTES = {MEGABYTES!r}\ndef handle(event, context):\n    {FLOODS[kind]}\n",
    )
    folder = server.data_dir / "logs" / f"flood-{kind}.openfaas-fn"
    largest = 0

    async def scene() -> tuple[Any, Any]:
        nonlocal largest
        url = f"{server.url}/function/quiet"
        before = await steady(url, rate=100, seconds=2, body=b"0")
        flooding = threading.Thread(target=_call_that_is_cut_off, args=(server, f"/function/flood-{kind}"), daemon=True)
        flooding.start()
        load = asyncio.create_task(steady(url, rate=100, seconds=4, body=b"0"))
        while not load.done():
            largest = max(largest, sum(file.stat().st_size for file in folder.iterdir()))
            await asyncio.sleep(0.02)
        return before, await load

    before, during = asyncio.run(scene())
    server.faasctl("remove", f"flood-{kind}", "--yes")
    assert during.failed() == 0, during.errors[:5]
    print(kind, "MiB:", largest >> 20, "p99 ms:", _p99(before), _p99(during))
    assert largest < 100 * 2**20
    assert largest > 5 * 2**20
    assert server.api("GET", "/api/v1/functions/quiet").status == 200


def _call_that_is_cut_off(server: Server, path: str) -> None:
    """Its function is removed, or the server stopped, in the middle of it."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.call(path, b"")


class _Calling:
    """A call under way while the block runs; its answer afterwards."""

    def __init__(self, server: Server, path: str, body: bytes) -> None:
        self._thread = threading.Thread(target=self._call, args=(server, path, body))
        self._server, self._name = server, path.rpartition("/")[2]
        self.answer: tuple[int, bytes] = (0, b"")

    def __enter__(self) -> "_Calling":
        self._thread.start()
        wait_for(lambda: self._server.function(self._name)["in_flight"], what="the call")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)

    def _call(self, server: Server, path: str, body: bytes) -> None:
        answer = server.call(path, body)
        self.answer = (answer.status, answer.body)


def _read_stream(server: Server, path: str) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    try:
        connection.request("GET", path)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            connection.getresponse().read()
    finally:
        connection.close()


def _end_of(server: Server, name: str, body: bytes) -> dict[str, Any]:
    """How the replica ended that a call of this body killed."""
    answer = server.call(f"/function/{name}", body)
    assert answer.status == 502
    assert answer.json()["call_id"]
    end: dict[str, Any] = wait_for(lambda: server.function(name)["last_end"], what="the end")
    return end


def _log(server: Server, name: str) -> list[dict[str, Any]]:
    ran = server.faasctl("logs", name, "--json")
    return [json.loads(line) for line in ran.out.splitlines()]


def _p99(outcome: Any) -> float:
    times = sorted(outcome.milliseconds)
    return float(round(times[int(len(times) * 0.99) - 1], 1))
