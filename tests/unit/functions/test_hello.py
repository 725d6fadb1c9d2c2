"""The smallest example answers as its README says."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

HANDLER = Path(__file__).parents[3] / "functions" / "hello" / "handler.py"


@pytest.fixture(scope="module")
def hello() -> ModuleType:
    spec = spec_from_file_location("hello_handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "greeting"),
    [
        (b"ada", "Hello, ada!"),
        (b"", "Hello, world!"),
        (b" \n", "Hello, world!"),
        (b"ada\n", "Hello, ada!"),
        ("Zoë".encode(), "Hello, Zoë!"),
        (b"\xff", "Hello, \N{REPLACEMENT CHARACTER}!"),
    ],
)
def test_it_greets_whom_the_body_names(hello: ModuleType, body: bytes, greeting: str) -> None:
    reply = hello.handle(SimpleNamespace(body=body), None)
    assert (reply["statusCode"], reply["body"]) == (200, greeting)


def test_the_greeting_is_plain_text(hello: ModuleType) -> None:
    reply = hello.handle(SimpleNamespace(body=b"ada"), None)
    assert reply["headers"] == {"Content-Type": "text/plain; charset=utf-8"}
