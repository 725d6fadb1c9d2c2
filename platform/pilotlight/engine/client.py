"""The only module that talks to a Docker engine: its calls in threads, its errors as ours, its events as values.

`docker` is imported when an engine is opened, so that a server without containers needs no such package.
"""

import asyncio
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from pilotlight.core.errors import InvalidSetting, PilotlightError
from pilotlight.engine.failures import NO_SOCKET, NOT_ALLOWED, Refused, unreachable

if TYPE_CHECKING:
    import requests
    from docker import APIClient

log = structlog.get_logger(__name__)
_T = TypeVar("_T")
THREADS = 8
SLOW_THREADS = 4
EVENTS = ("die", "oom")
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
DEFAULT_URL = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    action: str
    container: str
    """The engine's id of it."""
    time: float
    """Unix seconds, of the engine's clock."""
    exit_code: int | None = None


class Engine:
    """One engine. `call` runs any verb of docker's APIClient."""

    def __init__(self, client: "APIClient", url: str, config: Path | None = None, owner: str = "") -> None:
        self._client = client
        self.owner = owner
        """Whose what is pulled here is (see image_tags.py); nobody's if empty, and then it is never collected."""
        self.config = config
        """Docker's configuration file with the logins for registries; None for that of the server's user."""
        self._threads = ThreadPoolExecutor(THREADS, "docker")
        self._slow = ThreadPoolExecutor(SLOW_THREADS, "docker-slow")
        self.url = url
        self.is_local = url.startswith("unix:")
        """Its file system is ours."""

    async def call(self, verb: Callable[["APIClient"], _T], *, slow: bool = False) -> _T:
        """Raises Refused when the engine says no, StartFailed (engine-unreachable) when it says nothing. `slow`: it may
        take minutes, and others should not wait behind it."""
        threads = self._slow if slow else self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, self.do, verb)

    def post(self, path: str, body: Mapping[str, Any], **query: str) -> Callable[["APIClient"], Any]:
        """A verb for what the package's own arguments cannot say."""

        def verb(client: "APIClient") -> Any:
            url = f"{client.base_url}/v{client.api_version}{path}"
            response = client.post(url, json=body, params=query, timeout=client.timeout)
            _check(response)
            return response.json() if response.content else None

        return verb

    def lines(
        self,
        path: str,
        body: Iterable[bytes],
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        silent_seconds: float | None = None,
    ) -> "LineStream":
        """Posts a tar in pieces; blocks until the engine has begun to answer. What the pieces raise ends it.
        `silent_seconds`: how long no line may come."""

        def verb(client: "APIClient") -> "requests.Response":
            url = f"{client.base_url}/v{client.api_version}{path}"
            sent = {"Content-Type": "application/x-tar", **headers}
            limits = (client.timeout, silent_seconds)
            response = client.post(url, data=body, params=query, headers=sent, stream=True, timeout=limits)
            _check(response)
            return response

        return LineStream(self.do(verb))

    def watch(self, filters: Mapping[str, list[str]]) -> "EventStream":
        """Opens the stream of events; blocks until the engine has begun it."""
        query = {"since": str(int(time.time()) - 1), "filters": json.dumps(filters)}
        return EventStream(self._stream("/events", query, endless=True))

    def frames(self, container: str, **query: str) -> "FrameStream":
        """The container's log, as raw frames with their stream."""
        endless = query.get("follow") == "1"
        return FrameStream(self._stream(f"/containers/{container}/logs", {"timestamps": "1", **query}, endless=endless))

    def _stream(self, path: str, query: Mapping[str, str], *, endless: bool) -> "requests.Response":
        """Its beginning has the deadline of any other answer; where there is no end, what follows has none."""

        def verb(client: "APIClient") -> "requests.Response":
            url = f"{client.base_url}/v{client.api_version}{path}"
            response = client.get(url, params=query, stream=True, timeout=client.timeout)
            _check(response)
            if endless:
                with suppress(Exception):  # of another make: it is then opened anew after each silence
                    _socket_of(response).settimeout(None)
            return response

        return self.do(verb)

    def close(self) -> None:
        for threads in (self._threads, self._slow):
            threads.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # a pool that is being used by a thread may complain
            self._client.close()

    def do(self, verb: Callable[["APIClient"], _T]) -> _T:
        """As `call`, in the thread that calls."""
        import requests
        from docker.errors import APIError, DockerException

        try:
            return verb(self._client)
        except APIError as error:
            raise Refused(error.status_code or 500, str(error.explanation or error)) from error
        except requests.JSONDecodeError as error:  # of a container that goes at this moment
            raise Refused(500, "its answer was empty") from error
        except (requests.RequestException, DockerException, OSError) as error:
            raise unreachable(self.url, plain_reason(error)) from error


def connect(url: str | None, *, call_seconds: float, config: Path | None = None, owner: str = "") -> Engine:
    """Blocks for one question. InvalidSetting without the package, StartFailed when nobody answers."""
    try:
        import docker
        import docker.errors
        import requests
        from docker.utils import kwargs_from_env
    except ImportError:
        raise InvalidSetting(
            "provider: docker needs the Python package `docker`, which is not installed",
            field="provider",
            hint="Install it beside the server: pip install 'pilotlight[docker]'",
        ) from None
    arguments: dict[str, Any] = dict(kwargs_from_env())
    if url is not None:
        arguments = {"base_url": url} | ({"tls": arguments["tls"]} if "tls" in arguments and "tcp:" in url else {})
    address = str(arguments.get("base_url") or DEFAULT_URL)
    try:
        _knock(address)
        client = docker.APIClient(**arguments, version="auto", timeout=int(call_seconds), max_pool_size=4 * THREADS)
    except (requests.RequestException, docker.errors.DockerException, OSError) as error:
        raise unreachable(address, plain_reason(error)) from error
    return Engine(client, address, config, owner)


