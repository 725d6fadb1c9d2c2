"""/system row by row: for each path and method what it takes, and with which status and words it answers."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from pilotlight.core.spec import FunctionSpec, Scaling
from tests.integration.api.memory import CREDENTIALS, DIGEST, Api, Start

IMAGE = f"bundle/hello@sha256:{DIGEST}"
NEW = {"service": "new", "image": IMAGE}
RAW = base64.b64encode(b"\x00\xff").decode()
LABELLED = {"openfaas": "1"}
ANY = None
"""Whatever it says: somewhere else it is tested, or it is for nobody's eyes."""


@dataclass(frozen=True, slots=True)
class Row:
    call: str
    status: int
    says: object = ""
    """The whole body; text that ends with ... is how it begins."""
    body: object = None


ROWS = [
    Row("GET /healthz", 200, "OK"),
    Row("HEAD /healthz", 200),
    Row("GET /system/info", 200, ANY),
    # Functions
    Row("GET /system/functions", 200, ANY),
    Row("GET /system/functions?namespace=dev", 200, ANY),
    Row("GET /system/functions?namespace=empty", 200, []),
    Row("GET /system/functions?namespace=nowhere", 400, "namespace not valid\n"),
    Row("POST /system/functions", 202, body=NEW),
    Row("POST /system/functions", 202, body=NEW | {"namespace": "dev"}),
    Row("POST /system/functions?namespace=dev", 202, body=NEW),
    Row("POST /system/functions", 202, body=NEW | {"labels": None, "annotations": None, "namespace": None}),
    Row("POST /system/functions", 202, body=NEW | {"network": "func_functions", "registryAuth": "x", "new": [1]}),
    Row("POST /system/functions", 202, body=NEW | {"secrets": ["token"]}),
    Row(
        "POST /system/functions", 400, "unable to find secret: tokn; did you mean token?\n", NEW | {"secrets": ["tokn"]}
    ),
    Row("POST /system/functions", 400, "unable to find secret: x\n", NEW | {"secrets": ["token", "x"]}),
    Row("POST /system/functions", 400, "namespace not valid\n", NEW | {"namespace": "nowhere"}),
    Row("POST /system/functions", 400, "failed to unmarshal request...", "{"),
    Row("POST /system/functions", 400, "failed to unmarshal request...", ""),
    Row("POST /system/functions", 400, "failed to unmarshal request...", []),
    Row("POST /system/functions", 400, "validation failed: service: is required\n", {"image": IMAGE}),
    Row(
        "POST /system/functions",
        400,
        "validation failed: service: (A b) is invalid, must be a valid DNS entry\n",
        NEW | {"service": "A b"},
    ),
    Row("POST /system/functions", 400, "validation failed: image: is required\n", {"service": "new"}),
    Row("POST /system/functions", 400, "memory: ...", NEW | {"limits": {"memory": "lots"}}),
    Row("POST /system/functions", 409, "function: hello.openfaas-fn already exists\n", NEW | {"service": "hello"}),
    Row("PUT /system/functions", 202, body=NEW | {"service": "hello"}),
    Row("PUT /system/functions", 404, "function: new.openfaas-fn not found\n", NEW),
    Row("PUT /system/functions", 400, "namespace not valid\n", NEW | {"namespace": "nowhere"}),
    Row("DELETE /system/functions", 202, body={"functionName": "hello"}),
    Row("DELETE /system/functions", 202, body={"functionName": "other", "namespace": "dev"}),
    Row("DELETE /system/functions?namespace=dev", 202, body={"functionName": "other"}),
    Row("DELETE /system/functions", 400, "functionName: is required\n", {"functionName": ""}),
    Row("DELETE /system/functions", 404, "function nobody.openfaas-fn not found\n", {"functionName": "nobody"}),
    Row("DELETE /system/functions", 400, "namespace not valid\n", {"functionName": "hello", "namespace": "nowhere"}),
    Row("GET /system/function/hello", 200, ANY),
    Row("GET /system/function/other?namespace=dev", 200, ANY),
    Row("GET /system/function/other.dev", 200, ANY),
    Row("GET /system/function/nobody", 404, ""),
    Row("GET /system/function/hello?namespace=nowhere", 400, "namespace not valid\n"),
    Row("POST /system/scale-function/hello", 202, body={"serviceName": "hello", "replicas": 3}),
    Row("POST /system/scale-function/hello", 202, body={"serviceName": "hello", "replicas": 0}),
    Row("POST /system/scale-function/other?namespace=dev", 202, body={"serviceName": "other", "replicas": 1}),
    Row("POST /system/scale-function/hello", 400, "Error unmarshalling request body...", "{"),
    Row("POST /system/scale-function/nobody", 404, "function nobody.openfaas-fn not found\n", {"replicas": 1}),
    # Secrets
    Row("GET /system/secrets", 200, [{"name": "token", "namespace": "openfaas-fn"}]),
    Row("GET /system/secrets?namespace=empty", 200, []),
    Row("GET /system/secrets?namespace=nowhere", 400, "namespace not valid\n"),
    Row("POST /system/secrets", 202, body={"name": "s", "value": "v"}),
    Row("POST /system/secrets", 202, body={"name": "s", "rawValue": RAW}),
    Row("POST /system/secrets", 202, body={"name": "s", "namespace": "dev", "value": "v", "rawValue": None}),
    Row("POST /system/secrets?namespace=dev", 202, body={"name": "s", "value": "v"}),
    Row("POST /system/secrets", 409, "secret token already exists\n", {"name": "token", "value": "v"}),
    Row("POST /system/secrets", 400, "non-empty name is required\n", {"name": "", "value": "v"}),
    Row("POST /system/secrets", 400, "non-empty name is required\n", {"value": "v"}),
    Row("POST /system/secrets", 400, "directory traversal found in name\n", {"name": "../x", "value": "v"}),
    Row("POST /system/secrets", 400, "directory traversal found in name\n", {"name": "a/b", "value": "v"}),
    Row("POST /system/secrets", 400, "name: 'a b' must be of letters...", {"name": "a b", "value": "v"}),
    Row("POST /system/secrets", 400, "rawValue: must be base64\n", {"name": "s", "rawValue": "!"}),
    Row("POST /system/secrets", 400, "failed to unmarshal request...", "{"),
    Row("POST /system/secrets", 413, "value: has 1048577 bytes...", {"name": "s", "value": "v" * (2**20 + 1)}),
    Row("POST /system/secrets", 400, "namespace not valid\n", {"name": "s", "namespace": "nowhere", "value": "v"}),
    Row("PUT /system/secrets", 202, body={"name": "token", "value": "other"}),
    Row("PUT /system/secrets", 404, "secret s not found\n", {"name": "s", "value": "v"}),
    Row("DELETE /system/secrets", 202, body={"name": "token"}),
    Row("DELETE /system/secrets", 404, "secret s not found\n", {"name": "s"}),
    Row("DELETE /system/secrets", 404, "secret token not found\n", {"name": "token", "namespace": "dev"}),
    # Logs
    Row("GET /system/logs?name=hello", 200, ""),
    Row("GET /system/logs", 422, "could not parse the log request..."),
    Row("GET /system/logs?name=hello&since=x", 422, "could not parse the log request..."),
    Row("GET /system/logs?name=nobody", 404, "function nobody.openfaas-fn not found\n"),
    # Namespaces
    Row("GET /system/namespaces", 200, ["dev", "empty", "openfaas-fn"]),
    Row("POST /system/namespace/", 201, body={"name": "x", "labels": LABELLED, "annotations": LABELLED}),
    Row("POST /system/namespace/", 201, body={"name": "x", "labels": None, "annotations": None}),
    Row("POST /system/namespace", 201, body={"name": "x"}),
    Row("POST /system/namespace/", 409, "namespace dev already exists\n", {"name": "dev"}),
    Row("POST /system/namespace/", 409, "namespace openfaas-fn already exists\n", {"name": "openfaas-fn"}),
    Row("POST /system/namespace/", 400, "non-empty name is required\n", {}),
    Row("POST /system/namespace/", 400, "name: 'A b' must be a DNS label...", {"name": "A b"}),
    Row(
        "GET /system/namespace/dev", 200, {"name": "dev", "labels": LABELLED | {"team": "x"}, "annotations": {"a": "b"}}
    ),
    Row("GET /system/namespace/openfaas-fn", 200, {"name": "openfaas-fn", "labels": LABELLED, "annotations": {}}),
    Row("GET /system/namespace/nowhere", 404, "namespace nowhere not found\n"),
    Row("PUT /system/namespace/dev", 202, body={"name": "dev", "labels": LABELLED, "annotations": {}}),
    Row("PUT /system/namespace/nowhere", 404, "namespace nowhere not found\n", {"name": "nowhere", "labels": LABELLED}),
    Row(
        "PUT /system/namespace/dev", 400, "namespace dev is not an openfaas namespace\n", {"name": "dev", "labels": {}}
    ),
    Row("DELETE /system/namespace/empty", 202, body={"name": "empty"}),
    Row("DELETE /system/namespace/nowhere", 404, "namespace nowhere not found\n", {"name": "nowhere"}),
    Row("DELETE /system/namespace/dev", 409, "namespace dev has functions: other.dev\n", {"name": "dev"}),
    Row("DELETE /system/namespace/openfaas-fn", 409, "namespace openfaas-fn is the default one, which stays\n"),
    # Alerts
    Row("POST /system/alert", 200, body={"status": "firing", "receiver": "scale-up", "alerts": []}),
    Row("POST /system/alert", 200, body={"alerts": [{"status": "firing", "labels": {"function_name": "hello"}}]}),
    Row("POST /system/alert", 400, "Unable to parse alert, bad format.\n", "{"),
    Row("POST /system/alert", 400, "Unable to parse alert, bad format.\n", {"alerts": "x"}),
    Row(
        "POST /system/alert",
        500,
        "[0] there is no function nobody.openfaas-fn\n",
        {"alerts": [{"status": "firing", "labels": {"function_name": "nobody.openfaas-fn"}}]},
    ),
    # What is not there
    Row("GET /system/telemetry", 501, "this server does not support telemetry..."),
    Row("GET /system/nothing", 404, "there is no /system/nothing here\n"),
    Row("PATCH /system/functions", 405, "/system/functions does not take PATCH\n"),
]


