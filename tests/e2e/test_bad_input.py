"""Every mistake gets a clear sentence, the right exit code or status, and leaves everything as it was.

The rows are in tests/mistakes.py; statuses and exit codes are the error table's.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from pilotlight_problems import find
from tests.harness import ROOT, Answer, Ran, Server
from tests.integration.builder.conftest import source_distribution, wheel
from tests.mistakes import (
    FLAGS,
    HANDLERS,
    NAMES,
    PROJECT,
    PUSHING,
    REQUESTS,
    REQUIREMENTS,
    SERVERS,
    SERVING,
    STACK_FILE,
    TEMPLATES,
    Sent,
    Typed,
)

TYPED = [*STACK_FILE, *TEMPLATES, *HANDLERS, *REQUIREMENTS, *NAMES, *FLAGS, *SERVERS, *SERVING, *PUSHING]


class Place:
    """A server with `kept` at revision 1, and what the rows' braces stand for."""

    def __init__(self, server: Server, other: str) -> None:
        self.server = server
        authority = urlsplit(server.url).netloc
        self.words = {
            "url": server.url,
            "authority": authority,
            "port": authority.rpartition(":")[2],
            "data": str(server.data_dir),
            "other": other,
        }

    def run(self, folder: Path, argv: tuple[str, ...], env: Mapping[str, str] | None = None) -> Ran:
        own = {name: self.filled(value, folder) for name, value in (env or {}).items()}
        done = subprocess.run(
            [sys.executable, "-m", "faasctl", *(self.filled(word, folder) for word in argv)],
            cwd=folder,
            env=self.server.environment | own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def filled(self, text: str, folder: Path) -> str:
        for word, value in (self.words | {"folder": str(folder)}).items():
            text = text.replace(f"{{{word}}}", value)
        return text

    def state(self) -> object:
        """All that a mistake must not change."""
        functions = self.server.api("GET", "/api/v1/functions").json()["functions"]
        secrets = self.server.api("GET", "/api/v1/secrets").json()
        return [(f["name"], f["revision"], f["spec"]) for f in functions], secrets


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="pl-links-") as folder:
        links = Path(folder)
        links.chmod(0o755)
        for version in ("1.0", "2.0"):
            wheel(links, "greet", version, {"greet/__init__.py": ""})
        wheel(links, "polite", "1.0", {"polite.py": ""}, requires="greet<2")
        source_distribution(links, "trouble", "raise SystemExit('the frobnicator is missing')\n")
        other = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
        Thread(target=other.serve_forever, daemon=True).start()
        with Server(variables={"UV_FIND_LINKS": folder, "UV_NO_INDEX": "1"}) as server:
            place = Place(server, f"http://127.0.0.1:{other.server_port}")
            project = write(server.folder / "project", PROJECT)
            assert place.run(project, ("up",)).code == 0
            yield place
        other.shutdown()
        other.server_close()


def write(folder: Path, files: Mapping[str, str | None]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return folder


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pl-project-"))
    folder.chmod(0o755)
    yield write(folder, PROJECT)
    shutil.rmtree(folder)


def test_there_are_enough_of_them() -> None:
    assert len(TYPED) + len(REQUESTS) >= 60
    assert len({row.name for row in TYPED}) == len(TYPED)


@pytest.mark.parametrize("row", TYPED, ids=lambda row: row.name.replace(" ", "-"))
def test_a_mistake_that_is_typed(place: Place, project: Path, row: Typed) -> None:
    before = place.state()
    ran = place.run(write(project, row.files), row.argv, row.env)
    assert f"error[{row.slug}]: " in ran.err, ran
    assert ran.code == (find(row.slug).exit_code if row.exit is None else row.exit), ran
    says = [place.filled(word, project) for word in row.says]
    assert [word for word in says if word not in ran.err] == [], ran.err
    assert_well_formed(ran, row)
    assert place.state() == before
    assert place.server.call("/function/kept").body == b"kept"


def assert_well_formed(ran: Ran, row: Typed) -> None:
    """Something to do next for each error, nothing of Python's, nothing on stdout, no byte that a terminal obeys."""
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err
    assert ran.out == ""
    errors = ran.err.count("error[")
    assert errors == row.errors or not row.errors
    assert ran.err.count("= help: ") + ran.err.count("^ ") >= errors, ran.err


@pytest.mark.parametrize("row", TYPED, ids=lambda row: row.name.replace(" ", "-"))
def test_a_mistake_that_is_typed_as_json(place: Place, project: Path, row: Typed) -> None:
    if row.argv[0] in ("serve", "new", "invoke"):
        pytest.skip("prints no data of its own, so it has no --json")
    split = row.argv.index("--") if "--" in row.argv else len(row.argv)
    ran = place.run(write(project, row.files), (*row.argv[:split], "--json", *row.argv[split:]), row.env)
    problem = json.loads(ran.err)
    first = problem["errors"][0] if problem["type"] == "several" else problem
    slugs = [each["type"] for each in problem.get("errors", [problem])]
    assert row.slug in slugs
    assert first["detail"]
    assert first.get("hint") or first.get("line")


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row.name.replace(" ", "-"))
def test_a_mistake_that_is_sent(place: Place, row: Sent) -> None:
    before = place.state()
    answer = place.server.call(row.path, row.body, method=row.method, headers=row.headers, auth=row.auth)
    assert_is_problem(answer, row)
    assert place.state() == before
    assert place.server.call("/function/kept").body == b"kept"


def assert_is_problem(answer: Answer, row: Sent) -> None:
    assert answer.headers["content-type"].startswith("application/problem+json"), answer
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (row.slug, answer.status), answer
    assert answer.status == find(row.slug).status
    assert problem["hint"]
    text = f"{problem['detail']} {problem['hint']}"
    assert [word for word in row.says if word not in text] == [], problem


def test_an_old_python_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    """A stand-in that is Python 3.9 as far as the check can see."""
    old = tmp_path / "python3"
    old.write_text(f"#!/bin/sh\n{{ echo 'import sys; sys.version_info = (3, 9, 2)'; cat; }} | {sys.executable} -\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "deploy" / "setup-venv"), str(tmp_path / "venv")],
        env=os.environ | {"PYTHON": str(old)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"needs Python 3.11 or newer" in done.stderr
    assert b"PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()
