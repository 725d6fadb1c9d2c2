"""Does it come to rest whole, whatever happens? Bursts of calls while processes (or containers) are killed, functions
scaled, redeployed, removed and deployed again; after each round everything that must hold is looked at.

    python tests/bench/chaos.py [--seed 1] [--minutes 3 | --rounds 20] [--first 0] [--provider process|docker]
                                [--network host] [--json FILE]

What it promises: every call has an answer, or a broken connection, within its function's timeout and what the settings
allow besides (each allowance has its reason in _chaos_calls.py); a whole answer is the right one; once the calls are
over nothing is in flight and nothing waits, and each function answers; scaled to zero, no replica, zombie, record or
socket is left; nothing in the log is an error or a traceback; the processes that stay hold no more descriptors than
before. Round N of a seed is always the same plan: `--first N --rounds 1` has it once more. Exit code 1 tells what was
broken, the seed, and where the server's log was kept.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._chaos_calls import Told, call_all, complaint
from tests.bench._chaos_checks import SETTINGS, Checks
from tests.bench._chaos_field import Book, Field
from tests.bench._chaos_plan import FUNCTIONS, TROUBLES, Round, round_of
from tests.bench._chaos_troubles import make
from tests.bench._report import Row
from tests.figures import left_behind
from tests.harness import Server

ENOUGH = 12
"""So many broken promises end a run: what follows would be their consequences."""
SHOWN_EVERY = 10
END_SECONDS = 120.0
"""Ending a server with containers takes an engine some seconds each."""


def main() -> int:
    options = _options()
    network = {"docker.build_network": options.network} if options.network else {}
    with Server(f"--provider={options.provider}", settings=SETTINGS | network) as server:
        field = Field(server, options.provider)
        checks = Checks(field)
        try:
            rounds = _run(field, checks, options)
            _end(field)
        finally:
            kept = _keep_log(server, options) if field.book.broken or sys.exception() else None
            field.remove_images()
            field.close()
    _report.write("chaos", [Row("rounds", "all", rounds, ""), *_rows(field.book, checks)], options.json)
    return _verdict(field.book.broken, options, kept)


def _options() -> argparse.Namespace:
    parser = _report.arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default 1)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=3.0, help="no round begins after so many (default 3)")
    length.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with round N of the seed")
    parser.add_argument("--provider", default="process", choices=sorted(TROUBLES))
    network = os.environ.get("PILOTLIGHT_BUILD_NETWORK")
    parser.add_argument("--network", default=network, help="the engine's for builds (PILOTLIGHT_BUILD_NETWORK)")
    return parser.parse_args()


def _run(field: Field, checks: Checks, options: argparse.Namespace) -> int:
    """How many rounds there were."""
    book = field.book
    field.begin()
    book.broken += [f"before the first round: {what}" for what in checks.all()]
    done = 0
    for number in _numbers(options):
        if len(book.broken) >= ENOUGH:
            break
        plan = round_of(options.seed, number, options.provider)
        before = len(book.broken)
        told = asyncio.run(_round(field, plan))
        _judge(field, plan, told)
        book.broken += [f"{plan.named}: {what}" for what in checks.all()]
        for sentence in book.broken[before:]:
            print(f"BROKEN {sentence}", flush=True)
        done += 1
        if done % SHOWN_EVERY == 0:
            print(_line(done, book, checks), flush=True)
    return done


def _numbers(options: argparse.Namespace) -> Iterator[int]:
    if options.rounds is not None:
        yield from range(options.first, options.first + options.rounds)
        return
    end = time.monotonic() + options.minutes * 60
    for number in count(options.first):
        if time.monotonic() > end:
            return
        yield number


async def _round(field: Field, plan: Round) -> list[Told]:
    trouble = asyncio.create_task(make(field, plan))
    told = await call_all(field.server.url, plan)
    await trouble
    return told


def _judge(field: Field, plan: Round, told: list[Told]) -> None:
    for each in told:
        field.book.answers[each.what] += 1
        if what := complaint(each, field.timeout_of(each.ask.function), field.book.kills):
            field.book.broken.append(f"{plan.named}: {what}")


def _end(field: Field) -> None:
    """Nothing of it stays behind."""
    if code := field.server.end(seconds=END_SECONDS):
        field.book.broken.append(f"the server ended with code {code}")
    left = left_behind(field.server)
    if field.provider == "docker":
        left += [f"container {each['Id'][:12]}" for each in field.containers()]
    field.book.broken += [f"after the server's end there was {what}" for what in left]


def _keep_log(server: Server, options: argparse.Namespace) -> Path:
    kept = Path(tempfile.gettempdir()) / f"pilotlight-chaos-{options.provider}-{options.seed}.log"
    shutil.copyfile(server.log, kept)
    return kept


# Telling


def _line(done: int, book: Book, checks: Checks) -> str:
    descriptors = ", ".join(f"{role} {counts[-1]}" for role, counts in checks.descriptors.items())
    return f"{done:4} rounds: {_told(book.answers)}; descriptors: {descriptors}; broken: {len(book.broken)}"


def _told(counts: Counter[str]) -> str:
    return f"{counts.total():,} calls, " + ", ".join(f"{what} {number:,}" for what, number in sorted(counts.items()))


def _rows(book: Book, checks: Checks) -> list[Row]:
    counted = (("calls", book.answers), ("requests", book.requests), ("troubles", book.troubles))
    rows = [Row(case, what, number, "") for case, counts in counted for what, number in sorted(counts.items())]
    for role, counts in checks.descriptors.items():
        rows += [Row(role, "descriptors, first", counts[0], ""), Row(role, "descriptors, most", max(counts), "")]
    return rows


def _verdict(broken: list[str], options: argparse.Namespace, kept: Path | None) -> int:
    if not broken:
        print(f"\nseed {options.seed}: all held, with {len(FUNCTIONS)} functions")
        return 0
    print(f"\nseed {options.seed}: {len(broken)} promises were broken; the server's log was kept in {kept}")
    for sentence in broken:
        print(f"    {sentence}")
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is ended, too
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit("interrupted")
