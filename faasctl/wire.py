"""HTTP/1.1 over one socket, one request at a time: what a command needs of it, and no more.

Importing http.client takes 20 ms (it brings email.parser and ssl along), a quarter of `faasctl list`; and a refused
connection should not wait for it. TLS is imported for https alone. tests/bench/cli.py has the figures.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from time import monotonic
from typing import IO, Any

Body = bytes | IO[bytes] | Iterator[bytes] | None
Sent = Mapping[str, str | list[str]]
"""Header lines by name; a list is a line for each."""
BLOCK_BYTES = 1 << 16
ANSWER_BYTES = 1 << 26
"""Of an answer, or a line of a stream, that is read as one piece: far more than any list of functions has."""
_LINE_BYTES, _HEADER_LINES, _INTERIM_ANSWERS = 1 << 16, 200, 100
_WITH_BODY = ("POST", "PUT", "PATCH")


class NotHttp(Exception):
    """What answered does not speak HTTP/1."""


class TooLong(Exception):
    """What is to be read as one piece is larger than ANSWER_BYTES."""


class Cut(ConnectionError):
    """The connection ended in the middle of an answer, or before one."""


class Headers:
    """An answer's header lines; names in any case."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str, default: str = "") -> str:
        """Several lines of one name are one list."""
        found = [value for key, value in self._pairs if key.lower() == name.lower()]
        return ", ".join(found) if found else default

    def items(self) -> list[tuple[str, str]]:
        return self._pairs


def dial(host: str, port: int, *, tls: bool, seconds: float) -> socket.socket:
    """A connection, its handshake done; raises what socket and ssl raise."""
    sock = connect(host, port, seconds)
    return secured(sock, host) if tls else sock


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """To the first of its addresses that takes us; all of it, the name's look-up included, within `seconds`."""
    deadline = monotonic() + seconds
    addresses = _addresses(host, port, seconds)
    failure: OSError = TimeoutError()
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        left = (deadline - monotonic()) / (
            len(addresses) - number
        )  # one that swallows packets leaves time for the rest
        if left <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            sock.settimeout(seconds)  # for a handshake
            return sock
    raise failure


def _addresses(host: str, port: int, seconds: float) -> list[Any]:
    """What the name stands for. A name service that is away is waited for no longer than for anything else."""
    # As bytes: the codec for international names takes 2 ms to import, and an address in ASCII needs none of it.
    name = host.encode("ascii" if host.isascii() else "idna")
    if host == "localhost" or ":" in host or host[-1:].isdigit():
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    from threading import Thread

    found: list[list[Any] | OSError] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    looking = Thread(target=look_up, daemon=True)
    looking.start()
    looking.join(seconds)
    result = found[0] if found else socket.gaierror(socket.EAI_AGAIN, "no answer")
    if isinstance(result, OSError):
        raise result
    return result


def secured(sock: socket.socket, host: str) -> socket.socket:
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


class Connection:
    def __init__(
        self, sock: socket.socket, host: str, agent: str, *, prefix: str = "", more: Mapping[str, str] | None = None
    ) -> None:
        """`prefix` comes before each target, as a proxy wants it, and `more` are further header lines."""
        self._sock = sock
        self._reader: BufferedReader = sock.makefile("rb", BLOCK_BYTES)  # type: ignore[assignment]
        self._own = {"Host": host, "User-Agent": agent, "Accept-Encoding": "identity", **(more or {})}
        self._prefix = prefix
        self.closed = False
        self.answers = 0

    def close(self) -> None:
        self.closed = True
        self._reader.close()
        self._sock.close()

    def request(self, method: str, target: str, headers: Sent, body: Body, seconds: float | None) -> "Response":
        """Send it and read the answer's head; `seconds` bounds each silence, TimeoutError tells of one."""
        self._sock.settimeout(seconds)
        sent: dict[str, str | list[str]] = {**self._own, **headers}
        framed = {name.lower() for name in sent}
        chunked = False
        if isinstance(body, bytes) or (body is None and method in _WITH_BODY):
            sent["Content-Length"] = str(len(body or b""))
        elif body is not None and "content-length" not in framed:
            sent["Transfer-Encoding"], chunked = "chunked", True
        # The server may have refused the rest of a large body; then its answer is there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(_head(method, self._prefix + target, sent), body, chunked=chunked)
        response = Response(self, self._reader, to_head=method == "HEAD")
        self.answers += 1
        return response

    def _send(self, head: bytes, body: Body, *, chunked: bool) -> None:
        if body is None or isinstance(body, bytes):
            self._sock.sendall(head + (body or b""))
            return
        self._sock.sendall(head)
        for block in _blocks_of(body):
            if block:
                self._sock.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            self._sock.sendall(b"0\r\n\r\n")


