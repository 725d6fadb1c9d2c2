"""Which Python environments are made from, and the runtime that lies beside them: both reachable for their user."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from pilotlight.builder.interpreter import choose_interpreter, ensure_reachable, probe
from pilotlight.builder.layer import ensure_layer
from pilotlight.builder.process import Command, run
from pilotlight.builder.uv import reachable_uv
from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidInput

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs another user")


async def test_the_chosen_interpreter_runs_as_the_functions_user_and_has_the_servers_version(sandbox: Sandbox) -> None:
    found = await choose_interpreter(None, sandbox)
    assert found.abi == sys.implementation.cache_tag
    assert await probe(found.path, sandbox) == found


async def test_an_interpreter_that_is_none_is_refused(sandbox: Sandbox, data_dir: Path) -> None:
    with pytest.raises(InvalidInput, match="is no Python that the functions' user can run"):
        await choose_interpreter(Path("/bin/true"), sandbox)
    with pytest.raises(InvalidInput, match="is no Python"):
        await choose_interpreter(data_dir / "gone", sandbox)


async def test_an_interpreter_of_another_version_is_refused(sandbox: Sandbox, data_dir: Path) -> None:
    other = data_dir / "python"
    other.write_text('#!/bin/sh\necho \'["3.9.1", "cpython-39", "linux", "/usr"]\'\n')
    other.chmod(0o755)
    with pytest.raises(InvalidInput, match="is cpython-39, the server runs on cpython-3"):
        await choose_interpreter(other, sandbox)


@as_root
async def test_a_closed_folder_above_the_data_directory_is_named(sandbox: Sandbox, data_dir: Path) -> None:
    inner = data_dir / "closed/data"
    inner.mkdir(parents=True)
    (data_dir / "closed").chmod(0o700)
    with pytest.raises(InvalidInput, match=f"{data_dir}/closed is closed"):
        await ensure_reachable(inner, sandbox)


async def test_an_open_data_directory_is_fine(sandbox: Sandbox, data_dir: Path) -> None:
    await ensure_reachable(data_dir, sandbox)


@as_root
async def test_a_uv_that_the_functions_user_cannot_reach_is_copied_to_where_it_can(
    sandbox: Sandbox, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "closed").mkdir(mode=0o700)
    hidden = shutil.copy(uv.find_uv_bin(), data_dir / "closed/uv")
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(hidden))
    found = await reachable_uv(data_dir, sandbox)
    assert found.parent == data_dir
    command = Command(arguments=[found, "--version"], directory=Path("/"), variables={})
    assert (await run(command, sandbox, seconds=20)).status == 0


async def test_the_layer_holds_what_a_replica_needs_and_its_user_can_import_it(
    sandbox: Sandbox, data_dir: Path
) -> None:
    layer = await ensure_layer(data_dir)
    code = "import sys; sys.path.append(sys.argv[1])\n"
    code += "import pilotlight_runtime.launch, uvloop, httptools; print(uvloop.__file__)"
    python = (await choose_interpreter(None, sandbox)).path
    command = Command(arguments=[python, "-P", "-c", code, layer], directory=Path("/"), variables={})
    outcome = await run(command, sandbox, seconds=20, output_limit=4096)
    assert outcome.output.decode().strip() == str(layer / "uvloop/__init__.py")
    assert (layer / f"pilotlight_runtime/__pycache__/launch.{sys.implementation.cache_tag}.pyc").exists()


async def test_the_layer_is_made_once_even_by_several_at_once(data_dir: Path) -> None:
    layers = await asyncio.gather(*(ensure_layer(data_dir) for _ in range(3)))
    assert len(set(layers)) == 1
    assert list((data_dir / "staging").iterdir()) == []


async def test_a_half_made_layer_is_never_in_its_place(data_dir: Path) -> None:
    layer = await ensure_layer(data_dir)
    subprocess.run(["rm", "-rf", layer], check=True)
    assert await ensure_layer(data_dir) == layer
    assert (layer / "uvloop").is_dir()
