"""How long does a command take that does nothing much?

    python tests/bench/cli.py [--count 21] [--json FILE]

Wall time of the whole process, output discarded, median and 95th percentile; and its processor time, which tells more
where the machine has other work. `list` and `complete` ask a real server on
this machine; `list-dead` asks an address where nothing listens; `pass` is the interpreter alone, to judge the rest by.
`uncompiled` is without any byte code, the standard library's included, as in images that are built without it.
Run by the Python of an installed environment it times that environment's own `faasctl`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._report import Row, median, percentile
from tests.harness import Server, free_port

HANDLER = "def handle(event, context):\n    return 'hi'\n"
Command = tuple[str, ...]


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--count", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        server.deploy("hello", HANDLER)
        # Byte code goes to a folder of our own: a checkout may forbid to write it, an installed wheel has it.
        compiled = _environment(server) | {"PYTHONPYCACHEPREFIX": f"{folder}/cache"}
        uncompiled = _environment(server) | {"PYTHONPYCACHEPREFIX": f"{folder}/none", "PYTHONDONTWRITEBYTECODE": "1"}
        dead = {"FAASCTL_SERVER": f"http://127.0.0.1:{free_port()}"}
        rows: list[Row] = []
        for case, command, more in _cases(dead):
            rows += _measure(case, command, {**compiled, **more}, arguments.count)
            rows += _measure(f"{case} uncompiled", command, {**uncompiled, **more}, max(3, arguments.count // 3))
    _report.write("cli", rows, arguments.json)


def _cases(dead: Mapping[str, str]) -> Iterator[tuple[str, Command, Mapping[str, str]]]:
    faasctl = _faasctl()
    yield "pass", (sys.executable, "-c", "pass"), {}
    yield "version", (*faasctl, "version"), {}
    yield "help", (*faasctl, "--help"), {}
    yield "complete", (*faasctl, "__complete", "describe", ""), {}
    yield "list", (*faasctl, "list"), {}
    yield "list-dead", (*faasctl, "list"), dead


def _faasctl() -> Command:
    """The script that an installation puts beside its Python, or the module."""
    script = Path(sys.executable).with_name("faasctl")
    return (str(script),) if script.exists() else (sys.executable, "-m", "faasctl")


def _environment(server: Server) -> dict[str, str]:
    """The server's user, without what changes how Python starts."""
    kept = {
        name: value
        for name, value in server.environment.items()
        if not name.startswith(("PYTHON", "OPENFAAS")) and not name.lower().endswith("_proxy")
    }
    if Path(sys.executable).with_name("faasctl").exists():
        return kept
    return kept | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def _measure(case: str, command: Command, environment: Mapping[str, str], count: int) -> list[Row]:
    spent = [_once(command, environment) for _ in range(count + 1)][1:]  # the first one fills caches
    wall, cpu = [each[0] for each in spent], [each[1] for each in spent]
    return [
        Row(case, "p50", median(wall), "ms"),
        Row(case, "p95", percentile(wall, 0.95), "ms"),
        Row(case, "cpu p50", median(cpu), "ms"),
    ]


def _once(command: Command, environment: Mapping[str, str]) -> tuple[float, float]:
    """Wall time and processor time, in ms."""
    began = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=null)
    _, status, usage = os.wait4(process.pid, 0)
    spent = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return spent * 1000, (usage.ru_utime + usage.ru_stime) * 1000


if __name__ == "__main__":
    main()
