"""Checks a bundle's syntax, byte-compiles it, and learns what it imports, before anything is resolved or started."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotlight.builder.ahead import Ahead
from pilotlight.builder.archive import SourceFile
from pilotlight.builder.files import SOURCE_TIME_NS, storage_errors
from pilotlight.builder.imports import Import
from pilotlight.builder.interpreter import Interpreter
from pilotlight.builder.process import Command, Outcome, TimedOut
from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidSource, RevisionFailed, SourceLocation

_PROGRAM = Path(__file__).with_name("child_compile.py")
_SECONDS = 60.0
_SOURCE_BYTES = 32 * 2**20
_BYTE_CODE_RATIO = 8
_HINT = "Correct the line and deploy again; what was served before is still served."


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    imports: Mapping[str, tuple[Import, ...]]
    """By path."""


class Compiler:
    """Compiles with one interpreter; its program waits for the next bundle."""

    def __init__(self, interpreter: Interpreter, sandbox: Sandbox, staging: Path) -> None:
        arguments: list[str | Path] = [interpreter.path, "-I", "-S", "-c", _PROGRAM.read_text()]
        command = Command(arguments=arguments, directory=Path("/"), home=staging / "compiler", variables={})
        self._program = Ahead(command, sandbox)
        self._interpreter = interpreter

    async def compile(self, function: Path, files: Sequence[SourceFile], handler: str) -> Compiled:
        """Compile all Python files below `function` into its `__pycache__` folders; RevisionFailed for the first that
        is not valid, the handler's own before all others."""
        paths = [file.path for file in files if file.path.endswith(".py")]
        paths.sort(key=lambda path: (path != handler, path))
        size = sum(file.size for file in files if file.path.endswith(".py"))
        if size > _SOURCE_BYTES:
            raise InvalidSource(f"{size // 2**20} MiB of Python source; at most {_SOURCE_BYTES // 2**20} MiB are taken")
        order = json.dumps({"directory": str(function), "paths": paths}).encode()
        try:
            outcome = await self._program.run(order, seconds=_SECONDS, output_limit=size * _BYTE_CODE_RATIO + 2**20)
        except TimedOut:
            raise InvalidSource(f"the Python source could not be compiled within {_SECONDS:g} seconds") from None
        return Compiled(imports=self._taken(function, paths, outcome))

    def _taken(self, function: Path, paths: Sequence[str], outcome: Outcome) -> dict[str, tuple[Import, ...]]:
        """Each file's byte code into its place; what it imports."""
        imports: dict[str, tuple[Import, ...]] = {}
        answers = _answers(outcome.output)
        with storage_errors():
            for path in paths:
                answer, code = next(answers, (None, b""))
                if answer is None:
                    raise _crashed(path, outcome)
                if "error" in answer:
                    raise _syntax_error(path, answer["error"], self._interpreter)
                _write(function, path, code)
                imports[path] = tuple(Import(module, tuple(names), level) for module, names, level in answer["imports"])
        return imports


def _answers(output: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """One for each file, in the order asked for; ends early where the output does."""
    start = 0
    while (end := output.find(b"\n", start)) >= 0:
        answer = json.loads(output[start:end])
        start = end + 1 + answer.get("size", 0)
        if start > len(output):
            return
        yield answer, output[end + 1 : start]


def _write(function: Path, path: str, code: bytes) -> None:
    """Byte code where the import system looks for it."""
    source = function / path
    folder = source.parent / "__pycache__"
    folder.mkdir(mode=0o755, exist_ok=True)
    compiled = folder / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    compiled.write_bytes(code)
    compiled.chmod(0o644)
    os.utime(compiled, ns=(SOURCE_TIME_NS, SOURCE_TIME_NS))


def _syntax_error(path: str, error: Mapping[str, Any], interpreter: Interpreter) -> RevisionFailed:
    location = SourceLocation(file=path, line=error.get("line"), column=error.get("column"), source=error.get("source"))
    python = ".".join(interpreter.version.split(".")[:2])
    where = path if location.line is None else f"{path}:{location.line}"
    return RevisionFailed(
        f"{where}: not valid Python {python}: {error['why']}", slug="handler-syntax", location=location, hint=_HINT
    )


def _crashed(path: str, outcome: Outcome) -> RevisionFailed:
    why = f"signal {-outcome.status}" if outcome.status < 0 else f"status {outcome.status}"
    return RevisionFailed(
        f"{path}: Python's compiler broke down on it ({why}); the code is nested too deeply or is too large",
        slug="handler-syntax",
        location=SourceLocation(file=path),
        hint=_HINT,
    )
