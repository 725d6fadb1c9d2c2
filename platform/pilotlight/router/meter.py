"""Counts what passes, in plain integers; makes OpenFaaS' metrics of them when somebody asks."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Route

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Go's default buckets, in seconds: what dashboards for OpenFaaS expect."""


class Series:
    """The calls of one function that were answered with one status."""

    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)

    def observe(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1


class Metered(Protocol):
    """A function, as far as it is counted."""

    started: int
    in_flight: int
    series: dict[int, Series] | None

    @property
    def route(self) -> Route: ...
    @property
    def key(self) -> FunctionKey: ...
    @property
    def waiting(self) -> int: ...


def render(functions: Iterable[Metered], *, epoch: str, connected: bool, routes_version: int) -> str:
    """The Prometheus text format, version 0.0.4."""
    functions = list(functions)
    called = sorted((f for f in functions if f.started), key=lambda f: f.key)
    lines = [
        *_head("gateway_function_invocation_total", "counter", "Calls that were answered."),
        *(
            f"gateway_function_invocation_total{{{labels}}} {series.count}"
            for function in called
            for labels, series in _series(function)
        ),
        *_head("gateway_functions_seconds", "histogram", "Time from a call's arrival to the end of its answer."),
        *(line for function in called for labels, series in _series(function) for line in _histogram(labels, series)),
        *_head("gateway_function_invocation_started", "counter", "Calls that arrived."),
        *(f"gateway_function_invocation_started{{{_name(f)}}} {f.started}" for f in called),
        *_head("pilotlight_replica_starts_total", "counter", "Replicas that were started, by outcome."),
        *_counts("pilotlight_replica_starts_total", "outcome", {f.key: f.route.starts for f in functions}),
        *_head("pilotlight_replica_ends_total", "counter", "Replicas that ended, by reason."),
        *_counts("pilotlight_replica_ends_total", "reason", {f.key: f.route.ends for f in functions}),
        *_head("pilotlight_router_waiting", "gauge", "Calls that wait for a slot."),
        *(f"pilotlight_router_waiting{{{_name(f)}}} {f.waiting}" for f in called),
        *_head("pilotlight_router_in_flight", "gauge", "Slots that are taken."),
        *(f"pilotlight_router_in_flight{{{_name(f)}}} {f.in_flight}" for f in called),
        *_head("pilotlight_router_epoch", "gauge", "1; the label names this run of the router."),
        f'pilotlight_router_epoch{{epoch="{epoch}"}} 1',
        *_head("pilotlight_router_link_up", "gauge", "Whether the control plane is connected."),
        f"pilotlight_router_link_up {int(connected)}",
        *_head("pilotlight_router_routes_version", "gauge", "The version of the routes in use."),
        f"pilotlight_router_routes_version {routes_version}",
    ]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _counts(name: str, label: str, counts: Mapping[FunctionKey, Mapping[str, int]]) -> Iterator[str]:
    for function in sorted(counts):
        for word, count in sorted(counts[function].items()):
            yield f'{name}{{function_name="{function}",{label}="{word}"}} {count}'


def _name(function: Metered) -> str:
    return f'function_name="{function.key}"'


def _series(function: Metered) -> list[tuple[str, Series]]:
    series = function.series or {}
    return [(f'{_name(function)},code="{status}"', series[status]) for status in sorted(series)]


def _histogram(labels: str, series: Series) -> list[str]:
    lines = []
    total = 0
    for bound, count in zip((*(f"{bound:g}" for bound in BUCKETS), "+Inf"), series.buckets, strict=True):
        total += count
        lines.append(f'gateway_functions_seconds_bucket{{{labels},le="{bound}"}} {total}')
    lines.append(f"gateway_functions_seconds_sum{{{labels}}} {series.seconds:.9g}")
    lines.append(f"gateway_functions_seconds_count{{{labels}}} {series.count}")
    return lines
