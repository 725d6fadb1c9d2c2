"""API Gateway's proxy events from requests, and its responses from what a handler returned: versions 1.0 and 2.0.

Where the two public descriptions leave something open, platform/decisions/ and runtime/README.md say what we chose.
"""

import binascii
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from pilotlight_runtime.contracts import Answer, BadAnswer, RawHeaders, Request
from pilotlight_runtime.contracts.checks import FRAMING, checked_header, checked_status

Json = dict[str, Any]
_ACCOUNT = "000000000000"
_STAGE = "$default"
_TEXTS = frozenset({"json", "xml", "javascript", "x-www-form-urlencoded", "graphql", "x-ndjson", "yaml"})
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _Seen:
    """A request as both versions see it."""

    def __init__(self, request: Request, function: str) -> None:
        path, _, query = request.target.partition(b"?")
        self.function = function
        self.request_id = request.call_id
        self.method = request.method.decode("ascii")
        self.path = path.decode("latin-1")
        self.raw_query = query.decode("latin-1")
        self.query = parse_qsl(self.raw_query, keep_blank_values=True)
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        self.by_name = _grouped([(name.lower(), value) for name, value in self.headers])
        self.protocol = "HTTP/1.0" if request.http10 else "HTTP/1.1"
        self.domain = self.first("host").partition(":")[0]
        self.source_ip = self.first("x-forwarded-for").rpartition(",")[2].strip()
        self.body, self.is_base64 = _body_of(request.body, self.first("content-type"), self.first("content-encoding"))
        self.seconds = time.time()

    def first(self, name: str) -> str:
        return self.by_name.get(name, [""])[0]

    @property
    def time(self) -> str:
        at = time.gmtime(self.seconds)
        return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{time.strftime('%H:%M:%S', at)} +0000"


def event_v2(request: Request, function: str) -> Json:
    seen = _Seen(request, function)
    event: Json = {
        "version": "2.0",
        "routeKey": _STAGE,
        "rawPath": seen.path,
        "rawQueryString": seen.raw_query,
        "headers": {name: ",".join(values) for name, values in seen.by_name.items() if name != "cookie"},
        "requestContext": _context_v2(seen),
        "isBase64Encoded": seen.is_base64,
    }
    if "cookie" in seen.by_name:
        event["cookies"] = [cookie.strip() for text in seen.by_name["cookie"] for cookie in text.split(";")]
    if seen.query:
        event["queryStringParameters"] = {name: ",".join(values) for name, values in _grouped(seen.query).items()}
    if seen.body is not None:
        event["body"] = seen.body
    return event


def _context_v2(seen: _Seen) -> Json:
    return {
        "accountId": _ACCOUNT,
        "apiId": seen.function,
        "domainName": seen.domain,
        "domainPrefix": seen.domain.partition(".")[0],
        "http": {
            "method": seen.method,
            "path": seen.path,
            "protocol": seen.protocol,
            "sourceIp": seen.source_ip,
            "userAgent": seen.first("user-agent"),
        },
        "requestId": seen.request_id,
        "routeKey": _STAGE,
        "stage": _STAGE,
        "time": seen.time,
        "timeEpoch": int(seen.seconds * 1000),
    }


def event_v1(request: Request, function: str) -> Json:
    seen = _Seen(request, function)
    resource = "/" if seen.path == "/" else "/{proxy+}"
    proxy = unquote(seen.path.removeprefix("/"))
    return {
        "version": "1.0",
        "resource": resource,
        "path": seen.path,
        "httpMethod": seen.method,
        "headers": dict(seen.headers) or None,
        "multiValueHeaders": _grouped(seen.headers) or None,
        "queryStringParameters": dict(seen.query) or None,
        "multiValueQueryStringParameters": _grouped(seen.query) or None,
        "pathParameters": {"proxy": proxy} if proxy else None,
        "stageVariables": None,
        "requestContext": _context_v1(seen, resource),
        "body": seen.body,
        "isBase64Encoded": seen.is_base64,
    }


_IDENTITY = (
    "accessKey", "accountId", "apiKey", "apiKeyId", "caller", "clientCert", "cognitoAuthenticationProvider",
    "cognitoAuthenticationType", "cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn",
)  # fmt: skip


