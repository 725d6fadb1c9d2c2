"""What a user is told about a handler that cannot be loaded."""

import pytest

from pilotlight_runtime.replica import EXIT_LOAD_FAILED
from tests.integration.runtime.zygote_harness import Zygote

OK = "def handle(event, context): pass\n"


def _failure(zygote: Zygote, handler: str, **files: str) -> dict[str, object]:
    replica = zygote.launch(zygote.bundle(handler, **files))
    failure = replica.failed()
    assert zygote.status_of(replica) == EXIT_LOAD_FAILED
    assert failure.pop("type") == "failed"
    return failure


def test_a_syntax_error_has_its_place(zygote: Zygote) -> None:
    assert _failure(zygote, "import os\ndef handle(event, context:\n    pass\n") == {
        "slug": "handler-syntax", "detail": "'(' was never closed", "file": "handler.py", "line": 2, "column": 11,
        "source": "def handle(event, context:",
    }  # fmt: skip


def test_a_syntax_error_in_another_file_of_the_function_is_told_as_well(zygote: Zygote) -> None:
    failure = _failure(zygote, "import helper\n" + OK, helper="x = = 1\n")
    assert (failure["slug"], failure["file"], failure["line"]) == ("handler-syntax", "helper.py", 1)


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("", "handler.py has no function `handle`"),
        ("def handler(event, context): pass\n", "handler.py has no function `handle`; the nearest is `handler`"),
        ("def main(): pass\n", "handler.py has no function `handle`; the nearest is `main`"),
        ("handle = 'text'\n", "handler.py has no function `handle`"),
    ],
)
def test_a_missing_handle_names_the_nearest_function(zygote: Zygote, source: str, detail: str) -> None:
    failure = _failure(zygote, source)
    assert (failure["slug"], failure["detail"]) == ("handler-missing", detail)


def test_a_missing_file_names_those_that_are_there(zygote: Zygote) -> None:
    bundle = zygote.bundle(OK)
    (bundle / "function" / "handler.py").rename(bundle / "function" / "main.py")
    failure = zygote.launch(bundle).failed()
    assert failure["slug"] == "handler-missing"
    assert failure["detail"] == "the function's folder has no handler.py; there is main.py"


def test_a_missing_module_belongs_into_the_requirements(zygote: Zygote) -> None:
    failure = _failure(zygote, "import helper\n" + OK, helper="\nimport no_such_module.part\n")
    assert failure["slug"] == "import-failed"
    assert failure["detail"] == "no module named no_such_module: add it to requirements.txt"
    assert (failure["file"], failure["line"], failure["source"]) == ("helper.py", 2, "import no_such_module.part")


def test_a_name_that_a_module_does_not_have(zygote: Zygote) -> None:
    failure = _failure(zygote, "from json import no_such_name\n" + OK)
    assert failure["slug"] == "import-failed"
    assert str(failure["detail"]).startswith("ImportError: cannot import name 'no_such_name' from 'json'")


@pytest.mark.parametrize("init", ["def init():\n    return {}['key']\n", "async def init():\n    return {}['key']\n"])
def test_an_init_that_raises_has_its_deepest_own_line(zygote: Zygote, init: str) -> None:
    failure = _failure(zygote, init + OK)
    assert (failure["slug"], failure["detail"]) == ("init-failed", "KeyError: 'key'")
    assert (failure["file"], failure["line"], failure["source"]) == ("handler.py", 2, "    return {}['key']")


@pytest.mark.parametrize(
    "init", ["def init():\n    raise SystemExit(1)\n", "async def init():\n    raise SystemExit(1)\n"]
)
def test_an_init_that_exits_has_failed(zygote: Zygote, init: str) -> None:
    assert _failure(zygote, init + OK)["detail"] == "SystemExit: 1"


def test_whatever_else_a_module_raises(zygote: Zygote) -> None:
    failure = _failure(zygote, "import helper\nhelper.go()\n" + OK, helper="def go():\n    1 / 0\n")
    assert (failure["slug"], failure["detail"]) == ("load-failed", "ZeroDivisionError: division by zero")
    assert (failure["file"], failure["line"]) == ("helper.py", 2)


def test_a_handle_with_other_arguments(zygote: Zygote) -> None:
    failure = _failure(zygote, "\ndef handle(event): pass\n")
    assert failure["detail"] == "`handle` must take two arguments: (event, context)"
    assert (failure["slug"], failure["file"], failure["line"]) == ("load-failed", "handler.py", 2)


def test_an_unknown_contract(zygote: Zygote) -> None:
    failure = zygote.launch(OK, contract="carrier-pigeon").failed()
    assert failure["detail"] == (
        "the contract `carrier-pigeon` is not known to this runtime; there are http, lambda, asgi"
    )


def test_the_log_has_the_traceback_without_our_frames_and_the_sentence(zygote: Zygote) -> None:
    replica = zygote.launch("import json\njson.loads('x')\n" + OK)
    replica.failed()
    zygote.status_of(replica)
    lines = replica.lines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('handler.py", line 2, in <module>')
    assert not any("pilotlight_runtime" in line or "importlib" in line for line in lines)
    assert lines[-1].startswith("load-failed: JSONDecodeError: Expecting value")
    assert lines[-1].endswith("(handler.py, line 2)")


@pytest.mark.parametrize(
    "imports", ["import utils", "from . import utils", "from function import utils", "import function.utils as utils"]
)
def test_a_handlers_neighbours_are_found_as_people_write_it(zygote: Zygote, imports: str) -> None:
    bundle = zygote.bundle(f"{imports}\ndef handle(event, context): return utils.WORD\n", utils="WORD = 'found'\n")
    assert zygote.serve(bundle).call().body == b"found"


def test_a_module_of_the_function_wins_over_an_imported_one(zygote: Zygote) -> None:
    source = "import uvicorn_like\ndef handle(event, context): return uvicorn_like.WORD\n"
    bundle = zygote.bundle(source, uvicorn_like="WORD = 'own'\n", function="raise RuntimeError('not me')\n")
    assert zygote.serve(bundle).call().body == b"own"


def test_a_function_with_an_init_file_is_a_package_too(zygote: Zygote) -> None:
    source = "from . import WORD\ndef handle(event, context): return WORD\n"
    assert zygote.serve(zygote.bundle(source, __init__="WORD = 'package'\n")).call().body == b"package"
