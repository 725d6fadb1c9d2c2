"""A stand-in for the router: records what it is asked and answers as a test says."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The client's port."""


@dataclass
class Gateway:
    url: str
    asked: list[Asked] = field(default_factory=list)
    status: int = 200
    body: bytes = b"answer"
    keep_alive: bool = True
    wait: threading.Event | None = None
    """Nothing is answered before it is set."""


@contextlib.contextmanager
def gateway() -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    stand_in = Gateway(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(stand_in)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stand_in
    finally:
        if stand_in.wait is not None:
            stand_in.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(stand_in: Gateway) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stand_in.asked.append(Asked(self.command, self.path, headers, body, self.client_address[1]))
            if stand_in.wait is not None:
                stand_in.wait.wait(20)
            with contextlib.suppress(OSError):  # the caller may have given up
                self._answer()

        do_GET = do_POST = do_HEAD = do_PUT = handle_any

        def _answer(self) -> None:
            self.send_response(stand_in.status)
            self.send_header("Content-Length", str(len(stand_in.body)))
            self.send_header("X-Kind", "stand-in")
            if not stand_in.keep_alive:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(stand_in.body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
