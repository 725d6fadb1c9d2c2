"""The contract `http`: what a handler is given, and what it may answer."""

import http
import inspect
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.contracts import BadAnswer, Identity, RawHeaders, Request
from pilotlight_runtime.contracts.http import Event, Headers, HttpApplication, Query, answer_of, bind
from pilotlight_runtime.failures import LoadFailed
from pilotlight_runtime.http1 import is_header

IDENTITY = Identity("hello", "openfaas-fn", "7", "host")
TEXT: tuple[bytes, bytes] = (b"Content-Type", b"text/plain; charset=utf-8")
JSON: tuple[bytes, bytes] = (b"Content-Type", b"application/json")
BYTES: tuple[bytes, bytes] = (b"Content-Type", b"application/octet-stream")


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        (None, 200, [], b""),
        ("é", 200, [TEXT], "é".encode()),
        (b"x", 200, [BYTES], b"x"),
        (bytearray(b"x"), 200, [BYTES], b"x"),
        ({"a": 1}, 200, [JSON], b'{"a": 1}'),
        ([1], 200, [JSON], b"[1]"),
        ({"statusCode": 201, "body": "x"}, 201, [TEXT], b"x"),
        ({"statusCode": 204}, 204, [], b""),
        ({"statusCode": 200, "body": {"a": 1}, "headers": {"X-A": "b"}}, 200, [(b"X-A", b"b"), JSON], b'{"a": 1}'),
        (("x", 404), 404, [TEXT], b"x"),
        (("x", 404, {"content-type": "text/html"}), 404, [(b"content-type", b"text/html")], b"x"),
        ((None, 302, {"Location": "/"}), 302, [(b"Location", b"/")], b""),
        (("", http.HTTPStatus.CREATED, None), 201, [TEXT], b""),
        ((None, 200, {"Set-Cookie": ["a", "b"]}), 200, [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")], b""),
        ((None, 200, [("X-A", 1), ("X-A", 2.5)]), 200, [(b"X-A", b"1"), (b"X-A", b"2.5")], b""),
        ((None, 200, {"Content-Length": "9", "transfer-encoding": "chunked", "Connection": "close"}), 200, [], b""),
    ],
)
def test_an_answer_is_read(result: Any, status: int, headers: RawHeaders, body: bytes) -> None:
    answer = answer_of(result)
    assert (answer.status, answer.headers, answer.body) == (status, headers, body)


def test_iterators_are_bodies() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "x"

    assert isinstance(answer_of(iter(["x"])).body, Iterator)
    assert isinstance(answer_of((pieces(), 201)).body, AsyncIterator)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (5, "a value of type int; allowed are None, str"),
        ({1}, "a value of type set"),
        (("x",), "a tuple of 1 items"),
        (("x", 200, {}, 1), "a tuple of 4 items"),
        (("x", "200"), "the status '200'; it must be a number from 200 to 599"),
        (("x", True), "the status True"),
        (("x", 100), "the status 100"),
        (("x", 600), "the status 600"),
        ((5, 200), "a value of type int"),
        ({"a": {1}}, "a dict that is no JSON: Object of type set is not JSON serializable"),
        (("x", 200, 5), "headers of type int"),
        (("x", 200, ["abc"]), "headers of type list"),
        (("x", 200, {"X-A": None}), "the header 'X-A' with a value of type NoneType"),
        (("x", 200, {"X-A": "a\r\nSet-Cookie: b"}), "the header 'X-A' with characters that may not"),
        (("x", 200, {"X A": "b"}), "the header 'X A' with characters that may not"),
        (("x", 200, {"X-A": "€"}), "the header 'X-A' with characters outside of latin-1"),
    ],
)
def test_what_is_no_answer_is_named(result: Any, why: str) -> None:
    with pytest.raises(BadAnswer) as raised:
        answer_of(result)
    assert str(raised.value).startswith(why)


def test_a_coroutine_that_nobody_awaited_is_named() -> None:
    async def handle() -> None: ...

    coroutine = handle()
    with pytest.raises(BadAnswer, match="async def"):
        answer_of(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers())))
def test_no_header_of_a_handler_can_break_an_answer(headers: dict[str, Any]) -> None:
    try:
        answer = answer_of((None, 200, headers))
    except BadAnswer:
        return
    assert all(is_header(name, value) for name, value in answer.headers)


def test_an_event_shows_the_request() -> None:
    raw = [(b"Content-Type", b"a"), (b"X-Many", b"1"), (b"x-many", b"\xe9")]
    event = Event(Request(b"PUT", b"/a%2Fb%20c?q=1&q=%C3%A9&empty=", raw, b"body", "c1"))
    assert (event.method, event.path, event.body) == ("PUT", "/a/b c", b"body")
    assert (dict(event.query), event.query.getlist("q")) == ({"q": "1", "empty": ""}, ["1", "é"])
    assert event.headers["CONTENT-TYPE"] == "a"
    assert event.headers.getlist("X-MANY") == ["1", "é"]
    assert "nothing" not in event.headers
    assert event.headers.get("nothing") is None


@given(st.binary(max_size=50).map(lambda tail: b"/" + tail))
def test_no_target_is_too_odd(target: bytes) -> None:
    event = Event(Request(b"GET", target, [], b"", ""))
    assert event.path.startswith("/")
    assert isinstance(event.query, Query)


def test_mappings_say_what_they_hold() -> None:
    headers = Headers([(b"x-a", b"1"), (b"X-B", b"2")])
    assert (list(headers), len(headers), headers.getlist("none")) == (["X-A", "X-B"], 2, [])
    assert repr(headers) == "Headers({'X-A': ['1'], 'X-B': ['2']})"


def test_a_handler_is_told_where_it_runs() -> None:
    application = _application(handle=lambda event, context: context, init=lambda context: context)
    context: Any = application.call(Request(b"GET", b"/", [], b"", "c1"))
    assert (context.function, context.namespace, context.revision) == ("hello", "openfaas-fn", "7")
    assert (context.hostname, context.call_id) == ("host", "c1")
    assert application.init is not None
    assert application.init().call_id == ""


@pytest.mark.parametrize(
    ("init", "given"),
    [
        (lambda: "nothing", "nothing"),
        (lambda context: type(context).__name__, "Context"),
        (lambda context=None: type(context).__name__, "Context"),
        (lambda path="model": path, "model"),
    ],
)
def test_init_may_take_the_context_or_nothing(init: Any, given: str) -> None:
    application = _application(handle=lambda event, context: None, init=init)
    assert application.init is not None
    assert application.init() == given


def test_init_with_other_arguments_is_refused() -> None:
    with pytest.raises(LoadFailed, match="`init` must take no argument or one"):
        _application(handle=lambda event, context: None, init=lambda a, b: None)


async def _coroutine(event: Any, context: Any) -> None: ...


async def _generator(event: Any, context: Any) -> AsyncIterator[str]:
    yield ""


class _Callable:
    async def __call__(self, event: Any, context: Any) -> None: ...


@pytest.mark.parametrize(
    ("handle", "asynchronous"),
    [
        (_coroutine, True),
        (_generator, True),
        (_Callable(), True),
        (lambda event, context: None, False),
        (divmod, False),
    ],
)
def test_async_handlers_are_known_by_their_kind(handle: Any, asynchronous: bool) -> None:
    assert _application(handle=handle).asynchronous is asynchronous


def _application(**members: Any) -> HttpApplication:
    module = ModuleType("function.handler")
    vars(module).update(members)
    return bind(module, IDENTITY)
