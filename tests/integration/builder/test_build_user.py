"""Builds with a user of their own: what functions could write to is never installed from."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from pilotlight.builder.builder import Builder
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.interpreter import Interpreter
from pilotlight.config import BuildSettings, Sandbox, Settings, build_sandbox, sandbox_user
from pilotlight.core.errors import InvalidInput
from tests.integration.builder.conftest import TEMPLATES, Workshop

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="to give builds a user of their own takes root")
FILES = {"handler.py": "def handle(event, context): ...\n", "requirements.txt": "greet\n"}


@pytest.fixture
def build_user() -> Sandbox:
    """One that every system has, and that is not the functions'."""
    entry = pwd.getpwnam("daemon")
    return Sandbox(entry.pw_uid, entry.pw_gid)


@pytest.fixture
def separate(
    data_dir: Path, links: Path, interpreter: Interpreter, build_user: Sandbox, workshop: Workshop
) -> Workshop:
    """A builder whose data directory had builds by the functions' user before."""
    (data_dir / "cache/uv/poison").touch()
    builder = Builder(
        settings=BuildSettings(),
        data_dir=data_dir,
        templates_dir=TEMPLATES,
        python=interpreter.path,
        sandbox=build_user,
        index=IndexSettings(variables={"UV_FIND_LINKS": str(links)}, no_index=True),
    )
    return Workshop(builder=builder, data_dir=data_dir)


async def test_uvs_cache_begins_anew_and_functions_cannot_reach_it(separate: Workshop, sandbox: Sandbox) -> None:
    bundle = await separate.build(FILES)
    cache = separate.data_dir / "cache/uv"
    assert not (cache / "poison").exists()
    assert list(cache.iterdir())
    as_function: dict[str, object] = {"user": sandbox.uid, "group": sandbox.gid, "extra_groups": []}
    for command in (["ls", str(cache)], ["touch", str(cache / "x")]):
        assert subprocess.run(command, capture_output=True, **as_function).returncode != 0  # type: ignore[call-overload]
    python = separate.builder.environment_dir(bundle.environment) / "venv/bin/python"
    assert subprocess.run([python, "-c", "import greet"], **as_function).returncode == 0  # type: ignore[call-overload]
    assert separate.leftovers() == []


def test_builds_run_as_the_named_user_or_else_as_functions_do(data_dir: Path, build_user: Sandbox) -> None:
    assert build_sandbox(Settings(data_dir=data_dir, build_user="daemon")) == build_user
    default = build_sandbox(Settings(data_dir=data_dir))
    assert default.uid not in (None, 0)
    if "pilotlight-build" not in {entry.pw_name for entry in pwd.getpwall()}:
        assert default == sandbox_user(Settings(data_dir=data_dir))


@pytest.mark.parametrize("name", ["root", "nobody-of-that-name"])
def test_a_user_that_is_root_or_not_there_is_refused(data_dir: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="build_user"):
        build_sandbox(Settings(data_dir=data_dir, build_user=name))
