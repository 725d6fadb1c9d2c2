"""How long from a save to the first answer of the new code? And `faasctl up` after a change of code?

    python tests/bench/devloop.py [--count 30] [--json FILE]

`dev-save`: a handler is saved (written beside and renamed, as editors do) once a second while `faasctl dev` runs, and
the function is called over a kept connection until it answers with the new text. `dev-error`: the same for a save that
brings a mistake, until the session says so. `dev-start`: from the command to the first answer, and again with a kept
folder. `up-change`, `up-same`: the whole command, after a change of the handler and with none.
"""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._report import Row, median, percentile
from tests.harness import Server

STACK = "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n"
HANDLER = '"""A handler of a dozen lines."""\n\nimport json\n\n\ndef handle(event, context):\n    return {reply!r}\n'
T = TypeVar("T")
FAASCTL = (sys.executable, "-m", "faasctl")
PATIENCE_SECONDS = 30.0
BETWEEN_SAVES_SECONDS = 1.0


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--count", type=int, default=30)
    arguments = parser.parse_args()
    # As an installed wheel: byte code is there after the first start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([*FAASCTL, "up", "--help"], capture_output=True, check=True)
    rows = [*_dev(arguments.count), *_up(arguments.count)]
    _report.write("devloop", rows, arguments.json)


def _dev(count: int) -> Iterator[Row]:
    with _project() as project:
        with Dev(project):  # fills caches
            pass
        with Dev(project, "--keep") as first:
            yield Row("dev-start", "first", first.started_ms, "ms")
            saves = [first.saved(f"version {number}") for number in range(count)]
            yield from _rows("dev-save", saves)
            yield from _rows("dev-error", [first.broken() for _ in range(count)])
        again = []
        for _ in range(3):
            with Dev(project) as dev:
                again.append(dev.started_ms)
        yield Row("dev-start", "kept p50", median(again), "ms")


def _up(count: int) -> Iterator[Row]:
    with Server() as server:
        project = server.folder / "project"
        _write_project(project)

        def up() -> float:
            began = time.perf_counter()
            done = server.faasctl("up", cwd=project)
            assert done.code == 0, done.err
            return (time.perf_counter() - began) * 1000

        up()
        changed = []
        for number in range(count):
            _save(project / "hello/handler.py", HANDLER.format(reply=f"up {number}"))
            changed.append(up())
        yield from _rows("up-change", changed)
        yield from _rows("up-same", [up() for _ in range(count)])


class Dev:
    """A session of `faasctl dev` in a project's folder."""

    def __init__(self, project: Path, *flags: str) -> None:
        self._project = project
        self._handler = project / "hello/handler.py"
        self._output = project / "dev.log"
        began = time.perf_counter()
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [*FAASCTL, "dev", "--port", "0", *flags],
                cwd=project, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | {"XDG_CONFIG_HOME": str(project / "config"), "NO_COLOR": "1"},
            )  # fmt: skip
        found: re.Match[str] = self._until(_address_in(self._output))
        address = urlsplit(found[1])
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port)
        self._reply()
        self.started_ms = (time.perf_counter() - began) * 1000

    def __enter__(self) -> "Dev":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(60) == 130, self._output.read_text()

    def saved(self, reply: str) -> float:
        """Milliseconds from the save to the new answer."""
        time.sleep(BETWEEN_SAVES_SECONDS)
        began = time.perf_counter()
        _save(self._handler, HANDLER.format(reply=reply))
        self._until(lambda: self._reply() == reply)
        return (time.perf_counter() - began) * 1000

    def broken(self) -> float:
        """Milliseconds from a save with a mistake to its line; then the handler is as before."""
        good, told = self._handler.read_text(), self._told("not served")
        time.sleep(BETWEEN_SAVES_SECONDS)
        began = time.perf_counter()
        _save(self._handler, good + "\ndef broken(:\n")
        self._until(lambda: self._told("not served") > told)
        spent = (time.perf_counter() - began) * 1000
        told = self._told("nothing changed")
        _save(self._handler, good)
        self._until(lambda: self._told("nothing changed") > told)
        return spent

    def _told(self, word: str) -> int:
        return self._output.read_text().count(word)

    def _reply(self) -> str:
        self._connection.request("GET", "/function/hello")
        return self._connection.getresponse().read().decode()

    def _until(self, found: Callable[[], T | None]) -> T:
        """What was looked for, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._output.read_text()
            if value := found():
                return value
            time.sleep(0.005)  # more often would take the processor from what is measured
        raise AssertionError(f"nothing within {PATIENCE_SECONDS:g} s:\n{self._output.read_text()}")


def _address_in(output: Path) -> Callable[[], "re.Match[str] | None"]:
    return lambda: re.search(r"(http://\S+)/function/hello", output.read_text())


def _save(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp~")
    beside.write_text(text)
    beside.rename(path)


@contextmanager
def _project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pl-dev-"))
    folder.chmod(0o711)
    try:
        _write_project(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_project(folder: Path) -> None:
    (folder / "hello").mkdir(parents=True)
    (folder / "stack.yaml").write_text(STACK)
    (folder / "hello/handler.py").write_text(HANDLER.format(reply="first"))


def _rows(case: str, values: list[float]) -> Iterator[Row]:
    yield Row(case, "p50", median(values), "ms")
    yield Row(case, "p95", percentile(values, 0.95), "ms")


if __name__ == "__main__":
    main()
