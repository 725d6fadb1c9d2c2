"""Runs uv: resolve requirements to a lock with hashes, and install such a lock into a new virtual environment."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uv

from pilotlight.builder.failures import failure_of, may_be_elsewhere, timed_out
from pilotlight.builder.files import storage_errors
from pilotlight.builder.index import IndexSettings, redacted
from pilotlight.builder.interpreter import Interpreter
from pilotlight.builder.process import Command, Outcome, TimedOut, run
from pilotlight.builder.requirements import Requirement, Requirements
from pilotlight.config import Sandbox
from pilotlight.core.errors import PilotlightError

_LOCK_BYTES = 16 * 2**20
_QUIET = ("--color", "never", "--no-progress", "--no-python-downloads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """One uv, as the functions' user, with the server's index settings."""

    binary: Path
    cache: Path
    sandbox: Sandbox
    index: IndexSettings
    interpreter: Interpreter
    timeout_seconds: float

    async def resolve(self, requirements: Requirements, work: Path, say: Callable[[str], None]) -> str:
        """The lock: every package that is needed, with its version and hashes, one line of text or more each."""
        arguments: list[str | Path] = [
            "pip", "compile", "requirements.in", "--constraints", "constraints.in", "--python", self.interpreter.path,
            "--generate-hashes", "--no-header", "--no-annotate", "--no-sources", *self._index_flags(),
        ]  # fmt: skip
        outcome = await self._run_on_indexes(arguments, work, requirements, say)
        return outcome.output.decode()

    async def make(
        self, venv: Path, lock: Path, requirements: Requirements, work: Path, say: Callable[[str], None]
    ) -> None:
        """A virtual environment with what the lock says, in an empty directory of the functions' user."""
        arguments: list[str | Path] = ["venv", "--relocatable", "--python", self.interpreter.path, "--no-project", venv]
        await self._run(arguments, work, requirements, None)
        if lock.stat().st_size:
            arguments = [
                "pip", "sync", "--require-hashes", "--link-mode", "copy", "--compile-bytecode",
                "--python", venv / "bin/python", *self._index_flags(), lock,
            ]  # fmt: skip
            await self._run_on_indexes(arguments, work, requirements, say)

    async def _run_on_indexes(
        self, arguments: Sequence[str | Path], work: Path, requirements: Requirements, say: Callable[[str], None]
    ) -> Outcome:
        """uv takes a package from the first index that has it, so that nobody can slip a newer one of the same name
        in from another; to pip all of its indexes are equal. Where the first way finds nothing, pip's may."""
        try:
            return await self._run(arguments, work, requirements, say)
        except PilotlightError as error:
            if not self.index.several or not may_be_elsewhere(error):
                raise
            first = error
        say("looking at all indexes, as pip does")
        try:
            return await self._run([*arguments, "--index-strategy", "unsafe-best-match"], work, requirements, say)
        except PilotlightError as second:
            raise (first if second.slug.startswith("index-") else second) from None

    async def _run(
        self,
        arguments: Sequence[str | Path],
        work: Path,
        requirements: Requirements,
        say: Callable[[str], None] | None,
    ) -> Outcome:
        variables = self._variables(work)
        config = ["--config-file", "uv.toml"] if (work / "uv.toml").exists() else ["--no-config"]
        command = Command(arguments=[self.binary, *arguments, *_QUIET, *config], directory=work, variables=variables)
        try:
            outcome = await run(
                command,
                self.sandbox,
                seconds=self.timeout_seconds,
                output_limit=_LOCK_BYTES,
                on_line=None if say is None else lambda line: say(redacted(line)) if _is_news(line) else None,
            )
        except TimedOut:
            raise timed_out(self.timeout_seconds) from None
        if outcome.status != 0:
            raise failure_of(outcome.lines, requirements, self.interpreter.version)
        return outcome

    def _index_flags(self) -> tuple[str, ...]:
        return ("--no-index",) if self.index.no_index else ()

    def _variables(self, work: Path) -> dict[str, str]:
        variables = dict(self.index.variables) | {
            "UV_CACHE_DIR": str(self.cache),
            # The installed byte code never gets old: nothing in an environment changes, wherever it is copied.
            "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
        }
        if self.index.certificate is not None:
            variables["SSL_CERT_FILE"] = str(work / "certificates.pem")
        return variables

    def provide(self, work: Path, requirements: Requirements) -> None:
        """Write what uv reads, before its user gets the folder: what one asks for, and copies of the operator's files,
        whose originals that user may not be able to read."""
        with storage_errors():
            _write_lines(work / "requirements.in", requirements.wanted)
            _write_lines(work / "constraints.in", requirements.constraints)
            if self.index.certificate is not None:
                shutil.copyfile(self.index.certificate, work / "certificates.pem")
            if self.index.config_file is not None:
                shutil.copyfile(self.index.config_file, work / "uv.toml")


async def reachable_uv(tools: Path, sandbox: Sandbox) -> Path:
    """uv's program where the functions' user can run it: in the server's installation, or else a copy."""
    own = Path(uv.find_uv_bin())
    if await _runs(own, sandbox):
        return own
    copy = tools / f"uv-{version('uv')}"
    if not copy.exists():
        await asyncio.to_thread(_copy_program, own, copy)
    return copy


async def _runs(program: Path, sandbox: Sandbox) -> bool:
    if sandbox.uid is None:
        return True
    command = Command(arguments=[program, "--version"], directory=Path("/"), variables={})
    try:
        return (await run(command, sandbox, seconds=20)).status == 0
    except (OSError, TimedOut):
        return False


def _copy_program(program: Path, copy: Path) -> None:
    made = copy.with_name(f".{copy.name}.{os.getpid()}.{time.monotonic_ns()}")
    with storage_errors():
        shutil.copyfile(program, made)
        made.chmod(0o755)
        made.rename(copy)


def _write_lines(path: Path, requirements: Sequence[Requirement]) -> None:
    path.write_text("".join(f"{each.text}\n" for each in requirements))


def _is_news(line: str) -> bool:
    """Progress that is worth a line: not each package's own, and nothing of uv's advice."""
    return line.startswith(("Resolved", "Prepared", "Installed", "Bytecode compiled", "   Building", "      Built"))
