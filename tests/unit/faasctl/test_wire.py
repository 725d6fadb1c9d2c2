"""HTTP/1.1 as faasctl reads and writes it: every framing, every cut, and nothing that a caller could smuggle in."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.wire import ANSWER_BYTES, Body, Connection, Cut, NotHttp, Response, TooLong, connect

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def answered(data: bytes) -> Iterator[Connection]:
    """A connection whose other end has sent these bytes and closed."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=_send, args=(theirs, data))
    sender.start()
    connection = Connection(ours, "host:1", "tests")
    try:
        yield connection
    finally:
        connection.close()
        sender.join()


def _send(sock: socket.socket, data: bytes) -> None:
    with sock, suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def ask(connection: Connection, method: str = "GET") -> Response:
    return connection.request(method, "/", {}, None, 5.0)


def body_of(data: bytes) -> bytes:
    with answered(data) as connection:
        return ask(connection).read()


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabcrest", b"abc"),
        (OK + b"Content-Length: 3, 3\r\n\r\nabc", b"abc"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", b"a"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200\nContent-Length: 1\n\na", b"a"),
    ],
)
def test_a_body_ends_where_its_framing_says(data: bytes, body: bytes) -> None:
    assert body_of(data) == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"Content-Length: 5\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        OK + b"Transfer-Enc",
    ],
)
def test_what_ends_too_early_is_a_cut(data: bytes) -> None:
    with pytest.raises(Cut):
        body_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b" Folded: x\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1, 2\r\n\r\nab",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        OK + b"X: a\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + OK + b"Content-Length: 1\r\n\r\na",
    ],
)
def test_what_is_no_http_is_told(data: bytes) -> None:
    with pytest.raises(NotHttp):
        body_of(data)


@pytest.mark.parametrize("size", [0, 5, ANSWER_BYTES])
def test_an_answer_is_read_whole_up_to_its_bound(size: int) -> None:
    with answered(OK + b"\r\n" + bytes(size)) as connection:
        assert len(ask(connection).whole()) == size


def test_more_is_not_read() -> None:
    endless = OK + b"\r\n" + bytes(ANSWER_BYTES + 1)
    with answered(endless) as connection, pytest.raises(TooLong):
        ask(connection).whole()
    with answered(endless) as connection, pytest.raises(TooLong):
        list(ask(connection).lines())


def test_lines_are_found_across_blocks() -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"a", b"b\nc\n", b"\nd", b"\n")) + b"0\r\n\r\n"
    with answered(OK + b"Transfer-Encoding: chunked\r\n\r\n" + data) as connection:
        assert list(ask(connection).lines()) == [b"ab", b"c", b"", b"d"]


def test_a_tls_alert_is_recognised() -> None:
    with pytest.raises(NotHttp, match="TLS"):
        body_of(b"\x15\x03\x01\x00\x02\x02\x46")


def test_an_answer_to_head_has_no_body() -> None:
    with answered(OK + b"Content-Length: 7\r\n\r\n") as connection:
        assert ask(connection, "HEAD").read() == b""


def test_a_connection_serves_one_request_after_the_other() -> None:
    with answered((OK + b"Content-Length: 1\r\n\r\na") * 2) as connection:
        assert ask(connection).read() == b"a"
        assert not connection.closed
        assert ask(connection).read() == b"a"


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\na",
        OK + b"\r\na",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    ],
)
def test_a_connection_that_ends_is_not_used_again(data: bytes) -> None:
    with answered(data) as connection:
        assert ask(connection).read() == b"a"
        assert connection.closed


def test_only_as_much_is_read_as_was_asked_for() -> None:
    with answered(OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000) as connection:
        assert ask(connection).read(10) == b"x" * 10
        assert connection.closed


def test_lines_are_whole_or_a_cut() -> None:
    with answered(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\na\nb\n\r\n0\r\n\r\n") as connection:
        assert list(ask(connection).lines()) == [b"a", b"b"]
    with answered(OK + b"Content-Length: 3\r\n\r\na\nb") as connection, pytest.raises(Cut):
        list(ask(connection).lines())


def test_headers_are_found_in_any_case() -> None:
    with answered(OK + b"X-One:  a \r\nx-one: b\r\nContent-Length: 0\r\n\r\n") as connection:
        response = ask(connection)
    assert response.headers.get("X-ONE") == "a, b"
    assert response.headers.get("other", "-") == "-"


def sent(method: str, body: Body, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of one request."""
    ours, theirs = socket.socketpair()
    theirs.sendall(OK + b"Content-Length: 0\r\n\r\n")
    with theirs, theirs.makefile("rb") as file:
        connection = Connection(ours, "host:1", "tests")
        try:
            connection.request(method, "/a?b=c", headers or {}, body, 5.0)
        finally:
            connection.close()
        return file.read()


def test_a_request_says_how_long_its_body_is() -> None:
    assert sent("POST", b"abc").startswith(b"POST /a?b=c HTTP/1.1\r\nHost: host:1\r\n")
    assert sent("POST", b"abc").endswith(b"Content-Length: 3\r\n\r\nabc")
    assert b"Content-Length: 0\r\n" in sent("PUT", None)
    assert b"Content-Length" not in sent("GET", None)


def test_a_body_without_a_length_goes_in_chunks() -> None:
    data = sent("POST", iter([b"abc", b"", b"de"]))
    assert data.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")


def test_a_file_whose_length_is_given_goes_as_it_is() -> None:
    assert sent("POST", BytesIO(b"abc"), {"Content-Length": "3"}).endswith(b"Content-Length: 3\r\n\r\nabc")


@pytest.mark.parametrize("headers", [{"X": "a\r\nEvil: b"}, {"X\n": "a"}, {"X": "a\0"}])
def test_no_header_makes_another_one(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        sent("GET", None, headers)


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        both = [(*stream, ("127.0.0.2", port)), (*stream, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: both)
        with connect("two.example", port, 5.0) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


def test_a_name_service_that_is_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: answers.wait(20) and [])
    with pytest.raises(socket.gaierror) as caught:
        connect("far.example", 1, 0.05)
    answers.set()
    assert caught.value.errno == socket.EAI_AGAIN


@given(data=st.binary(max_size=200), head=st.sampled_from([b"", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n"]))
def test_any_bytes_are_an_answer_a_cut_or_no_http(data: bytes, head: bytes) -> None:
    with suppress(Cut, NotHttp):
        body_of(head + data)


@given(blocks=st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_chunks_come_out_as_they_went_in(blocks: list[bytes]) -> None:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    assert body_of(OK + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n") == b"".join(blocks)
