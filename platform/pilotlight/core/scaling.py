"""What a user says about the number of replicas: as `scale` of a spec, or as OpenFaaS' `com.openfaas.scale.*` labels.

Both end in a `Scaling`. The labels' defaults are OpenFaaS' where they have a meaning of their own (a target of 50, of
which 0.90 is aimed for); min, max and idle time are Pilotlight's (0, 20 and 5 minutes) whichever way a function came.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from pilotlight.core.checks import check, nearest, told
from pilotlight.core.errors import InvalidSpec
from pilotlight.core.quantity import parse_duration_seconds

MAX_REPLICAS = 1000
MAX_IDLE_SECONDS = 30 * 86_400.0
MAX_DOWN_WINDOW_SECONDS = 300.0
MAX_TARGET = 1_000_000.0
LABEL_PREFIX = "com.openfaas.scale."
LABEL_FACTOR = 20
"""Percent of the maximum that OpenFaaS' rule adds at a time where the labels do not say."""

ScaleType = Literal["concurrency", "rps", "capacity", "cpu", "queue"]
_T = TypeVar("_T")


class Scaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many replicas, and by what. Waiting calls ask for replicas whatever the type."""

    min: Annotated[int, told(minimum=0, maximum=MAX_REPLICAS)] = 0
    """Kept while the function is used, and without `zero: true` also while it is idle."""
    max: Annotated[int, told(minimum=1, maximum=MAX_REPLICAS)] = 20
    """Equal to `min`: exactly so many, whatever the load."""
    idle_seconds: Annotated[float, told(exclusiveMinimum=0, maximum=MAX_IDLE_SECONDS)] = 300.0
    """Without a call for so long, the function goes to `min` replicas, or to none."""
    zero: bool | None = None
    """True: to no replica when idle, also with a `min` (from there it comes back to `min`). False: one at least is
    kept. None: to `min`."""
    type: ScaleType = "concurrency"
    """What one replica should carry `target` of. concurrency and capacity: calls at once; rps: calls answered in a
    second; cpu: thousandths of a processor; queue: waiting asynchronous calls, of which there are none yet."""
    target: Annotated[float | None, told(exclusiveMinimum=0, maximum=MAX_TARGET)] = None
    """None: a replica's slots with concurrency, 50 with the others."""
    target_proportion: Annotated[float | None, told(minimum=0.01, maximum=1)] = None
    """Share of the target to aim for; None: 0.7 with concurrency, 0.9 with the others."""
    down_window_seconds: Annotated[float, told(minimum=0, maximum=MAX_DOWN_WINDOW_SECONDS)] = 0.0
    """Replicas go down to the most that were wanted within this time."""
    factor: Annotated[int, told(minimum=0, maximum=100)] = 0
    """OpenFaaS' rule: while more than 5 calls a second succeed, add so many percent of `max`, and again every 30 s."""

    def __post_init__(self) -> None:
        if self.zero is False and self.min == 0:
            msgspec.structs.force_setattr(self, "min", 1)
        if self.type == "concurrency" and self.target is not None and 0 < self.target < 1:
            # Specs that were stored before `target_proportion` have the share here, 0.7 where nobody gave one.
            share = self.target_proportion if self.target == 0.7 else self.target
            msgspec.structs.force_setattr(self, "target_proportion", share)
            msgspec.structs.force_setattr(self, "target", None)

    @property
    def least_idle(self) -> int:
        """Replicas that stay when nobody has called for `idle_seconds`."""
        return 0 if self.zero else self.min

    @property
    def is_fixed(self) -> bool:
        return self.min == self.max

    def per_replica(self, slots: int) -> float:
        """The load that one replica of so many slots should have."""
        if self.type == "concurrency":
            return min(self.target or slots, slots) * (self.target_proportion or 0.7)
        return (self.target or 50.0) * (self.target_proportion or 0.9)


def check_scaling(scale: Scaling) -> None:
    """Rules that types cannot say; the first one broken is raised as InvalidSpec."""
    check(0 <= scale.min <= scale.max, "scale", f"needs 0 <= min <= max, got min {scale.min} and max {scale.max}")
    check(1 <= scale.max <= MAX_REPLICAS, "scale.max", f"must be from 1 to {MAX_REPLICAS}")
    check(0 < scale.idle_seconds <= MAX_IDLE_SECONDS, "scale.idle_seconds", "must be more than 0 and at most 30 days")
    target, share = scale.target, scale.target_proportion
    check(target is None or _is_target(target), "scale.target", "must be a number of more than 0")
    check(share is None or 0.01 <= share <= 1, "scale.target_proportion", "must be from 0.01 to 1")
    window = scale.down_window_seconds
    check(0 <= window <= MAX_DOWN_WINDOW_SECONDS, "scale.down_window_seconds", "must be from 0 to 300")
    check(0 <= scale.factor <= 100, "scale.factor", "must be from 0 to 100, in percent of max")
    plain = scale.type == "concurrency" and target is None
    check(scale.factor == 0 or plain, "scale.factor", "goes with no type and no target; leave out one or the other")


