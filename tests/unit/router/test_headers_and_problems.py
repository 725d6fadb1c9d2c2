"""What the router adds to heads, and how it says no."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.router import problems
from pilotlight.router.headers import REQUEST_NOTED, CallIds, forwarded
from pilotlight_runtime.http1 import RequestHead, RequestParser


def head_of(data: bytes) -> RequestHead:
    """The one head in the data."""

    class User:
        head: RequestHead

        def on_request(self, head: RequestHead) -> None:
            self.head = head

        def on_body(self, data: bytes) -> None: ...

        def on_end(self) -> None: ...

    user = User()
    RequestParser(user, noted=REQUEST_NOTED).feed(data)
    return user.head


def test_ids_do_not_repeat_over_blocks() -> None:
    ids = CallIds()
    made = {ids.of(None) for _ in range(10_000)}
    assert len(made) == 10_000


@given(st.binary(max_size=200))
def test_what_a_caller_gives_as_id_is_taken_only_when_it_can_do_no_harm(given: bytes) -> None:
    call_id = CallIds().of(given)
    assert 0 < len(call_id) <= 128
    assert call_id.replace(b".", b"").replace(b"_", b"").replace(b"-", b"").isalnum() or call_id == given
    assert b"\r" not in call_id


@pytest.mark.parametrize(
    "data",
    [
        b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nA: 1\r\nA: 2\r\nContent-Type: t\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-Forwarded-Proto: https\r\n\r\n",
        b"GET http://other/x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_what_is_passed_on_means_the_same(data: bytes) -> None:
    before = head_of(data)
    after = head_of(forwarded(before, before.target, b"1.2.3.4", b""))
    for name in ("method", "target", "headers", "content_length", "has_body", "upgrade"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.noted[b"x-forwarded-for"] == b"1.2.3.4"
    assert after.noted[b"x-forwarded-proto"] == before.noted.get(b"x-forwarded-proto", b"http")
    assert after.noted.get(b"content-type") == before.noted.get(b"content-type")


def test_a_problem_is_json_with_all_that_a_caller_needs() -> None:
    response = problems.queue_full(7).response(call_id=b"id", to_head=False, lines=b"Connection: close\r\n")
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nX-Pilotlight-Limit: queue\r\n" in head
    assert b"\r\nRetry-After: 1\r\n" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert {"type", "title", "status", "detail", "hint", "call_id"} == json.loads(body).keys()


def test_a_problem_for_head_has_no_body() -> None:
    response = problems.no_routes(1.0).response(call_id=None, to_head=True)
    assert response.endswith(b"\r\n\r\n")
    assert b"Connection: close" not in response


@pytest.mark.parametrize(("asked", "meant"), [("helo", "`hello`"), ("zzz", None)])
def test_an_unknown_name_is_answered_with_those_near_to_it(asked: str, meant: str | None) -> None:
    hint = problems.function_not_found(asked, ["hello", "world"]).hint
    assert ("Did you mean" in hint) is (meant is not None)
    assert meant is None or meant in hint
