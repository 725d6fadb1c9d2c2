"""`faasctl describe`: callable? where? how is it doing? why so? what was the last trouble?"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from faasctl.commands._common import client_of, function_missing, json_option, namespace_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands.list import STATE_STYLES, error_share
from faasctl.errors import CliError, ExitCode
from faasctl.output import BOLD, DIM, RED, Screen, Span
from faasctl.words import ago, clock, milliseconds, plural, thousands, to_unix

EXAMPLES = """
faasctl describe hello
faasctl describe hello --json
"""
Rows = Iterator[list[Span]]
_BAR_WIDTH = 24
_BAR_PARTS = " ▏▎▍▌▋▊▉"


@make_command("describe", EXAMPLES, help="Show all about one function.")
@click.argument("name")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, name: str, namespace: str | None, server: str | None) -> None:
    client = client_of(server)
    try:
        found = client.get(f"/api/v1/functions/{quote(name, safe='')}", namespace=namespace)
    except CliError as error:
        if error.exit_code == ExitCode.NOT_FOUND:
            raise function_missing(client, name, namespace) from error
        raise
    if screen.json:
        screen.document(found)
        return
    for line in _lines(found, client.server.url + str(found.get("url") or f"/function/{name}")):
        screen.data(*line)


def _lines(found: dict[str, Any], url: str) -> Rows:
    state = str(found.get("state", "?"))
    yield [
        (str(found.get("name")), BOLD),
        "   ",
        (state, STATE_STYLES.get(state, "")),
        f"   revision {found.get('revision', '?')}   {url}",
    ]
    yield _field("Callable now?", _callable(found))
    yield _field("Why", str(found.get("why") or "-"))
    calls = int(found.get("calls") or 0)
    yield _field("Calls", f"{thousands(calls)} · {error_share(found)} errors" if calls else "none yet")
    yield _field("Scale", _scale(found))
    yield from _replicas(found)
    yield from _cold_start(found.get("last_cold_start"))
    yield from _last_end(found.get("last_end"))
    yield _field("Built from", _built_from(found))
    created = to_unix(found.get("created_at"))
    if created is not None:
        yield _field("Created", ago(created))
    yield _field("More", f"--json, faasctl logs {found.get('name')}")


def _field(word: str, *spans: Span) -> list[Span]:
    return [(f"{word:<15}", DIM), *spans]


def _callable(found: dict[str, Any]) -> str:
    ready, state = int(found.get("ready_replicas") or 0), str(found.get("state"))
    if ready:
        slots = sum(int(each.get("slots") or 0) for each in found.get("replicas_detail") or [])
        busy, waiting = int(found.get("in_flight") or 0), int(found.get("waiting") or 0)
        queue = f"{thousands(waiting)} wait" if waiting else "nobody waits"
        return f"Yes: {plural(ready, 'replica')}, {max(0, slots - busy)} of {plural(slots, 'slot')} free, {queue}"
    if state in ("failing", "crash-looping"):
        return "No: its replicas do not come up; callers get 503"
    return "Yes: the next call starts it" + _usual_start(found)


def _usual_start(found: dict[str, Any]) -> str:
    phases = (found.get("last_cold_start") or {}).get("phases") or {}
    return f", about {milliseconds(sum(phases.values()))} more (as the last time)" if phases else ""


def _scale(found: dict[str, Any]) -> str:
    scale = (found.get("spec") or {}).get("scale") or {}
    bounds = f"{scale.get('min', 0)}..{scale.get('max', 20)}"
    return f"{found.get('replicas', 0)} of {bounds}, to its least after {scale.get('idle_seconds', 300):g} s idle"


def _replicas(found: dict[str, Any]) -> Rows:
    for number, each in enumerate(found.get("replicas_detail") or []):
        words = [str(each.get("id")), f"node {each.get('node')}", str(each.get("state"))]
        if each.get("started_seconds") is not None:
            words.append(f"up {_span(float(each['started_seconds']))}")
        slots = plural(int(each.get("slots") or 0), "slot")
        words.append(f"{each['in_flight']} of {slots} busy" if "in_flight" in each else slots)
        if each.get("cpu_seconds") is not None:
            words.append(f"cpu {float(each['cpu_seconds']):.1f} s")
        if each.get("memory_mib") is not None:
            words.append(f"mem {float(each['memory_mib']):.0f} MiB")
        yield _field("Replicas" if number == 0 else "", "  ".join(words))


def _span(seconds: float) -> str:
    return ago(0.0, now=seconds).removesuffix(" ago")


def _cold_start(last: dict[str, Any] | None) -> Rows:
    """The phases as bars of one scale: where the milliseconds went."""
    phases = {str(name): float(value) for name, value in ((last or {}).get("phases") or {}).items()}
    if last is None or not phases:
        return
    at = to_unix(last.get("at"))
    when = f"{clock(at)}, " if at is not None else ""
    yield _field("Last cold start", f" {when}{milliseconds(sum(phases.values()))}:")
    longest = max(phases.values()) or 1.0
    for name, value in phases.items():
        yield [" " * 15, f"{name:<8}{value:>8.1f}  ", _bar(value / longest)]


def _bar(share: float) -> str:
    eighths = max(1, round(share * _BAR_WIDTH * 8))
    return "█" * (eighths // 8) + _BAR_PARTS[eighths % 8].strip()


def _last_end(last: dict[str, Any] | None) -> Rows:
    if not last:
        return
    at = to_unix(last.get("at"))
    when = f"{clock(at)} ({ago(at, now=time.time())})  " if at is not None else ""
    detail = str(last.get("detail") or "")
    yield _field("Last trouble", when, (str(last.get("reason")), RED), f": {detail}" if detail else "")
    for line in last.get("last_lines") or []:
        yield [" " * 15, (str(line), DIM)]


def _built_from(found: dict[str, Any]) -> str:
    parts = [
        f"{word} {str(found[word]).removeprefix('sha256:')[:6]}"
        for word in ("environment", "bundle")
        if found.get(word)
    ]
    return " · ".join(parts) or str(found.get("image") or "-")
