"""From `faasctl up` to an answered call, as a user types it."""

import json

import pytest

from tests.harness import Server, wait_for

GREET = """
def handle(event, context):
    print("greeting", event.body.decode())
    return {"statusCode": 201, "body": "hi " + event.body.decode(), "headers": {"X-Kind": "greeting"}}
"""
VERSIONED = "def handle(event, context):\n    return 'revision {}'\n"


def test_up_makes_a_function_that_answers(server: Server) -> None:
    ran = server.deploy("greet", GREET)
    assert ran.out.strip() == f"{server.url}/function/greet"
    answer = server.call("/function/greet", b"ada")
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (201, b"hi ada", "greeting")


def test_up_again_changes_nothing(server: Server) -> None:
    server.deploy("again", GREET)
    ran = server.deploy("again", GREET)
    assert "unchanged" in ran.err
    assert server.function("again")["revision"] == 1


def test_a_new_revision_replaces_the_old_one_at_once(server: Server) -> None:
    for number in range(1, 4):
        server.deploy("counted", VERSIONED.format(number))
        assert server.call("/function/counted").body == f"revision {number}".encode()


def test_what_a_handler_prints_is_in_its_log_with_the_call_id(server: Server) -> None:
    server.deploy("talks", GREET)
    call_id = server.call("/function/talks", b"ada").headers["x-call-id"]
    lines = wait_for(lambda: server.faasctl("logs", "talks", "--json").out.splitlines(), what="a log line")
    [line] = [entry for entry in map(json.loads, lines) if entry["text"] == "greeting ada"]
    assert (line["call_id"], line["stream"]) == (call_id, "stdout")


def test_a_handler_that_raises_gives_500_with_the_call_id_and_its_traceback_to_the_log(server: Server) -> None:
    server.deploy("raises", "def handle(event, context):\n    return 1 / 0\n")
    answer = server.call("/function/raises", b"")
    assert (answer.status, answer.json()["call_id"]) == (500, answer.headers["x-call-id"])
    assert b"ZeroDivisionError" not in answer.body
    log = wait_for(
        lambda: [t for t in [server.faasctl("logs", "raises").out] if "ZeroDivisionError" in t], what="the traceback"
    )
    assert "1 / 0" in log[0]


def test_debug_puts_the_traceback_into_the_answer(server: Server) -> None:
    server.deploy("debugged", "def handle(event, context):\n    return 1 / 0\n", debug=True)
    assert b"ZeroDivisionError" in server.call("/function/debugged", b"").body


def test_a_stream_arrives_in_pieces(server: Server) -> None:
    handler = """
async def handle(event, context):
    async def pieces():
        for i in range(3):
            yield f"{i}\\n"
    return {"statusCode": 200, "body": pieces()}
"""
    server.deploy("streams", handler)
    answer = server.call("/function/streams")
    assert answer.body == b"0\n1\n2\n"
    assert answer.headers["transfer-encoding"] == "chunked"


def test_requirements_are_installed(server: Server) -> None:
    handler = "import six\n\ndef handle(event, context):\n    return six.__version__\n"
    server.deploy("needs", handler, requirements="six==1.16.0\n")
    assert server.call("/function/needs").body == b"1.16.0"


def test_a_syntax_error_keeps_the_old_revision_serving(server: Server) -> None:
    server.deploy("breaks", VERSIONED.format(1))
    ran = server.faasctl("up", "-f", str(server.write_function("breaks", "def handle(event, context):\n  return (\n")))
    assert ran.code == 1
    assert "breaks/handler.py:2" in ran.err
    assert "'(' was never closed" in ran.err
    assert "revision 1 keeps serving" in ran.err
    assert server.call("/function/breaks").body == b"revision 1"


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (
            "import nosuchmodule\ndef handle(e, c):\n    return ''\n",
            ["nosuchmodule", "requirements.txt", "handler.py:1"],
        ),
        ("def init(context):\n    raise KeyError('MODEL')\ndef handle(e, c):\n    return ''\n", ["init", "KeyError"]),
        ("def handler(event, context):\n    return ''\n", ["`handle`", "handler"]),
        ("import os\nos._exit(3)\ndef handle(e, c):\n    return ''\n", ["exited with code 3"]),
        ("import os, signal\nos.kill(os.getpid(), 11)\ndef handle(e, c):\n    return ''\n", ["SIGSEGV"]),
    ],
    ids=["import", "init", "missing", "exit", "signal"],
)
def test_a_revision_that_does_not_come_up_is_refused_with_the_reason(
    server: Server, handler: str, words: list[str]
) -> None:
    server.deploy("proven", VERSIONED.format(1))
    ran = server.faasctl("up", "-f", str(server.write_function("proven", handler)))
    assert ran.code == 1
    assert [word for word in words if word not in ran.err] == []
    assert "Traceback" not in ran.err
    assert server.call("/function/proven").body == b"revision 1"


def test_a_removed_function_is_unknown_at_once(server: Server) -> None:
    server.deploy("leaves", GREET)
    assert server.faasctl("remove", "leaves", "--yes").code == 0
    assert server.call("/function/leaves").status == 404
    assert server.faasctl("describe", "leaves").code == 5


def test_scale_to_zero_and_back_on_demand(server: Server) -> None:
    server.deploy("sleepy", GREET, scale={"idle": "1s"})
    wait_for(lambda: server.function("sleepy")["state"] == "cold", what="scale to zero")
    answer = server.call("/function/sleepy", b"ada")
    assert answer.body == b"hi ada"
    assert "wait;dur=" in answer.headers["server-timing"]
    assert server.function("sleepy")["last_cold_start"]["phases"]["load"] > 0


def test_a_function_is_scaled_by_hand(server: Server) -> None:
    server.deploy("scaled", GREET)
    assert server.api("POST", "/api/v1/functions/scaled/scale", {"replicas": 3}).status in (200, 202)
    wait_for(lambda: server.function("scaled")["ready_replicas"] == 3, what="three replicas")
    server.api("POST", "/api/v1/functions/scaled/scale", {"replicas": 0})
    wait_for(lambda: not server.function("scaled")["replicas_detail"], what="no replica")
    assert server.call("/function/scaled", b"").status == 201


def test_openfaas_clients_see_it_too(server: Server) -> None:
    server.deploy("both", GREET)
    [listed] = [f for f in server.api("GET", "/system/functions").json() if f["name"] == "both"]
    assert (listed["namespace"], listed["replicas"], listed["labels"]["faas_function"]) == ("openfaas-fn", 1, "both")
    assert server.api("DELETE", "/system/functions", {"functionName": "both"}).status == 202
    assert server.api("GET", "/system/function/both").status == 404


def test_without_the_password_nothing_is_told(server: Server) -> None:
    for path in ("/api/v1/functions", "/system/functions"):
        answer = server.call(path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="Restricted"')
    assert server.call("/healthz").status == 200
