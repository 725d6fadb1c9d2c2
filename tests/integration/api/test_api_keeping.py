"""/api/v1/secrets, namespaces and functions' keys, as their clients see them."""

import base64
from typing import Any

import pytest

from pilotlight.core.spec import FunctionSpec
from tests.integration.api.memory import DIGEST, Api

IMAGE = f"bundle/hello@sha256:{DIGEST}"
SECRETS = "/api/v1/secrets"
KEY = "/api/v1/functions/hello/key"


async def deploy(api: Api, **spec: Any) -> Any:
    status, body = await api.call("PUT", "/api/v1/functions/hello", json={"image": IMAGE} | spec)
    assert status in (200, 201), body
    return body


async def test_a_secret_from_set_to_removed(api: Api) -> None:
    status, body = await api.call("PUT", f"{SECRETS}/token", json={"value": "hunter2"})
    assert (status, body["created"], body["secret"]["name"]) == (201, True, "token")
    status, body = await api.call("PUT", f"{SECRETS}/token", json={"value": "hunter22"})
    assert (status, body["created"], body["secret"]["size_bytes"]) == (200, False, 8)
    _, body = await api.call("GET", SECRETS)
    assert [secret["name"] for secret in body["secrets"]] == ["token"]
    assert (await api.call("GET", f"{SECRETS}/token"))[1] == body["secrets"][0]
    assert await api.call("DELETE", f"{SECRETS}/token") == (200, {"removed": "token", "namespace": "openfaas-fn"})
    assert (await api.call("GET", SECRETS))[1] == {"secrets": []}


async def test_bytes_come_in_base64(api: Api) -> None:
    raw = base64.b64encode(b"\x00\xff\x00").decode()
    _, body = await api.call("POST", SECRETS, json={"name": "cert", "raw_value": raw})
    assert body["secret"]["size_bytes"] == 3


async def test_no_answer_has_a_value(api: Api) -> None:
    secret = {"name": "token", "value": "hunter2"}
    answers = [await api.call("POST", SECRETS, json=secret) for _ in range(2)]
    answers.append(await api.call("PUT", f"{SECRETS}/other", json=secret))
    answers.append(await api.call("PUT", f"{SECRETS}/token", json={"value": 3, "hunter2": "hunter2" * 9}))
    answers.append(await api.call("PUT", f"{SECRETS}/token", json={"value": "hunter2", "raw_value": "hunter2"}))
    answers.append(await api.call("PUT", f"{SECRETS}/token", json={"raw_value": "hunter2!"}))
    answers.append(await api.call("PUT", f"{SECRETS}/token", data=b'{"value": "hunter2'))
    answers.append(await api.call("GET", f"{SECRETS}/token"))
    assert [status for status, _ in answers] == [201, 409, 400, 400, 400, 400, 400, 200]
    assert [body for _, body in answers if "hunter2" in str(body).replace("`hunter2`", "")] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "slug"),
    [
        ("POST", SECRETS, {"name": "token", "value": "v"}, 409, "secret-exists"),
        ("POST", SECRETS, {"name": "x"}, 400, "bad-request"),
        ("POST", SECRETS, {"name": "x", "value": ""}, 400, "bad-request"),
        ("POST", SECRETS, {"name": "../x", "value": "v"}, 400, "bad-request"),
        ("POST", SECRETS, {"name": "x", "value": "v", "namespace": "nowhere"}, 404, "namespace-not-found"),
        ("POST", f"{SECRETS}?namespace=a", {"name": "x", "value": "v", "namespace": "b"}, 400, "bad-request"),
        ("POST", f"{SECRETS}?nam=a", {"name": "x", "value": "v"}, 400, "bad-request"),
        ("PUT", f"{SECRETS}/x", {"name": "y", "value": "v"}, 400, "bad-request"),
        ("GET", f"{SECRETS}/tokn", None, 404, "secret-not-found"),
        ("GET", f"{SECRETS}/x?namespace=nowhere", None, 404, "namespace-not-found"),
        ("DELETE", f"{SECRETS}/x", None, 404, "secret-not-found"),
        ("DELETE", f"{SECRETS}/token", None, 409, "secret-in-use"),
        ("POST", "/api/v1/namespaces", {"name": "openfaas-fn"}, 409, "namespace-exists"),
        ("POST", "/api/v1/namespaces", {"name": "A b"}, 400, "bad-request"),
        ("POST", "/api/v1/namespaces?x=1", {"name": "dev"}, 400, "bad-request"),
        ("POST", "/api/v1/namespaces", {"name": "dev", "labels": {"": "x"}}, 400, "bad-request"),
        ("GET", "/api/v1/namespaces/dev", None, 404, "namespace-not-found"),
        ("PUT", "/api/v1/namespaces/dev", {}, 404, "namespace-not-found"),
        ("DELETE", "/api/v1/namespaces/openfaas-fn", None, 409, "namespace-in-use"),
        ("GET", KEY, None, 404, "function-key-not-found"),
        ("POST", f"{KEY}/rotate", None, 404, "function-key-not-found"),
        ("GET", "/api/v1/functions/nobody/key", None, 404, "function-not-found"),
        ("PUT", "/api/v1/functions/x", {"image": IMAGE, "secrets": ["tokn"]}, 404, "secret-not-found"),
        ("PUT", "/api/v1/functions/x.dve", {"image": IMAGE}, 404, "namespace-not-found"),
    ],
)
async def test_what_is_refused_and_how_it_is_called(
    api: Api, method: str, path: str, body: object, status: int, slug: str
) -> None:
    await api.control.secrets.create("openfaas-fn", "token", b"v")
    await deploy(api, secrets=["token"])
    said, problem = await api.call(method, path, json=body)
    assert (said, problem["type"], bool(problem["hint"])) == (status, slug, True)


