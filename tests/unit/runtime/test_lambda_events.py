"""API Gateway's proxy events and responses, versions 1.0 and 2.0."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.contracts import BadAnswer, RawHeaders, Request
from pilotlight_runtime.contracts.lambda_events import answer_v1, answer_v2, event_v1, event_v2

HEADERS: RawHeaders = [
    (b"Accept", b"text/html"),
    (b"X-Many", b"1"),
    (b"x-many", b"2"),
    (b"Cookie", b"a=1; b=2"),
    (b"User-Agent", b"curl/8"),
    (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2"),
    (b"Content-Type", b"application/json"),
    (b"Host", b"api.example.org:8080"),
]


def a_request(
    target: bytes = b"/shop/a%20b?x=1&x=2&y=%20z",
    body: bytes = b'{"a": 1}',
    headers: RawHeaders = HEADERS,
    method: bytes = b"POST",
) -> Request:
    return Request(method, target, headers, body, "call-1")


def test_version_2_is_as_an_http_api_sends_it() -> None:
    event = event_v2(a_request(), "shop")
    context = event.pop("requestContext")
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/shop/a%20b",
        "rawQueryString": "x=1&x=2&y=%20z",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "accept": "text/html",
            "x-many": "1,2",
            "user-agent": "curl/8",
            "x-forwarded-for": "1.1.1.1, 2.2.2.2",
            "content-type": "application/json",
            "host": "api.example.org:8080",
        },
        "queryStringParameters": {"x": "1,2", "y": " z"},
        "body": '{"a": 1}',
        "isBase64Encoded": False,
    }
    assert context["http"] == {
        "method": "POST",
        "path": "/shop/a%20b",
        "protocol": "HTTP/1.1",
        "sourceIp": "2.2.2.2",
        "userAgent": "curl/8",
    }
    assert (context["requestId"], context["domainName"], context["domainPrefix"]) == (
        "call-1",
        "api.example.org",
        "api",
    )
    assert (context["stage"], context["routeKey"], context["apiId"]) == ("$default", "$default", "shop")


def test_version_2_leaves_out_what_is_absent() -> None:
    event = event_v2(a_request(b"/", b"", [(b"Host", b"h")], b"GET"), "shop")
    assert {"cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"} & set(event) == set()
    assert (event["isBase64Encoded"], event["rawQueryString"]) == (False, "")


def test_version_1_is_as_a_rest_api_sends_it() -> None:
    event = event_v1(a_request(), "shop")
    context = event.pop("requestContext")
    assert (event["version"], event["resource"], event["path"]) == ("1.0", "/{proxy+}", "/shop/a%20b")
    assert event["httpMethod"] == "POST"
    assert event["pathParameters"] == {"proxy": "shop/a b"}
    assert (event["headers"]["Accept"], event["headers"]["x-many"]) == ("text/html", "2")
    assert event["multiValueHeaders"]["Cookie"] == ["a=1; b=2"]
    assert event["queryStringParameters"] == {"x": "2", "y": " z"}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": [" z"]}
    assert (event["stageVariables"], event["body"], event["isBase64Encoded"]) == (None, '{"a": 1}', False)
    assert (context["httpMethod"], context["resourcePath"], context["requestId"]) == ("POST", "/{proxy+}", "call-1")
    assert (context["identity"]["sourceIp"], context["identity"]["userArn"]) == ("2.2.2.2", None)


def test_version_1_says_null_for_what_is_absent() -> None:
    event = event_v1(a_request(b"/", b"", [(b"Host", b"h")], b"GET"), "shop")
    names = ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "stageVariables", "body")
    assert [event[name] for name in names] == [None] * 5
    assert event["resource"] == "/"


def test_a_time_is_written_as_web_servers_do() -> None:
    context = event_v2(a_request(), "shop")["requestContext"]
    day, month, rest = context["time"].split("/")
    assert (len(day), len(month), rest.endswith(" +0000"), len(context["time"])) == (2, 3, True, 26)
    assert event_v1(a_request(), "shop")["requestContext"]["requestTimeEpoch"] >= context["timeEpoch"]


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        (b"text/plain", b"x", False),
        (b"application/json; charset=utf-8", b"{}", False),
        (b"application/vnd.api+json", b"{}", False),
        (b"application/x-www-form-urlencoded", b"a=b", False),
        (b"", b"x", False),
        (b"", b"\xff", True),
        (b"text/plain", b"\xff", True),
        (b"image/png", b"PNG", True),
        (b"application/octet-stream", b"x", True),
    ],
)
def test_what_is_no_text_is_base64(content_type: bytes, body: bytes, is_base64: bool) -> None:
    headers = [(b"Content-Type", content_type)] if content_type else []
    for event in (
        event_v1(a_request(body=body, headers=headers), "f"),
        event_v2(a_request(body=body, headers=headers), "f"),
    ):
        assert event["isBase64Encoded"] is is_base64
        assert event["body"] == (base64.b64encode(body).decode() if is_base64 else body.decode())


@given(st.binary(max_size=200), st.sampled_from([b"", b"text/html", b"image/png", b"application/json"]))
def test_a_body_can_always_be_had_back(body: bytes, content_type: bytes) -> None:
    event = event_v2(a_request(body=body, headers=[(b"Content-Type", content_type)]), "f")
    text = event.get("body", "")
    assert (base64.b64decode(text) if event["isBase64Encoded"] else text.encode()) == body
    json.dumps(event)


@given(st.binary(max_size=60).map(lambda data: b"/" + data.translate(None, b" \r\n")))
def test_any_target_becomes_events_that_are_json(target: bytes) -> None:
    json.dumps(event_v1(a_request(target), "f"))
    json.dumps(event_v2(a_request(target), "f"))


TEXT = (b"Content-Type", b"text/plain; charset=utf-8")
JSON = (b"Content-Type", b"application/json")


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        ({"statusCode": 200, "body": "x"}, 200, [TEXT], b"x"),
        ({"statusCode": "201"}, 201, [], b""),
        ({"statusCode": 200, "headers": {"content-type": "a/b", "x": 1, "y": True}, "body": ""}, 200,
         [(b"content-type", b"a/b"), (b"x", b"1"), (b"y", b"true")], b""),
        ({"statusCode": 200, "cookies": ["a=1", "b=2"]}, 200, [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")], b""),
        ({"statusCode": 200, "multiValueHeaders": {"x": ["1"]}}, 200, [], b""),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True, "headers": {"Content-Type": "b/c"}}, 200,
         [(b"Content-Type", b"b/c")], b"\x00\xff"),
        ({"statusCode": 200, "headers": {"Content-Length": "7", "Connection": "close"}, "body": None}, 200, [], b""),
        ({"message": "hi"}, 200, [JSON], b'{"message": "hi"}'),
        ("hi", 200, [JSON], b"hi"),
        (None, 200, [JSON], b"null"),
        ([1, 2], 200, [JSON], b"[1, 2]"),
    ],
)  # fmt: skip
def test_a_result_becomes_an_answer_of_version_2(result: Any, status: int, headers: RawHeaders, body: bytes) -> None:
    answer = answer_v2(result)
    assert (answer.status, answer.headers, answer.body) == (status, headers, body)


def test_version_1_joins_both_kinds_of_headers() -> None:
    answer = answer_v1(
        {
            "statusCode": 200,
            "headers": {"X-One": "1", "Set-Cookie": "lost"},
            "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
            "cookies": ["c=3"],
            "body": "{}",
        }
    )
    assert answer.headers == [(b"X-One", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), JSON]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"body": "x"}, "format 1.0"),
        ("hi", "format 1.0"),
        (None, "format 1.0"),
        ({"statusCode": 999}, "the status 999"),
        ({"statusCode": None}, "the status None"),
        ({"statusCode": 200, "body": {"a": 1}}, "json.dumps"),
        ({"statusCode": 200, "body": "?", "isBase64Encoded": True}, "not base64"),
        ({"statusCode": 200, "headers": [1]}, "headers of type list"),
        ({"statusCode": 200, "headers": {"a": None}}, "the header 'a'"),
        ({"statusCode": 200, "headers": {"a": "x\r\ny: z"}}, "the header 'a'"),
        ({"statusCode": 200, "multiValueHeaders": {"a": "x"}}, "must be a list"),
    ],
)
def test_what_is_no_response_of_version_1_says_why(result: Any, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        answer_v1(result)


def test_cookies_of_version_2_are_a_list() -> None:
    with pytest.raises(BadAnswer, match="cookies of type str"):
        answer_v2({"statusCode": 200, "cookies": "a=1"})
