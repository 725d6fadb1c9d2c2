"""Real engines that some tests need: skipped with a reason where there is none, failed where one was promised.

PILOTLIGHT_REQUIRE=docker,kubernetes,registry makes a missing one a failure: for machines that are meant to have it.
`registry` is Debian's docker-registry (see tests/registries.py).
"""

import io
import os
import tarfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine, connect

BASE_IMAGE = "python:3.11-slim"
TEST_IMAGE = "pilotlight-test-server:1"
_SERVER = b'''
"""Prints the body of each request; /exit/N, /fork, /eat and /write do what their names say."""
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        status, text = 200, ""
        try:
            text = self.act(body) or ""
        except Exception as error:
            status, text = 500, repr(error)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
    do_GET = do_POST = answer
    def act(self, body):
        what, _, rest = self.path[1:].partition("/")
        if what == "exit":
            os._exit(int(rest))
        if what == "eat":
            kept = bytearray(int(rest) * 2**20)
            return str(sum(kept[::4096]))
        if what == "eval":
            return repr(eval(body))
        if what == "err":
            print(body, file=sys.stderr, flush=True)
        elif body:
            print(body, flush=True)
    def log_message(self, *args):
        pass

if os.environ.get("DIE"):
    sys.exit("no: " + os.environ["DIE"])
if os.environ.get("STUBBORN"):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(float(os.environ.get("SLOW") or 0))
ThreadingHTTPServer(("", 8080), Server).serve_forever()
'''
_DOCKERFILE = f'FROM {BASE_IMAGE}\nCOPY server.py /server.py\nCMD ["python3", "-u", "/server.py"]\n'.encode()


def missing(what: str, why: str) -> None:
    """Skips the test, or fails it where the engine was promised."""
    if what in os.environ.get("PILOTLIGHT_REQUIRE", "").split(","):
        pytest.fail(f"PILOTLIGHT_REQUIRE names {what}, and {why}")
    pytest.skip(why)


@cache
def _docker() -> Engine | str:
    try:
        engine = connect(None, call_seconds=60)
        engine.do(build_test_image)
    except Exception as error:
        return f"there is no Docker engine for it: {error.detail if isinstance(error, PilotlightError) else error}"
    return engine


def docker_engine() -> Engine:
    """An engine with the image that tests run; once for a whole session."""
    found = _docker()
    if isinstance(found, str):
        missing("docker", found)
    assert isinstance(found, Engine)
    return found


def build_test_image(client: object) -> None:
    """A server of a few lines, on a base image that is there: without a network, and only once."""
    build = client.build(  # type: ignore[attr-defined]
        fileobj=context({"Dockerfile": _DOCKERFILE, "server.py": _SERVER}), custom_context=True, tag=TEST_IMAGE, rm=True
    )
    said = b"".join(build)
    assert b"Successfully" in said, said.decode()


ENVIRONMENT_IMAGE = "pilotlight-test-environment:1"
_ENVIRONMENT = f"""FROM {BASE_IMAGE}
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --create-home --home-dir /home/app app \\
 && python3 -m venv --without-pip /opt/environment
COPY runtime/ /opt/pilotlight/runtime/
""".encode()


@cache
def environment_image() -> str:
    """An environment of ours without packages: what a pool's spares run."""
    files = {"Dockerfile": _ENVIRONMENT}
    for package in ("pilotlight_runtime", "uvloop", "httptools"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                files[f"runtime/{package}/{path.relative_to(folder)}"] = path.read_bytes()

    def verb(client: object) -> bytes:
        build = client.build(  # type: ignore[attr-defined]
            fileobj=context(files), custom_context=True, tag=ENVIRONMENT_IMAGE, rm=True, network_mode="none"
        )
        return b"".join(build)

    said = docker_engine().do(verb)
    assert b"Successfully" in said, said.decode()
    return ENVIRONMENT_IMAGE


def context(files: dict[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    packed.seek(0)
    return packed
