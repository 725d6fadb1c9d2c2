"""list, describe, logs, remove: what is shown of functions."""

import json
import os
import select
import signal
import subprocess
import sys
import threading

from tests.integration.faasctl.scripted import Cli, Reply, Request, Scripted

HELLO = {
    "name": "hello",
    "namespace": "openfaas-fn",
    "image": "bundle/hello@sha256:abc",
    "state": "cold",
    "why": "idle",
    "replicas": 0,
    "ready_replicas": 0,
    "in_flight": 0,
    "waiting": 0,
    "calls": 0,
    "errors": 0,
    "revision": 1,
    "created_at": 1_700_000_000.5,
    "environment": "3f9c1a77aa",
    "bundle": "9be07d00aa",
    "url": "/function/hello",
    "spec": {"scale": {}},
}
RESIZE = HELLO | {
    "name": "resize",
    "state": "ready",
    "why": "concurrency",
    "replicas": 2,
    "ready_replicas": 2,
    "in_flight": 3,
    "calls": 1204,
    "errors": 24,
    "revision": 7,
    "url": "/function/resize",
}


def test_list_is_a_table_by_name(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [RESIZE, HELLO]})
    ran = cli("list")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["NAME", "STATE", "REPLICAS", "IN", "FLIGHT", "WAITING", "CALLS", "ERR", "REV", "WHY"],
        ["hello", "cold", "0", "0", "0", "0", "-", "1", "idle"],
        ["resize", "ready", "2/2", "3", "0", "1,204", "2", "%", "7", "concurrency"],
    ]
    assert ran.err == ""


def test_list_as_json_and_as_names(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [RESIZE, HELLO]})
    assert [each["name"] for each in cli("ls", "--json").json()["functions"]] == ["hello", "resize"]
    assert cli("list", "-q").out == "hello\nresize\n"