class Response:
    """An answer whose head is here; the body comes as it is asked for."""

    def __init__(self, connection: Connection, reader: BufferedReader, *, to_head: bool = False) -> None:
        self._connection, self._reader = connection, reader
        version, self.status, self.reason, self.headers = _read_head(reader)
        coding = self.headers.get("Transfer-Encoding").lower()
        self._chunked = coding != ""
        if coding not in ("", "chunked"):
            raise NotHttp(f"Transfer-Encoding: {coding}")
        self._left: int | None = None if self._chunked else _length(self.headers)
        if to_head or self.status in (204, 304):
            self._chunked, self._left = False, 0
        word = self.headers.get("Connection").lower()
        bounded = self._chunked or self._left is not None
        self._reusable = bounded and "close" not in word and (version == b"1" or "keep-alive" in word)
        self.done = False
        if self._left == 0:
            self._finish()

    def read(self, most: int | None = None) -> bytes:
        """The body, or its first `most` bytes."""
        parts: list[bytes] = []
        size = 0
        for block in self.blocks():
            parts.append(block)
            size += len(block)
            if most is not None and size >= most:
                self._abandon()
                break
        return b"".join(parts)[:most]

    def whole(self) -> bytes:
        """The body; raises TooLong."""
        body = self.read(ANSWER_BYTES + 1)
        if len(body) > ANSWER_BYTES:
            raise TooLong
        return body

    def blocks(self) -> Iterator[bytes]:
        """The body as it arrives, so that a stream is seen while it runs. Raises Cut."""
        if self.done:
            return
        yield from self._chunks() if self._chunked else self._plain()
        self._finish()

    def lines(self) -> Iterator[bytes]:
        """The body line by line; raises Cut for one without its end, and TooLong."""
        rest = bytearray()
        for block in self.blocks():
            *whole, last = block.split(b"\n")
            for line in whole:
                yield bytes(rest + line)
                rest.clear()
            rest += last
            if len(rest) > ANSWER_BYTES:
                raise TooLong
        if rest:
            raise Cut("the last line has no end")

    def _plain(self) -> Iterator[bytes]:
        while self._left != 0:
            block = self._some(BLOCK_BYTES if self._left is None else self._left)
            if not block:
                if self._left is None:
                    return
                raise Cut(f"{self._left} bytes are missing")
            if self._left is not None:
                self._left -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while left := self._chunk_size():
            while left:
                block = self._some(left)
                if not block:
                    raise Cut("in a chunk")
                left -= len(block)
                yield block
            if self._line().strip():
                raise NotHttp("a chunk that is longer than it says")
        while self._line().strip():
            pass  # trailers

    def _chunk_size(self) -> int:
        text = self._line().partition(b";")[0].strip()
        if not text or len(text) > 15 or text.strip(b"0123456789abcdefABCDEF"):
            raise NotHttp("a chunk without a size")
        return int(text, 16)

    def _some(self, most: int) -> bytes:
        return self._reader.read1(min(most, BLOCK_BYTES))

    def _line(self) -> bytes:
        return _line(self._reader)

    def _finish(self) -> None:
        self.done = True
        if not self._reusable:
            self._connection.close()

    def _abandon(self) -> None:
        self._reusable = False
        self._finish()


def _head(method: str, target: str, headers: Sent) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        lines += [f"{name}: {each}" for each in ([value] if isinstance(value, str) else value)]
    if any(character in line for line in lines for character in "\r\n\0") or target.count(" "):
        raise ValueError("a line break or a blank in a request's head")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _blocks_of(body: IO[bytes] | Iterator[bytes]) -> Iterator[bytes]:
    read = getattr(body, "read", None)
    return iter(body) if read is None else iter(lambda: read(BLOCK_BYTES), b"")


def _read_head(reader: BufferedReader) -> tuple[bytes, int, str, Headers]:
    """The first answer that is not merely on its way (1xx)."""
    for _ in range(_INTERIM_ANSWERS):
        first = reader.readline(_LINE_BYTES)
        if not first:
            raise Cut("no answer")
        protocol, _, rest = first.rstrip(b"\r\n").partition(b" ")
        code, _, reason = rest.partition(b" ")
        if protocol not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not code.isdigit() or code < b"100":
            raise NotHttp("a TLS alert" if first[:2] == b"\x15\x03" else "no status line")
        headers = _read_headers(reader)
        if not 100 <= int(code) < 200:
            return protocol[-1:], int(code), reason.decode("latin-1").strip(), headers
    raise NotHttp(f"{_INTERIM_ANSWERS} answers that are merely on their way")


def _read_headers(reader: BufferedReader) -> Headers:
    pairs: list[tuple[str, str]] = []
    for _ in range(_HEADER_LINES):
        line = _line(reader).rstrip(b"\r\n").decode("latin-1")
        if not line:
            return Headers(pairs)
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise NotHttp("a header line without a name")
        pairs.append((name, value.strip()))
    raise NotHttp(f"more than {_HEADER_LINES} header lines")


def _line(reader: BufferedReader) -> bytes:
    line = reader.readline(_LINE_BYTES)
    if not line.endswith(b"\n"):
        if len(line) < _LINE_BYTES:
            raise Cut("in a line")
        raise NotHttp("a line that is too long")
    return line


def _length(headers: Headers) -> int | None:
    text = headers.get("Content-Length")
    if not text:
        return None
    values = {value.strip() for value in text.split(",")}
    [value, *others] = values
    if others or not value.isascii() or not value.isdigit() or len(value) > 18:
        raise NotHttp(f"Content-Length: {text}")
    return int(value)
