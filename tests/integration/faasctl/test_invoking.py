"""invoke: the body to stdout untouched, the story to stderr, the exit code tells."""

import subprocess
import sys

import pytest

from tests.integration.faasctl.scripted import Cli, Reply, Request, Scripted

PLATFORM = {"X-OpenFaaS-Internal": "gateway"}


def says(server: Scripted, reply: Reply, method: str = "POST", path: str = "/function/hello") -> None:
    server.answers[f"{method} {path}"] = reply


def echo(request: Request) -> Reply:
    return Reply(200, request.body, content_type="text/plain")


def test_the_body_goes_through_untouched(cli: Cli, server: Scripted) -> None:
    body = bytes(range(256)) * 1000
    says(server, Reply(200, body))
    assert cli("invoke", "hello").raw == body


def test_a_body_comes_from_d_from_a_file_and_from_a_pipe(cli: Cli, server: Scripted) -> None:
    server.answers["POST /function/hello"] = echo
    cli.write("in.txt", "from a file")
    assert cli("invoke", "hello", "-d", "from d").out == "from d"
    assert cli("invoke", "hello", "-f", "in.txt").out == "from a file"
    assert cli("invoke", "hello", stdin=b"from a pipe").out == "from a pipe"
    assert cli("invoke", "hello").out == ""
    assert cli("invoke", "hello", "-d", "a", "-f", "in.txt").code == 2


def test_a_large_pipe_is_streamed(cli: Cli, server: Scripted) -> None:
    server.answers["POST /function/hello"] = echo
    body = b"0123456789abcdef" * 200_000
    assert cli("invoke", "hello", stdin=body).raw == body
    assert server.request("POST", "/function/hello").headers["transfer-encoding"] == "chunked"


def test_credentials_never_go_to_a_function(cli: Cli, server: Scripted) -> None:
    says(server, Reply())
    address = server.url.replace("http://", "http://admin:secret@")
    assert cli("invoke", "hello", FAASCTL_SERVER=address).code == 0
    assert "authorization" not in server.request("POST", "/function/hello").headers


def test_headers_query_path_and_method_are_passed_on(cli: Cli, server: Scripted) -> None:
    says(server, Reply(), "PUT", "/function/hello.dev/a/b")
    words = ["-X", "put", "-n", "dev", "--path", "/a/b", "--query", "w=3 0", "-H", "X-A: 1", "-H", "X-B=2"]
    assert cli("invoke", "hello", *words, "--content-type", "image/png").code == 0
    request = server.request("PUT", "/function/hello.dev/a/b")
    assert request.query == {"w": "3 0"}
    assert (request.headers["x-a"], request.headers["x-b"]) == ("1", "2")
    assert request.headers["content-type"] == "image/png"


@pytest.mark.parametrize("header", ["nonsense", "A B: c", "A: b\r\nEvil: c"])
def test_what_is_no_header_is_refused(cli: Cli, header: str) -> None:
    assert cli("invoke", "hello", "-H", header).code == 2


def test_a_cold_call_shows_its_phases(cli: Cli, server: Scripted) -> None:
    timing = "wait;dur=8.4, claim;dur=2.1, load;dur=4.6, init;dur=0.6, listen;dur=0.4, handler;dur=1.9"
    says(server, Reply(200, b"hi", headers={"Server-Timing": timing}))
    ran = cli("invoke", "hello")
    assert "200 from hello in " in ran.err
    assert "cold start 8.4 ms: claim 2.1 · load 4.6 · init 0.6 · listen 0.4 · rest 0.7" in ran.err


def test_a_warm_call_does_not_speak_of_a_cold_start(cli: Cli, server: Scripted) -> None:
    says(server, Reply(200, b"hi"))
    assert "cold" not in cli("invoke", "hello").err
    assert cli("invoke", "hello", "-q").err == ""


def test_verbose_shows_the_answers_headers(cli: Cli, server: Scripted) -> None:
    says(server, Reply(200, b"hi", headers={"X-Mine": "yes"}))
    assert "X-Mine: yes" in cli("invoke", "hello", "-v").err


