"""What an editor knows of a handler: the templates are right by mypy's strict rules, and mistakes are found."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MISTAKES = """
from pilotlight_runtime.typing import Context, Event, LambdaContext, Result

def handle(event: Event, context: Context) -> Result:
    event.text
    context.call("other", b"").boby
    context.call("other", 5)
    return 5

async def answers(event: Event, context: Context) -> Result:
    reply = await context.call("other", {"a": 1}, timeout=2)
    return reply.json(), reply.status, {"X-Kind": reply.headers["X-Kind"]}

def handler(event: dict[str, str], context: LambdaContext) -> int:
    return context.get_remaining_time_in_millis() + context.memory_limit_in_mb
"""
HANDLERS = {
    "http": "templates/python3-http/function/handler.py",
    "lambda_": "templates/python3-lambda/function/handler.py",
    "asgi": "templates/python3-asgi/function/handler.py",
    "gateway": "functions/pipeline/gateway/handler.py",
    "processing": "functions/pipeline/processing/handler.py",
    "prediction": "functions/pipeline/prediction/handler.py",
}


def test_templates_are_typed_and_mistakes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one run, which takes some seconds."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT / "runtime"))
    monkeypatch.chdir(tmp_path)
    for name, path in HANDLERS.items():
        Path(f"{name}.py").write_text((ROOT / path).read_text())
    Path("mistakes.py").write_text(MISTAKES)
    out, err, _ = api.run(["--strict", "--config-file=", "--no-incremental", "--cache-dir=/dev/null", "."])
    assert not err
    found = {tuple(line.split(":")[:2]) for line in out.splitlines() if ": error:" in line}
    assert found == {("mistakes.py", line) for line in ("5", "6", "7", "8", "15")}, out
