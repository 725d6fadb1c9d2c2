"""Counts what passes, in plain integers; makes OpenFaaS' metrics of them when somebody asks.

Names and labels are OpenFaaS' own, so that its dashboards and alerts find them; ours stand beside them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Route

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Go's default buckets, in seconds: what dashboards for OpenFaaS expect."""
_FIRST = BUCKETS[0]


class Series:
    """The calls of one function that were answered with one status, in this run of the router."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def observe(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[0 if seconds <= _FIRST else bisect_left(BUCKETS, seconds)] += 1


class Metered(Protocol):
    """A function, as far as it is counted."""

    started: int
    in_flight: int
    series: dict[int, Series]

    @property
    def route(self) -> Route: ...
    @property
    def key(self) -> FunctionKey: ...
    @property
    def waiting(self) -> int: ...


def render(functions: Iterable[Metered], *, epoch: str, connected: bool, routes_version: int) -> str:
    """The Prometheus text format, version 0.0.4. Counts of calls go on where earlier runs of this router left them,
    so a function has no lines before the control plane has told its count; the histogram begins anew."""
    functions = sorted(functions, key=lambda f: f.key)
    called = [f for f in functions if f.started or f.route.counted]
    lines = [
        *_head("gateway_function_invocation_total", "counter", "Calls that were answered."),
        *(
            f'gateway_function_invocation_total{{{_name(f)},code="{code}"}} {count}'
            for f in called
            for code, count in sorted(answered(f).items())
        ),
        *_head("gateway_functions_seconds", "histogram", "Time from a call's arrival to the end of its answer."),
        *(line for f in called for labels, series in _series(f) for line in _histogram(labels, series)),
        *_each("gateway_function_invocation_started", "counter", "Calls that arrived.", called, _started),
        *_each(
            "gateway_function_invocation_inflight",
            "gauge",
            "Calls that wait or are in a replica.",
            called,
            lambda f: f.waiting + f.in_flight,
        ),
        *_replicas(functions),
        *_head("pilotlight_replica_starts_total", "counter", "Replicas that were started, by outcome."),
        *_counts("pilotlight_replica_starts_total", "outcome", {f.key: f.route.starts for f in functions}),
        *_head("pilotlight_replica_ends_total", "counter", "Replicas that ended, by reason."),
        *_counts("pilotlight_replica_ends_total", "reason", {f.key: f.route.ends for f in functions}),
        *_each("pilotlight_router_waiting", "gauge", "Calls that wait for a slot.", called, lambda f: f.waiting),
        *_each("pilotlight_router_in_flight", "gauge", "Slots that are taken.", called, lambda f: f.in_flight),
        *_head("pilotlight_router_epoch", "gauge", "1; the label names this run of the router."),
        f'pilotlight_router_epoch{{epoch="{epoch}"}} 1',
        *_head("pilotlight_router_link_up", "gauge", "Whether the control plane is connected."),
        f"pilotlight_router_link_up {int(connected)}",
        *_head("pilotlight_router_routes_version", "gauge", "The version of the routes in use."),
        f"pilotlight_router_routes_version {routes_version}",
    ]
    return "\n".join(lines) + "\n"


def answered(function: Metered) -> dict[int, int]:
    """Calls by status, those of earlier runs included."""
    total = dict(function.route.counted)
    for code, series in function.series.items():
        total[code] = total.get(code, 0) + series.count
    return total


def _started(function: Metered) -> int:
    return sum(function.route.counted.values()) + function.started


def _replicas(functions: Iterable[Metered]) -> Iterator[str]:
    """What the control plane decided and did, as OpenFaaS' gateway has it from its provider."""
    functions = list(functions)
    yield from _each(
        "gateway_service_count", "gauge", "Replicas that are wanted.", functions, lambda f: f.route.replicas
    )
    yield from _each("gateway_service_ready_count", "gauge", "Replicas that take calls.", functions, _ready)
    yield from _each(
        "gateway_service_min", "gauge", "Replicas that are always kept.", functions, lambda f: f.route.min_replicas
    )
    yield from _head("gateway_service_target_load", "gauge", "What one replica is meant to carry.")
    for f in functions:
        labels = f'{_name(f)},scaling_type="{f.route.scaling_type}"'
        yield f"gateway_service_target_load{{{labels}}} {f.route.target_load:g}"


def _ready(function: Metered) -> int:
    return sum(not endpoint.draining for endpoint in function.route.endpoints)


def _each(
    name: str, kind: str, text: str, functions: Iterable[Metered], value: Callable[[Metered], int]
) -> Iterator[str]:
    yield from _head(name, kind, text)
    for function in functions:
        yield f"{name}{{{_name(function)}}} {value(function)}"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _counts(name: str, label: str, counts: Mapping[FunctionKey, Mapping[str, int]]) -> Iterator[str]:
    for function in sorted(counts):
        for word, count in sorted(counts[function].items()):
            yield f'{name}{{function_name="{function}",{label}="{word}"}} {count}'


def _name(function: Metered) -> str:
    return f'function_name="{function.key}"'


def _series(function: Metered) -> list[tuple[str, Series]]:
    return [(f'{_name(function)},code="{status}"', series) for status, series in sorted(function.series.items())]


def _histogram(labels: str, series: Series) -> list[str]:
    lines = []
    total = 0
    for bound, count in zip((*(f"{bound:g}" for bound in BUCKETS), "+Inf"), series.buckets, strict=True):
        total += count
        lines.append(f'gateway_functions_seconds_bucket{{{labels},le="{bound}"}} {total}')
    lines.append(f"gateway_functions_seconds_sum{{{labels}}} {series.seconds:.9g}")
    lines.append(f"gateway_functions_seconds_count{{{labels}}} {series.count}")
    return lines
