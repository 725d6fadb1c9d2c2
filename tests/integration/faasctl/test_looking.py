"""list, describe, logs, remove: what is shown of functions."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

from pilotlight_problems import find
from tests.integration.faasctl.scripted import Cli, Reply, Request, Scripted

HELLO = {
    "name": "hello",
    "namespace": "openfaas-fn",
    "image": "bundle/hello@sha256:abc",
    "state": "cold",
    "why": "idle",
    "replicas": 0,
    "ready_replicas": 0,
    "slots": 0,
    "free_slots": 0,
    "in_flight": 0,
    "waiting": 0,
    "idle_seconds": 200.0,
    "decided_at": 0,
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
    "slots": 8,
    "free_slots": 5,
    "in_flight": 3,
    "idle_seconds": 0,
    "calls": 1204,
    "errors": 24,
    "revision": 7,
    "url": "/function/resize",
}


def test_list_is_a_table_by_name(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [RESIZE, HELLO]})
    ran = cli("list")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["NAME", "STATE", "REPLICAS", "BUSY", "WAIT", "CALLS", "ERR", "LAST", "CALL", "WHY"],
        ["hello", "cold", "0", "-", "0", "0", "-", "never", "idle"],
        ["resize", "ready", "2/2", "3/8", "0", "1,204", "2", "%", "now", "concurrency"],
    ]
    assert ran.err == ""


def test_list_as_json_and_as_names(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [RESIZE, HELLO]})
    assert [each["name"] for each in cli("ls", "--json").json()["functions"]] == ["hello", "resize"]
    assert cli("list", "-q").out == "hello\nresize\n"


def test_the_namespace_is_a_column_where_there_are_several(cli: Cli, server: Scripted) -> None:
    functions = [HELLO, RESIZE | {"namespace": "dev"}]
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": functions})
    assert "NAMESPACE" in cli("list").out
    assert "IMAGE" not in cli("list").out
    assert "IMAGE" in cli("list", "-v").out


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
    assert "                load        4.6  ████████████████████████\n" in out


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
        "at": time.time() - 60,
        "reason": "out-of-memory",
        "detail": "271 MiB of 256",
        "last_lines": ["loading \x1b[0m"],
    }
    failure = {"slug": "out-of-memory", "detail": "it needs more", "starts": 5, "next_try_at": time.time() + 90}
    failing = HELLO | {"state": "failing", "last_end": end, "failure": failure}
    server.answers["GET /api/v1/functions/hello"] = Reply.json(failing)
    out = cli("describe", "hello").out
    assert "Callable now?   No: callers get 503 out-of-memory until " in out
    assert "Why failing     5 starts failed: it needs more; next try in 1 m" in out
    assert "out-of-memory: 271 MiB of 256" in out
    assert "faasctl explain out-of-memory" in out
    assert find("out-of-memory").cure in out
    server.answers["GET /api/v1/functions/hello"] = Reply.json(HELLO | {"last_end": end})
    assert find("out-of-memory").cure in cli("describe", "hello").out
    server.answers["GET /api/v1/functions/hello"] = Reply.json(HELLO | {"last_end": end | {"at": 1_700_000_000.0}})
    assert find("out-of-memory").cure not in cli("describe", "hello").out
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


def test_a_name_that_is_not_there_keeps_no_other_from_being_removed(cli: Cli, server: Scripted) -> None:
    server.answers["DELETE /api/v1/functions/helo"] = Reply.problem(404, "function-not-found", "no")
    server.answers["DELETE /api/v1/functions/hello"] = Reply.json({"removed": "hello.openfaas-fn"})
    ran = cli("remove", "helo", "hello")
    assert ran.code == 5
    assert "hello  removed" in ran.err
    assert ran.err.endswith("Removed: hello. Not removed: helo.\n")


def test_remove_of_a_whole_stack_needs_yes(project: Cli, server: Scripted) -> None:
    for name in ("hello", "other"):
        server.answers[f"DELETE /api/v1/functions/{name}"] = Reply.json({"removed": name})
    ran = project("remove")
    assert ran.code == 2
    assert "this would remove 2 functions: hello, other" in ran.err
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
    assert 590 < time.time() - float(query["since"]) < 660
    assert query["tail"] == "5"
    assert cli("logs", "hello", "--since", "2026-11-20T14:00:00Z").code == 0
    assert float(server.request("GET", "/api/v1/functions/hello/logs").query["since"]) == 1795183200
    assert cli("logs", "hello", "--since", "soon").code == 2


def test_list_sorts_by_trouble_or_calls(cli: Cli, server: Scripted) -> None:
    failing = HELLO | {"name": "zzz", "state": "failing"}
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [HELLO, RESIZE, failing]})
    assert cli("list", "-q", "--sort", "trouble").out.split() == ["zzz", "resize", "hello"]
    assert cli("list", "-q", "--sort", "invocations").out.split()[0] == "resize"
    assert cli("list", "--sort", "colour").code == 2


def test_lines_of_one_call_are_asked_for_everywhere(cli: Cli, server: Scripted) -> None:
    lines = ({**line, "function": name} for name, line in zip(("hello", "other"), LINES, strict=True))
    server.answers["GET /api/v1/logs"] = Reply.lines(*lines)
    ran = cli("logs", "--call", "9c2b-ffe")
    assert ["second" in line for line in ran.out.splitlines()] == [True, False]
    query = server.request("GET", "/api/v1/logs").query
    assert query["call"] == "9c2b-ffe"
    assert 86_000 < time.time() - float(query["since"]) < 87_000


def test_lines_of_one_call_and_of_one_replica(cli: Cli, server: Scripted) -> None:
    other = LINES[0] | {"replica": "r-2", "text": "another"}
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines(*LINES, other)
    cli("logs", "hello", "--call", "c-7f31")
    assert server.request("GET", "/api/v1/functions/hello/logs").query == {"call": "c-7f31"}
    ran = cli("logs", "hello", "--instance", "r-1", "--tail", "1")
    assert ran.out.endswith("first \\x1b[31m\n")
    assert len(ran.out.splitlines()) == 1


def test_logs_of_a_silent_function_say_so(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/logs"] = Reply.lines()
    ran = cli("logs", "hello")
    assert (ran.code, ran.out) == (0, "")
    assert "Nothing was printed by hello" in ran.err


def test_logs_need_a_name_or_a_call(cli: Cli) -> None:
    assert cli("logs").code == 2
    assert cli("logs", "-f", "--call", "c").code == 2
    assert cli("logs", "hello", "--all", "--tail", "3").code == 2


def following(cli: Cli, *names: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "faasctl", "logs", "-f", *names]
    return subprocess.Popen(command, cwd=cli.folder, env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def next_line(running: "subprocess.Popen[bytes]") -> bytes:
    assert running.stdout is not None
    assert select.select([running.stdout], [], [], 20)[0]
    return os.read(running.stdout.fileno(), 4096)


def test_followed_logs_end_with_130_and_how_much_there_was(cli: Cli, server: Scripted) -> None:
    last = threading.Event()

    def follow(request: Request) -> Reply:
        if "since" in request.query or request.path.endswith("other/logs"):
            last.wait(20)
        return Reply.lines(LINES[0])

    server.answers["GET /api/v1/functions/hello/logs"] = follow
    server.answers["GET /api/v1/functions/other/logs"] = follow
    with following(cli, "hello", "other") as running:
        assert b"second" in next_line(running)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    last.set()
    assert (running.returncode, err) == (130, b"(2 functions, 1 line)\n")


def test_followed_logs_survive_a_restart_without_a_line_twice(cli: Cli, server: Scripted) -> None:
    asked: list[Request] = []
    last = threading.Event()

    def follow(request: Request) -> Reply:
        asked.append(request)
        if len(asked) == 1:
            return Reply.lines(LINES[1], cut=True)
        if len(asked) == 2:
            return Reply.problem(503, "control-plane-down", "It restarts.")
        if len(asked) == 3:
            return Reply.lines(LINES[1], LINES[0])
        last.wait(20)
        return Reply.lines()

    server.answers["GET /api/v1/functions/hello/logs"] = follow
    with following(cli, "hello") as running:
        assert b"first" in next_line(running)
        again = next_line(running)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    last.set()
    assert b"second" in again
    assert b"first" not in again
    assert float(asked[2].query["since"]) == LINES[1]["time"]
    assert b"(the server is away; waiting for it)\n(the server is back)\n" in err


def test_a_function_that_is_removed_ends_its_followers(cli: Cli, server: Scripted) -> None:
    replies = iter([Reply.lines(LINES[0]), Reply.problem(404, "function-not-found", "gone")])
    server.answers["GET /api/v1/functions/hello/logs"] = lambda _request: next(replies)
    with following(cli, "hello") as running:
        out, err = running.communicate(timeout=20)
    assert (running.returncode, b"second" in out) == (5, True)
    assert b"error[function-not-found]" in err


def test_top_off_a_terminal_is_one_table(cli: Cli, server: Scripted) -> None:
    readings = iter(range(1000, 2000, 10))

    def functions(_request: Request) -> Reply:
        return Reply.json({"functions": [HELLO, RESIZE | {"calls": next(readings)}]})

    server.answers["GET /api/v1/functions"] = functions
    ran = cli("top", "--interval", "0.25")
    words = [line.split() for line in ran.out.splitlines()]
    assert [line[0] for line in words] == ["FUNCTION", "resize", "hello"]
    assert 0 < float(words[1][5]) <= 40
    found = cli("top", "--json", "--interval", "0.25").json()["functions"]
    assert found[0]["calls_per_second"] > 0


def test_a_plain_list_and_a_parsed_one_are_the_same(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [RESIZE, HELLO]})
    for flags in ((), ("-q",), ("-v",), ("--json",)):
        plain, parsed = cli("list", *flags), cli("list", *flags, "--sort", "name")
        assert (plain.out, plain.err, plain.code) == (parsed.out, parsed.err, parsed.code)
