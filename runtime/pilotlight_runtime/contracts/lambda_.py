"""The contract `lambda`: `handler(event, context)`, as AWS Lambda's Python runtime calls it.

A request becomes an API Gateway proxy event; at the address of Lambda's own API its body is the event, and the result
is the bare answer. One call at a time, as there, unless `concurrency:` says otherwise.
"""

import binascii
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from pilotlight_runtime.contracts import Answer, BadAnswer, Fault, Identity, RawHeaders, Request
from pilotlight_runtime.contracts.checks import accepts, file_of, is_asynchronous, line_of, nearest
from pilotlight_runtime.contracts.lambda_events import answer_v1, answer_v2, event_v1, event_v2
from pilotlight_runtime.failures import LoadFailed

EVENT_FORMAT = "LAMBDA_EVENT_FORMAT"
"""A variable of the function: which version of API Gateway's events it gets, "2.0" or "1.0"."""
_FUNCTIONS = ("handler", "lambda_handler")
_JSON: tuple[bytes, bytes] = (b"Content-Type", b"application/json")
_FAILED: tuple[bytes, bytes] = (b"X-Amz-Function-Error", b"Unhandled")
_INVOCATIONS = b"/2015-03-31/functions/"


class CognitoIdentity:
    """Nobody's: there is no Cognito here."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class Client:
    """The program that invoked, as `X-Amz-Client-Context` tells of it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.installation_id: str | None = told.get("installation_id")
        self.app_title: str | None = told.get("app_title")
        self.app_version_name: str | None = told.get("app_version_name")
        self.app_version_code: str | None = told.get("app_version_code")
        self.app_package_name: str | None = told.get("app_package_name")


class ClientContext:
    def __init__(self, told: dict[str, Any]) -> None:
        self.custom: dict[str, Any] | None = told.get("custom")
        self.env: dict[str, Any] | None = told.get("env")
        client = told.get("client")
        self.client: Client | None = Client(client) if isinstance(client, dict) else None


class LambdaContext:
    """What Lambda's Python runtime gives a handler beside the event."""

    def __init__(self, identity: Identity, request: Request) -> None:
        self.aws_request_id = request.call_id
        self.function_name = identity.function
        self.function_version = identity.revision
        self.invoked_function_arn = f"arn:aws:lambda:local:000000000000:function:{identity.function}"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.identity = CognitoIdentity()
        self.client_context = _client_context(request)
        self.tenant_id: str | None = None
        self._deadline = time.monotonic() + identity.timeout_seconds

    def get_remaining_time_in_millis(self) -> int:
        """Until the function's timeout; never less than 0."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, message: object) -> None:
        """A line of the function's log."""
        text = str(message)
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


