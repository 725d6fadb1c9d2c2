"""A handler's folder as a tar: the same bytes for the same files, regular files only, nothing from outside.

The server addresses a bundle by its content, so names are sorted and times, owners and modes are fixed; an unchanged
folder is then an unchanged function.
"""

import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from faasctl.errors import CliError, ExitCode, Place, Problem, failed

IGNORED = frozenset({
    ".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", ".DS_Store",
    ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".tox", ".nox", ".pilotlight", ".secrets",
})  # fmt: skip
_LEFTOVER = re.compile(r".*\.pyc|.*~|\.#.*|#.*#|\..*\.sw[a-p]", re.DOTALL)
"""Byte code, and what editors put beside a file that they have open."""
FILES_LIMIT = 20_000
_ORIGIN = "meta.json"
"""Where a template came from: nothing that an image is made of."""
_IN_MEMORY = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A tar, open at its beginning; whoever made it closes it."""

    file: IO[bytes]
    files: int
    content_bytes: int
    tar_bytes: int


def pack(folder: Path, extra: Sequence[Path] = (), *, template: Path | None = None) -> Packed:
    """The folder's files, and beside them what `configuration: copy:` names, under its own names. With a template of
    the project's own: all that under `handler/`, and the template's files under `template/`."""
    for path in (folder, *extra, *(() if template is None else (template,))):
        if not path.exists():
            detail = f"there is no {'folder ' if path == folder else ''}{path} any more"
            raise failed("source-refused", detail, "Put it back, or correct the stack file.")
    entries = dict(_walk(folder, folder))
    for path in extra:
        entries |= (
            {f"{path.name}/{name}": found for name, found in _walk(path, path)} if path.is_dir() else {path.name: path}
        )
    if not entries:
        raise _refused(folder, "has no files", "Put the function's files there, or correct `handler:` in stack.yaml.")
    if template is not None:
        recipe = {name: path for name, path in _walk(template, template) if name != _ORIGIN}
        entries = _under("handler", entries) | _under("template", recipe)
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (the caller closes it)
    try:
        content = _write(spool, entries)
    except BaseException:
        spool.close()
        raise
    size = spool.tell()
    spool.seek(0)
    return Packed(file=spool, files=len(entries), content_bytes=content, tar_bytes=size)


def _under(folder: str, entries: dict[str, Path]) -> dict[str, Path]:
    return {f"{folder}/{name}": path for name, path in entries.items()}


def _write(target: IO[bytes], entries: dict[str, Path]) -> int:
    """Fill the tar; how many bytes the files have together."""
    total = 0
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(entries):
            total += _add(tar, name, entries[name])
    return total


def _add(tar: tarfile.TarFile, name: str, path: Path) -> int:
    try:
        # O_NONBLOCK: a name that became a pipe since the walk must not hang the command.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _refused(path, "changed into something else while it was read")
            member = tarfile.TarInfo(name)
            member.size = found.st_size
            member.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            tar.addfile(member, file)
            return member.size
    except OSError as error:
        why = error.strerror or "it changed while it was read"
        raise _refused(path, f"cannot be read: {why}") from None


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Name in the tar and file on disk, links followed as long as they stay under `root`."""
    inside = root.resolve()
    pending: list[tuple[str, Path, frozenset[Path]]] = [("", folder, frozenset({inside}))]
    count = 0
    while pending:
        prefix, here, parents = pending.pop()
        for entry in _listed(here):
            name, path = prefix + entry.name, Path(entry.path)
            kind = _kind(entry, inside)
            if kind == "folder" and not is_environment(path):
                target = path.resolve()
                if target in parents:
                    raise _refused(path, "is a link to a folder that holds it")
                pending.append((f"{name}/", path, parents | {target}))
            elif kind == "file":
                count += 1
                if count > FILES_LIMIT:
                    raise _refused(folder, f"holds more than {FILES_LIMIT:,} files")
                yield name, path


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_ignored(entry.name)]
    except OSError as error:
        raise _refused(folder, f"cannot be read: {error.strerror}") from None


def _kind(entry: "os.DirEntry[str]", inside: Path) -> str:
    path = Path(entry.path)
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise _refused(path, "has a name that is not UTF-8") from None
    if entry.is_symlink():
        _check_link(path, inside)
    if entry.is_dir():
        return "folder"
    if entry.is_file():
        return "file"
    raise _refused(path, "is neither a file nor a folder; only these can be uploaded")


def _check_link(path: Path, inside: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise _refused(path, "is a link to nothing") from None
    if not target.is_relative_to(inside):
        raise _refused(path, f"is a link to {target}, outside of the handler's folder; copy what it points to")


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name never belongs to a function."""
    return name in IGNORED or _LEFTOVER.fullmatch(name) is not None


def is_environment(path: Path) -> bool:
    """A virtual environment, whatever its name."""
    return (path / "pyvenv.cfg").is_file()


def _refused(path: Path, why: str, cure: str = "") -> CliError:
    shown = str(path).encode(errors="backslashreplace").decode()
    ignored = f"Not uploaded at all: {', '.join(sorted(IGNORED))}, *.pyc, editors' own files, virtual environments."
    help_lines = (cure, ignored) if cure else (ignored,)
    problem = Problem(slug="source-refused", detail=f"{shown} {why}", place=Place(file=shown), help=help_lines)
    return CliError(ExitCode.FAILED, problem)
