"""login, logout, secret, namespace, scale, nodes, key, completion: what changes or tells of the server's own things."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.faasctl.scripted import Cli, Reply, Request, Scripted


@pytest.fixture
def guarded(server: Scripted) -> Scripted:
    """Tells its nodes to admin:right only."""

    def nodes(request: Request) -> Reply:
        if request.headers.get("authorization") != "Basic YWRtaW46cmlnaHQ=":
            return Reply.problem(401, "credentials-refused", "no")
        return Reply.json({"nodes": []})

    server.answers["GET /api/v1/nodes"] = nodes
    return server


def logins(cli: Cli) -> Path:
    return Path(cli.env["HOME"]) / ".config" / "pilotlight" / "credentials.json"


def test_a_login_is_tried_and_then_stored_for_its_owner_alone(cli: Cli, guarded: Scripted) -> None:
    ran = cli("login", guarded.url, "--password-stdin", stdin=b"right\n")
    assert (ran.code, ran.out) == (0, "")
    assert f"Logged in to {guarded.url} as admin" in ran.err
    assert json.loads(logins(cli).read_text()) == {guarded.url: {"user": "admin", "password": "right"}}
    assert logins(cli).stat().st_mode & 0o777 == 0o600
    assert logins(cli).parent.stat().st_mode & 0o777 == 0o700
    assert cli("nodes", FAASCTL_SERVER="").code == 0


def test_a_wrong_password_is_not_stored_and_not_repeated(cli: Cli, guarded: Scripted) -> None:
    ran = cli("login", guarded.url, "-u", "me", "--password-stdin", stdin=b"hunter2")
    assert ran.code == 4
    assert f"{guarded.url} refused user `me` with the password from standard input" in ran.err
    assert "= from: the address: the command line" in ran.err
    assert "hunter2" not in ran.err
    assert not logins(cli).exists()


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), b"", "no password was given"),
        (("--password-stdin",), b"\n", "standard input holds no password"),
        (("--password-stdin", "--local"), b"x", "exclude each other"),
        (("--password", "x", "--local"), b"", "exclude each other"),
        (("-s", "http://other:1"), b"x", "given twice"),
        (("ftp://a",), b"", ""),
    ],
)
def test_what_is_no_login_is_a_usage_error(
    cli: Cli, server: Scripted, words: tuple[str, ...], stdin: bytes, said: str
) -> None:
    ran = cli("login", server.url, *words, stdin=stdin)
    assert ran.code == 2
    assert said in ran.err
    assert server.requests == []


def test_an_address_may_bring_the_password_along(cli: Cli, guarded: Scripted) -> None:
    assert cli("login", guarded.url.replace("://", "://admin:right@")).code == 0
    assert json.loads(logins(cli).read_text())[guarded.url]["password"] == "right"


def test_a_password_on_the_command_line_is_taken_with_a_word_of_warning(cli: Cli, guarded: Scripted) -> None:
    ran = cli("login", "-g", guarded.url, "-p", "right")
    assert ran.code == 0
    assert "can be seen by others" in ran.err


def local_server(cli: Cli, url: str) -> Path:
    cli.write("data/server.json", json.dumps({"url": url, "pid": 1}))
    cli.write("data/auth/basic-auth-user", "admin")
    cli.write("data/auth/basic-auth-password", "right")
    return cli.folder / "data"


def test_a_local_login_reads_the_servers_own_files(cli: Cli, guarded: Scripted) -> None:
    ran = cli("login", "--local", "--data-dir", str(local_server(cli, guarded.url)), FAASCTL_SERVER="")
    assert ran.code == 0
    assert json.loads(logins(cli).read_text()) == {guarded.url: {"user": "admin", "password": "right"}}


def test_without_a_local_server_there_is_no_local_login(cli: Cli) -> None:
    ran = cli("login", "--local", "--data-dir", "nowhere")
    assert ran.code == 1
    assert "error[no-local-server]: no server keeps its data in nowhere" in ran.err
    cli.write("data/server.json", "{")
    assert "error[no-local-server]: cannot read" in cli("login", "--local", "--data-dir", "data").err


def test_a_second_login_says_that_the_server_must_be_named(cli: Cli, guarded: Scripted) -> None:
    cli.write("../home/.config/pilotlight/credentials.json", json.dumps({"http://a:1": {"user": "u", "password": "p"}}))
    ran = cli("login", guarded.url, "--password-stdin", stdin=b"right", FAASCTL_SERVER="")
    assert f"note: 2 logins are stored, so name it: --server {guarded.url}" in ran.err
    assert set(json.loads(logins(cli).read_text())) == {"http://a:1", guarded.url}


def test_a_damaged_file_of_logins_is_never_overwritten(cli: Cli, guarded: Scripted) -> None:
    cli.write("../home/.config/pilotlight/credentials.json", "{")
    ran = cli("login", guarded.url, "--password-stdin", stdin=b"right")
    assert (ran.code, logins(cli).read_text()) == (4, "{")
    assert "error[credentials-unreadable]" in ran.err


def test_a_logout_forgets_one_or_all(cli: Cli, server: Scripted) -> None:
    stored = {url: {"user": "u", "password": "p"} for url in ("http://a:1", "http://b:1", server.url)}
    cli.write("../home/.config/pilotlight/credentials.json", json.dumps(stored))
    assert cli("logout").code == 0
    assert set(json.loads(logins(cli).read_text())) == {"http://a:1", "http://b:1"}
    ran = cli("logout", "http://c:1")
    assert ran.code == 5
    assert "error[not-logged-in]" in ran.err
    assert cli("logout", "--all", "--json").json() == {"forgotten": ["http://a:1", "http://b:1"]}
    assert cli("logout", "--all").code == 0


# --- secrets -------------------------------------------------------------------------------------------------------


def secret(name: str = "k", **members: object) -> dict[str, object]:
    view = {"name": name, "namespace": "openfaas-fn", "size_bytes": 3, "set_at": 1_700_000_000.0, "used_by": []}
    return {"secret": view | {"outdated_in": [], "locked": False} | members, "created": True}


@pytest.fixture
def keeper(server: Scripted) -> Scripted:
    server.answers["POST /api/v1/secrets"] = Reply.json(secret(), 201)
    server.answers["PUT /api/v1/secrets/k"] = Reply.json(secret())
    server.answers["GET /api/v1/secrets/k"] = Reply.json(secret()["secret"])
    server.answers["DELETE /api/v1/secrets/k"] = Reply.json({"removed": "k", "namespace": "openfaas-fn"})
    return server


def test_a_secret_comes_from_words_a_file_or_a_pipe_and_is_never_shown(cli: Cli, keeper: Scripted) -> None:
    cli.write("value.txt", " hunter2\n")
    for words, stdin in (
        (("--from-literal", " hunter2 "), None),
        (("--from-file", "value.txt"), None),
        (("--from-file", "-"), b"hunter2\n"),
        ((), b"\nhunter2\n"),
    ):
        ran = cli("secret", "create", "k", *words, "-n", "dev", stdin=stdin)
        assert (ran.code, ran.out, ran.err) == (0, "", "k  created, 7 B.\n")
        request = keeper.request("POST", "/api/v1/secrets")
        assert (request.json(), request.query) == ({"name": "k", "value": "hunter2"}, {"namespace": "dev"})


def test_a_value_goes_as_it_is_when_told_so(cli: Cli, keeper: Scripted) -> None:
    cli("secret", "set", "k", "--no-trim", stdin=b" a\n")
    assert keeper.request("PUT", "/api/v1/secrets/k").json() == {"value": " a\n"}
    cli("secret", "set", "k", stdin=b"\xff\x00")
    assert keeper.request("PUT", "/api/v1/secrets/k").json() == {"raw_value": "/wA="}


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("--from-literal", "a", "--from-file", "b"), b"", "both give the value"),
        (("--from-file", "absent"), b"", "cannot read absent"),
        ((), b" \n", "the value of k is empty"),
        ((), b"x" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_what_is_no_value_is_a_usage_error(
    cli: Cli, keeper: Scripted, words: tuple[str, ...], stdin: bytes, said: str
) -> None:
    ran = cli("secret", "create", "k", *words, stdin=stdin)
    assert (ran.code, said in ran.err) == (2, True)
    assert keeper.requests == []


def test_create_replaces_only_when_asked_to(cli: Cli, keeper: Scripted) -> None:
    keeper.answers["POST /api/v1/secrets"] = Reply.problem(409, "secret-exists", "there is one")
    assert "error[secret-exists]" in cli("secret", "create", "k", stdin=b"x").err
    assert cli("secret", "create", "k", "--replace", stdin=b"x").code == 0


def test_update_of_a_secret_that_is_not_there(cli: Cli, keeper: Scripted) -> None:
    keeper.answers["GET /api/v1/secrets/k"] = Reply.problem(404, "secret-not-found", "there is none")
    assert cli("secret", "update", "k", stdin=b"x").code == 5
    assert [request.method for request in keeper.requests] == ["GET", "GET"]


def test_a_replaced_secret_names_the_functions_that_are_behind(cli: Cli, keeper: Scripted) -> None:
    keeper.answers["PUT /api/v1/secrets/k"] = Reply.json(secret(outdated_in=["hello.openfaas-fn"]))
    assert "hello.openfaas-fn: has the new value after its next deploy" in cli("secret", "update", "k", stdin=b"x").err


def test_secrets_are_listed_without_values(cli: Cli, server: Scripted) -> None:
    views = [secret()["secret"], secret("other", used_by=["hello.openfaas-fn"], locked=True)["secret"]]
    server.answers["GET /api/v1/secrets"] = Reply.json({"secrets": views})
    lines = cli("secret", "list").out.splitlines()
    assert lines[0].split() == ["SECRET", "NAMESPACE", "SIZE", "SET", "USED", "BY"]
    assert "locked" in lines[2]
    assert cli("secrets", "ls", "-q").out == "k\nother\n"
    assert len(cli("secret", "list", "--json").json()["secrets"]) == 2


def test_secrets_are_removed_with_force_where_they_are_used(cli: Cli, keeper: Scripted) -> None:
    assert cli("secret", "rm", "k", "--force").code == 0
    assert keeper.request("DELETE", "/api/v1/secrets/k").query == {"force": "true"}


# --- the rest --------------------------------------------------------------------------------------------------------


def test_all_secrets_that_can_be_removed_are(cli: Cli, server: Scripted) -> None:
    server.answers["DELETE /api/v1/secrets/a"] = Reply.problem(404, "secret-not-found", "no")
    server.answers["DELETE /api/v1/secrets/k"] = Reply.json({"removed": "k", "namespace": "openfaas-fn"})
    ran = cli("secret", "remove", "a", "k", "--json")
    assert (ran.code, ran.json()) == (5, {"removed": ["k"]})


def test_an_update_says_that_it_was_one(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/secrets/k"] = Reply.json({"secret": {"name": "k"}})
    server.answers["PUT /api/v1/secrets/k"] = Reply.json({"secret": {"name": "k"}, "created": False})
    assert cli("secret", "update", "k", stdin=b"new").err == "k  updated, 3 B.\n"


def test_namespaces_are_made_listed_and_removed(cli: Cli, server: Scripted) -> None:
    dev = {"name": "dev", "labels": {"team": "a"}, "annotations": {}, "created_at": None, "functions": 2}
    server.answers["POST /api/v1/namespaces"] = Reply.json(dev, 201)
    server.answers["GET /api/v1/namespaces"] = Reply.json({"namespaces": [dev]})
    server.answers["DELETE /api/v1/namespaces/dev"] = Reply.json({"removed": "dev"})
    assert cli("namespace", "create", "dev", "-l", "team=a").code == 0
    assert server.request("POST", "/api/v1/namespaces").json()["labels"] == {"team": "a"}
    assert cli("namespaces", "list").out.splitlines()[1].split() == ["dev", "2", "-", "team=a"]
    assert cli("namespace", "remove", "dev").code == 0


def test_a_function_is_scaled(cli: Cli, server: Scripted) -> None:
    server.answers["POST /api/v1/functions/hello/scale"] = Reply.json({"function": {"ready_replicas": 1}})
    ran = cli("scale", "hello", "3", "-n", "dev")
    assert (ran.code, ran.out) == (0, "")
    assert "hello  3 replicas wanted, 1 ready." in ran.err
    request = server.request("POST", "/api/v1/functions/hello/scale")
    assert (request.json(), request.query) == ({"replicas": 3}, {"namespace": "dev"})


def test_nodes_are_shown_with_their_devices(cli: Cli, server: Scripted) -> None:
    device = {"id": "0", "model": "A100", "memory_mib": 40_960}
    node = {"name": "local", "cpu_milli": 1500, "memory_mib": 4096, "devices": [device, device], "labels": {"a": "b"}}
    away = {"name": "gone", "cpu_milli": 0, "memory_mib": 0, "away": "the engine does not answer"}
    server.answers["GET /api/v1/nodes"] = Reply.json({"nodes": [node, away]})
    _title, *rows = cli("nodes").out.splitlines()
    assert [re.split(r" {2,}", row) for row in rows] == [
        ["local", "ready", "1.5", "4.0 GiB", "2 x A100 40 GiB", "a=b"],
        ["gone", "away: the engine does not answer", "-", "-", "-", "-"],
    ]


def test_a_key_stands_alone_on_stdout(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions/hello/key"] = Reply.json({"key": "plk_1"})
    server.answers["POST /api/v1/functions/hello/key/rotate"] = Reply.json({"key": "plk_2"})
    assert (cli("key", "hello").out, cli("key", "hello").err) == ("plk_1\n", "")
    assert cli("key", "hello", "--rotate", "--grace", "1h").out == "plk_2\n"
    assert server.request("POST", "/api/v1/functions/hello/key/rotate").json() == {"grace_seconds": 3600}


def test_a_new_key_that_no_router_has_yet_is_said(cli: Cli, server: Scripted) -> None:
    server.answers["POST /api/v1/functions/hello/key/rotate"] = Reply.json({"key": "plk_2", "applied": False})
    ran = cli("key", "hello", "--rotate")
    assert (ran.code, ran.out) == (0, "plk_2\n")
    assert "no router has confirmed the new key yet" in ran.err


def test_completion_offers_the_names_of_the_server(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [{"name": "hello"}, {"name": "resize"}]})
    server.answers["GET /api/v1/secrets"] = Reply.json({"secrets": [{"name": "api-key"}]})
    server.answers["GET /api/v1/namespaces"] = Reply.json({"namespaces": [{"name": "dev"}]})
    assert cli("__complete", "describe", "").out == "hello\nresize\n"
    assert cli("__complete", "logs", "-f", "hello", "").out == "resize\n"
    assert cli("__complete", "invoke", "-n", "dev", "h").out == "hello\n"
    assert server.request("GET", "/api/v1/functions").query == {"namespace": "dev"}
    assert cli("__complete", "invoke", "hello", "").out == ""
    assert cli("__complete", "secret", "remove", "").out == "api-key\n"
    assert cli("__complete", "list", "-n", "").out == "dev\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_faasctl(cli: Cli, shell: str) -> None:
    assert "faasctl __complete" in cli("completion", shell).out


def test_bash_offers_what_faasctl_answers(cli: Cli, server: Scripted) -> None:
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [{"name": "hello"}]})
    cli.write("bin/faasctl", f'#!/bin/sh\nexec {sys.executable} -m faasctl "$@"\n')
    (cli.folder / "bin" / "faasctl").chmod(0o755)
    script = """
        eval "$(faasctl completion bash)"
        for words in "faasctl desc" "faasctl describe h" "faasctl list --verb"; do
            COMP_WORDS=($words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _faasctl
            echo "${COMPREPLY[@]}"
        done
    """
    env = cli.env | {"PATH": f"{cli.folder}/bin:{cli.env['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=cli.folder, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["describe", "hello", "--verbose"], "")
