"""The real command line as a subprocess, against a small server that says what a test tells it to."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; with `cut` the connection ends without the answer's end."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    content_type: str = "application/json"

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Reply":
        return cls(status, json.dumps(value).encode())

    @classmethod
    def problem(cls, status: int, slug: str, detail: str, **members: object) -> "Reply":
        body = json.dumps({"type": slug, "status": status, "detail": detail, **members}).encode()
        return cls(status, body, content_type="application/problem+json")

    @classmethod
    def lines(cls, *values: object, cut: bool = False) -> "Reply":
        body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        return cls(200, body, content_type="application/x-ndjson", cut=cut)


Answer = Reply | Callable[[Request], Reply]
INFO = Reply.json({"name": "pilotlight", "version": "0.1.0", "provider": "process"})
BUILT = {"event": "built", "reference": "bundle/hello@sha256:abc", "environment": "3f9c1a77", "seconds": 0.05}


def deployed(name: str = "hello", revision: int = 1, **members: object) -> dict[str, object]:
    phases = {"claim": 0.5, "load": 4.6, "init": 0.6, "listen": 0.4}
    answer = {"function": {}, "revision": revision, "unchanged": False, "phases": phases, "applied": True}
    return answer | {"url": f"/function/{name}"} | members


class Scripted:
    """Answers by "METHOD /path"; what is not scripted is a 404 of the API. Keeps every request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"GET /api/v1/info": INFO}
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def secure(self, context: ssl.SSLContext) -> None:
        """From now on with TLS; the handshake is each connection's own thread's."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        missing = Reply.problem(404, "function-not-found", f"no {request.path}")
        found = self.answers.get(f"{request.method} {request.path}", missing)
        return found(request) if callable(found) else found

    def request(self, method: str, path: str) -> Request:
        """The last one to this path."""
        return [each for each in self.requests if (each.method, each.path) == (method, path)][-1]


def _handler(scripted: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            reply = scripted.answer(Request(self.command, parts.path, query, headers, self._body()))
            self.send_response(reply.status)
            for key, value in {"Content-Type": reply.content_type, **reply.headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body) + (10 if reply.cut else 0)))
            self.end_headers()
            with suppress(ConnectionError):  # a client may go in the middle
                self.wfile.write(reply.body)
            self.close_connection = self.close_connection or reply.cut

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs faasctl in a folder of its own, as a user without logins."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *arguments: str, stdin: bytes | None = None, **env: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "faasctl", *arguments],
            cwd=self.folder,
            env=self.env | env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=30,
            check=False,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err, err
        assert b"\x1b" not in done.stderr
        assert "invoke" in arguments or b"\x1b" not in done.stdout  # a function's answer is passed on as it is
        return Ran(done.returncode, done.stdout.decode(errors="replace"), err, done.stdout)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