def _context_v1(seen: _Seen, resource: str) -> Json:
    known = {"sourceIp": seen.source_ip, "userAgent": seen.first("user-agent") or None}
    return {
        "accountId": _ACCOUNT,
        "apiId": seen.function,
        "authorizer": None,
        "domainName": seen.domain,
        "domainPrefix": seen.domain.partition(".")[0],
        "extendedRequestId": seen.request_id,
        "httpMethod": seen.method,
        "identity": dict.fromkeys(_IDENTITY) | known,
        "operationName": None,
        "path": seen.path,
        "protocol": seen.protocol,
        "requestId": seen.request_id,
        "requestTime": seen.time,
        "requestTimeEpoch": int(seen.seconds * 1000),
        "resourceId": None,
        "resourcePath": resource,
        "stage": _STAGE,
    }


def answer_v2(result: Any) -> Answer:
    """A dict with `statusCode` is a response; everything else is the body of one, as JSON."""
    if isinstance(result, dict) and "statusCode" in result:
        headers = _headers(result.get("headers"))
        headers += [checked_header("Set-Cookie", cookie) for cookie in _listed(result.get("cookies"), "cookies")]
        return _answer(result, headers, b"text/plain; charset=utf-8")
    body = result.encode() if isinstance(result, str) else json.dumps(result).encode()
    return Answer(200, [(b"Content-Type", b"application/json")], body)


def answer_v1(result: Any) -> Answer:
    """It must be a response. BadAnswer when it is none, which API Gateway calls malformed."""
    if not isinstance(result, dict) or "statusCode" not in result:
        raise BadAnswer(
            'no response of format 1.0; it must be a dict: {"statusCode": 200, "headers": {...}, "body": "..."}'
        )
    several = result.get("multiValueHeaders")
    multiple: RawHeaders = []
    for name, values in _mapping(several, "multiValueHeaders").items():
        multiple += [checked_header(name, _text(value)) for value in _listed(values, f"multiValueHeaders: {name}")]
    named = {name.lower() for name, _ in multiple}
    single = [header for header in _headers(result.get("headers")) if header[0].lower() not in named]
    return _answer(result, [*single, *multiple], b"application/json")


def _answer(result: Mapping[Any, Any], headers: RawHeaders, content_type: bytes) -> Answer:
    headers = [header for header in headers if header[0].lower() not in FRAMING]
    body = _body_from(result.get("body"), encoded=result.get("isBase64Encoded"))
    if body and not any(name.lower() == b"content-type" for name, _ in headers):
        headers.append((b"Content-Type", content_type))
    status = result["statusCode"]
    if isinstance(status, str) and status.isdigit() and status.isascii():
        status = int(status)
    return Answer(checked_status(status), headers, body)


def _body_from(body: Any, *, encoded: Any) -> bytes:
    if body is None:
        return b""
    if not isinstance(body, str):
        raise BadAnswer(f"a body of type {type(body).__name__}; it must be str, as json.dumps makes it")
    if encoded is not True:
        return body.encode("utf-8", "surrogatepass")
    try:
        return binascii.a2b_base64(body, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(f"a body that is not base64, as its isBase64Encoded says: {error}") from None


def _headers(headers: Any) -> RawHeaders:
    return [checked_header(name, _text(value)) for name, value in _mapping(headers, "headers").items()]


def _text(value: Any) -> Any:
    """A header's value as JSON writes it."""
    return json.dumps(value) if isinstance(value, bool) else value


def _mapping(value: Any, name: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadAnswer(f"{name} of type {type(value).__name__}; it must be a dict")
    return value


def _listed(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadAnswer(f"{name} of type {type(value).__name__}; it must be a list")
    return value


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _body_of(body: bytes, content_type: str, content_encoding: str) -> tuple[str | None, bool]:
    """Text where its type says so, or nothing says otherwise, and it is UTF-8; base64 for the rest."""
    if not body:
        return None, False
    if not content_encoding and _is_text(content_type):
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return binascii.b2a_base64(body, newline=False).decode("ascii"), True


def _is_text(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return not kind or kind == "text" or subtype.removeprefix("x-") in _TEXTS or subtype.rpartition("+")[2] in _TEXTS
