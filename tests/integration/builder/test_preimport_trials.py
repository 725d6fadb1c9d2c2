"""Modules to import ahead: kept only if a trial, forked as in a zygote, says so."""

import os
from pathlib import Path

import pytest

from pilotlight.builder.index import index_settings
from pilotlight.config import BuildSettings
from tests.integration.builder.conftest import Make, Workshop, wheel

HANDLE = "\ndef handle(event, context): ...\n"


async def preimports(workshop: Workshop, source: str, *requirements: str, **files: str) -> tuple[str, ...]:
    contents = {"handler.py": source + HANDLE, "requirements.txt": "\n".join(requirements)} | files
    return (await workshop.build(contents)).preimports


async def test_what_the_handler_imports_is_kept_as_it_was_imported(workshop: Workshop) -> None:
    source = "import greet, json\nfrom email import message, charset\nfrom os import path\nimport utils"
    assert await preimports(workshop, source, "greet", **{"utils.py": "import csv"}) == (
        "csv", "email", "email.charset", "email.message", "greet", "json", "os",
    )  # fmt: skip


async def test_what_a_library_loads_only_with_the_handler_is_kept_too(workshop: Workshop, links: Path) -> None:
    wheel(links, "lazy", "1.0", {"lazy.py": "def load():\n    import lazy_part\n", "lazy_part.py": ""})
    assert await preimports(workshop, "import lazy, utils\nlazy.load()", "lazy", **{"utils.py": ""}) == (
        "lazy", "lazy_part",
    )  # fmt: skip


async def test_late_parts_that_do_not_survive_a_fork_are_left_out(workshop: Workshop, links: Path) -> None:
    forks_badly = "import os\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"
    wheel(links, "lazy", "1.0", {"lazy.py": "def load():\n    import lazy_part\n", "lazy_part.py": forks_badly})
    assert await preimports(workshop, "import lazy\nlazy.load()", "lazy") == ("lazy",)


async def test_a_module_that_is_not_there_is_left_out_and_said(workshop: Workshop) -> None:
    source = "import json\ntry:\n  import cv2\nexcept ImportError:\n  cv2 = None"
    assert await preimports(workshop, source) == ("json",)
    assert any("cv2 cannot be imported" in line.message for line in workshop.said)


async def test_a_module_whose_forked_children_hang_is_left_out(make_workshop: Make, links: Path) -> None:
    workshop = await make_workshop(settings=BuildSettings(trial_seconds=1))
    hangs = "import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep(99))\n"
    wheel(links, "hangs", "1.0", {"hangs.py": hangs})
    assert await preimports(workshop, "import json, hangs, greet", "hangs", "greet") == ("greet", "json")
    assert any("hangs is left out" in line.message for line in workshop.said)


async def test_a_module_that_takes_its_process_down_is_left_out(workshop: Workshop, links: Path) -> None:
    wheel(links, "crashes", "1.0", {"crashes.py": "import os; os.abort()\n"})
    assert await preimports(workshop, "import json, crashes", "crashes") == ("json",)


@pytest.mark.parametrize("end", ["raise RuntimeError('no model')", "import sys; sys.exit(3)", "import absent"])
async def test_a_handler_that_raises_is_not_its_modules_fault(workshop: Workshop, end: str) -> None:
    assert "json" in await preimports(workshop, f"import json\n{end}")


async def test_a_handler_that_crashes_by_itself_is_not_its_modules_fault(workshop: Workshop) -> None:
    assert await preimports(workshop, "import json, os\nos.abort()") == ("json", "os")


async def test_what_modules_print_does_not_matter(workshop: Workshop, links: Path) -> None:
    wheel(links, "loud", "1.0", {"loud.py": "print('hello' * 100000, flush=True)\n"})
    assert await preimports(workshop, "import loud", "loud") == ("loud",)


async def test_a_change_of_the_handler_needs_no_new_trial(workshop: Workshop) -> None:
    await preimports(workshop, "import json")
    workshop.said.clear()
    assert await preimports(workshop, "import json\nx = 1") == ("json",)
    assert not any("tried" in line.message for line in workshop.said)


async def test_onnxruntime_passes_and_is_primed(make_workshop: Make) -> None:
    """Where packages come from is this machine's own setting, as for a server."""
    workshop = await make_workshop(index_settings(os.environ), BuildSettings())
    source = "import numpy, onnxruntime\nfrom PIL import Image"
    found = await preimports(workshop, source, "numpy", "onnxruntime", "pillow")
    assert found == ("PIL", "PIL.Image", "numpy", "onnxruntime")
