"""Every way in which a server can fail to answer, with its exit code; and the identity check before the password."""

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from faasctl import __version__
from faasctl.client import Client
from faasctl.config import Server
from faasctl.errors import CliError
from tests.integration.faasctl.scripted import ROOT, Cli, Reply, Scripted


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nothing_there_is_3_and_says_who_chose_the_address(cli: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ran = cli("list", FAASCTL_SERVER=url)
    assert ran.code == 3
    assert ran.err.splitlines()[:3] == [
        f"error[server-unreachable]: nothing listens on {url}",
        "  = from: the environment variable FAASCTL_SERVER",
        "  = help: start one here:       faasctl serve",
    ]


def test_where_nothing_is_the_servers_with_a_login_are_named() -> None:
    server = Server(url=f"http://127.0.0.1:{free_port()}", origin="the default address", others=("http://b:1",))
    with pytest.raises(CliError) as caught:
        Client(server).reach()
    assert "or use one you know:  export FAASCTL_SERVER=http://b:1" in caught.value.problems[0].help


@pytest.mark.parametrize(
    "words",
    [("list",), ("describe", "x"), ("logs", "x"), ("logs", "-f", "x"), ("remove", "x"), ("invoke", "x"),
     ("top",), ("nodes",), ("scale", "x", "1"), ("key", "x"), ("secret", "list"), ("namespace", "list")],
)  # fmt: skip
def test_every_command_says_it_alike(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words, FAASCTL_SERVER=f"http://127.0.0.1:{free_port()}")
    assert ran.code == 3
    assert ran.err.startswith("error[server-unreachable]: nothing listens on ")


def test_a_stack_file_here_may_choose_the_server(cli: Cli) -> None:
    cli.write("stack.yaml", f"provider:\n  gateway: http://127.0.0.1:{free_port()}\n")
    ran = cli("list", FAASCTL_SERVER="")
    assert "= from: `provider: gateway:` in stack.yaml" in ran.err


def test_a_name_that_is_no_machine(cli: Cli) -> None:
    ran = cli("list", "--server", "http://nowhere.invalid:1")
    assert ran.code == 3
    assert "no machine is called 'nowhere.invalid'" in ran.err


def test_https_to_a_plain_server(cli: Cli, server: Scripted) -> None:
    ran = cli("list", "--server", server.url.replace("http:", "https:"))
    assert ran.code == 3
    assert "does not speak TLS" in ran.err


def test_a_server_that_hangs_up_at_once(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        ran = cli("list", "--server", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert ran.code == 1
    assert "error[server-gone]" in ran.err


def test_a_server_that_speaks_something_else(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            peer, _ = listener.accept()
            peer.sendall(b"220 mail ESMTP\r\n")
            peer.close()

        threading.Thread(target=greet, daemon=True).start()
        ran = cli("list", "--server", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert ran.code == 3
    assert "error[not-pilotlight]" in ran.err


def test_a_connection_that_the_server_ended_meanwhile_is_made_again(cli: Cli) -> None:
    info, empty = b'{"name": "pilotlight"}', b'{"functions": []}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_once_each() -> None:
            for body in (info, empty, empty):
                peer, _ = listener.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(head % len(body) + body)

        threading.Thread(target=answer_once_each, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ran = cli("top", "--json", "--interval", "0.25", "--server", url)
    assert (ran.code, ran.json()) == (0, {"functions": []})


def test_another_server_is_refused_and_never_sees_the_password(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/info"] = Reply(200, b"<h1>Welcome</h1>", content_type="text/html")
    ran = cli("list", FAASCTL_SERVER=server.url.replace("http://", "http://admin:secret@"))
    assert ran.code == 3
    assert "answered, but it is not Pilotlight: 200 OK, Server: BaseHTTP" in ran.err
    assert all("authorization" not in request.headers for request in server.requests)


def test_a_server_that_sends_us_on_is_not_followed(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/info"] = Reply(301, b"", {"Location": "https://faas.example.org/"})
    ran = cli("list", FAASCTL_SERVER=server.url.replace("http://", "http://admin:secret@"))
    assert ran.code == 3
    assert "which leads to https://faas.example.org/" in ran.err
    assert all("authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize("status", [401, 404])
def test_an_openfaas_gateway_is_recognised(cli: Cli, server: Scripted, status: int) -> None:
    restricted = Reply(401, b"invalid credentials", {"WWW-Authenticate": 'Basic realm="Restricted"'})
    server.answers["GET /api/v1/info"] = Reply(status, b"404 page not found", content_type="text/plain")
    server.answers["GET /system/info"] = restricted
    server.answers["POST /function/hello"] = Reply(200, b"hi")
    ran = cli("list", FAASCTL_SERVER=server.url.replace("http://", "http://admin:secret@"))
    assert ran.code == 3
    assert f"error[openfaas-gateway]: {server.url} is an OpenFaaS gateway" in ran.err
    assert all("authorization" not in request.headers for request in server.requests)
    assert cli("invoke", "hello").out == "hi"


def test_http_to_a_server_that_wants_tls(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def alert() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

        threading.Thread(target=alert, daemon=True).start()
        ran = cli("list", "--server", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert ran.code == 3
    assert "speaks TLS; is it https:// instead?" in ran.err


def test_a_proxy_that_is_not_there_is_named(cli: Cli) -> None:
    proxy = f"http://me:secret@127.0.0.1:{free_port()}"
    ran = cli("list", "--server", "https://faas.invalid", HTTPS_PROXY=proxy)
    assert ran.code == 3
    assert "error[proxy-failed]: the proxy 127.0.0.1:" in ran.err
    assert "(from HTTPS_PROXY) cannot be reached" in ran.err
    assert "NO_PROXY=faas.invalid" in ran.err
    assert "secret" not in ran.err


def test_a_proxy_that_refuses_is_quoted(cli: Cli, server: Scripted) -> None:
    ran = cli("list", "--server", "https://faas.invalid", HTTPS_PROXY=server.url)
    assert ran.code == 3
    assert "does not lead to https://faas.invalid: HTTP/1.1 501" in ran.err


def test_plain_http_goes_through_a_proxy_by_whole_addresses(cli: Cli, server: Scripted) -> None:
    server.answers["GET http://faas.invalid/api/v1/info"] = server.answers["GET /api/v1/info"]
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": []})
    ran = cli("list", "--server", "http://faas.invalid", http_proxy=server.url)
    assert (ran.code, "No functions on http://faas.invalid" in ran.err) == (0, True)
    assert server.requests[0].headers["host"] == "faas.invalid"


def test_a_refused_password_names_the_user_and_the_file(cli: Cli, server: Scripted) -> None:
    cli.write("../home/.config/pilotlight/credentials.json", json.dumps({server.url: {"user": "me", "password": "pw"}}))
    server.answers["GET /api/v1/functions"] = Reply.problem(401, "credentials-refused", "user or password is wrong")
    ran = cli("list")
    assert ran.code == 4
    assert f"error[credentials-refused]: {server.url} refused the password of user `me`" in ran.err
    assert "= from: ~/.config/pilotlight/credentials.json" in ran.err
    assert "pw" not in ran.err.replace("password", "").replace("PASSWORD", "")
    assert server.request("GET", "/api/v1/functions").headers["authorization"] == "Basic bWU6cHc="


def test_a_missing_password_says_so(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.problem(401, "credentials-refused", "no")
    ran = cli("list")
    assert ran.code == 4
    assert "wants a password, and none is stored for it" in ran.err


@pytest.mark.parametrize(
    ("reply", "code", "slug"),
    [
        (Reply.problem(503, "control-plane-down", "The control plane does not answer."), 1, "control-plane-down"),
        (Reply(502, b"Bad Gateway\n<more>", content_type="text/plain"), 1, "server-error"),
        (Reply(200, b"no json"), 3, "not-pilotlight"),
        (Reply(200, b"[1]"), 3, "not-pilotlight"),
        (Reply(200, b"[" * 100_000), 3, "not-pilotlight"),
        (Reply(200, b"{", cut=True), 1, "server-gone"),
        (Reply.problem(504, "timeout", "too late"), 6, "timeout"),
    ],
)
def test_a_strange_answer_has_its_code(cli: Cli, server: Scripted, reply: Reply, code: int, slug: str) -> None:
    server.answers["GET /api/v1/functions"] = reply
    ran = cli("list")
    assert ran.code == code
    assert f"error[{slug}]" in ran.err


def test_an_error_as_json_is_one_object_on_stderr(cli: Cli) -> None:
    ran = cli("list", "--json", FAASCTL_SERVER=f"http://127.0.0.1:{free_port()}")
    assert ran.out == ""
    assert json.loads(ran.err)["type"] == "server-unreachable"


@pytest.mark.parametrize("words", [("list", "--jsn"), ("deplyo",), ("ps",), ("secret", "creat")])
def test_wrong_usage_is_json_for_who_wants_json(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words, "--json")
    assert (ran.code, json.loads(ran.err)["type"]) == (2, "usage")


def test_a_dead_server_is_told_soon(cli: Cli) -> None:
    began = time.monotonic()
    cli("list", FAASCTL_SERVER=f"http://127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 1.5  # 0.15 s on an idle machine, see tests/bench/cli.py; not three seconds


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("deplyo",), 2, "did you mean `deploy`?"),
        (("apply",), 2, "deploy a stack file with"),
        (("list", "--jsn"), 2, "did you mean `--json`?"),
        (("invoke",), 2, "Missing argument"),
        (("help", "nonsense"), 2, "no command `nonsense`"),
        (("help", "exit-code"), 2, "did you mean `exit-codes`?"),
        (("secret", "creat", "x"), 2, "did you mean `create`?"),
        (("scale", "hello"), 2, "Missing argument"),
        (("scale", "hello", "-1"), 2, "-1"),
        (("scale", "hello", "many"), 2, "'many' is not a whole number"),
        (("completion", "tcsh"), 2, "bash"),
        (("key", "x", "--grace", "1h"), 2, "--rotate"),
        (("key", "x", "--rotate", "--grace", "soon"), 2, "no duration"),
        ((), 2, "Usage: faasctl"),
    ],
)
def test_a_wrong_command_line_is_2(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_bug_of_ours_is_one_line_and_no_traceback(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [1]})
    ran = cli("list")
    assert ran.code == 1
    assert "error[internal]: faasctl itself failed" in ran.err
    assert "FAASCTL_DEBUG=1" in ran.err


def test_serve_becomes_the_supervisor(cli: Cli) -> None:
    cli.write("pilotlight/__init__.py", "")
    cli.write("pilotlight/supervisor.py", "import os, sys\nprint(os.getpid(), *sys.argv[1:], sep='\\n')\n")
    path = f"{cli.folder}{os.pathsep}{ROOT}"
    ran = cli("serve", "--data-dir", "d", "--port", "0", "--set", "pool.spares=4", PYTHONPATH=path)
    _, flag, settings, file_flag, file = ran.out.splitlines()
    assert (flag, file_flag) == ("--settings-json", "--credentials-file")
    assert json.loads(settings) == {"data_dir": str(cli.folder / "d"), "port": 0, "pool": {"spares": 4}}
    assert file == f"{cli.env['HOME']}/.config/pilotlight/credentials.json"


def test_help_and_version_are_data(cli: Cli) -> None:
    assert cli("version").out == f"faasctl {__version__}\n"
    assert cli("--version").out == f"faasctl {__version__}\n"
    assert cli("version", "--json").json()["version"] == __version__
    assert "Usage: faasctl" in cli("help").out
    assert "Examples:" in cli("help", "deploy").out
    assert "130" in cli("help", "exit-codes").out
    assert "login --local" in cli("help", "addresses").out
    assert "exit-codes" in cli("help", "topics").out
    assert "--from-file" in cli("help", "secret", "create").out
    assert "Examples:" in cli("help", "secret").out
    assert "concurrency:" in cli("help", "stack-file").out


def test_output_that_cannot_be_encoded_is_shown_escaped(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [{"name": "h\u00e9llo"}]})
    assert cli("list", "-q", PYTHONIOENCODING="ascii").out == "h\\xe9llo\n"


def test_a_full_disk_under_the_output_is_told(cli: Cli) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "faasctl", "version"], env=cli.env, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"error[output]: cannot write the output: No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_on_a_terminal_rows_are_drawn_and_the_url_stands_last(project: Cli, server: Scripted) -> None:
    text = on_a_terminal(project, "up", "hello")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "✓ uploaded" in plain
    assert "✓ live" in plain
    assert plain.index("✓ live") < plain.index(f"{server.url}/function/hello")
    assert "Try it:  faasctl invoke hello -d world" in text


def test_no_color_on_a_terminal_is_obeyed(cli: Cli) -> None:
    text = on_a_terminal(cli, "list", NO_COLOR="1", FAASCTL_SERVER=f"http://127.0.0.1:{free_port()}")
    assert "error[server-unreachable]" in text
    assert "\x1b" not in text


def test_a_terminal_that_can_do_nothing_gets_plain_text(project: Cli) -> None:
    assert "\x1b" not in on_a_terminal(project, "up", "hello", TERM="dumb")


def on_a_terminal(cli: Cli, *words: str, **env: str) -> str:
    """All that a command shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    env = cli.env | {"TERM": "xterm", "COLUMNS": "120"} | env
    command = [sys.executable, "-m", "faasctl", *words]
    running = subprocess.Popen(command, cwd=cli.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 20)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert running.wait(20) is not None
    return shown.decode()
