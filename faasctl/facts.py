"""What the API tells of a function, in the words that list, describe and top share. What it does not tell is `-`."""

import time
from typing import Any

from faasctl.output import GREEN, RED, YELLOW
from faasctl.words import clock, in_short, to_unix

Facts = dict[str, Any]
STATE_STYLES = {"ready": GREEN, "starting": YELLOW, "draining": YELLOW, "failing": RED}
_TROUBLE = ("failing", "starting", "draining", "ready", "cold")


def number(function: Facts, name: str) -> int:
    return int(function.get(name) or 0)


def replicas_of(function: Facts) -> str:
    """2/2: ready of wanted; a plain 0 when none are."""
    wanted, ready = number(function, "replicas"), number(function, "ready_replicas")
    return f"{ready}/{wanted}" if wanted or ready else "0"


def busy_of(function: Facts) -> str:
    """5/8: calls in flight of the slots that there are."""
    slots = number(function, "slots")
    return f"{number(function, 'in_flight')}/{slots}" if slots else "-"


def error_share(function: Facts) -> str:
    calls, errors = number(function, "calls"), number(function, "errors")
    return share(errors, calls)


def share(part: float, whole: float) -> str:
    if not whole:
        return "-"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent == 0 or percent >= 1 else "<1 %"


def last_call(function: Facts) -> str:
    idle = function.get("idle_seconds")
    if not number(function, "calls") and not number(function, "in_flight"):
        return "never"
    if idle is None:
        return "-"
    return "now" if float(idle) < 1 else f"{in_short(float(idle))} ago"


def why_of(function: Facts) -> str:
    """The reason of its state; for a failing one what its starts meet, and when the next one is."""
    failure = function.get("failure")
    if not isinstance(failure, dict):
        return str(function.get("why") or "-")
    tries = int(failure.get("starts") or 0)
    started = f"{tries} starts failed: " if tries > 1 else ""
    return f"{started}{failure.get('detail')}{next_try(failure)}"


def next_try(failure: Facts) -> str:
    at = to_unix(failure.get("next_try_at"))
    if at is None:
        return ""
    left = at - time.time()
    return f"; next try in {in_short(left)}" if left >= 1 else "; next try with the next call"


def until(failure: Facts) -> str:
    at = to_unix(failure.get("next_try_at"))
    return f" until {clock(at)} (next try)" if at is not None and at > time.time() else ""


def since(moment: object) -> str:
    at = to_unix(moment)
    return "" if not at else f"{in_short(max(0.0, time.time() - at))} ago"


def by_trouble(function: Facts) -> tuple[int, float, int, str]:
    """A sort key: failing ones, those that let callers wait or fail, the busy ones, the rest by name."""
    state = str(function.get("state"))
    rank = _TROUBLE.index(state) if state in _TROUBLE else len(_TROUBLE)
    waiting = number(function, "waiting")
    return (
        0 if state == "failing" else 1 if waiting else 2 + rank,
        -waiting,
        -number(function, "in_flight"),
        str(function.get("name")),
    )
