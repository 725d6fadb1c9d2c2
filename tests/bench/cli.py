"""How long does a command take that does nothing much?

    python tests/bench/cli.py [--count 21] [--json FILE]

Wall time of the whole process, output discarded, median. `list-dead` asks an address where nothing listens; `pass` is
the interpreter alone, to judge the rest by.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._report import Row, median, percentile

FAASCTL = (sys.executable, "-m", "faasctl")


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--count", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Byte code goes to a folder of our own: a checkout may forbid to write it, an installed wheel has it.
        cached = _environment(folder) | {"PYTHONPYCACHEPREFIX": f"{folder}/cache"}
        rows = [
            *_measure("pass", (sys.executable, "-c", "pass"), cached, arguments.count),
            *_measure("version", (*FAASCTL, "version"), cached, arguments.count),
            *_measure("help", (*FAASCTL, "--help"), cached, arguments.count),
            *_measure("list-dead", (*FAASCTL, "list"), cached, arguments.count),
        ]
    _report.write("cli", rows, arguments.json)


def _environment(folder: str) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENFAAS"))}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {"FAASCTL_SERVER": dead, "XDG_CONFIG_HOME": folder, "PYTHONPATH": root}


def _measure(case: str, command: tuple[str, ...], environment: Mapping[str, str], count: int) -> list[Row]:
    spent = [_once(command, environment) for _ in range(count + 1)][1:]  # the first one fills caches
    return [Row(case, "p50", median(spent), "ms"), Row(case, "p95", percentile(spent, 0.95), "ms")]


def _once(command: tuple[str, ...], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
