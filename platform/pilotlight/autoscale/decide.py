"""How many replicas does this function want, and why?

After Knative's KPA: a stable window says what lasts, a panic window what is happening, and while in panic nothing
shrinks. Two things differ. Requests that wait ask for replicas by themselves, at once and at full concurrency, so that
no request waits for a tick and a burst starts what its slots need and no more; and the utilisation target applies to
the stable window only, for the same reason.

Functions that say so scale by something else than their concurrency, as OpenFaaS has it: so many replicas that none
carries more than its share of the target. What waits and what is in flight has its slots all the same.
"""

import math
from dataclasses import dataclass, replace

from pilotlight.autoscale.rule import Rule, next_rule
from pilotlight.core.scaling import Scaling

STABLE_SECONDS = 60
PANIC_SECONDS = 6
SHORT_SECONDS = 10
"""Of the window that answers to a rise, where replicas are not wanted by concurrency."""
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
    measured: float = 0.0
    """By what the function scales, over all replicas: calls a second, calls in flight, thousandths of a processor. The
    higher one of its means over the short and the stable window: a rise counts at once, a fall when it lasts."""
    successes: float = 0.0
    """Calls a second that succeeded, over the short window."""
    idle_for: float = 0.0
    """Since when nothing waits and nothing is in flight; 0 while something is."""
    scaled_to: int | None = None
    """What the last scale call asked for."""
    scaled_ago: float = 0.0
    adopted_ago: float = math.inf
    """Since when its replicas of an earlier control plane are ours: the load before that is not known."""

    @property
    def present(self) -> int:
        return self.ready + self.starting

    @property
    def is_quiet(self) -> bool:
        return self.waiting == 0 and self.in_flight == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """Until when nothing shrinks, and to what."""

    until: float
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision carries to the next. Times are those of `decide`."""

    panic: Panic | None = None
    rule: Rule | None = None
    wanted: tuple[tuple[float, int], ...] = ()
    """When how many were wanted, within the down window; only those that nothing later reaches."""


NOTHING = Memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    replicas: int
    reason: str
    """One word: unknown, scaled, fixed, idle, cold, waiting, busy, warm, steady, panic, rps, capacity, cpu, rule,
    window, adopted, minimum, maximum."""
    memory: Memory = NOTHING


def decide(load: Load, scaling: Scaling, memory: Memory, now: float) -> Decision:
    """How many replicas there should be, starting ones included. `now` is monotonic, for what `memory` holds only."""
    least = _least(load, scaling)
    if not load.known:
        if load.scaled_to is None and scaling.is_fixed and least:
            return Decision(replicas=scaling.max, reason="fixed")
        kept = least if load.scaled_to is None else 0
        return Decision(replicas=max(load.present, kept), reason="unknown", memory=memory)
    if load.scaled_to is not None and (held := _held_by_scale_call(load, load.scaled_to, scaling)) is not None:
        return held
    if load.is_quiet and load.idle_for >= scaling.idle_seconds and not (scaling.is_fixed and scaling.least_idle):
        return Decision(replicas=scaling.least_idle, reason="idle")
    if scaling.is_fixed:
        return Decision(replicas=least, reason="fixed" if least else "cold")
    rule = next_rule(load.successes, load.present, scaling, memory.rule, now)
    memory = replace(memory, panic=_next_panic(load, scaling, memory.panic, now), rule=rule)
    wanted, reason = _wanted(load, scaling, memory)
    memory = replace(memory, wanted=_next_wanted(scaling, memory, wanted, now))
    if memory.wanted and memory.wanted[0][1] > wanted:
        wanted, reason = memory.wanted[0][1], "window"
    return _bounded(wanted, reason, least, scaling, memory)


def _least(load: Load, scaling: Scaling) -> int:
    """A function that may go to zero, and is there, stays there until somebody calls."""
    return 0 if scaling.zero and load.present == 0 and load.is_quiet else scaling.min


def _held_by_scale_call(load: Load, replicas: int, scaling: Scaling) -> Decision | None:
    """A scale call holds until the function was idle for its idle time (from then on it scales as always), or, for
    zero, until somebody calls."""
    if replicas == 0:
        return Decision(replicas=0, reason="scaled") if load.is_quiet else None
    if scale_call_is_over(load, scaling):
        return None
    needed, reason = _waiting(load)
    if needed > replicas:
        return Decision(replicas=max(replicas, min(needed, scaling.max)), reason=reason)
    return Decision(replicas=replicas, reason="scaled")


def scale_call_is_over(load: Load, scaling: Scaling) -> bool:
    """Whether what a scale call asked for, other than zero, has held long enough; it does not hold again later."""
    quiet_for = min(load.scaled_ago, load.idle_for) if load.known and load.is_quiet else 0.0
    return bool(load.scaled_to) and quiet_for >= scaling.idle_seconds


def _wanted(load: Load, scaling: Scaling, memory: Memory) -> tuple[int, str]:
    wanted, reason = max(
        _waiting(load),
        _in_panic(load, memory.panic),
        _by_type(load, scaling),
        _busy(load),
        (memory.rule.replicas if memory.rule else 0, "rule"),
        key=lambda item: item[0],
    )
    if wanted < load.ready and load.adopted_ago < STABLE_SECONDS:
        return load.ready, "adopted"
    if wanted < load.present:
        wanted = max(wanted, math.floor(load.ready / MAX_SHRINK))
    return wanted, reason


def _waiting(load: Load) -> tuple[int, str]:
    """Slots for everything that waits or runs, counted in full, whenever something waits."""
    if load.waiting == 0:
        return 0, "cold"
    return math.ceil((load.waiting + load.in_flight) / load.slots), "waiting"


def _next_panic(load: Load, scaling: Scaling, panic: Panic | None, now: float) -> Panic | None:
    if scaling.type != "concurrency":
        return None
    wanted = math.ceil(load.panic / load.slots)
    if load.panic / load.slots >= PANIC_RATIO * max(1, load.ready):
        return Panic(until=now + STABLE_SECONDS, replicas=max(wanted, panic.replicas if panic else 0))
    return panic if panic is not None and now < panic.until else None


def _in_panic(load: Load, panic: Panic | None) -> tuple[int, str]:
    return (min(panic.replicas, load.present), "panic") if panic else (0, "cold")


def _by_type(load: Load, scaling: Scaling) -> tuple[int, str]:
    """What the target asks for; a replica that is there stays until the function is idle."""
    by_concurrency = scaling.type == "concurrency"
    wanted = math.ceil((load.stable if by_concurrency else load.measured) / scaling.per_replica(load.slots))
    if wanted <= 1 and load.present > 0:
        return 1, "warm"
    return wanted, ("steady" if by_concurrency else scaling.type) if wanted else "cold"


def _busy(load: Load) -> tuple[int, str]:
    """What is in flight now keeps its slots, whatever the average of the last minute says."""
    return math.ceil(load.in_flight / load.slots), "busy"


def _next_wanted(scaling: Scaling, memory: Memory, wanted: int, now: float) -> tuple[tuple[float, int], ...]:
    """With `wanted` at its end; what is older than the window, or not above what came later, is of no use any more."""
    if not scaling.down_window_seconds:
        return ()
    kept = [(at, most) for at, most in memory.wanted if most > wanted and now - at < scaling.down_window_seconds]
    return (*kept, (now, wanted))


def _bounded(wanted: int, reason: str, least: int, scaling: Scaling, memory: Memory) -> Decision:
    if wanted < least:
        return Decision(replicas=least, reason="minimum", memory=memory)
    if wanted > scaling.max:
        return Decision(replicas=scaling.max, reason="maximum", memory=memory)
    return Decision(replicas=wanted, reason=reason, memory=memory)
