"""Templates as images, from `faasctl new` to an answer: ours, and one that a project brings itself."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.engines import BASE_IMAGE, docker_engine, missing
from tests.harness import Server, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(600)]
STREAM = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for piece in (b"one ", b"two "):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0.3)
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""
DOCKERFILE = f"""\
FROM {BASE_IMAGE}
ARG GREETING=hello
ARG ADDITIONAL_PACKAGE
ENV GREETING=${{GREETING}} CHOSEN=$ADDITIONAL_PACKAGE
COPY serve.py /app/serve.py
COPY function/ /app/function/
USER 1000:1000
CMD ["python3", "/app/serve.py"]
"""
SERVE = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        name = open("/app/function/name").read().strip()
        common = os.path.exists("/app/function/common/shared")
        self.wfile.write(f"{os.environ['GREETING']} {name} {os.environ['CHOSEN']} {common}".encode())

HTTPServer(("", 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    docker_engine()
    # The engine's own network may have no way to a mirror of Debian, which the template `node` needs.
    with Server("--provider=docker", settings={"docker.build_network": "host"}) as made:
        yield made


def project(server: Server, name: str) -> Path:
    folder = server.folder / "projects" / name
    folder.mkdir(parents=True)
    return folder


def made(server: Server, name: str, lang: str) -> Path:
    """A function as `faasctl new` begins it; its folder."""
    folder = project(server, name)
    ran = server.faasctl("new", name, "--lang", lang, cwd=folder)
    assert ran.code == 0, ran.err
    return folder / name


def up(server: Server, folder: Path, *words: str) -> None:
    ran = server.faasctl("up", *words, cwd=folder.parent)
    assert ran.code == 0, (ran.err, server.log.read_text()[-4000:])


def test_bash_runs_a_program_for_each_call(server: Server) -> None:
    folder = made(server, "shell", "bash")
    up(server, folder)
    assert server.call("/function/shell", b"ada").body == b"hello ada\n"
    (folder / "handler.sh").write_text('echo "$Http_Method $Http_Path $Http_X_Some"; cat; exit 3\n')
    up(server, folder)
    answer = server.call("/function/shell/a?b=1", b"why", headers={"X-Some": "thing"})
    assert (answer.status, answer.body) == (500, b"exit status 3\nPOST /a thing\nwhy")
    server.api("POST", "/api/v1/functions/shell/scale", {"replicas": 0})
    wait_for(lambda: server.function("shell")["state"] != "ready", what="scale to zero")
    assert server.call("/function/shell", b"cold").status == 500


def test_fprocess_of_the_stack_file_is_what_runs(server: Server) -> None:
    folder = made(server, "words", "bash")
    stack = folder.parent / "stack.yaml"
    stack.write_text(f"{stack.read_text()}    fprocess: wc -w\n")
    up(server, folder)
    assert server.call("/function/words", b"one two three").body.strip() == b"3"


def test_a_dockerfile_of_ones_own_is_the_whole_function(server: Server) -> None:
    folder = made(server, "anything", "dockerfile")
    up(server, folder)
    assert server.call("/function/anything", b"loud").body == b"LOUD"
    (folder / "Dockerfile").rename(folder / "Containerfile")
    ran = server.faasctl("up", cwd=folder.parent)
    assert (ran.code, "error[dockerfile-missing]" in ran.err) == (1, True), ran.err


def test_a_lambda_handler_is_called_in_its_image(server: Server) -> None:
    up(server, made(server, "lambda", "python3-lambda"))
    assert server.call("/function/lambda?name=ada").json() == {"message": "Hello, ada!"}
    invoked = server.call("/function/lambda/2015-03-31/functions/f/invocations", b'{"body": "bob"}')
    assert json.loads(invoked.json()["body"]) == {"message": "Hello, bob!"}


def test_an_asgi_application_streams_from_its_image(server: Server) -> None:
    folder = made(server, "web", "python3-asgi")
    (folder / "handler.py").write_text(STREAM)
    up(server, folder)
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("GET", "/function/web/x")
    answer = connection.getresponse()
    assert answer.read1(100) == b"one "  # while the rest is not written yet
    assert answer.read() == b"two /function/web/x"
    connection.close()


def test_a_projects_own_template_is_pulled_built_with_its_settings_and_answers(server: Server) -> None:
    source = project(server, "source")
    template = source / "template" / "greeter"
    (template / "function").mkdir(parents=True)
    (template / "Dockerfile").write_text(DOCKERFILE)
    (template / "serve.py").write_text(SERVE)
    (template / "template.yml").write_text(
        "language: greeter\nbuild_options: [{name: dev, packages: [make, gcc]}]\nwelcome_message: Greets.\n"
    )
    (template / "function" / "name").write_text("nobody\n")
    folder = project(server, "greeting")
    stack = folder / "stack.yaml"
    sources = f"configuration:\n  templates:\n  - name: greeter\n    source: {source}\n  copy: [./common]\n"
    (folder / "common").mkdir()
    (folder / "common" / "shared").write_text("")
    stack.write_text(f"functions:\n  other: {{image: x}}\n{sources}")
    assert server.faasctl("template", "pull", "stack", cwd=folder).code == 0
    assert "greeter" in server.faasctl("template", "list", cwd=folder).out
    stack.write_text(
        f"functions:\n  greet:\n    lang: greeter\n    handler: ./greet\n    build_args: {{GREETING: hi}}\n{sources}"
    )
    (folder / "greet").mkdir()
    (folder / "greet" / "name").write_text("ada\n")
    up(server, folder / "greet", "--build-option", "dev")
    assert server.call("/function/greet").body == b"hi ada make gcc True"
    up(server, folder / "greet", "--build-arg", "GREETING=hello")
    assert server.call("/function/greet").body == b"hello ada  True"
    (template / "Dockerfile").write_text(DOCKERFILE.replace("USER", "RUN false\nUSER"))
    assert server.faasctl("template", "pull", str(source), "--overwrite", cwd=folder).code == 0
    ran = server.faasctl("up", cwd=folder)
    assert ran.code == 1
    assert "template/greeter/Dockerfile:7" in ran.err
    ran = server.faasctl("up", "--build-option", "prod", cwd=folder)
    assert "error[invalid-build-option]" in ran.err


@pytest.mark.slow
def test_javascript_is_served_with_its_packages(server: Server) -> None:
    folder = made(server, "script", "node")
    ran = server.faasctl("up", cwd=folder.parent)
    if ran.code != 0 and any(word in ran.err for word in ("Temporary failure resolving", "Unable to locate package")):
        missing("debian", "builds reach no Debian mirror from this engine's network")
    assert ran.code == 0, ran.err
    greeted = server.call("/function/script", b'{"name": "Ada"}', headers={"Content-Type": "application/json"})
    assert greeted.json() == {"hello": "Ada"}
    (folder / "handler.js").rename(folder / "handlr.js")
    ran = server.faasctl("up", cwd=folder.parent)
    assert (ran.code, "error[handler-missing]" in ran.err) == (1, True), ran.err
    (folder / "handler.js").write_text("module.exports = async () => {\n  retrn 7\n}\n")
    ran = server.faasctl("up", cwd=folder.parent)
    assert (ran.code, "error[handler-syntax]" in ran.err, "handler.js:2" in ran.err) == (1, True, True), ran.err
