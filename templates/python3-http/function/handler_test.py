from types import SimpleNamespace

from handler import handle


def test_greets_whom_the_body_names():
    assert handle(SimpleNamespace(body=b"ada"), None) == "Hello, ada!\n"


def test_greets_the_world_without_a_name():
    assert handle(SimpleNamespace(body=b""), None) == "Hello, world!\n"
