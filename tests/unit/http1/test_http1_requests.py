"""The server's side of the wire: what a request is, and what is none."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.http1 import ProtocolError, RequestHead, RequestParser

Parse = Callable[..., list[Any]]

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"3;why=not\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS


def head_of(data: bytes) -> RequestHead:
    """The one head in the data."""

    class User:
        def on_request(self, head: RequestHead) -> None:
            self.head = head

        def on_body(self, data: bytes) -> None: ...

        def on_end(self) -> None: ...

    user = User()
    RequestParser(user).feed(data)
    return user.head


def refusal(data: bytes) -> int:
    with pytest.raises(ProtocolError) as caught:
        head_of(data)
    return caught.value.status


def test_a_get_is_a_head_and_an_end(requests: Parse) -> None:
    assert requests(GET) == [(b"GET", b"/a?b=c", ((b"X-One", b"1"),), ((b"host", b"x"),)), ("end",)]


def test_a_body_ends_where_its_length_says(requests: Parse) -> None:
    assert requests(POST + GET)[1:3] == [("body", b"hello"), ("end",)]
    assert requests(POST + GET)[3:] == requests(GET)


def test_chunks_are_joined_and_trailers_dropped(requests: Parse) -> None:
    assert requests(CHUNKED)[1:] == [("body", b"abc0123456789"), ("end",)]


def test_pipelined_requests_come_in_order(requests: Parse) -> None:
    assert requests(GET + CHUNKED + POST) == requests(GET) + requests(CHUNKED) + requests(POST)


def test_the_next_request_waits_until_it_is_asked_for() -> None:
    heads: list[RequestHead] = []

    class User:
        def on_request(self, head: RequestHead) -> None:
            heads.append(head)

        def on_body(self, data: bytes) -> None: ...

        def on_end(self) -> None: ...

    parser = RequestParser(User())
    parser.feed(GET + POST[:30])
    assert len(heads) == 1
    assert parser.held_bytes == 30
    parser.feed(POST[30:])
    parser.next()
    assert [head.method for head in heads] == [b"GET", b"POST"]


def test_empty_lines_before_a_request_are_ignored(requests: Parse) -> None:
    assert requests(b"\r\n\r\n" + GET + b"\r\n" + GET) == requests(GET) * 2


@given(st.lists(st.integers(0, len(GET + CHUNKED + POST)), max_size=12))
def test_any_split_of_the_bytes_tells_the_same(requests: Parse, cuts: list[int]) -> None:
    data = GET + CHUNKED + POST
    pieces = [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
    assert requests(*pieces) == requests(data)


@given(st.integers(0, 400), st.binary(max_size=4), st.integers(0, 6))
def test_a_damaged_request_is_refused_or_read_alike_in_every_split(
    requests: Parse, at: int, damage: bytes, gap: int
) -> None:
    data = POST + CHUNKED + GET
    data = data[:at] + damage + data[at + gap :]
    assert outcome(requests, [data]) == outcome(requests, [data[i : i + 1] for i in range(len(data))])


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_protocol_errors(requests: Parse, data: bytes) -> None:
    outcome(requests, [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", data])
    outcome(requests, [b"GET / HTTP/1.1\r\nHost: x\r\n", data, b"\r\n\r\n"])
    outcome(requests, [data, b"\r\n\r\n"])


def outcome(requests: Parse, pieces: list[bytes]) -> object:
    try:
        return requests(*pieces)
    except ProtocolError as error:
        return error.status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"HELLO / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 300, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(data: bytes, status: int) -> None:
    assert refusal(data) == status


def test_a_head_over_the_limit_is_refused_whole_or_in_pieces(requests: Parse) -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000
    for pieces in ([data], [data + b"\r\n\r\n"], [data[i : i + 100] for i in range(0, len(data), 100)]):
        with pytest.raises(ProtocolError) as caught:
            requests(*pieces)
        assert (caught.value.status, caught.value.limit) == (431, "header")


def test_too_many_headers_are_refused() -> None:
    assert refusal(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 300 + b"\r\n") == 431


def test_trailers_are_bounded() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: v\r\n" * 2000
    assert refusal(data) == 400


def test_after_a_refusal_nothing_more_is_read(requests: Parse) -> None:
    parser = RequestParser(object())  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        parser.feed(b"?")
    parser.feed(GET)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: x, close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_keep_alive_follows_version_and_connection(version: bytes, connection: bytes, kept: bool) -> None:
    assert head_of(b"GET / HTTP/%b\r\nHost: x\r\n%b\r\n" % (version, connection)).keep_alive is kept


def test_hop_by_hop_headers_and_those_named_by_connection_are_no_headers() -> None:
    head = head_of(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Gone, te\r\nx-gone: 1\r\nTE: trailers\r\nStays: 1\r\n\r\n"
    )
    assert head.headers == [(b"Stays", b"1")]


def test_connection_cannot_name_what_frames_the_message() -> None:
    head = head_of(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: host, content-length\r\nContent-Length: 3\r\n\r\n")
    assert (head.noted[b"host"], head.content_length) == (b"x", 3)


def test_a_continue_is_expected_only_of_http11() -> None:
    fields = b"Host: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
    assert head_of(b"PUT / HTTP/1.1\r\n" + fields).expect_continue
    assert not head_of(b"PUT / HTTP/1.0\r\n" + fields).expect_continue


def test_an_upgrade_needs_its_connection_option() -> None:
    fields = b"Host: x\r\nUpgrade: websocket\r\n"
    assert head_of(b"GET / HTTP/1.1\r\n" + fields + b"Connection: keep-alive, Upgrade\r\n\r\n").upgrade == b"websocket"
    assert head_of(b"GET / HTTP/1.1\r\n" + fields + b"\r\n").upgrade is None


@pytest.mark.parametrize("body", [b"hello", b"GET / HTTP/1.1\r\nHost: other\r\nX-Two: 2\r\n\r\n"])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_the_body_of_a_request_that_would_upgrade_is_a_body(requests: Parse, protocol: bytes, body: bytes) -> None:
    """Some clients ask for HTTP/2 with whatever they send first."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
    data = b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (upgrade, len(body), body)
    (_, _, headers, noted), *rest = requests(data + GET)
    assert (headers, dict(noted)[b"host"]) == ((), b"x")
    assert rest == [("body", body), ("end",), *requests(GET)]


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://h:1/a?b", b"/a?b"), (b"HTTPS://h", b"/"), (b"http://h?q", b"/?q"), (b"/a//b?c#d", b"/a//b?c#d")],
)
def test_targets_are_brought_into_origin_form(target: bytes, path: bytes) -> None:
    assert head_of(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target).target == path


def test_repeated_headers_stay_apart_unless_they_are_noted(requests: Parse) -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\nA: 1 \r\na: 2\r\nX-Call-Id: 1\r\nx-call-id: 2\r\n\r\n"
    (_, _, headers, noted), _ = requests(data)
    assert headers == ((b"A", b"1"), (b"a", b"2"))
    assert dict(noted)[b"x-call-id"] == b"1, 2"
