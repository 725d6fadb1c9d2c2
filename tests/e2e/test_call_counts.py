"""The counts of calls in `faasctl list` and in the metrics: exact, whoever dies in between."""

import json
import os
import signal
import urllib.request

import pytest

from tests.harness import Server, wait_for

HANDLER = "def handle(event, context):\n    return 'ok'\n"


@pytest.mark.slow
def test_no_call_is_forgotten_or_counted_twice_over_kills_and_a_restart() -> None:
    with Server() as server:
        server.deploy("f", HANDLER)
        expected = 0
        for program in (None, "app", "router", "app", "router", "app"):
            if program is not None:
                os.kill(server.processes()[program][0], signal.SIGKILL)
            wait_for(lambda: _answers(server), what="an answer")
            server.call("/function/f")
            expected += 2
            _counts_up_to(server, expected)
        assert _samples(server)["gateway_function_invocation_total"] == {'code="200"': expected}
        server.end()
        server.start()
        _counts_up_to(server, expected)
        server.call("/function/f")
        _counts_up_to(server, expected + 1)
        metrics = _samples(server)
        assert metrics["gateway_function_invocation_total"] == {'code="200"': expected + 1}
        assert metrics["gateway_service_count"] == {"": 1}
        server.faasctl("remove", "f", "--yes")
        server.deploy("f", HANDLER)
        assert _count(server) == 0


def _answers(server: Server) -> bool:
    """One call that is answered, however often it had to be made: only answered ones are counted."""
    try:
        return server.call("/function/f", timeout=20).status == 200
    except OSError:
        return False


def _counts_up_to(server: Server, calls: int) -> None:
    wait_for(lambda: _count(server) == calls, what=f"a count of {calls}")


def _count(server: Server) -> int | None:
    answer = server.api("GET", "/system/functions")
    return int(answer.json()[0]["invocationCount"]) if answer.status == 200 else None


def _samples(server: Server) -> dict[str, dict[str, int]]:
    """By metric and the labels after the function's name, for metrics of whole numbers."""
    address = json.loads((server.data_dir / "server.json").read_text())["metrics_url"]
    with urllib.request.urlopen(f"{address}/metrics") as response:
        lines = response.read().decode().splitlines()
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        name, _, rest = line.partition('{function_name="f.openfaas-fn"')
        labels, _, value = rest.partition("} ")
        if value.isdigit():
            found.setdefault(name, {})[labels.removeprefix(",")] = int(value)
    return found
