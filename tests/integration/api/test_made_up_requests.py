"""A running server keeps what its OpenAPI description says, whatever it is sent: made-up requests, good and bad. On
OpenFaaS' paths, which have no description here, it never fails.

Each run sends the same ones; PILOTLIGHT_EXAMPLES=N sends N to each endpoint, others each time."""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.openapi import from_url
from schemathesis.schemas import APIOperation, BaseSchema

from tests.harness import Server

EXAMPLES = int(os.environ.get("PILOTLIGHT_EXAMPLES", "0"))
HANDLER = "def handle(event, context):\n    return 'hi'\n"
SECONDS = 30.0
Case = schemathesis.Case[Any]
Alter = Callable[[Case], None]


def source() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("handler.py")
        entry.size = len(HANDLER)
        tar.addfile(entry, io.BytesIO(HANDLER.encode()))
    return packed.getvalue()


@schemathesis.serializer("application/x-tar")
def as_tar(_: object, value: object) -> bytes:
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        running.deploy("hello", HANDLER)
        spec = {"image": running.function("hello")["image"], "auth": "key"}
        assert running.api("PUT", "/api/v1/functions/locked", spec).status == 201
        assert running.api("POST", "/api/v1/secrets", {"name": "token", "value": "x"}).status == 201
        assert running.api("POST", "/api/v1/namespaces", {"name": "dev"}).status == 201
        yield running


@pytest.fixture(scope="module")
def schema(server: Server) -> BaseSchema:
    described = from_url(f"{server.url}/api/v1/openapi.json")
    described.config.generation.update(with_security_parameters=False)
    return described


def operations(schema: BaseSchema) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    """What removes comes last."""
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    yield from sorted(found, key=lambda one: one.method.upper() == "DELETE")


def sent(
    server: Server, schema: BaseSchema, mode: GenerationMode, examples: int, alter: Mapping[str, Alter]
) -> tuple[Counter[tuple[str, int]], list[str]]:
    """How often each operation answered what, and what was not as described."""
    headers = {"Authorization": server._basic()}
    answers: Counter[tuple[str, int]] = Counter()
    broken: list[str] = []
    # There are rules that a schema cannot say: a minimum is not above its maximum, and what is deployed was built.
    unchecked = [positive_data_acceptance]
    if alter:  # what was altered may not be what it was made to be
        unchecked.append(negative_data_rejection)
    for operation in operations(schema):
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue  # nothing can be wrong with it

        @settings(max_examples=EXAMPLES or examples, derandomize=not EXAMPLES, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Case) -> None:
            harmless(case)
            alter.get(case.operation.label, harmless)(case)
            response = case.call(headers=headers, timeout=SECONDS)
            answers[case.operation.label, response.status_code] += 1
            case.validate_response(response, headers=headers, excluded_checks=unchecked)

        try:
            run()
        except (Exception, BaseExceptionGroup) as error:
            parts = getattr(error, "exceptions", (error,))
            broken += [f"{operation.label} ({mode.name}): {part}" for part in parts]
    return answers, broken


def harmless(case: Case) -> None:
    """A followed log ends when its reader leaves, and a thousand replicas are too many for a test. A parameter without
    a value counts as absent, which a schema cannot say."""
    for name in [name for name, value in (case.query or {}).items() if value == ""]:
        del case.query[name]
    if case.query and case.query.get("follow"):
        case.query["follow"] = "false"
    body: Any = case.body
    if isinstance(body, dict):
        few(body, "replicas")
        if isinstance(body.get("scale"), dict):
            few(body["scale"], "min")


def few(members: dict[str, Any], name: str) -> None:
    if isinstance(members.get(name), int):
        members[name] = min(members[name], 2)


def of(name: str, **members: object) -> Alter:
    """The request is about something that is there, or can be: in the path, and in the body where it has one."""

    def alter(case: Case) -> None:
        if "name" in case.path_parameters:
            case.path_parameters["name"] = name
        case.query = {key: value for key, value in (case.query or {}).items() if key not in ("namespace", "since")}
        body: Any = case.body
        if isinstance(body, dict):
            body |= ({"name": name} if "name" in body else {}) | members
            for elsewhere in {"namespace", "secrets"} & body.keys():
                del body[elsewhere]

    return alter


