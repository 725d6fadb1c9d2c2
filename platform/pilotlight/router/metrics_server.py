"""/metrics and /healthz on a socket of their own, so that a scrape needs no credentials and callers see no counts."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from pilotlight_runtime.http1 import ProtocolError, RequestHead, RequestParser, response_head

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


async def serve(listener: socket.socket, render: Callable[[], str]) -> asyncio.AbstractServer:
    return await asyncio.get_running_loop().create_server(lambda: _Scrape(render), sock=listener)


class _Scrape(asyncio.Protocol):
    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render
        self._head: RequestHead
        self._transport: asyncio.Transport
        self._parser = RequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            self._answer(error.status, error.sentence, keep=False)

    def on_request(self, head: RequestHead) -> None:
        self._head = head
        if head.has_body:
            self._answer(400, "No body is expected here.\n", keep=False)

    def on_body(self, data: bytes) -> None:
        """Refused already."""

    def on_end(self) -> None:
        if self._head.has_body:
            return
        path, keep = self._head.target.partition(b"?")[0], self._head.keep_alive
        if path == b"/metrics":
            self._answer(200, self._render(), keep=keep)
        elif path == b"/healthz":
            self._answer(200, "OK", keep=keep)
        else:
            self._answer(404, "There are /metrics and /healthz here.\n", keep=keep)

    def _answer(self, status: int, text: str, *, keep: bool) -> None:
        body = text.encode()
        headers = [(b"Content-Type", _TEXT), (b"Content-Length", b"%d" % len(body))]
        if not keep:
            headers.append((b"Connection", b"close"))
        self._transport.write(response_head(status, headers) + body)
        if keep:
            self._parser.next()
        else:
            self._transport.close()
