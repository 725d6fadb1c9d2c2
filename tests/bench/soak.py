"""Does it stay whole? Mixed traffic over many functions for minutes, with redeploys and kills of random processes.

    python tests/bench/soak.py --minutes 3 [--functions 50] [--rate 60] [--seed 1] [--json FILE] [--svg FILE]

Every answer is checked. A request may fail only inside of what was killed; anything else, and any wrong answer, is told
and makes the exit code 1. Memory and descriptors of the processes that stay are sampled and shown.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._plot import Mark, Panel, svg
from tests.bench._report import Row
from tests.bench._soak_traffic import HANDLER, KINDS, Book, Caller, Function, Kill
from tests.figures import figures, left_behind, roles
from tests.harness import Server

CALLERS = 24
SAMPLE_SECONDS = 2.0
VICTIMS = ("replica",) * 6 + ("control plane", "control plane", "router", "zygote")
METRICS = {"rss": "MiB", "pss": "MiB", "descriptors": ""}


@dataclass(slots=True)
class Series:
    """Values over time, (seconds, value), by role and metric; those of several zygotes are added."""

    points: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, at: float, role: str, metric: str, value: float) -> None:
        self.points.setdefault((role, metric), []).append((at, value))


def main() -> int:
    options = _options()
    book, series, deploys = Book(), Series(), Counter[str]()
    with Server(settings={"control.tick_seconds": 1}) as server:
        functions = _deploy_all(server, options.functions)
        begin = time.monotonic()
        asyncio.run(_soak(server, functions, options, book, series, deploys))
        code = server.end()
        left = left_behind(server)
    _print(book, series, deploys, left)
    if options.json:
        _write_json(options.json, book, series, deploys)
    if options.svg:
        options.svg.write_text(_plot(series, book, begin))
    clean = not book.wrong and not book.unexplained and not left and code == 0
    print("\nclean" if clean else "\nNOT clean")
    return 0 if clean else 1


def _options() -> argparse.Namespace:
    parser = _report.arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long (default 3)")
    parser.add_argument("--functions", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second, all together (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of what is called, redeployed and killed")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw memory and descriptors over time")
    return parser.parse_args()


def _deploy_all(server: Server, count: int) -> list[Function]:
    """One bundle under many names, told apart by their variables."""
    server.deploy("soak-base", HANDLER, environment={"KIND": "fast", "REVISION": "0"}, scale={"idle": "5s", "max": 8})
    spec = server.function("soak-base")["spec"]
    functions = []
    for number in range(count):
        function = Function(f"soak-{number}", KINDS[number % len(KINDS)], cold=number % 4 == 3)
        if said := _put(server, spec, function, 1):
            sys.exit(f"{function.name} could not be deployed: {said}")
        functions.append(function)
    return functions


def _put(server: Server, spec: dict[str, Any], function: Function, revision: int) -> str:
    """Why it did not succeed; empty when it did."""
    idle = {"scale": spec["scale"] | ({} if function.cold else {"min": 1})}
    own = {"name": function.name, "environment": {"KIND": function.kind, "REVISION": str(revision)}}
    try:
        answer = server.api("PUT", f"/api/v1/functions/{function.name}", spec | own | idle)
    except (OSError, EOFError, http.client.HTTPException):
        return "connection broken"
    return "" if answer.status in (200, 201) else str(answer.status)


async def _soak(
    server: Server,
    functions: list[Function],
    options: argparse.Namespace,
    book: Book,
    series: Series,
    deploys: Counter[str],
) -> None:
    rng = random.Random(options.seed)
    end = time.monotonic() + options.minutes * 60
    rate = options.rate / CALLERS
    callers = [
        Caller(server.url, functions, book, random.Random(options.seed + number)).run(rate=rate, end=end)
        for number in range(1, CALLERS + 1)
    ]
    background = (
        asyncio.create_task(_redeploy(server, functions, rng, book, deploys)),
        asyncio.create_task(_kill_now_and_then(server, functions, rng, book, end)),
        asyncio.create_task(_sample(server, series)),
    )
    await asyncio.gather(*callers)
    for task in background:
        task.cancel()
    for result in await asyncio.gather(*background, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def _redeploy(
    server: Server, functions: list[Function], rng: random.Random, book: Book, deploys: Counter[str]
) -> None:
    spec = server.function("soak-base")["spec"]
    while True:
        await asyncio.sleep(rng.uniform(1, 5))
        function = rng.choice(functions)
        function.revision += 1
        revision = function.revision
        began = time.monotonic()
        if why := await asyncio.to_thread(_put, server, spec, function, revision):
            deploys["failed"] += 1  # it may be live all the same
            book.deploy_failed(function, why, began)
        else:
            function.acknowledged = revision
            deploys["acknowledged"] += 1


async def _kill_now_and_then(
    server: Server, functions: list[Function], rng: random.Random, book: Book, end: float
) -> None:
    """Not in the last seconds, so that what follows from it is seen."""
    while time.monotonic() < end - 8:
        await asyncio.sleep(rng.uniform(1.5, 5))
        role = rng.choice(VICTIMS)
        function = rng.choice(functions)
        pids = sorted(_alive(server, function)) if role == "replica" else roles(server)[role]
        if pids:
            book.kills.append(Kill(time.monotonic(), role, function.name if role == "replica" else ""))
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)


def _alive(server: Server, function: Function) -> set[int]:
    return function.pids & set(server.processes()["zygote"])


async def _sample(server: Server, series: Series) -> None:
    begin = time.monotonic()
    while True:
        at = time.monotonic() - begin
        for role, pids in roles(server).items():
            found = [one for pid in pids if (one := figures(pid)) is not None]
            if found:
                series.add(at, role, "rss", sum(one.rss_mib for one in found))
                series.add(at, role, "descriptors", sum(one.descriptors for one in found))
                series.add(at, role, "pss", sum(one.pss_mib or 0.0 for one in found))
        await asyncio.sleep(SAMPLE_SECONDS)


# Telling


def _print(book: Book, series: Series, deploys: Counter[str], left: Sequence[str]) -> None:
    kills = Counter(kill.role for kill in book.kills)
    rows = [
        (kind, f"{count:,}", *(f"{_report.percentile(book.milliseconds[kind], p):.1f}" for p in (0.5, 0.99, 1.0)))
        for kind, count in sorted(book.answers.items())
    ]
    _table(("answers", "right", "p50 ms", "p99 ms", "max ms"), rows)
    _table(
        ("failed requests", "cause", "count"),
        [(what, cause or "NONE", f"{count:,}") for (what, cause), count in sorted(book.failures.items())],
    )
    for (what, cause), said in sorted(book.samples.items()):
        if said:
            print(f"told with {what} ({cause or 'no cause'}): {said.strip()}\n")
    _table(("killed", "times"), [(role, str(count)) for role, count in sorted(kills.items())])
    _table(("redeploys", "times"), [(what, str(count)) for what, count in sorted(deploys.items())])
    _table(
        ("process", "figure", "min", "median", "max", "last", "unit"),
        [
            (role, metric, *(f"{value:.1f}" for value in _summary(points).values()), METRICS[metric])
            for (role, metric), points in sorted(series.points.items())
        ],
    )
    for title, lines in (("wrong answers", book.wrong), ("without a cause", book.unexplained), ("left behind", left)):
        print(f"{title}: {len(lines)}")
        for line in lines[:20]:
            print(f"    {line}")


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        first, *others = (
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    print()


def _summary(points: Sequence[tuple[float, float]]) -> dict[str, float]:
    values = [value for _, value in points]
    return {"min": min(values), "median": _report.median(values), "max": max(values), "last": values[-1]}


def _write_json(path: Path, book: Book, series: Series, deploys: Counter[str]) -> None:
    rows = [Row("answers", kind, count, "") for kind, count in sorted(book.answers.items())]
    rows += [Row("failed", f"{what}: {why or 'no cause'}", n, "") for (what, why), n in sorted(book.failures.items())]
    rows += [Row("wrong", "answers", len(book.wrong), ""), Row("unexplained", "failures", len(book.unexplained), "")]
    rows += [Row("redeploys", what, count, "") for what, count in sorted(deploys.items())]
    rows += [Row("killed", role, n, "") for role, n in sorted(Counter(kill.role for kill in book.kills).items())]
    for (role, metric), points in sorted(series.points.items()):
        rows += [Row(role, f"{metric}_{name}", value, METRICS[metric]) for name, value in _summary(points).items()]
    document = {"bench": "soak", "machine": _report.machine(), "commit": _report.commit()}
    path.write_text(json.dumps(document | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def _plot(series: Series, book: Book, begin: float) -> str:
    def lines(metric: str) -> dict[str, list[tuple[float, float]]]:
        return {
            role: [(at / 60, value) for at, value in points]
            for (role, one), points in sorted(series.points.items())
            if one == metric
        }

    panels = [
        Panel("Resident memory", "MiB", lines("rss")),
        Panel("Proportional memory (PSS)", "MiB", lines("pss")),
        Panel("Descriptors", "count", lines("descriptors")),
    ]
    marks = [Mark((kill.at - begin) / 60, kill.role) for kill in book.kills if kill.role != "replica"]
    replicas = sum(kill.role == "replica" for kill in book.kills)
    answers = sum(book.answers.values())
    return svg(
        f"Soak: {answers:,} right answers, {len(book.kills)} kills ({replicas} of replicas, not drawn)", panels, marks
    )


if __name__ == "__main__":
    sys.exit(main())
