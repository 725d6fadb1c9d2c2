"""The contract `lambda` in a real replica: the context, both addresses, and its errors."""

import base64
import json

import pytest

from tests.integration.runtime.zygote_harness import Zygote, until

INVOKE = "/2015-03-31/functions/function/invocations"
ECHO = "def handler(event, context):\n    return event\n"
TOLD = """
import os, asyncio
def handler(event, context):
    context.log("logged")
    print("printed")
    return {
        "context": {name: getattr(context, name) for name in (
            "function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb", "aws_request_id",
            "log_group_name", "log_stream_name", "tenant_id")},
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "client": context.client_context and [context.client_context.custom, context.client_context.env,
                                              context.client_context.client.app_title],
        "left": context.get_remaining_time_in_millis(),
        "variables": {name: os.environ.get(name) for name in (
            "_HANDLER", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT",
            "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_RUNTIME_API")},
        "here": os.getcwd(),
    }
"""
RAISES = """
class OutOfStock(Exception):
    pass
def deeper():
    raise OutOfStock("no ink left")
def handler(event, context):
    deeper()
"""


def test_the_context_is_lambdas(zygote: Zygote) -> None:
    replica = zygote.launch(TOLD, contract="lambda", variables={"PILOTLIGHT_MEMORY_MIB": "256"}, timeout_seconds=7.0)
    assert replica.ready()["slots"] == 1
    client = base64.b64encode(
        json.dumps({"custom": {"a": 1}, "env": {"b": "c"}, "client": {"app_title": "t"}}).encode()
    ).decode()
    reply = replica.call(INVOKE, b"{}", headers={"X-Call-Id": "c1", "X-Amz-Client-Context": client})
    told = reply.json()
    stream = told["context"].pop("log_stream_name")
    assert told["context"] == {
        "function_name": "hello",
        "function_version": "7",
        "invoked_function_arn": "arn:aws:lambda:local:000000000000:function:hello",
        "memory_limit_in_mb": "256",
        "aws_request_id": "c1",
        "log_group_name": "/aws/lambda/hello",
        "tenant_id": None,
    }
    assert told["identity"] == [None, None]
    assert told["client"] == [{"a": 1}, {"b": "c"}, "t"]
    assert 0 < told["left"] <= 7000
    assert told["variables"]["AWS_LAMBDA_LOG_STREAM_NAME"] == stream
    assert told["variables"]["_HANDLER"] == "handler.handler"
    assert told["variables"]["LAMBDA_TASK_ROOT"] == told["here"]
    assert told["variables"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert told["variables"]["AWS_LAMBDA_RUNTIME_API"] is None
    said = [(record.text, record.call_id) for record in replica.records() if record.stream == "o"]
    assert said == [("logged", "c1"), ("printed", "c1")]


def test_a_request_is_an_event_of_version_2(zygote: Zygote) -> None:
    replica = zygote.serve(ECHO, contract="lambda")
    event = replica.call("/a?b=c", b"text", headers={"Content-Type": "text/plain"}).json()
    assert (event["version"], event["rawPath"], event["body"]) == ("2.0", "/a", "text")


def test_a_variable_chooses_version_1(zygote: Zygote) -> None:
    source = (
        "def handler(event, context):\n    return {'statusCode': 202, 'body': event['httpMethod'] + event['version']}\n"
    )
    replica = zygote.serve(source, contract="lambda", variables={"LAMBDA_EVENT_FORMAT": "1.0"})
    reply = replica.call("/a", b"x")
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (202, b"POST1.0", "application/json")


def test_an_answer_that_is_malformed_in_version_1_is_a_bad_gateway(zygote: Zygote) -> None:
    replica = zygote.serve(ECHO, contract="lambda", variables={"LAMBDA_EVENT_FORMAT": "1.0"})
    reply = replica.call("/a")
    assert (reply.status, reply.json()) == (502, {"message": "Internal server error"})
    assert reply.headers["X-Pilotlight-Error"] == "bad-answer"
    assert any("format 1.0" in line for line in replica.lines())


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_lambdas_own_address_passes_the_bare_event(zygote: Zygote, kind: str) -> None:
    source = f"{kind} handler(event, context):\n    return {{'got': event}}\n"
    replica = zygote.serve(source, contract="lambda")
    reply = replica.call(INVOKE, b'{"a": [1, 2]}')
    assert (reply.status, reply.json()) == (200, {"got": {"a": [1, 2]}})
    assert reply.headers["X-Amz-Executed-Version"] == "7"
    assert replica.call(INVOKE, b"").json() == {"got": {}}
    assert replica.call(INVOKE, b"1").json() == {"got": 1}
    assert replica.call(INVOKE, b"{}", headers={"X-Amz-Invocation-Type": "DryRun"}).status == 204
    assert replica.call(INVOKE, b"{}", headers={"X-Amz-Invocation-Type": "Event"}).status == 501
    wrong = replica.call(INVOKE, b"{")
    assert (wrong.status, wrong.headers["X-Amzn-ErrorType"]) == (400, "InvalidRequestContentException")
    assert "Could not parse request body into json" in wrong.json()["message"]


@pytest.mark.parametrize(("path", "status"), [(INVOKE, 200), ("/", 502)])
def test_an_exception_is_lambdas_error_without_its_trace(zygote: Zygote, path: str, status: int) -> None:
    replica = zygote.serve(RAISES, contract="lambda")
    reply = replica.call(path, b"{}", headers={"X-Call-Id": "c2"})
    assert (reply.status, reply.headers["X-Amz-Function-Error"]) == (status, "Unhandled")
    assert reply.headers["X-Pilotlight-Error"] == "handler-raised"
    assert reply.json() == {
        "errorMessage": "no ink left", "errorType": "OutOfStock", "requestId": "c2", "stackTrace": []
    }  # fmt: skip
    until(lambda: any("in deeper" in line for line in replica.lines()))


def test_debug_shows_the_trace(zygote: Zygote) -> None:
    reply = zygote.serve(RAISES, contract="lambda", debug=True).call(INVOKE, b"{}")
    assert any("in deeper" in line for line in reply.json()["stackTrace"])


def test_a_result_that_is_no_json_is_a_marshal_error(zygote: Zygote) -> None:
    reply = zygote.serve("def handler(event, context):\n    return {1, 2}\n", contract="lambda").call(INVOKE, b"{}")
    assert (reply.status, reply.json()["errorType"]) == (200, "Runtime.MarshalError")
    assert "set" in reply.json()["errorMessage"]


def test_a_handler_named_by_the_variable_is_taken(zygote: Zygote) -> None:
    bundle = zygote.bundle("def other(event, context): ...\n", app="def main(event, context):\n    return 'main'\n")
    assert (
        zygote.serve(bundle, contract="lambda", variables={"_HANDLER": "app.main"}).call(INVOKE, b"").json() == "main"
    )


def test_lambda_handler_is_a_handlers_other_name(zygote: Zygote) -> None:
    bundle = zygote.bundle("", lambda_function="def lambda_handler(event, context):\n    return 'other'\n")
    replica = zygote.new()
    zygote.ask(replica, bundle, contract="lambda", handler="lambda_function")
    replica.pid = zygote.hear("launched")["pid"]
    replica.ready()
    assert replica.call(INVOKE, b"").json() == "other"


@pytest.mark.parametrize(
    ("source", "variables", "slug", "words"),
    [
        ("def handle(event, context): ...\n", {}, "handler-missing", "no function `handler`; the nearest is `handle`"),
        ("def handler(event): ...\n", {}, "load-failed", "two arguments"),
        (ECHO, {"_HANDLER": "handler"}, "load-failed", "write it as module.function"),
        (ECHO, {"_HANDLER": "gone.main"}, "handler-missing", "no gone.py"),
        (ECHO, {"_HANDLER": "handler.main"}, "handler-missing", "no function `main`"),
        (ECHO, {"LAMBDA_EVENT_FORMAT": "3.0"}, "load-failed", "2.0 or 1.0"),
        ("import nosuch\n" + ECHO, {}, "import-failed", "nosuch"),
        ("def handler(event, context)\n", {}, "handler-syntax", "expected"),
    ],
)
def test_what_cannot_be_a_handler_says_why(
    zygote: Zygote, source: str, variables: dict[str, str], slug: str, words: str
) -> None:
    failed = zygote.launch(source, contract="lambda", variables=variables).failed()
    assert failed["slug"] == slug
    assert words in failed["detail"]
