"""The metrics' text."""

from dataclasses import dataclass, field

from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import Route
from pilotlight.router.meter import Series, render

F = function_key("f")


@dataclass
class Counted:
    key: FunctionKey = F
    started: int = 1
    in_flight: int = 0
    waiting: int = 0
    series: dict[int, Series] | None = field(default_factory=dict)
    route: Route = field(default_factory=lambda: Route(function=F))


def text_of(*functions: Counted) -> str:
    return render(functions, epoch="e", connected=True, routes_version=3)


def test_a_histogram_counts_cumulatively_in_gos_buckets() -> None:
    series = Series()
    for seconds in (0.001, 0.005, 0.3, 99.0):
        series.observe(seconds)
    lines = text_of(Counted(series={200: series})).splitlines()
    buckets = [line.rpartition(" ")[2] for line in lines if "_bucket{" in line]
    bounds = [line.partition('le="')[2].partition('"')[0] for line in lines if "_bucket{" in line]
    assert buckets == ["2", "2", "2", "2", "2", "2", "3", "3", "3", "3", "3", "4"]
    assert bounds == ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
    assert 'gateway_functions_seconds_count{function_name="f.openfaas-fn",code="200"} 4' in lines
    assert 'gateway_functions_seconds_sum{function_name="f.openfaas-fn",code="200"} 99.306' in lines


def test_functions_that_were_never_called_have_no_lines() -> None:
    assert "function_name" not in text_of(Counted(started=0, series=None))


def test_starts_and_ends_of_replicas_are_the_routes() -> None:
    route = Route(function=F, starts={"ready": 3}, ends={"stopped": 2, "out-of-memory": 1})
    lines = text_of(Counted(started=0, series=None, route=route)).splitlines()
    assert 'pilotlight_replica_starts_total{function_name="f.openfaas-fn",outcome="ready"} 3' in lines
    assert 'pilotlight_replica_ends_total{function_name="f.openfaas-fn",reason="out-of-memory"} 1' in lines


def test_every_sample_has_a_type() -> None:
    lines = text_of(Counted(series={200: Series()})).splitlines()
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = {line.partition("{")[0].split()[0] for line in lines if not line.startswith("#")}
    suffixes = ("_bucket", "_sum", "_count")
    assert {name for name in samples if not name.endswith(suffixes)} <= typed
    assert text_of().endswith("\n")