def build(case: Case) -> None:
    case.query, case.body = {"name": "hello", "template": "python3-http"}, source()


def test_every_endpoint_answers_well_as_it_says(server: Server, schema: BaseSchema) -> None:
    image = server.function("hello")["image"]
    bare: dict[str, object] = {
        "environment": {},
        "labels": {},
        "annotations": {},
        "limits": {},
        "requests": {},
        "cors": None,
    }
    secret = {"value": "y", "raw_value": None}
    steered = {
        "POST /api/v1/functions": of("fresh", image=image, scale={"max": 1}, contract=None, **bare),
        "PUT /api/v1/functions/{name}": of("other", image=image, scale={"max": 1}, contract=None, **bare),
        "POST /api/v1/builds": build,
        "POST /api/v1/secrets": of("fresh", **secret),
        "POST /api/v1/namespaces": of("fresh"),
    }
    names = {"/functions/{name}/key": "locked", "/functions/": "hello", "/secrets/": "token", "/namespaces/": "dev"}
    for operation in operations(schema):
        found = next((name for path, name in names.items() if path in operation.label), "hello")
        more = secret if "PUT /api/v1/secrets" in operation.label else {}
        steered.setdefault(operation.label, of(found, **more))
    answers, broken = sent(server, schema, GenerationMode.POSITIVE, 3, steered)
    assert broken == []
    well = {label for label, status in answers if status < 300}
    assert well == {operation.label for operation in operations(schema)}, answers


def test_requests_that_fit_the_description_are_answered_as_it_says(server: Server, schema: BaseSchema) -> None:
    assert sent(server, schema, GenerationMode.POSITIVE, 8, {})[1] == []


def test_requests_that_do_not_fit_are_refused_as_it_says(server: Server, schema: BaseSchema) -> None:
    assert sent(server, schema, GenerationMode.NEGATIVE, 6, {})[1] == []


def test_without_credentials_only_what_is_declared_open_answers(server: Server, schema: BaseSchema) -> None:
    answers = {}
    for path, methods in schema.raw_schema["paths"].items():
        for method, operation in methods.items():
            answer = server.call(path.replace("{name}", "hello"), b"{}", method=method.upper())
            refused = answer.status == 401 and "basic" in answer.headers["www-authenticate"].lower()
            answers[operation["operationId"]] = refused == (operation.get("security") != [])
    assert answers
    assert all(answers.values()), answers


PATHS = st.sampled_from(
    (
        "info functions function/hello function/x.y scale-function/hello scale-function/%00 secrets logs namespaces "
        "namespace/ namespace/dev alert telemetry nothing function/" + "a" * 300
    ).split()
)
MEMBERS = st.sampled_from(
    ["service", "image", "functionName", "serviceName", "name", "namespace", "replicas", "labels", "annotations"]
).flatmap(lambda word: st.sampled_from([word, "value", "rawValue", "limits", "envVars", "alerts", "status", "x"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["hello", "dev", "", "../x", "\x00", "1Gi"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(MEMBERS, VALUES, max_size=5).map(lambda body: json.dumps(body).encode()) | st.binary(
    max_size=60
)
QUERIES = st.sampled_from(
    ["", "?namespace=", "?namespace=dev", "?usage=1", "?name=hello&tail=x", "?name=hello&since=1", "?%ff=%00"]
)


def test_openfaas_paths_never_fail(server: Server) -> None:
    @settings(max_examples=EXAMPLES or 150, derandomize=not EXAMPLES, deadline=None, database=None)
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), PATHS, QUERIES, BODIES)
    def run(method: str, path: str, query: str, body: bytes) -> None:
        answer = server.call(f"/system/{path}{query}", body, method=method, auth=True, timeout=SECONDS)
        assert answer.status < 500 or answer.status == 501, answer

    run()
