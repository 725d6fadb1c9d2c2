"""Images with an OpenFaaS watchdog run as they are; this is what is known of them, by their containers' variables.

The classic watchdog has /_/health and nothing else: it answers /_/ready by running the function. The other one says
that it is ready before the server behind it (`mode=http`) listens, and answers 500 until then.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

BEHIND_SECONDS = 5.0
"""How long a server behind a watchdog is waited for where a connection is all that could tell: one that listens on the
container's loopback alone is never seen so."""
_PAUSE_SECONDS = 0.01
_AT_ONCE = "1ms"
_LISTENS = "0A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """Without `process` there is none, or it runs no program."""

    process: str = ""
    asks_ready: bool = True
    """/_/ready may be asked; of a watchdog only where the function has a readiness of its own."""
    port_behind: int | None = None
    """Of the server to which it hands on requests."""
    most: int | None = None
    """Requests that it takes at once; it refuses more."""


NO_WATCHDOG = Watchdog()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked whether it is ready, and what is known of it."""

    address: str
    """`tcp:HOST:PORT` or `unix:PATH`."""
    container: str = ""
    pid: int = 0
    """Of its first process, on the engine's machine."""
    watchdog: Watchdog = NO_WATCHDOG
    slots: int = 0
    """That it is to have at most."""

    @property
    def most(self) -> int | None:
        """Slots, where its watchdog bounds them."""
        return None if self.watchdog.most is None else min(self.watchdog.most, self.slots or self.watchdog.most)


def watchdog_of(variables: Mapping[str, str]) -> Watchdog:
    process = variables.get("function_process") or variables.get("fprocess") or ""
    if not process:
        return NO_WATCHDOG
    most = variables.get("max_inflight", "")
    return Watchdog(
        process=process,
        asks_ready=bool(variables.get("ready_path")),
        port_behind=_port_behind(variables),
        most=int(most) if most.isdecimal() and 0 < len(most) < 6 and int(most) else None,
    )


def ends_at_once(variables: Mapping[str, str]) -> dict[str, str]:
    """A watchdog goes on for its `healthcheck_interval` after it was told to end, ten seconds and more, lest somebody
    still calls it. Nobody does: the router was told before. (Of 0 the classic one waits for ever.)"""
    if not watchdog_of(variables).process or "healthcheck_interval" in variables:
        return {}
    return {"healthcheck_interval": _AT_ONCE}


def variables_of(lines: Iterable[str]) -> dict[str, str]:
    """As the engine has them: NAME=VALUE."""
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def listens(table: str, port: int) -> bool:
    """Whether somebody listens on the port, by a table as /proc/PID/net/tcp is."""
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[1].endswith(f":{port:04X}") and row[3] == _LISTENS for row in rows if len(row) > 3)


async def until_behind(asked: Asked) -> None:
    """Returns when the server behind the watchdog listens, as far as that can be told from here without a request,
    which would be a call of the function."""
    port = asked.watchdog.port_behind
    if port is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(BEHIND_SECONDS) as patience:
            while True:
                seen = _listens_in(asked.container, asked.pid, port)
                if seen is None:
                    seen = await _connects(asked.address, port)
                else:
                    patience.reschedule(None)  # the kernel knows; whoever waits for the start has the deadline
                if seen:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)


def _port_behind(variables: Mapping[str, str]) -> int | None:
    if variables.get("mode") != "http":
        return None
    try:
        url = urlsplit(variables.get("http_upstream_url") or variables.get("upstream_url") or "")
        port = url.port
    except ValueError:
        return None
    return port or 80 if url.hostname in ("127.0.0.1", "localhost", "0.0.0.0", "::1") else None


def _listens_in(container: str, pid: int, port: int) -> bool | None:
    """None where the container's processes are not those of this machine, or not to be seen."""
    process = Path("/proc", str(pid))
    try:
        if container not in (process / "cgroup").read_text():
            return None
        return any(listens((process / "net" / table).read_text(), port) for table in ("tcp", "tcp6"))
    except OSError:
        return None


async def _connects(address: str, port: int) -> bool:
    """True also where nothing can be found out: of a published container no other port can be reached."""
    host = address.removeprefix("tcp:").rpartition(":")[0]
    if host in ("127.0.0.1", "0.0.0.0"):
        return True
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
