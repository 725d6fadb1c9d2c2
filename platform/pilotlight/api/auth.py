"""Who may speak to the control plane: HTTP basic authentication, and no page of another site.

The second rule is for browsers. They send a POST to any address on behalf of any page, with the credentials that they
remember for it; without authentication a page could deploy code to a server on its reader's own machine.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from pilotlight.api.problems import Forbidden, Handler, speaks_openfaas
from pilotlight.core.errors import InvalidInput, Unauthorized

_GUARDED = ("/api/", "/system/", "/ui/")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    user: str
    password: str = field(repr=False)

    @classmethod
    def load(cls, data_dir: Path) -> "Credentials":
        """The pair that the supervisor wrote under DATA/auth, in the files that OpenFaaS names so."""
        return cls(
            user=_read(data_dir / "auth" / "basic-auth-user"),
            password=_read(data_dir / "auth" / "basic-auth-password"),
        )

    def admit(self, authorization: str) -> bool:
        """Whether the header's value is ours; takes as long for a near miss as for a far one."""
        scheme, _, token = authorization.partition(" ")
        try:
            given = base64.b64decode(token.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        matches = hmac.compare_digest(_fingerprint(given), _fingerprint(f"{self.user}:{self.password}".encode()))
        return matches and scheme.lower() == "basic"


def guard(credentials: Credentials | None, *, open_paths: frozenset[str]) -> Any:
    """The middleware. Without credentials only the rule about other sites is left; the open paths are open to all."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in open_paths and not _leads_nowhere(request):
            _refuse_other_sites(request)
            if credentials is not None:
                _refuse_strangers(request, credentials)
        return await handler(request)

    return guarded


def _leads_nowhere(request: web.Request) -> bool:
    """A path outside of the APIs that is none of ours: who misspelt /function needs no password, but to hear it."""
    return isinstance(request.match_info.http_exception, web.HTTPNotFound) and not request.path.startswith(_GUARDED)


def _refuse_strangers(request: web.Request, credentials: Credentials) -> None:
    authorization = request.headers.get("Authorization", "")
    if credentials.admit(authorization):
        return
    if speaks_openfaas(request):
        raise Unauthorized("invalid credentials")
    if authorization[:7].lower() == "bearer ":
        raise Unauthorized("bearer tokens are not supported yet")
    raise Unauthorized("user or password is wrong" if authorization else "no credentials were sent")


def _refuse_other_sites(request: web.Request) -> None:
    if request.method in _READING:
        return
    origin = request.headers.get("Origin")
    ours = {request.headers.get("Host"), request.headers.get("X-Forwarded-Host")}
    foreign = origin is not None and _authority(origin) not in ours
    if foreign or request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Forbidden("a page of another site may not change anything here")


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None if origin != "null" else ""
    except ValueError:
        return ""


def _fingerprint(secret: bytes) -> bytes:
    """Equal lengths, so that the comparison tells nothing about the secret's."""
    return hashlib.sha256(secret).digest()


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", hint="Start the server once; it writes it.") from error
    if not text:
        raise InvalidInput(f"{path} is empty", hint="Remove it and start the server again; it makes a new one.")
    return text
