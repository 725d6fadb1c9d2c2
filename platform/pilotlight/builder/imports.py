"""Which modules a zygote could import ahead for a handler: what the handler's own modules import, but are not.

A module of the bundle is followed and never named: it belongs to one function, and a zygote to many.
"""

from collections.abc import Mapping
from typing import NamedTuple

_OURS = frozenset({"function", "pilotlight_runtime", "__future__", "__main__"})


IN_EVERY_ZYGOTE = frozenset(
    {
        "abc", "ast", "asyncio", "atexit", "binascii", "bisect", "collections", "collections.abc",
        "concurrent.futures", "contextlib", "contextvars", "copy", "dataclasses", "enum", "errno",
        "fnmatch", "functools", "gc", "heapq", "http", "importlib", "inspect", "io", "itertools", "json",
        "logging", "math", "operator", "os", "os.path", "queue", "random", "re", "select", "shutil",
        "signal", "socket", "ssl", "stat", "string", "struct", "subprocess", "sys", "tempfile", "textwrap",
        "threading", "time", "traceback", "types", "typing", "urllib.parse", "warnings", "weakref", "zlib",
    }
)  # fmt: skip
"""Modules that the runtime imports itself: nothing is gained by trying them."""


class Import(NamedTuple):
    module: str
    names: tuple[str, ...] = ()
    """Of a `from` import: attributes or submodules, which only the interpreter can tell apart."""
    level: int = 0


class Candidate(NamedTuple):
    module: str
    names: tuple[str, ...] = ()


def candidates(handler: str, files: frozenset[str], imports: Mapping[str, tuple[Import, ...]]) -> tuple[Candidate, ...]:
    """Sorted, for the module `handler` of a bundle with these files, of which `imports` has the Python ones."""
    local = _Local(files)
    found: dict[str, set[str]] = {}
    seen: set[str] = set()
    waiting = local.paths(handler)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for each in imports.get(path, ()):
            absolute = _absolute(each, path)
            if absolute is None:
                continue
            paths = [*local.paths(absolute.module), *_submodules(local, absolute)]
            waiting += paths
            if not paths and absolute.module and absolute.module.partition(".")[0] not in _OURS:
                found.setdefault(absolute.module, set()).update(absolute.names)
    return tuple(Candidate(module, tuple(sorted(found[module]))) for module in sorted(found))


class _Local:
    """The bundle's own modules, found as the import system finds them with the bundle first on its path."""

    def __init__(self, files: frozenset[str]) -> None:
        self._files = files

    def paths(self, module: str) -> list[str]:
        """The files that run when `module` is imported, parents first; none when it is not the bundle's own."""
        if not module:
            return []
        parts = module.split(".")
        found: list[str] = []
        for depth in range(1, len(parts) + 1):
            stem = "/".join(parts[:depth])
            found += [path for path in (f"{stem}/__init__.py", f"{stem}.py") if path in self._files][:1]
        return found


def _submodules(local: _Local, each: Import) -> list[str]:
    prefix = f"{each.module}." if each.module else ""
    return [path for name in each.names for path in local.paths(f"{prefix}{name}")]


def _absolute(each: Import, path: str) -> Import | None:
    """The import relative to the bundle's folder: `function` is that folder's own name. None for one that leads out."""
    if each.level == 0:
        first, _, rest = each.module.partition(".")
        return Import(rest, each.names) if first == "function" else each
    folder = path.split("/")[:-1]
    up = each.level - 1
    if up > len(folder):
        return None
    base = folder[: len(folder) - up]
    return Import(".".join([*base, *([each.module] if each.module else [])]), each.names)
