"""A scripted server, and the command line pointed at it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.faasctl.scripted import BUILT, ROOT, Cli, Reply, Scripted, deployed


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def cli(server: Scripted, tmp_path: Path) -> Cli:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "COVERAGE_PROCESS_CONFIG")}
    own = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "FAASCTL_SERVER": server.url}
    folder = tmp_path / "work"
    folder.mkdir()
    return Cli(folder, kept | own)


@pytest.fixture
def project(cli: Cli, server: Scripted) -> Cli:
    """A stack of two functions, and a server that builds and deploys them."""
    entries = "".join(f"  {name}:\n    lang: python3-http\n    handler: ./{name}\n" for name in ("hello", "other"))
    cli.write("stack.yaml", f"functions:\n{entries}")
    for name in ("hello", "other"):
        cli.write(f"{name}/handler.py", "def handle(event, context):\n    return 'hi'\n")
        server.answers[f"PUT /api/v1/functions/{name}"] = Reply.json(deployed(name))
    progress = {"event": "progress", "step": "environment", "message": "3f9c1a is there already", "seconds": 0.01}
    server.answers["POST /api/v1/builds"] = Reply.lines(progress, BUILT)
    return cli
