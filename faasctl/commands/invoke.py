"""`faasctl invoke`: the body to stdout untouched, the story to stderr, the exit code tells."""

import json
import re
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode

import click

from faasctl.commands._common import client_of, function_missing, namespace_option, pairs, path_of, server_option
from faasctl.commands._common import command as make_command
from faasctl.errors import CliError, ExitCode, failed, usage
from faasctl.output import BOLD, DIM, GREEN, RED, Screen, Span, bars
from faasctl.words import in_phases, milliseconds, short_call

if TYPE_CHECKING:
    from faasctl.client import Client
    from faasctl.wire import Body, Response

EXAMPLES = """
faasctl invoke hello -d world
faasctl invoke resize -f cat.png --query width=300 > small.png
"""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_WHOLE_BYTES = 1 << 20


@make_command("invoke", EXAMPLES, help="Call a function: -d, -f or stdin is its body, its answer goes to stdout.")
@click.argument("name")
@click.option("-d", "--data", metavar="TEXT", help="The body.")
@click.option("-f", "--file", "path", metavar="FILE", help="The body is this file's content; - is stdin.")
@click.option(
    "-X",
    "-m",
    "--method",
    type=click.Choice(METHODS, case_sensitive=False),
    default="POST",
    metavar="METHOD",
    help="[default: POST]",
)
@click.option("-H", "--header", "headers", metavar="KEY:VALUE", multiple=True, help="A header; may be repeated.")
@click.option("--query", metavar="KEY=VALUE", multiple=True, help="A query parameter; may be repeated.")
@click.option("--path", "subpath", metavar="PATH", default="", help="The path that the function sees. [default: /]")
@click.option("--content-type", metavar="TYPE", help="[default: text/plain]")
@click.option("--timeout", type=click.FloatRange(min=0.001), default=None, metavar="SECONDS", help="[default: none]")
@click.option("-a", "--async", "in_background", is_flag=True, help="Not here yet.")
@click.option("-q", "--quiet", is_flag=True, help="No story on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="The answer's headers and phases on stderr.")
@namespace_option
@server_option
@click.pass_obj
def command(
    screen: Screen,
    name: str,
    data: str | None,
    path: str | None,
    method: str,
    headers: tuple[str, ...],
    query: tuple[str, ...],
    subpath: str,
    content_type: str | None,
    timeout: float | None,
    in_background: bool,
    quiet: bool,
    verbose: bool,
    namespace: str | None,
    server: str | None,
) -> int:
    if in_background:
        raise failed("not-supported", "--async: calls in the background are not here yet", "Call it without --async.")
    client = client_of(server)
    sent = _headers(headers)
    if content_type:
        sent["Content-Type"] = content_type
    body = _body(screen, data, path, method, sent)
    target = _target(name, namespace, subpath, query)
    started = time.monotonic()
    response = client.call(method.upper(), target, headers=sent, body=body, seconds=timeout)
    if _wants_key(response) and (key := _key(client, name, namespace)) and _rewound(body):
        sent["X-Function-Key"] = key
        started = time.monotonic()
        response = client.call(method.upper(), target, headers=sent, body=body, seconds=timeout)
    if verbose:
        _show_head(screen, response)
    if response.headers.get("X-OpenFaaS-Internal") == "gateway":
        raise _refusal(client, name, namespace, response)
    _copy(screen, client, response)
    if not quiet or response.status >= 400:
        _tell(screen, name, namespace, response, (time.monotonic() - started) * 1000, verbose=verbose)
    return _exit_code(response)


def _wants_key(response: "Response") -> bool:
    """Refused for want of a key, before the body was looked at."""
    return response.status == 401 and response.headers.get("X-OpenFaaS-Internal") == "gateway"


def _key(client: "Client", name: str, namespace: str | None) -> str | None:
    """The function's key, which the server tells to whom it knows; None for a stranger."""
    if client.server.credentials is None:
        return None
    with suppress(CliError):
        return str(client.get(path_of(name, "/key"), namespace=namespace)["key"])
    return None


def _rewound(body: "Body") -> bool:
    """Whether the body can be sent once more."""
    if body is None or isinstance(body, bytes):
        return True
    seek = getattr(body, "seek", None)
    try:
        return seek is not None and seek(0) == 0
    except OSError:
        return False


def _headers(words: tuple[str, ...]) -> dict[str, str]:
    """`Name: value` or `Name=value`, as both kinds of tools write it."""
    headers: dict[str, str] = {}
    for word in words:
        separator = ":" if ":" in word else "="
        for key, value in pairs([word], "-H", separator=separator).items():
            if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key.strip()) is None or re.search(r"[\r\n\0]", value):
                raise usage(f"-H {word!r} is no header; write it as KEY:VALUE")
            headers[key.strip()] = value.strip()
    return headers


def _target(name: str, namespace: str | None, subpath: str, query: tuple[str, ...]) -> str:
    address = f"{name}.{namespace}" if namespace and "." not in name else name
    target = f"/function/{quote(address, safe='')}"
    if subpath.strip("/"):
        target += "/" + quote(subpath.lstrip("/"), safe="/%:@!$&'()*+,;=~")
    return f"{target}?{urlencode(list(pairs(query, '--query').items()))}" if query else target


def _body(screen: Screen, data: str | None, path: str | None, method: str, headers: dict[str, str]) -> "Body":
    if data is not None and path is not None:
        raise usage("-d and -f both give the body; use one of them")
    headers.setdefault("Content-Type", "text/plain" if path is None else _type_of(path))
    if data is not None:
        return data.encode("utf-8", "surrogateescape")
    if path is not None and path != "-":
        return _opened(path, headers)
    if path == "-" or (_is_piped(sys.stdin) and method.upper() not in ("GET", "HEAD", "OPTIONS", "DELETE")):
        return _from_stdin(screen)
    if method.upper() in ("GET", "HEAD", "OPTIONS", "DELETE"):
        del headers["Content-Type"]
        return None
    return b""