class LambdaApplication:
    slots = 1
    init = None

    def __init__(self, handler: Callable[[Any, Any], Any], identity: Identity, event_format: str) -> None:
        self.asynchronous = is_asynchronous(handler)
        self._handler = handler
        self._identity = identity
        self._event, self._answer = _FORMATS[event_format]

    def call(self, request: Request) -> Any | Awaitable[Any]:
        if not _is_invocation(request):
            return self._handler(self._event(request, self._identity.function), LambdaContext(self._identity, request))
        event = _bare_event(request)
        if isinstance(event, Answer):
            return _later(event) if self.asynchronous else event
        return self._handler(event, LambdaContext(self._identity, request))

    def answer(self, result: Any, request: Request) -> Answer:
        if isinstance(result, Answer):
            return result
        try:
            if not _is_invocation(request):
                return self._answer(result)
            headers = [_JSON, (b"X-Amz-Executed-Version", self._identity.revision.encode())]
            return Answer(200, headers, json.dumps(result).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise Unmarshallable(f"a {type(result).__name__} that is no JSON: {error}") from error

    def failure(self, request: Request, fault: Fault) -> Answer:
        """Lambda's own body. The status is Lambda's (200) where its API was called, else API Gateway's (502)."""
        invoked = _is_invocation(request)
        headers: RawHeaders = [_JSON, (b"X-Pilotlight-Error", fault.slug.encode())]
        if fault.slug == "bad-answer" and not isinstance(fault.error, Unmarshallable):
            return Answer(502, headers, b'{"message": "Internal server error"}')
        return Answer(200 if invoked else 502, [*headers, _FAILED], json.dumps(_error_body(request, fault)).encode())


class Unmarshallable(BadAnswer):
    """What the handler returned cannot be JSON."""


def module_of(handler: str, identity: Identity) -> str:
    """As `_HANDLER` says, where it is among the function's variables: `module.function` or `folder/module.function`."""
    named = os.environ.get("_HANDLER")
    module = handler if named is None else _split(named)[0]
    _set_variables(named or f"{module}.{_FUNCTIONS[0]}", identity)
    return module


def bind(module: ModuleType, identity: Identity) -> LambdaApplication:
    event_format = os.environ.get(EVENT_FORMAT, "2.0")
    if event_format not in _FORMATS:
        raise LoadFailed("load-failed", f"{EVENT_FORMAT} is `{event_format}`; it must be 2.0 or 1.0")
    name = _split(os.environ["_HANDLER"])[1]
    names = (name,) if name not in _FUNCTIONS else (name, *_FUNCTIONS)
    return LambdaApplication(_find_handler(module, names), identity, event_format)


_FORMATS: dict[str, tuple[Callable[[Request, str], Any], Callable[[Any], Answer]]] = {
    "2.0": (event_v2, answer_v2),
    "1.0": (event_v1, answer_v1),
}


def _split(named: str) -> tuple[str, str]:
    module, _, function = named.replace("/", ".").rpartition(".")
    parts = [*module.split("."), function]
    if not all(part.isidentifier() for part in parts):
        raise LoadFailed("load-failed", f"_HANDLER is `{named}`; write it as module.function, like handler.handler")
    return module, function


def _find_handler(module: ModuleType, names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    file = file_of(module)
    handler = next((found for name in names if callable(found := getattr(module, name, None))), None)
    if handler is None:
        sentence = f"{file} has no function `{names[0]}`{nearest(module, names[0])}"
        raise LoadFailed("handler-missing", sentence, file=file)
    if not accepts(handler, 2):
        sentence = f"`{getattr(handler, '__name__', names[0])}` must take two arguments: (event, context)"
        raise LoadFailed("load-failed", sentence, file=file, line=line_of(handler))
    return handler  # type: ignore[no-any-return]


def _set_variables(handler: str, identity: Identity) -> None:
    """Those that Lambda sets and that mean something here; there is no AWS_LAMBDA_RUNTIME_API to speak to."""
    version = identity.revision
    day = time.strftime("%Y/%m/%d", time.gmtime())
    variables = {
        "_HANDLER": handler,
        "AWS_LAMBDA_FUNCTION_NAME": identity.function,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(_memory_mib()),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{identity.function}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{day}/[{version}]{os.urandom(16).hex()}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "Text",
        "LAMBDA_TASK_ROOT": os.getcwd(),
    }
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _memory_mib() -> int:
    """The function's limit, or the machine's memory where it has none."""
    limit = os.environ.get("PILOTLIGHT_MEMORY_MIB", "")
    return int(limit) if limit.isdigit() else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


# Lambda's own API.


def _is_invocation(request: Request) -> bool:
    """POST /2015-03-31/functions/NAME/invocations: the name is not looked at, as in Lambda's emulator."""
    path = request.target.partition(b"?")[0]
    return (
        path.startswith(_INVOCATIONS)
        and path.endswith(b"/invocations")
        and path.count(b"/") == 4
        and request.method == b"POST"
    )


def _bare_event(request: Request) -> Any:
    """What the handler gets, or the Answer of a request that does not get so far."""
    match _header(request, b"x-amz-invocation-type") or b"RequestResponse":
        case b"RequestResponse":
            pass
        case b"DryRun":
            return Answer(204)
        case b"Event":
            return _refusal(501, "asynchronous invocations (Event) are not available yet")
        case other:
            return _refusal(400, f"there is no invocation type {other.decode('latin-1')}")
    try:
        return json.loads(request.body) if request.body.strip() else {}
    except ValueError as error:
        return _refusal(400, f"Could not parse request body into json: {error}")


def _refusal(status: int, message: str) -> Answer:
    kind = (b"X-Amzn-ErrorType", b"InvalidRequestContentException")
    return Answer(status, [_JSON, kind], json.dumps({"Type": "User", "message": message}).encode())


async def _later(answer: Answer) -> Answer:
    return answer


def _client_context(request: Request) -> ClientContext | None:
    told = _header(request, b"x-amz-client-context")
    if told is None:
        return None
    try:
        context = json.loads(binascii.a2b_base64(told))
    except ValueError:
        return None
    return ClientContext(context) if isinstance(context, dict) else None


def _header(request: Request, wanted: bytes) -> bytes | None:
    return next((value for name, value in request.headers if name.lower() == wanted), None)


def _error_body(request: Request, fault: Fault) -> dict[str, Any]:
    """The message and the type are the caller's to act upon, as on Lambda; the trace is for `debug`."""
    error = fault.error
    if isinstance(error, Unmarshallable):
        kind, message = "Runtime.MarshalError", f"Unable to marshal response: {error}"
    else:
        kind, message = type(error).__name__, _message(error)
    trace = fault.traceback.splitlines(keepends=True) if fault.traceback else []
    return {"errorMessage": message, "errorType": kind, "requestId": request.call_id, "stackTrace": trace}


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's __str__ may do anything
        return ""
