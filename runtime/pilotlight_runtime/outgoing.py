"""Calls of other functions by a handler: `context.call(...)`, and `pilotlight_runtime.call(...)` for every contract.

One name for sync and async handlers: in a thread it waits and gives the reply; on an event loop it gives the reply to
be awaited. A call carries the id of the call that it is made in, and how deep it is, and waits no longer than that one
may take.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Coroutine, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from pilotlight_runtime import http1, logs, outgoing_wire
from pilotlight_runtime.contracts import DEFAULT_NAMESPACE
from pilotlight_runtime.current import surroundings
from pilotlight_runtime.outgoing_wire import Address, Failed, Received

GATEWAY = "PILOTLIGHT_GATEWAY"
DEFAULT_SECONDS = 60.0
"""Outside of calls (in `init`, say), where nothing else bounds the wait."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?")
_SAFE_IN_TARGET = "/?&=%:@!$'()*+,;~[]"
_SENTENCES = ("error", "detail", "errorMessage", "message")


class CallFailed(Exception):
    """There is no reply, or `raise_for_status` met one that is no success; the sentence says why."""

    def __init__(self, function: str, sentence: str, reply: "Reply | None" = None) -> None:
        super().__init__(f"the call of {function} failed: {sentence}")
        self.function = function
        self.reply = reply
        """None when nothing came back."""


class ReplyHeaders(Mapping[str, str]):
    """Names are compared without case; of repeated ones the values are joined by commas."""

    def __init__(self, raw: http1.Headers) -> None:
        self._values: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").title(), value.decode("latin-1")
            self._values[key] = f"{self._values[key]}, {text}" if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.title()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"ReplyHeaders({self._values!r})"


class Reply:
    """What another function answered, whatever its status. In async code it must be awaited first."""

    def __init__(self, function: str, received: Received | None, pending: Coroutine[Any, Any, Received] | None) -> None:
        self._function = function
        self._received = received
        self._pending = pending

    def __await__(self) -> Generator[Any, None, "Reply"]:
        if self._received is None:
            pending, self._pending = self._pending, None
            if pending is None:
                raise RuntimeError(f"the call of {self._function} is awaited by somebody else, or failed before")
            self._received = yield from pending.__await__()
        return self

    @property
    def status(self) -> int:
        return self._here.status

    @property
    def headers(self) -> ReplyHeaders:
        return ReplyHeaders(self._here.headers)

    @property
    def body(self) -> bytes:
        return self._here.body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """ValueError when the body is no JSON."""
        return json.loads(self.body)

    def raise_for_status(self) -> "Reply":
        """Itself; CallFailed with the other's own sentence when the status is not 200 to 299."""
        if not self.ok:
            raise CallFailed(self._function, f"it answered {self.status}: {self._sentence()}", self)
        return self

    @property
    def _here(self) -> Received:
        if self._received is None:
            raise RuntimeError(
                f"on an event loop a call must be awaited: `await context.call({self._function!r}, ...)`"
            )
        return self._received

    def _sentence(self) -> str:
        try:
            said = self.json()
        except ValueError:
            said = None
        if isinstance(said, dict):
            for name in _SENTENCES:
                if isinstance(sentence := said.get(name), str) and sentence:
                    return sentence
        return " ".join(self.text[:500].split()) or "without a word"

    def __repr__(self) -> str:
        state = "pending" if self._received is None else str(self._received.status)
        return f"<Reply of {self._function}: {state}>"


Body = bytes | bytearray | memoryview | str | dict[str, Any] | list[Any] | None