def address_of(url: str | None) -> str:
    """Where `connect` would look, and the same for all ways to write a socket's path."""
    address = url or os.environ.get("DOCKER_HOST") or DEFAULT_URL
    return f"unix://{os.path.realpath(_path_of(address))}" if address.startswith("unix:") else address


def _path_of(address: str) -> str:
    return "/" + address.removeprefix("unix:").lstrip("/")


def _knock(address: str) -> None:
    """OSError where nobody listens: the package leaves a socket open in that case, and hides the reason."""
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
            knocking.connect(_path_of(address))


class _Stream:
    """An answer without an end. One thread reads and closes it; any other may `wake` that thread, which ends it."""

    def __init__(self, response: "requests.Response") -> None:
        self._response = response

    def close(self) -> None:
        with suppress(Exception):  # whichever layer of it is closed already
            self._response.close()

    def wake(self) -> None:
        with suppress(Exception):
            _socket_of(self._response).shutdown(socket.SHUT_RDWR)


def _socket_of(response: "requests.Response") -> Any:
    raw: Any = response.raw
    connection = raw._fp.fp.raw  # the package itself goes this way
    return getattr(connection, "_sock", connection)


class LineStream(_Stream):
    """JSON objects as they come, until the end."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return _objects(self._response)


class EventStream(_Stream):
    """Events until the engine is gone."""

    def __iter__(self) -> Iterator[EngineEvent]:
        return map(_event, _objects(self._response))


def _objects(response: "requests.Response") -> Iterator[dict[str, Any]]:
    """One JSON object a line."""
    rest = b""
    for chunk in response.iter_content(chunk_size=None):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
    if rest.strip():
        yield json.loads(rest)


def _event(raw: Mapping[str, Any]) -> EngineEvent:
    nanoseconds = raw.get("timeNano") or raw.get("time", 0) * 10**9
    actor = raw.get("Actor") or {}
    code = (actor.get("Attributes") or {}).get("exitCode", "")
    return EngineEvent(
        action=raw.get("Action", ""),
        container=actor.get("ID") or raw.get("id", ""),
        time=nanoseconds / 1e9,
        exit_code=int(code) if code.isdigit() else None,
    )


class FrameStream(_Stream):
    """Frames of a container's log: (stream number, bytes), until its end."""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        with suppress(Exception):  # the engine or the reader is gone: the log ends here
            while len(head := self._response.raw.read(8)) == 8:
                length = int.from_bytes(head[4:], "big")
                data = self._response.raw.read(length) if length else b""
                if len(data) != length:
                    return
                yield head[0], data


class Watcher:
    """Events of our containers, on a thread of its own, again and again as the engine comes and goes."""

    def __init__(
        self,
        engine: Engine,
        label: str,
        *,
        connected: Callable[[], None],
        happened: Callable[[EngineEvent], None],
    ) -> None:
        """Both are called in the loop: `connected` each time that the stream has begun, before any event of it."""
        self._engine = engine
        self._filters = {"type": ["container"], "event": list(EVENTS), "label": [label]}
        self._connected = connected
        self._happened = happened
        self._loop = asyncio.get_running_loop()
        self._left = threading.Event()
        self.up = False
        """The engine tells its events at the moment."""
        self._stream: EventStream | None = None
        threading.Thread(target=self._watch, name="docker-events", daemon=True).start()

    def leave(self) -> None:
        self._left.set()
        if self._stream is not None:
            self._stream.wake()

    def _watch(self) -> None:
        failures = 0
        while not self._left.is_set():
            try:
                self._read(self._engine.watch(self._filters))
                failures = 0
            except Exception as error:  # whatever it was: the engine is asked again, and then all is listed
                if failures == 1 and not self._left.is_set():
                    reason = error.detail if isinstance(error, PilotlightError) else str(error)
                    log.warning("no events of the docker engine; asking again until there are", reason=reason)
            self._left.wait(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    def _read(self, stream: EventStream) -> None:
        self._stream = stream
        try:
            if self._left.is_set():
                return
            self.up = True
            self._tell(self._connected)
            for event in stream:
                self._tell(self._happened, event)
        finally:
            self.up = False
            stream.close()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        if not self._left.is_set():
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(what, *arguments)


def _check(response: Any) -> None:
    if response.status_code >= 400:
        try:
            said = response.json()["message"]
        except (ValueError, KeyError):
            said = response.text
        raise Refused(response.status_code, str(said))


def plain_reason(error: BaseException) -> str:
    """The cause at the bottom, without the layers of libraries around it."""
    causes: list[BaseException] = []
    seconds = re.search(r"Read timed out\. \(read timeout=(\d+)", str(error))
    if seconds is not None:
        return f"it took the question and did not answer within {seconds[1]} s"
    look: BaseException | None = error
    while look is not None and look not in causes:
        causes.append(look)
        look = look.__cause__ or look.__context__ or next((a for a in look.args if isinstance(a, BaseException)), None)
    for cause in reversed(causes):
        if isinstance(cause, FileNotFoundError):
            return NO_SOCKET
        if isinstance(cause, PermissionError):
            return NOT_ALLOWED
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return str(error)
