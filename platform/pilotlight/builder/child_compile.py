"""Runs in a process of its own, as the functions' user: compiles Python files and says what each imports.

Given as `-c` to the environment's interpreter, so that the syntax is that of the Python that will run it; it imports
the standard library only. Reading a stranger's source can take any time and memory or crash the interpreter, which is
why it happens here. It writes no file: byte code goes to standard output, and its reader knows what it asked for.
It is started before there is something to compile, and nobody of its own user may look into it while it waits.

Standard input: `{"directory": D, "paths": [...]}`. Standard output, for each path below D: one line of JSON,
`{"size": N, "imports": [[module, [names], level], ...]}` and N bytes of byte code; or `{"error": {...}}`, and the end.
"""

import ast
import contextlib
import importlib.util
import json
import marshal
import os
import resource
import sys
import warnings
from typing import Any

_MEMORY_BYTES = 2 * 2**30
_UNCHECKED_HASH = 0b01


def main() -> None:
    _close_to_others()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    warnings.simplefilter("ignore")
    order = sys.stdin.buffer.read()
    if not order:  # the server has no work, or is gone
        return
    given = json.loads(order)
    os.chdir(given["directory"])
    for path in given["paths"]:
        with open(path, "rb") as file:
            source = file.read()
        try:
            tree = ast.parse(source, path)
            code = byte_code(source, compile(tree, f"function/{path}", "exec", dont_inherit=True))
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            _say({"error": {"file": path, **described(error)}})
            break
        _say({"size": len(code), "imports": imports_of(tree)})
        sys.stdout.buffer.write(code)
    sys.stdout.flush()
    os._exit(0)  # the interpreter's own end takes longer than most of the work


def _close_to_others() -> None:
    """A function of the same user must not change what is compiled for another (prctl PR_SET_DUMPABLE)."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def byte_code(source: bytes, code: Any) -> bytes:
    """As a .pyc that is valid whatever the source's time is: a bundle never changes, but it is moved and copied."""
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(code)


def described(error: Exception) -> dict[str, Any]:
    if isinstance(error, SyntaxError):
        source = (error.text or "").rstrip()
        return {"why": error.msg, "line": error.lineno, "column": error.offset, "source": source[:500] or None}
    if isinstance(error, ValueError):
        return {"why": str(error)}
    return {"why": f"the code is nested too deeply or is too large ({type(error).__name__})"}


def imports_of(tree: ast.Module) -> list[tuple[str, list[str], int]]:
    """What importing the module imports: module, names for `from` imports, and level of relative ones.

    Functions' bodies are left out: an import in there was put off on purpose, because it is heavy or may fail."""
    found: list[tuple[str, list[str], int]] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(alias.name, [], 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", [alias.name for alias in node.names if alias.name != "*"], node.level))
        elif isinstance(node, ast.If) and _never_runs(node.test):
            waiting += reversed(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.expr):
            waiting += reversed(list(ast.iter_child_nodes(node)))
    return found


def _never_runs(test: ast.expr) -> bool:
    """`if TYPE_CHECKING`, `if typing.TYPE_CHECKING` and `if __name__ == "__main__"`."""
    if isinstance(test, ast.Name | ast.Attribute):
        return (test.id if isinstance(test, ast.Name) else test.attr) == "TYPE_CHECKING"
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
