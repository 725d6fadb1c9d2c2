"""The client's side of the wire, and what both sides write."""

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime import http1
from pilotlight_runtime.http1 import ProtocolError, ResponseParser

Parse = Callable[..., list[Any]]

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: s\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
UNTIL_END = b"HTTP/1.1 200 OK\r\n\r\nhi"
BODY = [("body", b"hi"), ("end",)]


def test_a_sized_response_keeps_the_connection(response: Parse) -> None:
    assert response(SIZED) == [(200, ((b"Server", b"s"),), True, True), *BODY]


def test_a_chunked_response_is_decoded(response: Parse) -> None:
    assert response(CHUNKED)[1:] == BODY


def test_a_body_without_a_length_ends_with_the_connection(response: Parse) -> None:
    assert response(UNTIL_END) == [(200, (), False, True), ("body", b"hi")]
    assert response(UNTIL_END, end=True) == [(200, (), False, True), *BODY]


@pytest.mark.parametrize("data", [b"", SIZED[:20], SIZED[:-1], CHUNKED[:-1]])
def test_a_connection_that_ends_too_early_is_an_error(response: Parse, data: bytes) -> None:
    with pytest.raises(ProtocolError, match="before the response was whole"):
        response(data, end=True)


def test_the_answer_to_head_has_no_body_whatever_it_says(response: Parse) -> None:
    assert response(SIZED[:-2], to_head=True)[-1] == ("end",)
    assert response(CHUNKED[: CHUNKED.index(b"2\r\nhi")], to_head=True)[-1] == ("end",)


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body_whatever_they_say(response: Parse, status: int) -> None:
    assert response(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status)[-1] == ("end",)


def test_an_interim_response_comes_before_the_response(response: Parse) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert response(data + SIZED) == [("interim", 100), ("interim", 103), *response(SIZED)]


def test_after_switching_protocols_all_bytes_are_given_on(response: Parse) -> None:
    data = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    assert response(data, b"\x00\r\n\r\n")[1:] == [("body", b"\x00\r\n\r\n")]


def test_bytes_after_the_response_are_an_error(response: Parse) -> None:
    for data in (SIZED, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"):
        with pytest.raises(ProtocolError, match="belong to no response"):
            response(data, b"HTTP/1.1 200 OK\r\n")
        with pytest.raises(ProtocolError, match="belong to no response"):
            response(data + b"HTTP/1.1 200 OK\r\n")


def test_bytes_after_a_response_are_never_taken_for_the_next_one() -> None:
    class Hasty:
        ended = 0

        def on_end(self) -> None:
            assert parser.overrun
            self.ended += 1
            parser.begin(self)

        def ignore(self, *_: object) -> None: ...

        on_response = on_interim = on_body = ignore

    user = Hasty()
    parser = ResponseParser()
    parser.begin(user)
    with pytest.raises(ProtocolError, match="belong to no response"):
        parser.feed(SIZED + SIZED)
    assert user.ended == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 20 X\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 300 + b"\r\n",
    ],
)
def test_what_is_no_response_becomes_502(response: Parse, data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        response(data)
    assert caught.value.status == 502


@given(
    st.sampled_from([SIZED, CHUNKED, b"HTTP/1.1 103 X\r\n\r\n" + UNTIL_END]), st.lists(st.integers(0, 80), max_size=9)
)
def test_any_split_of_a_response_tells_the_same(response: Parse, data: bytes, cuts: list[int]) -> None:
    pieces = [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
    assert response(*pieces, end=True) == response(data, end=True)


@given(st.binary(max_size=300))
def test_a_garbled_response_raises_nothing_but_protocol_errors(response: Parse, data: bytes) -> None:
    for before in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:-9]):
        with suppress(ProtocolError):
            response(before, data, b"\r\n\r\n", end=True)


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_chunks_that_we_write_are_chunks_that_we_read(response: Parse, pieces: list[bytes]) -> None:
    head = http1.response_head(200, [(b"Transfer-Encoding", b"chunked")])
    events = response(head, *map(http1.chunk, pieces), http1.LAST_CHUNK)
    assert events[1:-1] == ([("body", b"".join(pieces))] if pieces else [])


def test_heads_are_written_as_they_are_read(response: Parse) -> None:
    assert http1.response_head(200, [(b"Content-Length", b"2"), (b"Server", b"s")]) + b"hi" == SIZED


@pytest.mark.parametrize(
    ("name", "value", "fine"),
    [
        (b"X-A", b"b c", True),
        (b"X A", b"b", False),
        (b"", b"b", False),
        (b"A", b"b\r\nC: d", False),
        (b"A", b"\0", False),
    ],
)
def test_a_header_that_would_end_its_line_is_told(name: bytes, value: bytes, fine: bool) -> None:
    assert http1.is_header(name, value) is fine


def test_every_status_has_a_line() -> None:
    assert http1.STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
    assert http1.STATUS_LINES[599] == b"HTTP/1.1 599 Unknown\r\n"
