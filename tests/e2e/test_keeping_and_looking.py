"""A day at the command line against a real server: logins, secrets, keys, calls that are followed through the logs."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Server, wait_for

PRINTS = "def handle(event, context):\n    print('got', event.body.decode())\n    return 'ok'\n"
SECRETIVE = """
import os
from pathlib import Path

def handle(event, context):
    return (Path(os.environ["PILOTLIGHT_SECRETS"]) / "api-key").read_text()
"""
CALLS_ON = """
def handle(event, context):
    print("first")
    return context.call("last", b"x").body
"""


def test_a_local_login_makes_a_stranger_known(server: Server, tmp_path: Path) -> None:
    env = server.environment | {"XDG_CONFIG_HOME": str(tmp_path)}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "faasctl", *words]
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert run("list").returncode == 4
    done = run("login", "--local", "--data-dir", str(server.data_dir))
    assert (done.returncode, "Logged in to" in done.stderr) == (0, True)
    assert run("list").returncode == 0
    assert run("logout").returncode == 0
    assert run("list").returncode == 4


def test_a_secret_reaches_a_function_and_its_new_value_with_a_redeploy(server: Server) -> None:
    assert server.faasctl("secret", "create", "api-key", "--from-literal", "one").code == 0
    server.deploy("secretive", SECRETIVE, secrets=["api-key"])
    assert server.call("/function/secretive", b"").body == b"one"
    ran = server.faasctl("secret", "update", "api-key", stdin=b"two\n")
    assert (ran.code, "secretive" in ran.err) == (0, True)
    server.deploy("secretive", SECRETIVE, secrets=["api-key"])
    assert server.call("/function/secretive", b"").body == b"two"
    assert server.faasctl("secret", "remove", "api-key").code == 1
    assert "api-key" in server.faasctl("secret", "list").out


def test_a_function_with_a_key_is_called_by_who_is_logged_in(server: Server) -> None:
    server.deploy("locked", PRINTS, auth="key")
    assert server.call("/function/locked", b"").status == 401
    assert server.faasctl("invoke", "locked", "-d", "x").out == "ok"
    key = server.faasctl("key", "locked").out.strip()
    assert server.call("/function/locked", b"", headers={"X-Function-Key": key}).status == 200
    assert server.faasctl("key", "locked", "--rotate").out.strip() != key
    assert server.call("/function/locked", b"", headers={"X-Function-Key": key}).status == 401


def test_a_call_is_found_by_its_id_in_every_function_that_it_went_through(server: Server) -> None:
    server.deploy("last", PRINTS)
    server.deploy("front", CALLS_ON)
    call = server.call("/function/front", b"").headers["x-call-id"]
    server.call("/function/last", b"another")

    def lines(*words: str) -> list[tuple[str, str]]:
        out = server.faasctl("logs", *words, "--json").out.splitlines()
        return [(line["function"], line["text"]) for line in map(json.loads, out)]

    wait_for(lambda: len(lines("--call", call)) == 2, what="both lines")
    assert lines("--call", call) == [("front", "first"), ("last", "got x")]
    assert lines("--call", f"{call[:4]}-{call[-3:]}") == [("front", "first"), ("last", "got x")]
    assert lines("last", "--call", call) == [("last", "got x")]


def test_a_function_at_zero_replicas_has_its_logs(server: Server) -> None:
    server.deploy("resting", PRINTS)
    server.call("/function/resting", b"ada")
    wait_for(lambda: "got ada" in server.faasctl("logs", "resting").out, what="the line")
    assert server.faasctl("scale", "resting", "0").code == 0
    wait_for(lambda: server.function("resting")["state"] == "cold", what="no replica")
    assert "got ada" in server.faasctl("logs", "resting").out


def test_followed_logs_survive_a_restart_of_the_server(own_server: Server) -> None:
    server = own_server
    server.deploy("talks", PRINTS)
    command = [sys.executable, "-m", "faasctl", "logs", "-f", "talks"]
    env = server.environment
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        os.set_blocking(running.stdout.fileno(), False)
        seen = b""

        def shows(text: bytes) -> bool:
            nonlocal seen
            seen += running.stdout.read() or b""  # type: ignore[union-attr]
            return text in seen

        server.call("/function/talks", b"before")
        wait_for(lambda: shows(b"got before"), what="the first line")
        port = int(server.url.rpartition(":")[2])
        server.end()
        server.start(port=port)
        server.call("/function/talks", b"after")
        wait_for(lambda: shows(b"got after"), what="the line after the restart")
        running.terminate()
    assert seen.count(b"got before") == 1


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_top_shows_functions_on_a_terminal_until_it_is_left(server: Server, key: str) -> None:
    server.deploy("watched", PRINTS)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "faasctl", "top"]
    env = server.environment | {"TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
    running = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"q quit" not in shown:
        assert select.select([ours], [], [], 20)[0], shown
        shown += os.read(ours, 65536)
    if key == "q":
        os.write(ours, b"q")
    else:
        running.send_signal(2)
    assert running.wait(20) == (0 if key == "q" else 130)
    os.close(ours)
    rows = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().split("\r\n")
    assert any(row.startswith("watched") for row in rows)
    assert len(rows) <= 24
    assert max(map(len, rows)) <= 80


def test_a_pipe_gets_no_escape_byte_of_any_command(server: Server) -> None:
    server.deploy("plain", PRINTS)
    commands = [
        ("list",), ("list", "-v"), ("describe", "plain", "-v"), ("logs", "plain"), ("top", "--interval", "0.25"),
        ("nodes",), ("secret", "list"), ("namespace", "list"), ("invoke", "plain", "-d", "x", "-v"), ("version",),
        ("help",), ("help", "stack-file"), ("help", "addresses"), ("explain",), ("scale", "plain", "1"),
        ("completion", "bash"), ("nonsense",), ("describe", "nobody"), ("list", "--json"), ("remove", "plain"),
    ]  # fmt: skip
    env = server.environment | {"TERM": "xterm-256color", "CLICOLOR_FORCE": "1"}
    env.pop("NO_COLOR")
    for words in commands:
        command = [sys.executable, "-m", "faasctl", *words]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert b"\x1b" not in done.stdout + done.stderr, words
        assert done.returncode in (0, 2, 5), (words, done.stderr)
