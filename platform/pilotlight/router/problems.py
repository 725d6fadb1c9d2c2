"""What a caller is told when it gets no answer of a function: one value per cause, and how it is written."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pilotlight.core.checks import meant, near
from pilotlight.core.errors import Failure
from pilotlight.link.messages import ReplicaEnd
from pilotlight_runtime.http1 import STATUS_LINES, ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    status: int
    slug: str
    detail: str
    hint: str
    limit: str | None = None
    """Which limit fired, for `X-Pilotlight-Limit`."""
    retry_after: int | None = None
    allow: str | None = None
    challenge: str | None = None
    """Of a 401: what to authenticate with, for `WWW-Authenticate`."""

    def body(self, call_id: str | None) -> bytes:
        members = {
            "type": self.slug,
            "title": self.slug.replace("-", " "),
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
        }
        if call_id is not None:
            members["call_id"] = call_id
        return json.dumps(members).encode() + b"\n"

    def response(self, *, call_id: bytes | None, to_head: bool, lines: bytes = b"", plain: bool = False) -> bytes:
        """The whole response; `lines` are further header lines. `plain` is the sentence alone, as OpenFaaS has it."""
        body = f"{self.detail}\n".encode() if plain else self.body(None if call_id is None else call_id.decode())
        kind = b"text/plain; charset=utf-8" if plain else b"application/problem+json"
        head = [
            STATUS_LINES[self.status],
            b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body)),
            b"X-OpenFaaS-Internal: gateway\r\n",
        ]
        if self.limit is not None:
            head.append(b"X-Pilotlight-Limit: %b\r\n" % self.limit.encode())
        if self.retry_after is not None:
            head.append(b"Retry-After: %d\r\n" % self.retry_after)
        if self.allow is not None:
            head.append(b"Allow: %b\r\n" % self.allow.encode())
        if self.challenge is not None:
            head.append(b"WWW-Authenticate: %b\r\n" % self.challenge.encode())
        head += [lines, b"\r\n"]
        return b"".join(head) if to_head else b"".join([*head, body])


def function_not_found(address: str, known: Iterable[str]) -> Problem:
    guess = meant(near(address, known))
    return Problem(
        status=404,
        slug="function-not-found",
        detail=f"There is no function {address}.",
        hint=f"{guess} `faasctl list` shows the functions that there are.".lstrip(),
    )


def path_not_found(path: str) -> Problem:
    return Problem(
        status=404,
        slug="path-not-found",
        detail=f"The path {path} of a function cannot be reached from outside.",
        hint="Of the paths below /_/ only /_/health and /_/ready can.",
    )


def functions_alone(path: str) -> Problem:
    """For functions' containers: the API is for people."""
    return Problem(
        status=404,
        slug="path-not-found",
        detail=f"The path {path} cannot be reached from a function's container.",
        hint="Functions are called at /function/NAME; all else is served at the server's own address alone.",
    )


def method_not_allowed(method: str, allowed: Iterable[str], *, what: str = "A function") -> Problem:
    names = ", ".join(sorted(allowed))
    return Problem(
        status=405,
        slug="method-not-allowed",
        detail=f"{what} cannot be called with {method}.",
        hint=f"Use one of {names}.",
        allow=names,
    )


def key_required(function: str) -> Problem:
    return Problem(
        status=401,
        slug="key-required",
        detail=f"The function {function} wants a key, and the request has none.",
        hint="Send it as `Authorization: Bearer KEY` or as `X-Function-Key: KEY`; `faasctl key NAME` shows it.",
        challenge="Bearer",
    )


def key_refused(function: str) -> Problem:
    return Problem(
        status=401,
        slug="key-refused",
        detail=f"The request's key does not open the function {function}.",
        hint="Keys belong to one function and can be replaced; `faasctl key NAME` shows the one that counts now.",
        challenge='Bearer error="invalid_token"',
    )


def call_too_deep(limit: int) -> Problem:
    return Problem(
        status=508,
        slug="call-depth-exceeded",
        detail=f"Functions called functions more than {limit} deep on the way to this call.",
        hint="Look for functions that call each other in a circle; `router.call_depth` of the server is the limit.",
        limit="depth",
    )