def _type_of(path: str) -> str:
    import mimetypes

    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _opened(path: str, headers: dict[str, str]) -> IO[bytes]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (read by the client until the process ends)
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}") from None
    found = Path(path).stat()
    if stat.S_ISREG(found.st_mode):
        headers["Content-Length"] = str(found.st_size)
    return file


def _is_piped(stream: IO[str]) -> bool:
    """A pipe, a file or a socket; not a terminal and not /dev/null."""
    try:
        mode = Path(f"/dev/fd/{stream.fileno()}").stat().st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _from_stdin(screen: Screen) -> "Body":
    """A small body whole, so that it has a length; a large one as it comes."""
    if not select.select([sys.stdin], [], [], 2.0)[0]:
        screen.say(("reading the body from standard input; -d '' sends none", DIM))
    first = sys.stdin.buffer.read(_WHOLE_BYTES)
    if len(first) < _WHOLE_BYTES:
        return first
    rest: Iterator[bytes] = iter(lambda: sys.stdin.buffer.read(1 << 16), b"")
    return chain([first], rest)


def _copy(screen: Screen, client: "Client", response: "Response") -> None:
    last = b"\n"
    for block in client.blocks(response):
        screen.raw(block)
        last = block
    if screen.person_reads and not last.endswith(b"\n"):
        screen.raw(b"\n")


def _show_head(screen: Screen, response: "Response") -> None:
    screen.say((f"HTTP/1.1 {response.status} {response.reason}", BOLD))
    for key, value in response.headers.items():
        screen.say((f"{key}: ", DIM), value)
    screen.say("")


def _tell(
    screen: Screen, name: str, namespace: str | None, response: "Response", spent_ms: float, *, verbose: bool
) -> None:
    """`200 from hello in 10 ms  (cold start 8.4 ms: claim 0.5 · load 4.6; call c-7f31)`"""
    call = response.headers.get("X-Call-Id")
    remarks = [text for text in (_cold_start(response), _whose(response)) if text]
    if call and (verbose or response.status >= 400):
        remarks.append(f"call {short_call(call)}")
    colour = RED if response.status >= 400 else GREEN
    story: list[Span] = [(str(response.status), colour), f" from {name} in {milliseconds(spent_ms)}"]
    screen.say(*story, (f"  ({'; '.join(remarks)})", DIM) if remarks else "")
    if verbose:
        for line in bars(dict(server_timing(response.headers.get("Server-Timing"))), indent=2):
            screen.say(*line)
    if response.status >= 500:
        where = f" -n {namespace}" if namespace else ""
        screen.say(f"  = see: faasctl logs {name}{where}" + (f" --call {short_call(call)}" if call else ""))


def _cold_start(response: "Response") -> str:
    """`cold start 8.4 ms: claim 2.1 · load 4.6 · ...`; empty for a call that waited for no start."""
    phases = cold_phases(response.headers.get("Server-Timing"))
    if not phases:
        return ""
    waited = phases.pop("wait")
    rest = waited - sum(phases.values())
    if phases and rest >= 0.05:
        phases["rest"] = rest  # the router's and the control plane's own time
    return f"cold start {milliseconds(waited)}" + (f": {in_phases(phases)}" if phases else "")


def cold_phases(text: str) -> dict[str, float]:
    """What the router adds to Server-Timing on a cold call: `wait` (all of it), then the replica's phases; empty for
    a warm one. A function's own entries, if it has some, stand before."""
    entries = list(server_timing(text))
    names = [name for name, _ in entries]
    if not entries or names[-1] != "handler" or "wait" not in names:
        return {}
    first = len(names) - 1 - names[::-1].index("wait")
    return dict(entries[first:-1])


def server_timing(text: str) -> Iterator[tuple[str, float]]:
    """Names and milliseconds of a Server-Timing header; what has no duration is left out."""
    for entry in text.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            value = value.strip('" ')
            if key.strip().lower() == "dur" and re.fullmatch(r"\d{1,12}(\.\d{1,12})?", value):
                yield name, float(value)


def _whose(response: "Response") -> str:
    """Which part of the platform answered instead of the function."""
    limit, error = response.headers.get("X-Pilotlight-Limit"), response.headers.get("X-Pilotlight-Error")
    return error.replace("-", " ") if error else f"limit: {limit}" if limit else ""


def _refusal(client: "Client", name: str, namespace: str | None, response: "Response") -> CliError:
    """The router answered in the function's place: an error of ours, and nobody's body."""
    from faasctl.client import exit_of, problem_of

    try:
        members = json.loads(b"".join(client.blocks(response)) or b"{}")
    except (ValueError, RecursionError):
        members = {}
    found = problem_of(members if isinstance(members, dict) else {})
    if found.slug == "function-not-found":
        return function_missing(client, name, namespace)
    help_lines = found.help
    if found.slug in ("key-required", "key-refused"):
        help_lines = (
            f'Send it:  faasctl invoke {name} -H "X-Function-Key: KEY"',
            "or log in, and it is sent for you: faasctl login",
        )
    problem = replace(found, detail=f"{name}: {response.status}: {found.detail}", help=help_lines)
    return CliError(exit_of(found.slug, response.status), problem)


def _exit_code(response: "Response") -> int:
    if response.status == 504:
        return ExitCode.TIMED_OUT
    return ExitCode.FAILED if response.status >= 400 else ExitCode.OK
