"""What a watchdog is told by its variables, under the names that OpenFaaS' watchdogs gave them."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SERIALIZING, STREAMING, HTTP, STATIC = MODES = ("serializing", "streaming", "http", "static")

UNSUPPORTED: Mapping[str, str] = MappingProxyType({
    "marshal_request": "the body is given to the program as it came; the rest is in Http_* variables",
    "jwt_auth_debug": "jwt_auth is not supported",
    "jwt_auth_local": "jwt_auth is not supported",
    "hard_timeout": "its name is exec_timeout",
})  # fmt: skip
"""Variables of OpenFaaS' watchdogs that do nothing here, each with what there is instead; said once, at the start."""


class BadVariable(Exception):
    """A variable is missing or wrong; the sentence names it, and says what is expected."""


class Upstream(NamedTuple):
    """Where the program of the mode `http` listens."""

    host: str
    port: int
    prefix: str = ""
    """Of every path; empty, or beginning with a slash and not ending with one."""

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


_UPSTREAM = Upstream("127.0.0.1", 5000)


@dataclass(frozen=True, kw_only=True)
class Config:
    command: tuple[str, ...] = ()
    """`fprocess` (or `function_process`): the program and its arguments, quoted as in a shell; no shell reads it."""
    mode: str = SERIALIZING
    """serializing: a program for each request; the answer goes out when it has ended, so that its exit code decides the
    status. streaming: the answer goes out as the program writes it; what fails after its first byte cuts the
    connection. http: the program runs for as long as the watchdog and is an HTTP server itself, at `upstream_url`.
    static: no program; the files under `static_path`."""
    upstream: Upstream = _UPSTREAM
    """`upstream_url` (or `http_upstream_url`), which must be set with the mode http."""
    static_path: str = "/home/app/public"
    exec_timeout: float = 30.0
    """Seconds that a request may take its program; 0: as long as it likes."""
    read_timeout: float = 30.0
    """Seconds to wait for the bytes of one request, all waits together, and not the time that its program takes to
    read them; 0: for ever."""
    write_timeout: float = 30.0
    """Seconds that a client may leave a piece of its answer untaken, and that what runs may go on after SIGTERM."""
    healthcheck_interval: float = 0.0
    """Seconds after SIGTERM in which /_/health says 503 and requests are still served, so that whoever asks it stops
    sending. OpenFaaS' watchdogs wait for write_timeout; here the router has stopped sending before SIGTERM comes."""
    ready_path: str = ""
    """Where /_/ready asks the function itself: its answer is the answer."""
    buffer_requests: bool = False
    """`http_buffer_req_body` (or `buffer_http`): the program gets a request when it is whole, with its length."""
    port: int = 8080
    max_inflight: int = 0
    """Requests at once; 0: as many as come."""
    content_type: str = "application/octet-stream"
    """Of answers by programs that run for each request."""
    combine_output: bool = False
    """Whether what the program writes to its standard error is a part of the answer; otherwise it goes to the log."""
    prefix_logs: bool = True
    log_line_bytes: int = 65536
    """`log_buffer_size`: longer lines are cut into several."""
    log_callid: bool = False
    write_debug: bool = False
    """Whether answers of programs that run for each request go to the log, too."""
    debug_headers: bool = False
    """Whether the headers of requests go to the log."""
    cgi_headers: bool = True
    """Whether the program gets the request's head in variables."""
    suppress_lock: bool = False
    """Whether there is no lock file; otherwise who removes it makes the function unhealthy."""
    notes: tuple[str, ...] = ()
    """Variables that are set and do nothing, a sentence each."""