async def test_a_secret_says_who_uses_it_and_who_has_the_value_from_before(api: Api) -> None:
    await api.call("PUT", f"{SECRETS}/token", json={"value": "one"})
    await deploy(api, secrets=["token"])
    _, body = await api.call("PUT", f"{SECRETS}/token", json={"value": "two"})
    assert body["secret"]["used_by"] == body["secret"]["outdated_in"] == ["hello.openfaas-fn"]
    _, problem = await api.call("DELETE", f"{SECRETS}/token")
    assert problem["detail"] == "secret token is used by hello.openfaas-fn"
    assert (await api.call("DELETE", f"{SECRETS}/token?force=true"))[0] == 200


async def test_the_nearest_secret_is_told_with_what_to_do(api: Api) -> None:
    await api.control.secrets.create("openfaas-fn", "token", b"v")
    spec = {"image": IMAGE, "secrets": ["tokn"]}
    _, problem = await api.call("PUT", "/api/v1/functions/hello", json=spec)
    assert problem["detail"] == "unable to find secret: tokn; did you mean token?"
    assert problem["hint"].startswith("Set it: faasctl secret set tokn; ")
    assert problem["field"] == "secrets"


async def test_a_namespace_from_made_to_removed(api: Api) -> None:
    made = {"name": "dev", "labels": {"team": "x"}, "annotations": {"a": "b"}}
    status, body = await api.call("POST", "/api/v1/namespaces", json=made)
    assert (status, body["labels"]) == (201, {"team": "x", "openfaas": "1"})
    _, body = await api.call("PUT", "/api/v1/namespaces/dev", json={"labels": {"team": "y"}})
    assert (body["labels"]["team"], body["annotations"]) == ("y", {})
    _, body = await api.call("GET", "/api/v1/namespaces")
    assert [(one["name"], one["functions"]) for one in body["namespaces"]] == [("dev", 0), ("openfaas-fn", 0)]
    await api.control.deploy(FunctionSpec(name="hello", namespace="dev", image=IMAGE))
    status, problem = await api.call("DELETE", "/api/v1/namespaces/dev")
    assert (status, problem["detail"]) == (409, "namespace dev has functions: hello.dev")
    await api.call("DELETE", "/api/v1/functions/hello.dev")
    assert await api.call("DELETE", "/api/v1/namespaces/dev") == (200, {"removed": "dev"})


async def test_a_key_is_shown_to_who_asks_for_it_and_nowhere_else(api: Api) -> None:
    body = await deploy(api, auth="key")
    async with api.http.get(f"http://api{KEY}") as answer:
        view = await answer.json()
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert view["key"].startswith("plk_")
    _, listed = await api.call("GET", "/api/v1/functions")
    _, described = await api.call("GET", "/api/v1/functions/hello")
    _, as_openfaas = await api.call("GET", "/system/function/hello")
    assert view["key"] not in str((body, listed, described, as_openfaas))
    assert body["function"]["auth"] == "key"
    assert (await deploy(api))["function"]["auth"] == "none"


@pytest.mark.parametrize("body", [None, {}, {"grace_seconds": 60}])
async def test_a_key_is_rotated(api: Api, body: object) -> None:
    await deploy(api, auth="key")
    _, first = await api.call("GET", KEY)
    status, second = await api.call("POST", f"{KEY}/rotate", json=body)
    assert (status, first["key"] == second["key"]) == (200, False)
    assert (second["others_valid_until"] is None) == (not body)
    assert second.pop("applied") is True
    assert (await api.call("GET", KEY))[1] == second


@pytest.mark.parametrize("body", [{"grace_seconds": -1}, {"grace_seconds": "x"}, {"grace": 1}])
async def test_a_rotation_that_cannot_be_meant_changes_nothing(api: Api, body: object) -> None:
    await deploy(api, auth="key")
    _, first = await api.call("GET", KEY)
    assert (await api.call("POST", f"{KEY}/rotate", json=body))[0] == 400
    assert (await api.call("GET", KEY))[1] == first


async def test_a_missing_key_file_is_told_with_what_to_do(api: Api) -> None:
    await api.call("PUT", f"{SECRETS}/token", json={"value": "v"})
    (api.control.folder / "secrets.key").unlink()
    for method, path in (("PUT", f"{SECRETS}/token"), ("POST", SECRETS)):
        status, problem = await api.call(method, path, json={"name": "token" if method == "PUT" else "x", "value": "v"})
        assert (status, problem["type"]) == (503, "secrets-locked")
        assert "backup" in problem["hint"]
    assert (await api.call("GET", SECRETS))[1]["secrets"][0]["locked"] is True
    assert (await api.call("DELETE", f"{SECRETS}/token"))[0] == 200