@pytest.mark.parametrize(("status", "code"), [(200, 0), (202, 0), (302, 0), (404, 1), (418, 1), (500, 1), (504, 6)])
def test_a_functions_own_status_is_the_exit_code(cli: Cli, server: Scripted, status: int, code: int) -> None:
    says(server, Reply(status, b"own words", headers={"X-Call-Id": "c-1"}))
    ran = cli("invoke", "hello")
    assert (ran.code, ran.out) == (code, "own words")


def test_a_function_that_raised_leads_to_its_log(cli: Cli, server: Scripted) -> None:
    says(server, Reply(500, b"{}", headers={"X-Call-Id": "c-81ab", "X-Pilotlight-Error": "handler-raised"}))
    err = cli("invoke", "hello", "-q").err
    assert "(handler raised; call c-81ab)" in err
    assert "= see: faasctl logs hello --call c-81ab" in err


def test_a_function_that_wants_its_key_gets_it_from_who_is_logged_in(cli: Cli, server: Scripted) -> None:
    refused = Reply.problem(401, "key-required", "The function wants a key.")
    refused.headers.update(PLATFORM)

    def function(request: Request) -> Reply:
        return Reply(200, request.body) if request.headers.get("x-function-key") == "plk_1" else refused

    server.answers["POST /function/hello"] = function
    server.answers["GET /api/v1/functions/hello/key"] = Reply.json({"key": "plk_1"})
    cli.write("in.txt", "from a file")
    logged_in = server.url.replace("http://", "http://admin:secret@")
    assert cli("invoke", "hello", "-f", "in.txt", FAASCTL_SERVER=logged_in).out == "from a file"
    ran = cli("invoke", "hello", "-d", "x")
    assert (ran.code, ran.out) == (4, "")
    assert "error[key-required]: hello: 401" in ran.err
    assert "X-Function-Key: KEY" in ran.err


def test_verbose_shows_the_phases_of_a_cold_call(cli: Cli, server: Scripted) -> None:
    timing = "wait;dur=8.4, claim;dur=2.1, load;dur=4.6, handler;dur=1.9"
    says(server, Reply(200, b"hi", headers={"Server-Timing": timing}))
    assert "  handler      1.9  █████▍\n" in cli("invoke", "hello", "-v").err


def test_a_call_in_the_background_is_refused_with_a_sentence(cli: Cli, server: Scripted) -> None:
    ran = cli("invoke", "hello", "--async")
    assert ran.code == 1
    assert "error[not-supported]" in ran.err
    assert server.requests == []


def test_an_unknown_function_is_5_with_the_nearest_name(cli: Cli, server: Scripted) -> None:
    missing = Reply.problem(404, "function-not-found", "There is no function helo.")
    missing.headers.update(PLATFORM)
    says(server, missing, path="/function/helo")
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": [{"name": "hello"}]})
    ran = cli("invoke", "helo")
    assert (ran.code, ran.out) == (5, "")
    assert "did you mean `hello`?" in ran.err


def test_a_timeout_of_the_platform_is_6(cli: Cli, server: Scripted) -> None:
    late = Reply.problem(504, "timeout", "The call's 60 s passed; it was in the function.", hint="Raise the timeout.")
    late.headers.update(PLATFORM)
    says(server, late)
    ran = cli("invoke", "hello")
    assert (ran.code, ran.out) == (6, "")
    assert "error[timeout]: hello: 504: The call's 60 s passed" in ran.err


def test_an_answer_that_is_cut_is_not_taken_for_a_whole_one(cli: Cli, server: Scripted) -> None:
    says(server, Reply(200, b"half", cut=True))
    ran = cli("invoke", "hello")
    assert (ran.code, ran.out) == (1, "half")
    assert "error[server-gone]" in ran.err


def test_a_reader_that_has_seen_enough_is_no_error(cli: Cli, server: Scripted) -> None:
    says(server, Reply(200, b"x" * 5_000_000))
    line = f"{sys.executable} -m faasctl invoke hello -q | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=cli.folder, env=cli.env, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"x0"]
    assert done.stderr == b""