def from_scale_labels(labels: object, annotations: object = None) -> Scaling | None:
    """OpenFaaS' scaling labels, which may come as annotations, too (a label wins); None where there is none of them.
    InvalidSpec names the label."""
    given = _scale_words(annotations) | _scale_words(labels)
    if not given:
        return None
    values = {_LABELS[word].field: _read(word, text) for word, text in given.items()}
    if "target" in values:
        values.setdefault("type", "rps")
    if "type" in values:
        values.pop("factor", None)
    else:
        values.setdefault("factor", LABEL_FACTOR)
    _check_bounds(values)
    return Scaling(**values)


def _scale_words(labels: object) -> dict[str, str]:
    """What stands behind the prefix, and its text."""
    if not isinstance(labels, Mapping):
        return {}
    words = {
        name.removeprefix(LABEL_PREFIX): str(text)
        for name, text in labels.items()
        if isinstance(name, str) and name.startswith(LABEL_PREFIX)
    }
    for word in words:
        if word not in _LABELS:
            label = f"{LABEL_PREFIX}{word}"
            hint = nearest(label, [f"{LABEL_PREFIX}{known}" for known in _LABELS])
            raise InvalidSpec(f"{label}: there is no such scaling label", field=label, hint=hint)
    return words


def _read(word: str, text: str) -> Any:
    label = f"{LABEL_PREFIX}{word}"
    if (word, text) == ("type", "custom"):
        raise InvalidSpec(
            f"{label}: custom takes the load from a query to Prometheus, which Pilotlight does not make",
            field=label,
            hint=f"Use {_LABELS[word].expected}.",
        )
    try:
        return _LABELS[word].read(text.strip())
    except (ValueError, InvalidSpec):
        raise InvalidSpec(f"{label}: must be {_LABELS[word].expected}, not {text!r}", field=label) from None


def _check_bounds(values: Mapping[str, Any]) -> None:
    least, most = values.get("min", 0), values.get("max", Scaling().max)
    unsaid = "" if "max" in values else f" (the default; {LABEL_PREFIX}max raises it)"
    label = f"{LABEL_PREFIX}min"
    check(least <= most, label, f"must be at most {LABEL_PREFIX}max, and {least} is more than {most}{unsaid}")


@dataclass(frozen=True, slots=True)
class _Label:
    field: str
    read: Callable[[str], Any]
    """ValueError where the text is none."""
    expected: str


def _within(read: Callable[[str], _T], holds: Callable[[_T], bool]) -> Callable[[str], _T]:
    def checked(text: str) -> _T:
        value = read(text)
        if not holds(value):
            raise ValueError(text)
        return value

    return checked


def _truth(text: str) -> bool:
    """As Go's ParseBool has it, in any case."""
    if text.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "t", "1")


def _is_target(value: float) -> bool:
    return 0 < value <= MAX_TARGET


_TYPES = get_args(ScaleType)
_LABELS = {
    "min": _Label("min", _within(int, lambda n: 0 <= n <= MAX_REPLICAS), f"a whole number from 0 to {MAX_REPLICAS}"),
    "max": _Label("max", _within(int, lambda n: 1 <= n <= MAX_REPLICAS), f"a whole number from 1 to {MAX_REPLICAS}"),
    "zero": _Label("zero", _truth, "true or false"),
    "zero-duration": _Label(
        "idle_seconds",
        _within(parse_duration_seconds, lambda seconds: 0 < seconds <= MAX_IDLE_SECONDS),
        'a duration of at most 30 days, as "15m"',
    ),
    "factor": _Label("factor", _within(int, lambda n: 0 <= n <= 100), "a whole number from 0 to 100"),
    "type": _Label("type", _within(str, lambda word: word in _TYPES), f"one of {', '.join(_TYPES)}"),
    "target": _Label("target", _within(float, _is_target), "a number of more than 0"),
    "target-proportion": _Label("target_proportion", _within(float, lambda n: 0.01 <= n <= 1), "from 0.01 to 1"),
    "down.window": _Label(
        "down_window_seconds",
        _within(parse_duration_seconds, lambda seconds: 0 <= seconds <= MAX_DOWN_WINDOW_SECONDS),
        'a duration of at most 5 minutes, as "2m"',
    ),
}
