"""Lines of one call: in one function's log, and over all functions."""

import msgspec
import pytest

from pilotlight.api.call_logs import is_call
from pilotlight.core.spec import FunctionSpec
from pilotlight.providers.base import LogLine
from tests.integration.api.memory import DIGEST, Api

ID = "9c2b74e8-226b-4705-ae68-000000000ffe"


def line(second: float, call_id: str | None, text: str = "x") -> LogLine:
    return LogLine(time=second, replica="r1", stream="stdout", text=text, call_id=call_id)


async def lines_of(api: Api, path: str) -> list[dict[str, object]]:
    async with api.http.get(f"http://api{path}") as answer:
        assert answer.status == 200
        return [msgspec.json.decode(each) for each in (await answer.read()).splitlines()]


async def test_a_functions_log_is_narrowed_to_one_call(api: Api, hello: FunctionSpec) -> None:
    api.control.lines = [line(1, ID, "a"), line(2, "other"), line(3, None), line(4, ID, "b")]
    found = await lines_of(api, f"/api/v1/functions/hello/logs?call={ID}&tail=1")
    assert [each["text"] for each in found] == ["a", "b"]


async def test_a_call_is_found_in_every_function_by_time(api: Api, hello: FunctionSpec) -> None:
    await api.control.namespaces.create("dev", {}, {})
    await api.control.deploy(FunctionSpec(name="other", namespace="dev", image=f"bundle/other@sha256:{DIGEST}"))
    api.control.lines = [line(2, ID, "later"), line(1, ID, "sooner"), line(3, "other")]
    found = await lines_of(api, f"/api/v1/logs?call={ID}")
    assert [each["text"] for each in found] == ["sooner", "sooner", "later", "later"]
    assert {(each["function"], each["namespace"]) for each in found} == {("hello", "openfaas-fn"), ("other", "dev")}
    assert await lines_of(api, f"/api/v1/logs?call={ID}&since=1.5") == found[2:]


async def test_without_a_call_there_is_nothing_to_look_for(api: Api) -> None:
    status, problem = await api.call("GET", "/api/v1/logs")
    assert (status, problem["field"]) == (400, "call")


@pytest.mark.parametrize(
    ("call_id", "wanted", "is_it"),
    [
        (ID, ID, True),
        (ID, "9c2b-ffe", True),
        (ID, "9c2b-ffd", False),
        (ID, "9c2b", False),
        (ID, "-", False),
        ("9c2b-own-ffe", "9c2b-ffe", False),
        ("mine", "mine", True),
        (None, ID, False),
        (None, "", False),
    ],
)
def test_a_short_id_is_both_ends_of_a_long_one(call_id: str | None, wanted: str, is_it: bool) -> None:
    assert is_call(call_id, wanted) is is_it