async def furnish(api: Api) -> None:
    """What the rows speak of."""
    await api.control.namespaces.create("dev", {"team": "x"}, {"a": "b"})
    await api.control.namespaces.create("empty", {}, {})
    await api.control.secrets.create("openfaas-fn", "token", b"v")
    for name, namespace in (("hello", "openfaas-fn"), ("other", "dev")):
        await api.control.deploy(FunctionSpec(name=name, namespace=namespace, image=IMAGE))


async def said(api: Api, row: Row) -> tuple[int, Any]:
    method, _, path = row.call.partition(" ")
    if row.body is None:
        return await api.call(method, path)
    body = row.body.encode() if isinstance(row.body, str) else msgspec.json.encode(row.body)
    return await api.call(method, path, data=io.BytesIO(body))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.call} {str(row.body)[:40]}")
async def test_every_row_of_the_contract(api: Api, row: Row) -> None:
    await furnish(api)
    status, says = await said(api, row)
    assert status == row.status, says
    if isinstance(row.says, str) and row.says.endswith("..."):
        assert says.startswith(row.says[:-3])
    elif row.says is not ANY:
        assert says == row.says


PATHS = sorted({row.call.partition("?")[0] for row in ROWS if " /system/" in row.call})


@pytest.mark.parametrize("call", PATHS)
async def test_nothing_of_it_is_for_strangers(guarded: Api, call: str) -> None:
    method, _, path = call.partition(" ")
    async with guarded.http.request(method, f"http://api{path}", headers={"Authorization": ""}, json={}) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Restricted"')
        assert await answer.text() == "invalid credentials\n"


