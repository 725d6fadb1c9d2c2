"""What a zygote could import ahead: what a handler's modules import when they are loaded, without the bundle's own."""

import ast
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.child_compile import imports_of
from pilotlight.builder.imports import IN_EVERY_ZYGOTE, Candidate, Import, candidates


def found(**sources: str) -> list[Any]:
    """Candidates of a bundle whose files are given by stem, folders separated by two underscores."""
    files = {name.replace("__init", "/__init__").replace("__0", "/") + ".py": text for name, text in sources.items()}
    imports = {
        path: tuple(Import(module, tuple(names), level) for module, names, level in imports_of(ast.parse(text)))
        for path, text in files.items()
    }
    return list(candidates("handler", frozenset(files), imports))


def names(**sources: str) -> list[str]:
    return [candidate.module for candidate in found(**sources)]


def test_modules_come_as_they_are_imported() -> None:
    assert found(handler="import os.path, json as j\nfrom PIL import Image, ImageOps\nfrom x import *\n") == [
        Candidate("PIL", ("Image", "ImageOps")), Candidate("json"), Candidate("os.path"), Candidate("x"),
    ]  # fmt: skip


def test_imports_in_functions_were_put_off_on_purpose() -> None:
    assert names(
        handler="import a\ndef handle(e, c):\n  import b\nasync def f():\n  import c\nx = lambda: __import__('d')\n"
    ) == ["a"]


def test_blocks_that_run_at_import_count() -> None:
    text = "try:\n  import a\nexcept ImportError:\n  import b\nif x:\n  import c\n"
    text += "with y:\n  import d\nclass K:\n  import e\n"
    assert names(handler=text) == ["a", "b", "c", "d", "e"]


def test_blocks_that_never_run_in_a_replica_do_not() -> None:
    text = "if TYPE_CHECKING:\n  import a\nelse:\n  import b\n"
    text += "if t.TYPE_CHECKING: import c\nif __name__ == '__main__': import d\n"
    assert names(handler=text) == ["b"]


def test_the_bundles_own_modules_are_followed_and_not_named() -> None:
    assert names(handler="import utils\nimport numpy\n", utils="import requests\n") == ["numpy", "requests"]


def test_the_bundles_modules_are_found_under_all_of_their_names() -> None:
    sources = {"a": "import one", "b": "import two", "c": "import three", "d": "import four"}
    handler = "from . import a\nfrom .b import x\nfrom function import c\nimport function.d\n"
    assert names(handler=handler, **sources) == ["four", "one", "three", "two"]


def test_packages_run_their_parents() -> None:
    sources = {"lib__init": "import one\n", "lib__0deep": "from .. import other\nimport two\n", "other": "import three"}
    assert names(handler="import lib.deep\n", **sources) == ["one", "three", "two"]


def test_a_circle_of_modules_ends() -> None:
    assert names(handler="import a\n", a="import b\nimport x\n", b="import a\nimport handler\n") == ["x"]


def test_what_leads_out_of_the_bundle_and_what_is_ours_is_nothing() -> None:
    text = "from ... import a\nfrom .... import b\nimport pilotlight_runtime.http1\n"
    assert names(handler=f"from __future__ import annotations\n{text}") == []


def test_files_that_are_not_imported_do_not_count() -> None:
    assert names(handler="import a\n", training="import torch\n") == ["a"]


@given(
    st.lists(
        st.sampled_from(["import a", "from .b import c", "from . import d", "from .. import e", "import function.f"])
    )
)
def test_any_imports_give_sorted_names_of_no_local_module(lines: list[str]) -> None:
    modules = names(handler="\n".join(lines), b="import g\n", d="")
    assert modules == sorted(set(modules))
    assert not {"b", "d", "function"} & set(modules)


def test_modules_said_to_be_in_every_zygote_are_there() -> None:
    source = (
        "import sys, pilotlight_runtime.zygote\nfrom pilotlight_runtime.contracts import CONTRACTS, contract_named\n"
        "for name in CONTRACTS: contract_named(name)\nprint(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", source], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) >= IN_EVERY_ZYGOTE