def test_an_empty_list_says_what_to_do_next(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": []})
    ran = cli("list")
    assert (ran.code, ran.out) == (0, "")
    assert "faasctl new hello" in ran.err


def test_list_asks_for_one_namespace(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": []})
    cli("list", "-n", "dev")
    assert server.request("GET", "/api/v1/functions").query == {"namespace": "dev"}


def test_describe_a_cold_function_shows_where_its_start_went(cli: Cli, server: Scripted) -> None:
    phases = {"claim": 2.1, "load": 4.6, "init": 0.6, "listen": 0.4}
    last = {"at": 1_700_000_000.0, "phases": phases}
    server.answers["GET /api/v1/functions/hello"] = Reply.json(HELLO | {"last_cold_start": last, "last_end": None})
    out = cli("describe", "hello").out
    assert f"hello   cold   revision 1   {server.url}/function/hello\n" in out
    assert "Yes: the next call starts it, about 7.7 ms more" in out
    assert "               load         4.6  ████████████████████████\n" in out


def test_describe_a_busy_function_shows_its_replicas(cli: Cli, server: Scripted) -> None:
    replicas = [
        {"id": "r-1", "node": "local", "state": "ready", "slots": 4, "cpu_seconds": 1.25, "memory_mib": 87.6},
        {"id": "r-2", "node": "local", "state": "ready", "slots": 4},
    ]
    server.answers["GET /api/v1/functions/resize"] = Reply.json(RESIZE | {"replicas_detail": replicas})
    out = cli("describe", "resize").out
    assert "Yes: 2 replicas, 5 of 8 slots free, nobody waits" in out
    assert "r-1  node local  ready  4 slots  cpu 1.2 s  mem 88 MiB" in out


def test_describe_a_failing_function_shows_its_last_words(cli: Cli, server: Scripted) -> None:
    end = {
        "at": 1_700_000_000.0,
        "reason": "out-of-memory",
        "detail": "271 MiB of 256",
        "last_lines": ["loading \x1b[0m"],
    }
    server.answers["GET /api/v1/functions/hello"] = Reply.json(HELLO | {"state": "failing", "last_end": end})
    out = cli("describe", "hello").out
    assert "Callable now?  No" in out
    assert "out-of-memory: 271 MiB of 256" in out
    assert "loading \\x1b[0m" in out


def test_an_unknown_function_gets_the_nearest_names(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [HELLO]})
    for words in (("describe", "helo"), ("logs", "helo"), ("remove", "helo")):
        ran = cli(*words)
        assert ran.code == 5
        assert (
            "error[function-not-found]: no function `helo` in namespace `openfaas-fn`; did you mean `hello`?" in ran.err
        )


def test_remove_takes_names_without_a_question(cli: Cli, server: Scripted) -> None:
    server.answers["DELETE /api/v1/functions/hello"] = Reply.json({"removed": "hello.openfaas-fn"})
    ran = cli("rm", "hello", "-n", "dev")
    assert (ran.code, ran.out) == (0, "")
    assert server.request("DELETE", "/api/v1/functions/hello").query == {"namespace": "dev"}


def test_remove_of_a_whole_stack_needs_yes(project: Cli, server: Scripted) -> None:
    for name in ("hello", "other"):
        server.answers[f"DELETE /api/v1/functions/{name}"] = Reply.json({"removed": name})
    ran = project("remove")
    assert ran.code == 2
    assert "this would remove hello, other" in ran.err
    assert project("remove", "--yes").code == 0
    assert [each.method for each in server.requests].count("DELETE") == 2


LINES = [
    {"time": 1_700_000_002.5, "replica": "r-1", "stream": "stderr", "text": "second", "call_id": None},
    {"time": 1_700_000_001.25, "replica": "r-1", "stream": "stdout", "text": "first \x1b[31m", "call_id": "c-7f31"},
]


def test_logs_of_one_function(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines(*LINES[::-1])
    ran = cli("logs", "hello", TZ="UTC")
    assert ran.out.splitlines() == ["22:13:21.250 c-7f31    first \\x1b[31m", "22:13:22.500 ·       ! second"]
    assert server.request("GET", "/api/v1/functions/hello/logs").query == {"tail": "100"}


def test_logs_of_several_functions_are_merged_by_time(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines(LINES[0])
    server.answers["GET /api/v1/functions/other/logs"] = Reply.lines(LINES[1])
    words = [line.split() for line in cli("logs", "hello", "other").out.splitlines()]
    assert [(line[1], line[3]) for line in words] == [("other", "first"), ("hello", "!")]


def test_logs_as_json_are_lines(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines(*LINES)
    found = [json.loads(line) for line in cli("logs", "hello", "--json").out.splitlines()]
    assert [(each["function"], each["text"]) for each in found] == [("hello", "second"), ("hello", "first \x1b[31m")]


def test_logs_since_is_sent_as_a_moment(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines()
    assert cli("logs", "hello", "--since", "10m", "--tail", "5").code == 0
    query = server.request("GET", "/api/v1/functions/hello/logs").query
    assert query["since"].endswith("Z")
    assert query["tail"] == "5"
    assert cli("logs", "hello", "--since", "soon").code == 2


def test_followed_logs_end_with_130_and_no_traceback(cli: Cli, server: Scripted) -> None:
    last = threading.Event()

    def follow(request: Request) -> Reply:
        if "follow" in request.query and request.path.endswith("other/logs"):
            last.wait(20)
        return Reply.lines(LINES[0])

    server.answers["GET /api/v1/functions/hello/logs"] = follow
    server.answers["GET /api/v1/functions/other/logs"] = follow
    command = [sys.executable, "-m", "faasctl", "logs", "-f", "hello", "other"]
    with subprocess.Popen(
        command, cwd=cli.folder, env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert select.select([running.stdout], [], [], 20)[0]
        assert b"second" in os.read(running.stdout.fileno(), 4096)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    last.set()
    assert (running.returncode, err) == (130, b"")