def call(
    name: str,
    body: Body = b"",
    *,
    method: str = "POST",
    path: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Reply:
    """Call the function `name` of this function's own namespace, or `name.namespace`.

    A dict or list is sent as JSON, str as UTF-8. `path` follows the name, with its query. `timeout` is in seconds; the
    time that the present call has left bounds it. Every answer is given as a Reply. Raises CallFailed when there is
    none, ValueError for what cannot be a call."""
    seconds = _seconds(timeout)
    address, data = _request(name, body, method, path, headers)
    to_head = method == "HEAD"
    if asyncio._get_running_loop() is not None:
        return Reply(name, None, _later(name, address, data, to_head, seconds))
    try:
        return Reply(name, outgoing_wire.exchange(address, data, to_head, seconds), None)
    except Failed as failed:
        raise CallFailed(name, str(failed)) from failed.__cause__


async def _later(name: str, address: Address, data: bytes, to_head: bool, seconds: float) -> Received:
    try:
        return await outgoing_wire.exchange_async(address, data, to_head, seconds)
    except Failed as failed:
        raise CallFailed(name, str(failed)) from failed.__cause__


def _seconds(timeout: float | None) -> float:
    deadline = surroundings.get().deadline
    left = DEFAULT_SECONDS if deadline is None else deadline - time.monotonic()
    if timeout is not None:
        left = timeout if deadline is None else min(timeout, left)
    return max(0.0, left)


def _request(name: str, body: Body, method: str, path: str, headers: Mapping[str, str] | None) -> tuple[Address, bytes]:
    """Where it goes, and its bytes."""
    address = _gateway(name)
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no function's name; write it as `name` or `name.namespace`")
    if not method.isascii() or not method.isalpha():
        raise ValueError(f"{method!r} is no HTTP method")
    function = name if "." in name else f"{name}.{os.environ.get('OPENFAAS_NAMESPACE', DEFAULT_NAMESPACE)}"
    rest = quote(path, safe=_SAFE_IN_TARGET)
    target = f"{address.prefix}/function/{function}{'' if not rest or rest[0] in '/?' else '/'}{rest}"
    data, content_type = _encoded(body)
    lines = _header_lines(headers, content_type)
    head = f"{method.upper()} {target} HTTP/1.1\r\nHost: {address.authority}\r\nContent-Length: {len(data)}\r\n"
    return address, head.encode("ascii") + http1.header_lines(lines) + b"\r\n" + data


def _header_lines(headers: Mapping[str, str] | None, content_type: bytes | None) -> http1.Headers:
    """The caller's own, but for those that frame the message, and ours."""
    lines: http1.Headers = []
    for name, value in (headers or {}).items():
        pair = (name.encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
        if not http1.is_header(*pair):
            raise ValueError(f"the header {name!r} has characters that may not stand in a header")
        if pair[0].lower() not in _OURS:
            lines.append(pair)
    if content_type is not None and not any(name.lower() == b"content-type" for name, _ in lines):
        lines.append((b"Content-Type", content_type))
    call_id = logs.current_call.get()
    if call_id != logs.NO_CALL:
        lines.append((b"X-Call-Id", call_id.encode("ascii")))
    lines.append((b"X-Pilotlight-Depth", b"%d" % (surroundings.get().depth + 1)))
    return lines


_OURS = http1.HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-call-id", b"x-pilotlight-depth"}


def _encoded(body: Body) -> tuple[bytes, bytes | None]:
    match body:
        case None:
            return b"", None
        case str():
            return body.encode(), b"text/plain; charset=utf-8"
        case bytes() | bytearray() | memoryview():
            return bytes(body), b"application/octet-stream" if body else None
        case dict() | list():
            return json.dumps(body).encode(), b"application/json"
    raise ValueError(
        f"a body of type {type(body).__name__}; it may be bytes, str, or a dict or list, which becomes JSON"
    )


def _gateway(name: str) -> Address:
    url = os.environ.get(GATEWAY)
    if not url:
        raise CallFailed(name, f"{GATEWAY} is not set, which a Pilotlight server does for its functions")
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise CallFailed(name, f"{GATEWAY} is {url!r}; it must be written as http://HOST:PORT")
    return Address(parts.hostname, port, parts.netloc, parts.path.rstrip("/"))
