"""What a watchdog is told by its variables, under the names that OpenFaaS' watchdogs gave them."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MODES = ("serializing", "streaming")


class BadVariable(Exception):
    """A variable is missing or wrong; the sentence names it, and says what is expected."""


@dataclass(frozen=True, kw_only=True)
class Config:
    command: tuple[str, ...]
    """`fprocess` (or `function_process`): the program and its arguments, quoted as in a shell; no shell reads it."""
    mode: str = "serializing"
    """serializing: the answer goes out when the program has ended, so that its exit code decides the status.
    streaming: it goes out as the program writes it; what fails after its first byte cuts the connection."""
    exec_timeout: float = 30.0
    """Seconds that a program may run; 0: as long as it likes."""
    drain_seconds: float = 30.0
    """`write_timeout`: after SIGTERM programs may go on for so long."""
    port: int = 8080
    max_inflight: int = 0
    """Programs at once; 0: as many as come."""
    content_type: str = "application/octet-stream"
    combine_output: bool = False
    """Whether what the program writes to its standard error is a part of the answer; otherwise it goes to the log."""
    prefix_logs: bool = True
    log_line_bytes: int = 65536
    """`log_buffer_size`: longer lines are cut into several."""
    log_callid: bool = False
    cgi_headers: bool = True
    """Whether the program gets the request's head in variables."""


def parse_config(variables: Mapping[str, str]) -> Config:
    """BadVariable names the first one that is wrong. Empty counts as absent."""
    given = {name: value for name, value in variables.items() if value}
    command = given.get("fprocess") or given.get("function_process")
    if not command:
        raise BadVariable("fprocess: is not set; name the program that is run for each request, as fprocess=cat")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise BadVariable(f"fprocess: {str(error).lower()}: {command!r}") from None
    if not words:
        raise BadVariable("fprocess: names no program")
    mode = given.get("mode", Config.mode)
    if mode not in MODES:
        raise BadVariable(f"mode: must be serializing or streaming, not {mode!r}")
    return Config(
        command=words,
        mode=mode,
        exec_timeout=_seconds(given, "exec_timeout", Config.exec_timeout),
        drain_seconds=_seconds(given, "write_timeout", Config.drain_seconds),
        port=_number(given, "port", Config.port, most=65535),
        max_inflight=_number(given, "max_inflight", Config.max_inflight),
        content_type=given.get("content_type", Config.content_type),
        combine_output=_flag(given, "combine_output", Config.combine_output),
        prefix_logs=_flag(given, "prefix_logs", Config.prefix_logs),
        log_line_bytes=max(1, _number(given, "log_buffer_size", Config.log_line_bytes, unlimited=2**20)),
        log_callid=_flag(given, "log_callid", Config.log_callid),
        cgi_headers=_flag(given, "cgi_headers", Config.cgi_headers),
    )


def parse_duration(text: str) -> float:
    """Seconds of "30", "30s", "1m30s", "500ms"; ValueError for anything else."""
    if text.isascii() and text.isdigit():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


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
