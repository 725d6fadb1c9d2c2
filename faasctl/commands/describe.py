"""`faasctl describe`: callable? where? how is it doing? why so? what was the last trouble?"""

import time
from collections.abc import Iterator
from typing import Any

import click

from faasctl.commands._common import client_of, json_option, named, namespace_option, path_of, server_option
from faasctl.commands._common import command as make_command
from faasctl.facts import STATE_STYLES, Facts, error_share, last_call, number, since, until, why_of
from faasctl.output import BOLD, DIM, GREEN, RED, Screen, Span, bars
from faasctl.words import ago, clock, in_short, milliseconds, plural, thousands, to_unix

EXAMPLES = """
faasctl describe hello
faasctl describe hello --json
"""
Rows = Iterator[list[Span]]
_INDENT = 16
_SLOW_IMPORT_MS = 100.0
_RECENT_SECONDS = 3600.0
"""An end that is older is told, but nothing is advised about it."""


@make_command("describe", EXAMPLES, help="Show all about one function.")
@click.argument("name")
@click.option("-v", "--verbose", is_flag=True, help="The replicas' stories and the environment too.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, name: str, verbose: bool, namespace: str | None, server: str | None) -> None:
    client = client_of(server)
    with named(client, name, namespace):
        found = client.get(path_of(name), namespace=namespace)
    if screen.json:
        screen.document(found)
        return
    for line in _lines(found, client.server.url + str(found.get("url") or f"/function/{name}"), verbose=verbose):
        screen.data(*line)


def _lines(found: Facts, url: str, *, verbose: bool) -> Rows:
    spec = found.get("spec") or {}
    yield _title(found, url)
    yield _field("Callable now?", *_callable(found))
    yield _field(f"Why {found.get('state')}", _why(found))
    yield _field("Calls", _calls(found))
    yield _field("Scale", _scale(found))
    yield from _replicas(found, verbose=verbose)
    if warm := _warm(found.get("warm")):
        yield _field("Kept warm", warm)
    yield from _cold_start(found.get("last_cold_start"))
    yield from _last_end(found.get("last_end"))
    yield _field("Built from", _built_from(found))
    if access := _access(found, spec):
        yield _field("Access", access)
    if spec.get("secrets"):
        yield _field("Secrets", ", ".join(map(str, spec["secrets"])))
    if verbose and spec.get("environment"):
        yield _field("Environment", ", ".join(f"{key}={value}" for key, value in spec["environment"].items()))
    created = to_unix(found.get("created_at"))
    if created is not None:
        yield _field("Created", ago(created))
    for word, text in _next(found):
        yield _field(word, text)


def _title(found: Facts, url: str) -> list[Span]:
    state = str(found.get("state", "?"))
    revision = f"   revision {found.get('revision', '?')}   {url}"
    return [(str(found.get("name")), BOLD), "   ", (state, STATE_STYLES.get(state, "")), revision]


def _field(word: str, *spans: Span) -> list[Span]:
    return [(f"{word:<{_INDENT}}", DIM), *spans]


def _callable(found: Facts) -> Iterator[Span]:
    ready, failure = number(found, "ready_replicas"), found.get("failure")
    if ready:
        waiting, free = number(found, "waiting"), number(found, "free_slots")
        queue = f"{thousands(waiting)} wait" if waiting else "nobody waits"
        slots = plural(number(found, "slots"), "slot")
        yield from (("Yes", GREEN), f": {plural(ready, 'replica')}, {free} of {slots} free, {queue}")
    elif isinstance(failure, dict):
        yield from (("No", RED), f": callers get 503 {failure.get('slug')}{until(failure)}")
    elif found.get("state") == "failing":
        yield from (("No", RED), ": its replicas do not come up; callers get 503")
    else:
        yield from (("Yes", GREEN), f": the next call starts it{_usual_start(found)}")


def _usual_start(found: Facts) -> str:
    phases = (found.get("last_cold_start") or {}).get("phases") or {}
    return f", about {milliseconds(sum(phases.values()))} more (as the last time)" if phases else ""


def _why(found: Facts) -> str:
    decided = since(found.get("decided_at"))
    return why_of(found) + (f" (decided {decided})" if decided and not found.get("failure") else "")


def _calls(found: Facts) -> str:
    calls = number(found, "calls")
    if not calls:
        return "none yet"
    busy = number(found, "in_flight")
    parts = [thousands(calls), f"{error_share(found)} errors", f"last {last_call(found)}"]
    return " · ".join([*parts, f"{busy} in flight"] if busy else parts)


def _scale(found: Facts) -> str:
    scale = (found.get("spec") or {}).get("scale") or {}
    least, most = scale.get("min", 0), scale.get("max", 20)
    parts = [f"{number(found, 'replicas')} of {least}..{most}"]
    if scale.get("type", "concurrency") != "concurrency" or scale.get("target"):
        parts.append(f"by {scale.get('type', 'concurrency')}, target {scale.get('target') or 'the default'}")
    idle = in_short(float(scale.get("idle_seconds") or 300))
    if least != most:
        parts.append(f"down to {0 if scale.get('zero') else least} after {idle} without a call")
    return " · ".join(parts)


def _replicas(found: Facts, *, verbose: bool) -> Rows:
    for place, each in enumerate(found.get("replicas_detail") or []):
        words = [str(each.get("id")), f"node {each.get('node')}", str(each.get("state"))]
        words.append(plural(int(each.get("slots") or 0), "slot"))
        if each.get("revision") not in (None, found.get("revision")):
            words.append(f"revision {each['revision']}")
        if each.get("cpu_seconds") is not None:
            words.append(f"cpu {float(each['cpu_seconds']):.1f} s")
        if each.get("memory_mib") is not None:
            words.append(f"mem {float(each['memory_mib']):.0f} MiB")
        yield _field("" if place else "Replicas", "  ".join(words))
        for step in (each.get("story") or []) if verbose else []:
            yield [" " * (_INDENT + 2), (str(step), DIM)]


def _warm(warm: dict[str, Any] | None) -> str:
    """What waits for the next start, and what it costs."""
    if not warm:
        return ""
    ready = int(warm.get("ready") or 0)
    things = {"zygote": "spare process", "container": "spare container", "paused": "paused container"}
    thing = things.get(str(warm.get("kind")))
    if not ready or thing is None:
        return f"nothing: {warm.get('why')}" if warm.get("why") else "nothing"
    plural_of = {"spare process": "spare processes"}.get(thing, f"{thing}s")
    words = f"{ready} {thing if ready == 1 else plural_of}"
    memory = float(warm.get("memory_mib") or 0)
    return f"{words}, {memory:.0f} MiB in all" if memory else words


def _cold_start(last: dict[str, Any] | None) -> Rows:
    phases = _phases(last)
    if last is None or not phases:
        return
    at = to_unix(last.get("at"))
    when = f"{clock(at)} ({ago(at)}), " if at is not None else ""
    yield _field("Last cold start", f"{when}{milliseconds(sum(phases.values()))}:")
    yield from bars(phases, indent=_INDENT)


def _phases(last: dict[str, Any] | None) -> dict[str, float]:
    return {str(name): float(value) for name, value in ((last or {}).get("phases") or {}).items()}


def _last_end(last: dict[str, Any] | None) -> Rows:
    if not last:
        yield _field("Last trouble", "none that the server remembers")
        return
    at = to_unix(last.get("at"))
    when = f"{clock(at)} ({ago(at, now=time.time())})  " if at is not None else ""
    detail = str(last.get("detail") or "")
    yield _field("Last trouble", when, (str(last.get("reason")), RED), f": {detail}" if detail else "")
    for line in last.get("last_lines") or []:
        yield [" " * _INDENT, (str(line), DIM)]


def _built_from(found: Facts) -> str:
    if found.get("runs") and not found.get("environment"):  # a ready-made image; its name alone may mean others by now
        name, at, digest = str(found["runs"]).partition("@")
        return f"{name}{' ' if at else ''}{digest[:19]}"
    parts = [
        f"{word} {str(found[word]).removeprefix('sha256:')[:6]}"
        for word in ("environment", "bundle")
        if found.get(word)
    ]
    return " · ".join(parts) or str(found.get("image") or "-")


def _access(found: Facts, spec: Facts) -> str:
    """Only what is not as with any function."""
    parts = []
    if found.get("auth") == "key":
        parts.append(f"with its key only (faasctl key {found.get('name')})")
    if cors := spec.get("cors"):
        parts.append(f"from pages of {', '.join(map(str, cors.get('origins') or []))}")
    return " · ".join(parts)


def _next(found: Facts) -> Iterator[tuple[str, str]]:
    """What to do about it, and where there is more."""
    name = found.get("name")
    loading = _phases(found.get("last_cold_start")).get("load", 0.0)
    if slug := _trouble(found):
        yield "Help", _cure(slug)
        yield "", f"faasctl logs {name}, faasctl explain {slug}"
    elif loading >= _SLOW_IMPORT_MS:
        yield "Tip", f"{milliseconds(loading)} of a start are imports: import late what few calls need"
    yield "More", f"--json, faasctl logs {name}"


def _trouble(found: Facts) -> str | None:
    """The name of what ails it: why it does not start, or how a replica ended not long ago."""
    failure, last = found.get("failure"), found.get("last_end")
    if isinstance(failure, dict):
        return str(failure.get("slug"))
    if not last or time.time() - (to_unix(last.get("at")) or 0.0) > _RECENT_SECONDS:
        return None
    from pilotlight_problems import rows

    reason = str(last.get("reason"))
    return reason if reason in rows() else None


def _cure(slug: str) -> str:
    from pilotlight_problems import find

    return find(slug).cure
