"""How every benchmark ends: a table for people, and with --json FILE the same rows for a machine.

    parser = _report.arguments(__doc__)
    options = parser.parse_args()
    _report.write("router", rows, options.json)

A benchmark runs as `python tests/bench/NAME.py`, which puts this folder on the path.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    case: str
    metric: str
    value: float
    unit: str


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    return parser


def write(bench: str, rows: Iterable[Row], json_file: Path | None) -> None:
    rows = list(rows)
    print(_table(rows))
    if json_file is not None:
        document = {
            "bench": bench,
            "machine": machine(),
            "commit": commit(),
            "rows": [asdict(row) for row in rows],
        }
        json_file.write_text(json.dumps(document, indent=2) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def machine() -> str:
    """Processor, cores, memory, kernel, Python: what somebody needs to judge a figure."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {gib:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """The checkout's commit, with a + when files differ from it; "unknown" outside of a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def missing(tool: str, package: str) -> None:
    """End with the one line that says what to install."""
    sys.exit(f"{tool} is not installed; on Debian: apt-get install {package}")


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=here, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _table(rows: Sequence[Row]) -> str:
    header = ("case", "metric", "value", "unit")
    cells = [header, *((row.case, row.metric, _figure(row.value), row.unit) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        f"{case:<{widths[0]}}  {metric:<{widths[1]}}  {value:>{widths[2]}}  {unit}".rstrip()
        for case, metric, value, unit in cells
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
