"""Runs in an environment, as the functions' user: would a zygote with these modules give working children?

Given as `-c` to the environment's interpreter; it imports the standard library only. As a zygote does, it imports the
modules, runs the prime script, freezes the collector and forks; the child imports the handler as a replica does, and
ends by flush, exit functions and `os._exit`. What it says goes to the descriptor that was standard output at its
start; what modules print goes to standard error.

Standard input, or the argument where there is one: `{"candidates": [[module, [names]], ...], "prime": PATH or null,
"bundle": DIR or null, "handler": M, "seconds": N}`. Answer: `{"imported": [...], "missing": {module: why},
"child": "done", "hung" or "status N", "late": [...]}`; late are the modules that came only with the handler, though
they are the environment's.
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

_LATE_BYTES = 60_000
"""What a pipe takes without a reader."""


def main() -> None:
    _be_no_init()
    out = os.dup(1)
    os.dup2(2, 1)
    order = json.loads(sys.argv.pop()) if len(sys.argv) > 1 else json.load(sys.stdin)
    _end_after(order["seconds"])
    imported, missing = import_all(order["candidates"])
    if order["prime"]:
        _run_prime(order["prime"])
    gc.freeze()
    child, late = _fork_and_wait(order)
    answer = {"imported": imported, "missing": missing, "child": child, "late": late}
    os.write(out, json.dumps(answer).encode())
    os._exit(0)


def _be_no_init() -> None:
    """The first process of a container is sent no signal that it has not asked for, an alarm neither."""
    if os.getpid() == 1 and (pid := os.fork()):
        os.waitpid(pid, 0)
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


def _fork_and_wait(order: dict[str, Any]) -> tuple[str, list[str]]:
    told, tell = os.pipe()
    os.set_blocking(told, False)
    pid = os.fork()
    if pid == 0:
        _child(order, tell)
    os.close(tell)
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], order["seconds"] * 0.75)[0]:
        os.kill(pid, signal.SIGKILL)
        return "hung", []
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        return f"status {status}", []
    try:
        return "done", os.read(told, _LATE_BYTES).decode().split()
    except BlockingIOError:  # it ended before it could say, and something that it forked holds the other end
        return "done", []


def _child(order: dict[str, Any], tell: int) -> None:
    """A handler that raises is the handler's fault; one that takes the process down may be the modules'."""
    before = set(sys.modules)
    try:
        _end_after(order["seconds"])
        if order["bundle"]:
            function = os.path.join(order["bundle"], "function")
            sys.path[:0] = [function, order["bundle"]]
            os.chdir(function)
            importlib.import_module(f"function.{order['handler']}")
    except BaseException as error:
        print(f"handler: {type(error).__name__}: {error}", file=sys.stderr)
    os.write(tell, " ".join(_late(before, order["bundle"])).encode()[:_LATE_BYTES].rpartition(b" ")[0])
    sys.stdout.flush()
    sys.stderr.flush()
    import atexit

    atexit._run_exitfuncs()
    os._exit(0)


def _late(before: set[str], bundle: str | None) -> list[str]:
    """Modules of files outside the bundle that were imported since (ended by one that the cut may take)."""
    found = []
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if name not in before and origin and not origin.startswith(bundle or os.devnull):
            found.append(name)
    return [*sorted(found), ""]


def _end_after(seconds: float) -> None:
    """Should the server die meanwhile, nobody else ends this process."""
    signal.alarm(int(seconds) + 5)


if __name__ == "__main__":
    main()
