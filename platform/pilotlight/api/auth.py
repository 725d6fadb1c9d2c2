"""Who may speak to the control plane: HTTP basic authentication, and no page of another site.

The second rule is for browsers. They send a POST to any address on behalf of any page, with the credentials that they
remember for it; without authentication a page could deploy code to a server on its reader's own machine. Its own name
may lead there, too, once the browser has loaded it ("DNS rebinding"): so without authentication this server answers
to no name that another site may have.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Collection
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


def guard(credentials: Credentials | None, *, open_paths: frozenset[str], public_url: str = "") -> Any:
    """The middleware. Without credentials only the rules about other sites are left; the open paths are open to all."""
    names = frozenset({urlsplit(public_url).hostname or "localhost", socket.gethostname().lower()})

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in open_paths and not _leads_nowhere(request):
            _refuse_other_sites(request)
            if credentials is not None:
                _refuse_strangers(request, credentials)
            else:
                _refuse_other_names(request, names)
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


def _refuse_other_names(request: web.Request, names: Collection[str]) -> None:
    """Only the Host that the router passes on counts: the page can set every other header itself. A browser always
    names one. What does not come by the router came over the socket, which is its owner's alone."""
    host = request.headers.get("Host")
    if host and "X-Forwarded-For" in request.headers and not is_own_host(host, names):
        hint = "Call it by its IP address or as localhost, or start it with authentication: then any name will do."
        raise Forbidden(f"without authentication this server does not answer to the name {host[:100]!r}", hint=hint)


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header, as it was sent, can be no other site's: an IP address, localhost, or one of `names`."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    return name in names or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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