async def test_healthz_is_for_everybody(start: Start) -> None:
    async with (
        start(credentials=CREDENTIALS) as api,
        api.http.get("http://api/healthz", headers={"Authorization": ""}) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "OK")


@pytest.mark.parametrize(
    ("status", "wanted"),
    [("firing", 1 + 4), ("resolved", 2)],
)
async def test_an_alert_scales_what_scales_by_openfaas_rule(api: Api, status: str, wanted: int) -> None:
    ruled = FunctionSpec(name="ruled", image=IMAGE, scale=Scaling(min=2, max=20, factor=20))
    plain = FunctionSpec(name="plain", image=IMAGE)
    for spec in (ruled, plain):
        await api.control.deploy(spec)
    names = ("ruled.openfaas-fn", "plain.openfaas-fn")
    alerts = [{"status": status, "labels": {"alertname": "APIHighInvocationRate", "function_name": n}} for n in names]
    assert (await api.call("POST", "/system/alert", json={"version": "4", "alerts": alerts}))[0] == 200
    assert api.control.views[ruled.key].wanted == wanted
    assert api.control.views[plain.key].wanted == 1


async def test_one_alert_that_fails_does_not_keep_the_others_from_being_followed(api: Api) -> None:
    ruled = FunctionSpec(name="ruled", image=IMAGE, scale=Scaling(max=10, factor=20))
    await api.control.deploy(ruled)
    alerts = [{"status": "firing", "labels": {"function_name": name}} for name in ("nobody", "ruled")]
    status, text = await api.call("POST", "/system/alert", json={"alerts": alerts})
    assert (status, text) == (500, "[0] there is no function nobody.openfaas-fn\n")
    assert api.control.views[ruled.key].wanted == 3