def parse_config(variables: Mapping[str, str]) -> Config:
    """BadVariable names the first one that is wrong. Empty counts as absent."""
    given = {name: value for name, value in variables.items() if value}
    if _flag(given, "jwt_auth", False):
        raise BadVariable("jwt_auth: is not supported here; `auth: key` of the function lets only its callers in")
    mode = given.get("mode", Config.mode)
    if mode not in MODES:
        raise BadVariable(f"mode: must be {', '.join(MODES[:-1])} or {MODES[-1]}, not {mode!r}")
    return Config(
        command=() if mode == STATIC else _command(given),
        mode=mode,
        upstream=_upstream(given) if mode == HTTP else Config.upstream,
        static_path=given.get("static_path", Config.static_path),
        exec_timeout=_seconds(given, "exec_timeout", Config.exec_timeout),
        read_timeout=_seconds(given, "read_timeout", Config.read_timeout),
        write_timeout=_seconds(given, "write_timeout", Config.write_timeout),
        healthcheck_interval=_seconds(given, "healthcheck_interval", Config.healthcheck_interval),
        ready_path=_path(given, "ready_path"),
        buffer_requests=_flag(given, "http_buffer_req_body", _flag(given, "buffer_http", Config.buffer_requests)),
        port=_number(given, "port", Config.port, most=65535),
        max_inflight=_number(given, "max_inflight", Config.max_inflight),
        content_type=_header_value(given, "content_type", Config.content_type),
        combine_output=_flag(given, "combine_output", Config.combine_output),
        prefix_logs=_flag(given, "prefix_logs", Config.prefix_logs),
        log_line_bytes=max(1, _number(given, "log_buffer_size", Config.log_line_bytes, unlimited=2**20)),
        log_callid=_flag(given, "log_callid", Config.log_callid),
        write_debug=_flag(given, "write_debug", Config.write_debug),
        debug_headers=_flag(given, "debug_headers", Config.debug_headers),
        cgi_headers=_flag(given, "cgi_headers", Config.cgi_headers),
        suppress_lock=_flag(given, "suppress_lock", Config.suppress_lock),
        notes=tuple(f"{name} is set and does nothing: {why}" for name, why in UNSUPPORTED.items() if name in given),
    )


def parse_duration(text: str) -> float:
    """Seconds of "30", "30s", "1m30s", "500ms"; ValueError for anything else."""
    if text.isascii() and text.isdigit():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _command(given: Mapping[str, str]) -> tuple[str, ...]:
    command = given.get("fprocess") or given.get("function_process")
    if not command:
        raise BadVariable("fprocess: is not set; name the program that is run for each request, as fprocess=cat")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise BadVariable(f"fprocess: {str(error).lower()}: {command!r}") from None
    if not words:
        raise BadVariable("fprocess: names no program")
    return words


def _upstream(given: Mapping[str, str]) -> Upstream:
    text = given.get("upstream_url") or given.get("http_upstream_url")
    if not text:
        raise BadVariable(
            "upstream_url: is not set; with mode=http it says where the program listens, as http://127.0.0.1:5000"
        )
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if host is None or url.scheme != "http" or url.query or not text.isascii() or not text.isprintable():
        raise BadVariable(f"upstream_url: must be like http://127.0.0.1:5000, not {text!r}")
    return Upstream(host, port or 80, url.path.rstrip("/"))


def _path(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "")
    if text and (not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text):
        raise BadVariable(f"{name}: must be a path that begins with /, not {text!r}")
    return text


def _header_value(given: Mapping[str, str], name: str, default: str) -> str:
    text = given.get(name, default)
    if not (text.isascii() and text.isprintable()):
        raise BadVariable(f"{name}: must be what a header can hold, not {text!r}")
    return text


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    if name not in given:
        return default
    try:
        return parse_duration(given[name])
    except ValueError:
        raise BadVariable(f"{name}: must be seconds or a duration like 1m30s, not {given[name]!r}") from None


def _number(
    given: Mapping[str, str], name: str, default: int, *, most: int = 2**31, unlimited: int | None = None
) -> int:
    """`unlimited` is what -1 stands for, where it may be given."""
    text = given.get(name, str(default))
    if text == "-1" and unlimited is not None:
        return unlimited
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise BadVariable(f"{name}: must be a whole number, at most {most}, not {text!r}")
    return int(text)


def _flag(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name, str(default)).lower()
    if text not in ("true", "false", "1", "0"):
        raise BadVariable(f"{name}: must be true or false, not {given[name]!r}")
    return text in ("true", "1")
