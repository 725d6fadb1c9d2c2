"""How many replicas does this function want, and why?

After Knative's KPA: a stable window says what lasts, a panic window what is happening, and while in panic nothing
shrinks. Two things differ. Requests that wait ask for replicas by themselves, at once and at full concurrency, so that
no request waits for a tick and a burst starts what its slots need and no more; and the utilisation target applies to
the stable window only, for the same reason.
"""

import math
from dataclasses import dataclass

from pilotlight.core.spec import Scaling

STABLE_SECONDS = 60
PANIC_SECONDS = 6
PANIC_RATIO = 2.0
"""In panic when the panic window asks for this many times the replicas that are ready."""
MAX_SHRINK = 2.0
"""At most divide by this in one decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is known of one function at one moment. Durations are seconds."""

    known: bool
    """False when no router has reported: unknown is not zero."""
    slots: int
    """Of one replica, at least 1."""
    ready: int = 0
    starting: int = 0
    waiting: int = 0
    in_flight: int = 0
    stable: float = 0.0
    """Mean concurrency over the stable window."""
    panic: float = 0.0
    """Mean concurrency over the panic window."""
    idle_for: float = 0.0
    """Since when nothing waits and nothing is in flight; 0 while something is."""
    scaled_to: int | None = None
    """What the last scale call asked for."""
    scaled_ago: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """Until when nothing shrinks, and to what; carried from one decision to the next."""

    until: float
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    replicas: int
    reason: str
    """One word: unknown, scaled, idle, waiting, panic, steady, busy, warm, cold, minimum, maximum."""
    panic: Panic | None = None


def decide(load: Load, scaling: Scaling, panic: Panic | None, now: float) -> Decision:
    """How many replicas there should be, starting ones included. `now` is monotonic, for the panic's end only."""
    current = load.ready + load.starting
    if not load.known:
        return Decision(replicas=max(current, scaling.min), reason="unknown", panic=panic)
    if load.scaled_to is not None and (held := _held_by_scale_call(load, load.scaled_to, scaling)) is not None:
        return held
    if load.waiting == 0 and load.in_flight == 0 and load.idle_for >= scaling.idle_seconds:
        return Decision(replicas=scaling.min, reason="idle")
    panic = _next_panic(load, panic, now)
    wanted, reason = max(
        _waiting(load), _in_panic(load, panic), _steady(load, scaling), _busy(load), key=lambda item: item[0]
    )
    if wanted < current:
        wanted = max(wanted, math.floor(load.ready / MAX_SHRINK))
    return _bounded(load, wanted, reason, scaling, panic)


def _held_by_scale_call(load: Load, replicas: int, scaling: Scaling) -> Decision | None:
    """A scale call holds until the function was idle for its idle time (from then on it scales as always), or, for
    zero, until somebody calls."""
    if replicas == 0:
        return None if load.waiting or load.in_flight else Decision(replicas=0, reason="scaled")
    quiet_for = min(load.scaled_ago, load.idle_for) if load.in_flight + load.waiting == 0 else 0.0
    if quiet_for >= scaling.idle_seconds:
        return None
    needed, reason = _waiting(load)
    if needed > replicas:
        return Decision(replicas=max(replicas, min(needed, scaling.max)), reason=reason)
    return Decision(replicas=replicas, reason="scaled")


def _waiting(load: Load) -> tuple[int, str]:
    """Slots for everything that waits or runs, counted in full, whenever something waits."""
    if load.waiting == 0:
        return 0, "cold"
    return math.ceil((load.waiting + load.in_flight) / load.slots), "waiting"


def _next_panic(load: Load, panic: Panic | None, now: float) -> Panic | None:
    wanted = math.ceil(load.panic / load.slots)
    if load.panic / load.slots >= PANIC_RATIO * max(1, load.ready):
        return Panic(until=now + STABLE_SECONDS, replicas=max(wanted, panic.replicas if panic else 0))
    return panic if panic is not None and now < panic.until else None


def _in_panic(load: Load, panic: Panic | None) -> tuple[int, str]:
    return (min(panic.replicas, load.ready + load.starting), "panic") if panic else (0, "cold")


def _steady(load: Load, scaling: Scaling) -> tuple[int, str]:
    wanted = math.ceil(load.stable / (load.slots * scaling.target))
    if wanted <= 1 and load.ready + load.starting > 0:
        return 1, "warm"
    return wanted, "steady" if wanted else "cold"


def _busy(load: Load) -> tuple[int, str]:
    """What is in flight now keeps its slots, whatever the average of the last minute says."""
    return math.ceil(load.in_flight / load.slots), "busy"


def _bounded(load: Load, wanted: int, reason: str, scaling: Scaling, panic: Panic | None) -> Decision:
    if wanted < scaling.min:
        return Decision(replicas=scaling.min, reason="minimum", panic=panic)
    if wanted > scaling.max:
        return Decision(replicas=scaling.max, reason="maximum", panic=panic)
    return Decision(replicas=wanted, reason=reason, panic=panic)
