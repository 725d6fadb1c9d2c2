"""The three templates, and functions that call functions, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT, Server, wait_for

SEVEN = b"#######\n     ##\n    ##\n   ##\n  ##\n  ##\n  ##\n"


def test_new_and_up_for_each_template(server: Server) -> None:
    for name, lang in (("web", "python3-http"), ("aws", "python3-lambda"), ("site", "python3-asgi")):
        assert server.faasctl("new", name, "--lang", lang).code == 0
    ran = server.faasctl("up")
    assert ran.code == 0, ran.err
    assert server.call("/function/web", b"ada").body == b"Hello, ada!\n"
    assert server.call("/function/aws?name=ada").json() == {"message": "Hello, ada!"}
    assert server.call("/function/site?name=ada").json() == {"message": "Hello, ada!"}


def test_functions_of_all_templates_share_an_environment(server: Server) -> None:
    server.deploy("one", "def handle(event, context):\n    return 'x'\n")
    server.deploy("two", "def handler(event, context):\n    return 'x'\n", lang="python3-lambda")
    environments = {server.function(name)["environment"] for name in ("one", "two")}
    assert len(environments) == 1


def test_a_contract_key_chooses_another_contract_for_the_same_template(server: Server) -> None:
    handler = "def handler(event, context):\n    return {'statusCode': 200, 'body': event['rawPath']}\n"
    server.deploy("chosen", handler, contract="lambda")
    assert server.call("/function/chosen/a").body == b"/a"


def test_an_unfinished_contract_is_refused_with_those_there_are(server: Server) -> None:
    stack = server.write_function("later", "def handle(event, context): ...\n", contract="cloudevent")
    ran = server.faasctl("up", "-f", str(stack))
    assert ran.code == 2
    assert 'must be one of http, lambda, asgi, not "cloudevent"' in ran.err
    answer = server.api("PUT", "/api/v1/functions/later", {"image": "bundle/x@sha256:0", "contract": "model"})
    assert answer.status == 400
    assert answer.json()["detail"] == "contract: `model` is not available yet; use http, lambda or asgi"


def test_lambdas_own_folder_layout_is_understood(server: Server) -> None:
    folder = server.folder / "functions" / "moved"
    folder.mkdir(parents=True)
    (folder / "lambda_function.py").write_text(
        "import os\nNAME = os.environ['AWS_LAMBDA_FUNCTION_NAME']\n"
        "def lambda_handler(event, context):\n    return {'name': NAME, 'memory': context.memory_limit_in_mb}\n"
    )
    stack = folder.parent / "moved.yaml"
    entry = {"lang": "python3-lambda", "handler": "./moved", "image": "moved:latest", "limits": {"memory": "200Mi"}}
    stack.write_text(json.dumps({"provider": {"name": "openfaas"}, "functions": {"moved": entry}}))
    ran = server.faasctl("up", "-f", str(stack))
    assert ran.code == 0, ran.err
    invoked = server.call("/function/moved/2015-03-31/functions/function/invocations", b"{}")
    assert invoked.json() == {"name": "moved", "memory": "200"}


def test_a_lambda_without_a_handler_is_told_which_files_would_do(server: Server) -> None:
    stack = server.write_function("nameless", "", lang="python3-lambda")
    handler = stack.parent / "nameless" / "handler.py"
    handler.rename(handler.with_name("shop.py"))
    ran = server.faasctl("up", "-f", str(stack))
    assert ran.code == 1
    assert (
        "there is no handler.py, lambda_function.py or app.py in the folder; there are: requirements.txt, shop.py"
        in ran.err
    )


def test_the_pipeline_is_one_call_through_three_functions(server: Server) -> None:
    ran = server.faasctl("up", "-f", str(ROOT / "functions/pipeline/stack.yaml"))
    assert ran.code == 0, ran.err
    answer = server.call("/function/gateway", SEVEN, headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.json()["digit"]) == (200, 7)
    call_id = answer.headers["x-call-id"]
    said = {"gateway": "a drawing of 7 rows", "processing": "normalised to 8x8 cells", "prediction": "it is a 7"}
    for name, text in said.items():
        assert (text, call_id) in lines_of(server, name)


def lines_of(server: Server, name: str) -> list[tuple[str, str | None]]:
    def read() -> list[tuple[str, str | None]]:
        lines = server.faasctl("logs", name, "--json").out.splitlines()
        return [(line["text"], line["call_id"]) for line in map(json.loads, lines)]

    found: list[tuple[str, str | None]] = wait_for(read, what=f"a line of {name}")
    return found


def test_a_function_that_calls_itself_for_ever_is_stopped(server: Server) -> None:
    handler = """
async def handle(event, context):
    reply = await context.call("loops", event.body)
    return reply.body, reply.status
"""
    server.deploy("loops", handler, timeout="20s")
    answer = server.call("/function/loops", b"x")
    assert answer.status == 508
    assert b"call-depth-exceeded" in answer.body or b"16" in answer.body


def test_templates_begin_with_tests_that_pass(server: Server, tmp_path: Path) -> None:
    for lang in ("python3-http", "python3-lambda", "python3-asgi"):
        assert server.faasctl("new", f"t-{lang}", "--lang", lang, cwd=tmp_path).code == 0
    for lang in ("python3-http", "python3-lambda", "python3-asgi"):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir=."],
            cwd=tmp_path / f"t-{lang}", capture_output=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout
