"""The metrics' text."""

from dataclasses import dataclass, field

from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import Endpoint, Route
from pilotlight.router.meter import Series, render

F = function_key("f")


@dataclass
class Counted:
    key: FunctionKey = F
    started: int = 1
    in_flight: int = 0
    waiting: int = 0
    series: dict[int, Series] = field(default_factory=dict)
    route: Route = field(default_factory=lambda: Route(function=F))


def text_of(*functions: Counted) -> str:
    return render(functions, epoch="e", connected=True, routes_version=3)


def samples(*functions: Counted) -> list[str]:
    return [line for line in text_of(*functions).splitlines() if not line.startswith("#")]


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
    assert "gateway_function" not in "".join(samples(Counted(started=0, series={})))


def test_counts_go_on_where_earlier_runs_of_the_router_left_them() -> None:
    series = Series()
    series.observe(0.1)
    route = Route(function=F, counted={200: 10, 502: 1})
    lines = samples(Counted(started=2, series={200: series}, route=route))
    assert 'gateway_function_invocation_total{function_name="f.openfaas-fn",code="200"} 11' in lines
    assert 'gateway_function_invocation_total{function_name="f.openfaas-fn",code="502"} 1' in lines
    assert 'gateway_function_invocation_started{function_name="f.openfaas-fn"} 13' in lines
    assert 'gateway_functions_seconds_count{function_name="f.openfaas-fn",code="200"} 1' in lines


def test_replicas_are_told_as_openfaas_gateway_tells_them() -> None:
    endpoints = (
        Endpoint(replica="a", address="unix:/a", slots=4),
        Endpoint(replica="b", address="unix:/b", slots=4, draining=True),
    )
    route = Route(function=F, endpoints=endpoints, replicas=3, min_replicas=1, target_load=2.8)
    lines = samples(Counted(started=0, series={}, route=route))
    assert [line for line in lines if line.startswith("gateway_service")] == [
        'gateway_service_count{function_name="f.openfaas-fn"} 3',
        'gateway_service_ready_count{function_name="f.openfaas-fn"} 1',
        'gateway_service_min{function_name="f.openfaas-fn"} 1',
        'gateway_service_target_load{function_name="f.openfaas-fn",scaling_type="capacity"} 2.8',
    ]


def test_what_waits_and_what_is_in_a_replica_is_in_flight() -> None:
    lines = samples(Counted(started=5, in_flight=2, waiting=3))
    assert 'gateway_function_invocation_inflight{function_name="f.openfaas-fn"} 5' in lines


def test_starts_and_ends_of_replicas_are_the_routes() -> None:
    route = Route(function=F, starts={"ready": 3}, ends={"stopped": 2, "out-of-memory": 1})
    lines = text_of(Counted(started=0, series={}, route=route)).splitlines()
    assert 'pilotlight_replica_starts_total{function_name="f.openfaas-fn",outcome="ready"} 3' in lines
    assert 'pilotlight_replica_ends_total{function_name="f.openfaas-fn",reason="out-of-memory"} 1' in lines


def test_every_sample_has_a_type() -> None:
    lines = text_of(Counted(series={200: Series()})).splitlines()
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    samples = {line.partition("{")[0].split()[0] for line in lines if not line.startswith("#")}
    suffixes = ("_bucket", "_sum", "_count")
    assert {name for name in samples if not name.endswith(suffixes)} <= typed
    assert text_of().endswith("\n")
