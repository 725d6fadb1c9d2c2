"""Numbers, sizes and times in the words of a terminal, and back; the nearest names to a mistyped one.

Every command imports this module, so it imports late what few of them need.
"""

import re
import time
from collections.abc import Iterable, Mapping

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """ "90", "1m30s", "250ms" as seconds; ValueError otherwise."""
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text):
        return float(text)
    if len(text) > 64 or _DURATION.fullmatch(text) is None:
        raise ValueError(text)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def size(count: float) -> str:
    """Bytes in powers of ten, as disks and networks count: 1.4 kB."""
    if count < 1000:
        return f"{count:.0f} B"
    unit = "kB"
    for larger in ("MB", "GB"):
        if count < 999_500:
            break
        count, unit = count / 1000, larger
    count /= 1000
    return f"{count:.1f} {unit}" if count < 10 else f"{count:.0f} {unit}"


def milliseconds(value: float) -> str:
    """A duration given in ms: 8.4 ms, 124 ms, 1.24 s, 2 m 5 s."""
    if value < 10:
        return f"{value:.1f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{value / 1000:.2f} s"
    return f"{int(value // 60_000)} m {int(value % 60_000 // 1000)} s"


def in_phases(phases: Mapping[str, float]) -> str:
    """`claim 0.5 · load 4.6 · init 0.6 · listen 0.4`"""
    return " · ".join(f"{name} {value:.1f}" for name, value in phases.items())


def in_short(seconds: float) -> str:
    """A duration in its largest unit: 12 s, 3 m, 2 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def ago(moment: float, *, now: float | None = None) -> str:
    """How long ago a Unix time was, in its largest unit."""
    return f"{in_short(max(0.0, (time.time() if now is None else now) - moment))} ago"


def clock(moment: float, *, millis: bool = False) -> str:
    """The local time of day: people read logs in their own time."""
    from datetime import datetime

    local = datetime.fromtimestamp(moment)
    return local.strftime("%H:%M:%S.%f")[:-3] if millis else local.strftime("%H:%M:%S")


def to_unix(value: object) -> float | None:
    """A time as an API gives it, Unix seconds or RFC 3339; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    from datetime import UTC, datetime

    # Python 3.11 takes at most six digits of a second's fraction; OpenFaaS servers send nine.
    text = re.sub(r"(\.\d{6})\d+", r"\1", value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def short_call(call: str) -> str:
    """A call's id for people: both ends of a UUID, which `faasctl logs --call` takes as well."""
    return f"{call[:4]}-{call[-3:]}" if len(call) == 36 else call


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def thousands(count: int) -> str:
    return f"{count:,}"


def nearest(word: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """At most three names that someone who typed `word` may have meant."""
    from difflib import get_close_matches

    return get_close_matches(word[:100], list(known), n=most, cutoff=0.6)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    near = nearest(word, known)
    return f"did you mean {either(near)}?" if near else None


def either(names: list[str]) -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