def not_asynchronous() -> Problem:
    return Problem(
        status=501,
        slug="not-supported",
        detail="This server cannot call functions asynchronously yet; the request was dropped.",
        hint="Call /function/NAME and wait for its answer.",
    )


def body_too_large(limit_bytes: int) -> Problem:
    return Problem(
        status=413,
        slug="body-too-large",
        detail=f"The request's body is larger than the {limit_bytes} bytes that this function accepts.",
        hint="Send less, or raise the function's `body_limit_mib`.",
        limit="body",
    )


def queue_full(queue: int) -> Problem:
    return Problem(
        status=429,
        slug="queue-full",
        detail=f"{queue} requests wait for this function already.",
        hint="Try again in a moment; or raise the function's `scale.max` or its `queue`.",
        limit="queue",
        retry_after=1,
    )


def timed_out(seconds: float, *, waiting: bool) -> Problem:
    where = "waiting for a free replica" if waiting else "in the function"
    return Problem(
        status=504,
        slug="timeout",
        detail=f"The call's {seconds:g} s passed; it was {where}.",
        hint="Raise the function's timeout, or look at `faasctl describe` for what it waits for.",
        limit="timeout",
    )


def replica_died(sentence: str) -> Problem:
    return Problem(
        status=502,
        slug="replica-died",
        detail=f"The replica that had the call is gone or did not speak HTTP. {sentence}",
        hint="Look at the function's log (`faasctl logs`). Whether the call had effects is not known.",
    )


def replica_ended(end: ReplicaEnd) -> Problem:
    return Problem(
        status=502,
        slug=end.slug,
        detail=f"The replica that had the call ended: {end.detail}.",
        hint="`faasctl describe` of the function has its last log lines. Whether the call had effects is not known.",
    )


def replica_unreachable(sentence: str) -> Problem:
    return Problem(
        status=502,
        slug="replica-unreachable",
        detail=f"No replica could be reached; nothing of the call was sent. {sentence}",
        hint="Try again in a moment.",
        retry_after=1,
    )


def replica_busy() -> Problem:
    return Problem(
        status=503,
        slug="replica-busy",
        detail="The replica had no room for the call, and its body is too large to be kept for another one.",
        hint="Try again in a moment.",
        retry_after=1,
    )


def failed(failure: Failure) -> Problem:
    """The function cannot start; its slug and sentence come from the control plane."""
    return Problem(
        status=503,
        slug=failure.slug,
        detail=failure.detail,
        hint="`faasctl describe` and `faasctl logs` of the function say more.",
        retry_after=5,
    )


def no_routes(seconds: float) -> Problem:
    return Problem(
        status=503,
        slug="no-routes",
        detail=f"The router knows no functions yet; it waited {seconds:g} s for the control plane to tell it.",
        hint="Try again in a moment; if it lasts, look at the server's log.",
        limit="routes",
        retry_after=1,
    )


def too_many_held(limit: int) -> Problem:
    return Problem(
        status=503,
        slug="no-routes",
        detail=f"The router knows no functions yet, and {limit} requests wait for that already.",
        hint="Try again in a moment.",
        limit="routes",
        retry_after=1,
    )


def control_plane_down(sentence: str) -> Problem:
    return Problem(
        status=503,
        slug="control-plane-down",
        detail=f"The control plane does not answer. {sentence}",
        hint="Functions that are warm go on being served. It is started again by itself; try again in a moment.",
        retry_after=1,
    )


def control_plane_slow(seconds: float, *, changes: bool) -> Problem:
    done = "It may still do what was asked; look before you ask again." if changes else "Nothing was changed."
    return Problem(
        status=504,
        slug="control-plane-timeout",
        detail=f"The control plane did not answer within {seconds:g} s. {done}",
        hint="Functions that are warm go on being served. If it lasts, look at the server's log.",
        limit="timeout",
        retry_after=5,
    )


def malformed(error: ProtocolError) -> Problem:
    return Problem(
        status=error.status,
        slug="malformed-request",
        detail=error.sentence,
        hint="Send HTTP/1.1 as RFC 9112 has it.",
        limit=error.limit,
    )
