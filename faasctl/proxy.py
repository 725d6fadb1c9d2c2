"""The way through a proxy, when the environment names one: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, and NO_PROXY.

This machine is never asked for through a proxy. Imported only where one of these variables is set.
"""

import socket
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from faasctl.wire import Connection, connect, secured

VARIABLES = {
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    "http": ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
}
_HEAD_BYTES = 16_384


class ProxyRefused(Exception):
    """The proxy answered, and does not lead on."""


@dataclass(frozen=True, slots=True)
class Proxy:
    address: SplitResult
    variable: str
    """That named it."""

    def __str__(self) -> str:
        return f"{_authority(self.address, 3128)} (from {self.variable})"

    @property
    def authorization(self) -> dict[str, str]:
        if self.address.username is None:
            return {}
        pair = f"{unquote(self.address.username)}:{unquote(self.address.password or '')}"
        return {"Proxy-Authorization": f"Basic {b2a_base64(pair.encode(), newline=False).decode()}"}


def proxy_for(scheme: str, host: str, env: Mapping[str, str]) -> Proxy | None:
    """The proxy to this host; None for a direct way. ValueError when it is no address."""
    if host == "localhost" or host.startswith("127.") or host == "::1" or _excepted(host, env):
        return None
    for name in VARIABLES[scheme]:
        if text := env.get(name):
            if (address := _parse(text)) is None:
                raise ValueError(f"{name} is no address of an HTTP proxy")
            return Proxy(address, name)
    return None


def _parse(text: str) -> SplitResult | None:
    """None for what is no address. Python's own word for that would quote a part of the password."""
    try:
        address = urlsplit(text if "://" in text else f"http://{text}")
        _ = address.port
    except ValueError:
        return None
    return address if address.scheme == "http" and address.hostname and "@" not in address.path else None


def connected(proxy: Proxy, base: SplitResult, agent: str, seconds: float) -> Connection:
    """A connection to `base` by way of the proxy; raises what sockets raise, and ProxyRefused."""
    sock = connect(proxy.address.hostname or "", proxy.address.port or 3128, seconds)
    if base.scheme == "http":
        return Connection(sock, base.netloc, agent, prefix=f"http://{base.netloc}", more=proxy.authorization)
    try:
        _tunnel(sock, _authority(base, 443), proxy.authorization)
    except BaseException:
        sock.close()
        raise
    return Connection(secured(sock, base.hostname or ""), base.netloc, agent)


def _authority(address: SplitResult, port: int) -> str:
    """Host and port; the colons of an IPv6 address are not taken for the port's."""
    host = address.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{address.port or port}"


def _tunnel(sock: socket.socket, target: str, headers: Mapping[str, str]) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {value}" for name, value in headers.items())]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
        byte = sock.recv(1)  # one by one: what follows the head belongs to TLS
        if not byte:
            break
        head += byte
    first = head.partition(b"\r\n")[0].decode("latin-1")
    if not first.startswith("HTTP/1.") or first.split(" ")[1:2] != ["200"]:
        raise ProxyRefused(first[:100] or "it closed the connection")


def _excepted(host: str, env: Mapping[str, str]) -> bool:
    for entry in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(","):
        name = entry.strip().lower().lstrip("*").lstrip(".").partition(":")[0]
        if entry.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
