"""What a browser is told of who may call a function."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.spec import Cors
from pilotlight.router.cors import Sharing
from pilotlight_runtime.http1 import RequestHead, ResponseHead

APP = "https://app.example.org"


def asks(method: str = "OPTIONS", **headers: str) -> RequestHead:
    head = RequestHead()
    head.method = method.encode()
    head.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    head.noted = {}
    return head


def preflight(cors: Cors, **headers: str) -> dict[str, str] | None:
    answer = Sharing(cors).preflight(asks(**headers), b"")
    if answer is None:
        return None
    status, *lines = answer.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 204 No Content"
    return dict(line.split(": ", 1) for line in lines)


def lines_of(data: bytes) -> list[str]:
    return data.decode().split("\r\n")[:-1]


def test_a_page_that_may_is_told_what_it_may() -> None:
    cors = Cors(origins=(APP,), methods=("GET", "POST"), headers=("X-Mine",), credentials=True, max_age_seconds=60)
    assert preflight(cors, Origin=APP, Access_Control_Request_Method="POST") == {
        "Vary": "Origin, Access-Control-Request-Headers",
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "X-Mine",
        "Access-Control-Max-Age": "60",
    }


def test_a_page_that_may_not_is_told_nothing() -> None:
    told = preflight(Cors(origins=(APP,)), Origin="https://evil.example", Access_Control_Request_Method="POST")
    assert told == {"Vary": "Origin, Access-Control-Request-Headers"}


def test_without_a_list_a_page_may_set_what_it_asks_for() -> None:
    told = preflight(
        Cors(origins=("*",)),
        Origin=APP,
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="x-a, x-b",
    )
    assert told is not None
    assert (told["Access-Control-Allow-Origin"], told["Access-Control-Allow-Headers"]) == ("*", "x-a, x-b")


@pytest.mark.parametrize(
    "head",
    [
        asks(Origin=APP),
        asks(Access_Control_Request_Method="GET"),
        asks("GET", Origin=APP, Access_Control_Request_Method="GET"),
    ],
)
def test_other_requests_are_no_preflights(head: RequestHead) -> None:
    assert Sharing(Cors(origins=("*",))).preflight(head, b"") is None


def test_an_answer_names_the_origin_and_what_may_be_read() -> None:
    assert lines_of(Sharing(Cors(origins=(APP,))).lines(asks("GET", Origin=APP))) == [
        "Vary: Origin",
        f"Access-Control-Allow-Origin: {APP}",
        "Access-Control-Expose-Headers: X-Call-Id, Server-Timing",
    ]


def test_a_cache_is_warned_also_by_an_answer_to_nobody_special() -> None:
    sharing = Sharing(Cors(origins=(APP,)))
    assert lines_of(sharing.lines(asks("GET"))) == ["Vary: Origin"]
    assert lines_of(sharing.lines(asks("GET", Origin="https://evil.example"))) == ["Vary: Origin"]


def test_the_functions_own_cors_headers_give_way() -> None:
    response = ResponseHead()
    response.headers = [(b"X-Mine", b"1"), (b"access-control-allow-origin", b"*"), (b"Vary", b"Accept")]
    lines = lines_of(Sharing(Cors(origins=("*",), expose=())).rewritten(asks("GET", Origin=APP), response))
    assert lines == ["X-Mine: 1", "Vary: Accept", "Access-Control-Allow-Origin: *"]


@given(st.binary(max_size=60).filter(lambda value: not re.search(rb"[\r\n]", value)), st.booleans())
def test_only_the_listed_origins_are_ever_echoed(origin: bytes, preflighted: bool) -> None:
    sharing = Sharing(Cors(origins=(APP,)))
    head = asks()
    head.headers = [(b"origin", origin), (b"access-control-request-method", origin)]
    answer = sharing.preflight(head, b"") if preflighted else sharing.lines(head)
    assert (b"Allow-Origin" in (answer or b"")) == (origin.lower() == APP.encode())


@given(st.binary(max_size=60))
def test_no_request_makes_a_header_of_its_own(wanted: bytes) -> None:
    head = asks(Origin=APP, Access_Control_Request_Method="GET")
    head.headers.append((b"access-control-request-headers", wanted))
    answer = Sharing(Cors(origins=("*",))).preflight(head, b"")
    assert answer is not None
    names = {line.partition(":")[0] for line in lines_of(answer)[1:-1]}
    assert names <= {"Vary", *(f"Access-Control-{word}" for word in ("Allow-Origin", "Allow-Methods", "Max-Age"))} | {
        "Access-Control-Allow-Headers"
    }
