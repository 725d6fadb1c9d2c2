"""Runs in an environment, as the functions' user: would a zygote with these modules give working children?

Given as `-c` to the environment's interpreter; it imports the standard library only. As a zygote does, it imports the
modules, runs the prime script, freezes the collector and forks; the child imports the handler as a replica does, and
ends by flush, exit functions and `os._exit`. What it says goes to the descriptor that was standard output at its
start; what modules print goes to standard error.

Standard input: `{"candidates": [[module, [names]], ...], "prime": PATH or null, "bundle": DIR or null, "handler": M,
"seconds": N}`. Answer: `{"imported": [...], "missing": {module: why}, "child": "done", "hung" or "status N"}`.
"""

import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import signal
import sys
from typing import Any


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    order = json.load(sys.stdin)
    _end_after(order["seconds"])
    imported, missing = import_all(order["candidates"])
    if order["prime"]:
        _run_prime(order["prime"])
    gc.freeze()
    child = _fork_and_wait(order)
    os.write(out, json.dumps({"imported": imported, "missing": missing, "child": child}).encode())
    os._exit(0)


def import_all(candidates: list[tuple[str, list[str]]]) -> tuple[list[str], dict[str, str]]:
    """The names of the modules that could be imported, submodules among `from` imports' names too."""
    imported: dict[str, None] = {}
    missing: dict[str, str] = {}
    for name, names in candidates:
        module = _import(name, imported, missing)
        if hasattr(module, "__path__"):
            for submodule in (f"{name}.{each}" for each in names):
                if _exists(submodule):
                    _import(submodule, imported, missing)
    return list(imported), missing


def _import(name: str, imported: dict[str, None], missing: dict[str, str]) -> Any:
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # a module may raise SystemExit, or anything else
        missing[name] = f"{type(error).__name__}: {error}"[:200]
        return None
    imported[name] = None
    return module


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False


def _run_prime(path: str) -> None:
    try:
        runpy.run_path(path)
    except BaseException as error:
        print(f"prime: {type(error).__name__}: {error}", file=sys.stderr)


def _fork_and_wait(order: dict[str, Any]) -> str:
    pid = os.fork()
    if pid == 0:
        _child(order)
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], order["seconds"] * 0.75)[0]:
        os.kill(pid, signal.SIGKILL)
        return "hung"
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "done" if status == 0 else f"status {status}"


def _child(order: dict[str, Any]) -> None:
    """A handler that raises is the handler's fault; one that takes the process down may be the modules'."""
    try:
        _end_after(order["seconds"])
        if order["bundle"]:
            function = os.path.join(order["bundle"], "function")
            sys.path[:0] = [function, order["bundle"]]
            os.chdir(function)
            importlib.import_module(f"function.{order['handler']}")
    except BaseException as error:
        print(f"handler: {type(error).__name__}: {error}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    import atexit

    atexit._run_exitfuncs()
    os._exit(0)


def _end_after(seconds: float) -> None:
    """Should the server die meanwhile, nobody else ends this process."""
    signal.alarm(int(seconds) + 5)


if __name__ == "__main__":
    main()
