"""What an ASGI application is told of a request, and what of its answer is taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.contracts import BadAnswer, RawHeaders, Request
from pilotlight_runtime.contracts.asgi import Exchange, scope_of
from pilotlight_runtime.http1 import is_header


class Recorded:
    """A hearer that keeps what was said."""

    gone = False

    def __init__(self) -> None:
        self.head: tuple[int, RawHeaders, int | None] | None = None
        self.pieces: list[tuple[bytes, bool]] = []

    def begin(self, status: int, headers: RawHeaders, length: int | None) -> None:
        self.head = (status, headers, length)

    async def say(self, piece: bytes, *, last: bool) -> None:
        self.pieces.append((piece, last))

    async def left(self) -> None:
        self.gone = True


def a_request(target: bytes = b"/", headers: RawHeaders | None = None, *, http10: bool = False) -> Request:
    return Request(b"GET", target, headers or [], b"body", "c1", http10)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        (b"example.org", ("example.org", None)),
        (b"example.org:81", ("example.org", 81)),
        (b"[::1]:81", ("[::1]", 81)),
        (b"", None),
    ],
)
def test_the_server_is_the_host(host: bytes, server: tuple[str, int | None] | None) -> None:
    assert scope_of(a_request(headers=[(b"Host", host)] if host else []), "")["server"] == server


def test_what_is_not_known_is_not_made_up() -> None:
    scope = scope_of(a_request(http10=True), "")
    assert (scope["client"], scope["server"], scope["scheme"], scope["http_version"]) == (None, None, "http", "1.0")


def test_header_names_are_in_lower_case_and_in_order() -> None:
    headers = [(b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3")]
    assert scope_of(a_request(headers=headers), "")["headers"] == [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]


@given(st.binary(max_size=60).map(lambda data: b"/" + data.translate(None, b" \r\n")))
def test_any_target_is_below_the_root_path(target: bytes) -> None:
    scope = scope_of(a_request(target), "/function/f")
    assert scope["raw_path"] == b"/function/f" + target.partition(b"?")[0]
    assert scope["path"].startswith("/function/f/")
    assert scope["query_string"] == target.partition(b"?")[2]


async def test_the_body_comes_once_and_then_the_end() -> None:
    exchange = Exchange(a_request(), Recorded())
    assert await exchange.receive() == {"type": "http.request", "body": b"body", "more_body": False}
    assert await exchange.receive() == {"type": "http.disconnect"}


async def test_headers_that_frame_an_answer_are_ours() -> None:
    hearer = Recorded()
    headers = [[b"X-A", b"1"], (b"Content-Length", b"4"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close")]
    exchange = Exchange(a_request(), hearer)
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": bytearray(b"ab"), "more_body": True})
    await exchange.send({"type": "http.response.body"})
    assert hearer.head == (200, [(b"X-A", b"1")], 4)
    assert hearer.pieces == [(b"ab", False), (b"", True)]


NAMES_AND_VALUES = st.one_of(st.binary(max_size=8), st.text(max_size=4), st.integers(0, 3), st.none())


@given(st.lists(st.one_of(st.tuples(NAMES_AND_VALUES, NAMES_AND_VALUES), NAMES_AND_VALUES), max_size=3))
async def test_no_header_can_break_a_head(headers: list[Any]) -> None:
    hearer = Recorded()
    try:
        await Exchange(a_request(), hearer).send({"type": "http.response.start", "status": 200, "headers": headers})
    except BadAnswer:
        assert hearer.head is None
    else:
        assert hearer.head is not None
        assert all(is_header(*header) for header in hearer.head[1])
