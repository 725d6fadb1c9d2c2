"""Which modules a zygote imports ahead: those that a trial, in a process of its own, shows to survive a fork.

Most modules do. One that starts threads at import, or holds a lock, can leave its forked children hanging; that is
found here, once for each set of modules and environment, and not in production.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pilotlight.builder.base import Report
from pilotlight.builder.files import give, make_staging, remove, write_atomically
from pilotlight.builder.imports import IN_EVERY_ZYGOTE, Candidate
from pilotlight.builder.process import Command, TimedOut, end_marked, run
from pilotlight.builder.shelf import TRIALS, Shelf
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.naming import digest_of
from pilotlight.finishing import surely

PROGRAM = Path(__file__).with_name("child_trial.py")
_ANSWER_BYTES = 2**20
_NAMED_PACKAGES = 8
_ROUNDS = 4
"""All trials of one build together may take this many times the time of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one run of child_trial.py is to do."""

    candidates: Sequence[Candidate]
    handler: str | None
    """None: the modules alone."""
    seconds: float

    def json(self, *, prime: str | None, bundle: str) -> str:
        """As the child reads it; the paths are those that it sees."""
        return json.dumps(
            {
                "candidates": self.candidates,
                "prime": prime,
                "bundle": bundle if self.handler is not None else None,
                "handler": self.handler,
                "seconds": self.seconds,
            }
        )


class Child(Protocol):
    """Runs child_trial.py where a bundle and its environment lie."""

    async def run(self, order: Order) -> bytes:
        """What it answered; nothing, or not all of it, when it did not end well or in time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried: modules of an environment, with the handler that will be loaded after them."""

    environment: str
    """Its digest; the prime script is a part of it."""
    candidates: tuple[Candidate, ...]
    handler: str
    child: Child


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    good: bool
    imported: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why, by module; a handler may do without one (`try: import ...`), so that this is no error."""
    late: tuple[str, ...] = ()
    """Modules of the environment that came only when the handler was loaded."""


class Trials:
    def __init__(self, cache: Path, settings: BuildSettings, shelf: Shelf) -> None:
        self._cache = cache
        self._shelf = shelf
        self._seconds = settings.trial_seconds
        self._at_once = asyncio.Semaphore(settings.concurrency)

    async def run(self, trial: Trial, report: Report) -> tuple[str, ...]:
        """The modules that passed, sorted; the answer is kept, so that a change of the handler alone needs no trial."""
        if all(candidate.module in IN_EVERY_ZYGOTE for candidate in trial.candidates):
            return tuple(sorted(candidate.module for candidate in trial.candidates))
        key = self._key(trial)
        kept = self._cache / key
        self._shelf.use(f"{TRIALS}/{key}")
        try:
            passed: list[str] = json.loads(kept.read_bytes())
        except FileNotFoundError:
            began = time.monotonic()
            async with self._at_once:
                passed = sorted(await self._find(trial, report))
            write_atomically(kept, json.dumps(passed).encode())
            report("preimport", f"{in_few_words(passed)} (tried in {time.monotonic() - began:.1f} s)")
        else:
            report("preimport", in_few_words(passed))
        return tuple(passed)

    async def _find(self, trial: Trial, report: Report) -> tuple[str, ...]:
        """All of them if that works; else each one alone, and then those that passed together."""
        deadline = time.monotonic() + _ROUNDS * self._seconds
        whole = await self._try(trial, trial.candidates, trial.handler, deadline)
        for module, why in whole.missing.items():
            report("preimport", f"{module} cannot be imported: {why}")
        if whole.good:
            return await self._with_late(trial, whole, deadline)
        handler = trial.handler if (await self._try(trial, (), trial.handler, deadline)).good else None
        if handler is None:  # it fails by itself: the modules are tried without it
            report("preimport", "the handler does not load by itself; the modules are tried without it")
            whole = await self._try(trial, trial.candidates, None, deadline)
            if whole.good:
                return whole.imported
        survivors = []
        for candidate in trial.candidates:
            if (await self._try(trial, (candidate,), handler, deadline)).good:
                survivors.append(candidate)
            else:
                report("preimport", f"{candidate.module} is left out: children forked after its import do not work")
        together = await self._try(trial, survivors, handler, deadline)
        return together.imported if together.good else ()

    async def _with_late(self, trial: Trial, whole: _Answer, deadline: float) -> tuple[str, ...]:
        """A library that loads parts of itself while the handler is loaded (a decoder, a plugin) does so in every
        replica; the zygote can do it once, if a second trial with those parts goes well, too."""
        if not whole.late:
            return whole.imported
        candidates = (*trial.candidates, *map(Candidate, whole.late))
        again = await self._try(trial, candidates, trial.handler, deadline)
        return again.imported if again.good else whole.imported

    async def _try(
        self, trial: Trial, candidates: Sequence[Candidate], handler: str | None, deadline: float
    ) -> _Answer:
        seconds = min(self._seconds, deadline - time.monotonic())
        if seconds <= 0:
            return _Answer(good=False)
        try:
            order = Order(candidates=candidates, handler=handler, seconds=seconds)
            answer = json.loads(await trial.child.run(order))
        except ValueError:
            return _Answer(good=False)
        imported = tuple(answer["imported"])
        late = tuple(answer["late"])
        return _Answer(good=answer["child"] == "done", imported=imported, missing=answer["missing"], late=late)

    def _key(self, trial: Trial) -> str:
        parts = [trial.environment, *(json.dumps(candidate) for candidate in trial.candidates)]
        return digest_of(part.encode() for part in parts)


class InProcess:
    """The child as a process of this machine, as the functions' user."""

    def __init__(self, environment_dir: Path, bundle_dir: Path, staging: Path, sandbox: Sandbox) -> None:
        self._environment = environment_dir
        self._bundle = bundle_dir
        self._staging = staging
        self._sandbox = sandbox

    async def run(self, order: Order) -> bytes:
        prime = self._environment / "prime.py"
        python = self._environment / "venv/bin/python"
        home = make_staging(self._staging)
        give(home, self._sandbox)
        command = Command(
            arguments=[python, "-I", "-B", "-c", PROGRAM.read_text()],
            directory=home,
            variables={},
            stdin=order.json(prime=str(prime) if prime.exists() else None, bundle=str(self._bundle)).encode(),
        )
        try:
            outcome = await run(command, self._sandbox, seconds=order.seconds, output_limit=_ANSWER_BYTES)
        except TimedOut:
            return b""
        finally:
            await surely(asyncio.to_thread(self._clear, home, python))
        return outcome.output

    def _clear(self, home: Path, python: Path) -> None:
        end_marked(home, python, self._sandbox)
        remove(home)


def in_few_words(modules: Sequence[str]) -> str:
    """The packages, not each of their modules, and no more of them than fit a line."""
    packages = sorted({module.partition(".")[0] for module in modules})
    more = len(packages) - _NAMED_PACKAGES
    return (", ".join(packages[:_NAMED_PACKAGES]) + (f" and {more} more" if more > 0 else "")) or "nothing"
