"""A save, and what comes of it: which functions it concerns, their new revisions, one line each about how it went."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faasctl.client import Client
from faasctl.dev.watch import Watcher, is_below
from faasctl.errors import CliError, Problem
from faasctl.following import Source, together
from faasctl.output import BLUE, BOLD, CYAN, DIM, GREEN, MAGENTA, RED, YELLOW, Screen, Span
from faasctl.rollout import Rollout
from faasctl.stack import Function, Stack
from faasctl.words import clock, milliseconds, plural, to_unix

AWAY_SLUGS = frozenset({"server-gone", "server-unreachable", "server-silent", "unavailable", "control-plane-down"})
"""What a save meets while the session's control plane restarts; it is tried again."""
AWAY_SECONDS = 10.0
IDLE_CONNECTION_SECONDS = 20.0
_NAMESPACE = "openfaas-fn"
"""Of a function that names none."""
_COLOURS = (CYAN, YELLOW, GREEN, BLUE, MAGENTA)
_BUNDLE = re.compile(r"/\S*/bundles/[0-9a-f]{64}/function/")
"""Where a traceback says that the code is; its author knows it by another name."""
_OVERRIDES = {"debug": True}
"""A traceback in the answer of a call that failed is what development is about."""
Load = Callable[[], tuple[Stack, list[Function]]]


class Talk(Screen):
    """The screen, for several threads; quiet once the session ends."""

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = threading.RLock()
        self.quiet = False
        self._last: tuple[Span, ...] = ()

    def data(self, *spans: Span) -> None:
        with self._one_at_a_time:
            if not self.quiet:
                super().data(*spans)
                self.flush()

    def say(self, *spans: Span) -> None:
        """Not the same line twice: each of the logs notices when the server is away."""
        with self._one_at_a_time:
            if not self.quiet and spans != self._last:
                super().say(*spans)
            self._last = spans

    def event(self, *spans: Span) -> None:
        """A line of the session's own, with the time of day."""
        self.say((clock(time.time()), DIM), " ", *spans)


class Quiet:
    """A build's steps, of which a save shows only what takes long: a new environment."""

    def __init__(self, talk: Talk, name: str) -> None:
        self._talk, self._name = talk, name
        self.environment_made = False

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def doing(self, word: str, text: str) -> None:
        if text.startswith(("requirements: resolving", "environment: making")) and not self.environment_made:
            self.environment_made = True
            self._talk.event((self._name, BOLD), (": making its environment ...", DIM))

    def done(self, word: str, text: str, spent_ms: float | None = None, detail: str = "") -> None:
        pass

    def failed(self, word: str, text: str, spent_ms: float) -> None:
        pass

    def unchanged(self, revision: int, spent_ms: float) -> None:
        pass


class Session:
    """Functions of a stack on one server, kept up to date. `load` reads the stack again."""

    def __init__(self, talk: Talk, client: Client, load: Load, stack: Stack, functions: Sequence[Function]) -> None:
        self._talk = talk
        self._client = client
        self._load = load
        self._stack = stack
        self._functions = {function.name: function for function in functions}
        self._served: dict[str, int] = {}
        """Revisions, of functions that were live once in this session."""
        self._since: dict[str, float] = {}
        """From when on lines of a log count, of functions that were removed before."""
        self._secrets = stack.reads[0].parent / ".secrets"
        self._secrets_given: dict[tuple[str, str | None], str] = {}
        self._began = time.time()
        self._used = time.monotonic()
        self.watcher = Watcher(self._roots())

    def begin(self) -> None:
        """Deploy all; take away what an earlier session left that is not in the stack file any more."""
        left = self._client.get("/api/v1/functions").get("functions") or []
        known = {_address(function) for function in self._functions.values()}
        for name, namespace in {(str(entry.get("name")), str(entry.get("namespace"))) for entry in left} - known:
            self._remove(name, namespace)
        for function in self._functions.values():
            self._serve(function, "", time.monotonic())

    def on_save(self, paths: Sequence[str]) -> None:
        """What these files are part of is built and deployed; a mistake leaves what serves as it is."""
        since = _moment_of(paths)
        what = f"{_shown(paths)} saved ... "
        of_stack = self._stack_files()
        code = [path for path in paths if os.path.realpath(path) not in of_stack]
        if len(code) < len(paths):
            self._reload(code, what, since)
        else:
            self._serve_all(self._concerned_by(code), what, since)

    def _reload(self, code: Sequence[str], what: str, since: float) -> None:
        """The stack's files were saved, and `code` with them, which counts whatever is in those."""
        try:
            self._stack, functions = self._load()
        except CliError as error:
            for problem in error.problems:
                self._talk.event(what, ("not taken: ", RED), _in_one_line(problem))
            self._serve_all(self._concerned_by(code), what, since)
            return
        before, self._functions = self._functions, {function.name: function for function in functions}
        self.watcher.follow(self._roots())
        there = {_address(function) for function in functions}
        gone = [function for function in before.values() if _address(function) not in there]
        for function in gone:
            self._remove(*_address(function))
            self._talk.event(what, (function.name, BOLD), " removed")
        concerned = self._concerned_by(code)
        changed = [each for name, each in self._functions.items() if before.get(name) != each or each in concerned]
        if changed:
            self._serve_all(changed, what, since)
        elif not gone:
            self._talk.event((f"{what}nothing changed", DIM))

    def _serve_all(self, functions: Sequence[Function], what: str, since: float) -> None:
        for function in functions:
            self._serve(function, what, since)

    def _serve(self, function: Function, what: str, since: float) -> None:
        """One line about it, whatever comes of it."""
        shown = Quiet(self._talk, function.name)
        try:
            result = self._patiently(lambda: self._up(function, shown))
        except CliError as error:
            for problem in error.problems:
                self._tell_failure(function, what, problem)
            return
        new, revision = function.name not in self._served, int(result["revision"] or 0)
        self._served[function.name] = revision
        if new:
            self._follow(function)
        spent = milliseconds((time.monotonic() - since) * 1000)
        name: Span = (f"{function.name} ", BOLD) if len(self._functions) > 1 and what else ""
        if not what:
            self._talk.event((function.name, BOLD), f"  {result['url']}", (f"   revision {revision}, {spent}", DIM))
        elif result["unchanged"]:
            self._talk.event(what, name, (f"nothing changed, revision {revision} serves", DIM))
        else:
            anew = "environment made anew, " if shown.environment_made else ""
            self._talk.event(what, name, anew, ("serving", GREEN), f" in {spent} (revision {revision})")

    def _up(self, function: Function, shown: Quiet) -> dict[str, Any]:
        self._give_secrets(function)
        if time.monotonic() - self._used > IDLE_CONNECTION_SECONDS:
            self._client.close()  # the server closes idle connections; a new one costs a millisecond
        rollout = Rollout(self._client, self._talk, time.monotonic(), lambda _name, _template: shown)
        try:
            return rollout.up(function, _OVERRIDES | function.spec)
        finally:
            self._used = time.monotonic()

    def _give_secrets(self, function: Function) -> None:
        """Those whose values lie in `.secrets/` beside the stack file, as OpenFaaS' own local runs have them: the
        session's server begins with none."""
        for name in function.spec.get("secrets", ()):
            value, namespace = _secret(self._secrets, name), function.spec.get("namespace")
            if value is None or self._secrets_given.get((name, namespace)) == value:
                continue
            path = f"/api/v1/secrets/{quote(name, safe='')}"
            self._client.json("PUT", path, query={"namespace": namespace}, body={"value": value})
            self._secrets_given[name, namespace] = value

    def _patiently(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Again, while the control plane is away: it restarts in a second or two, and the save is not lost."""
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return act()
            except CliError as error:
                away = all(problem.slug in AWAY_SLUGS for problem in error.problems)
                if not away or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def _tell_failure(self, function: Function, what: str, problem: Problem) -> None:
        said = _in_one_line(problem, function.name)
        state = (problem.state or "").removeprefix("nothing changed").lstrip(",; ")
        prefix: Span = what or (f"{function.name}  ", BOLD)
        self._talk.event(prefix, ("not served: ", RED), said, (f"   {state}" if state else "", DIM))
        if problem.slug != "handler-syntax":  # whose cure is plain
            for line in problem.helps():
                self._talk.say(" " * 9, (line, DIM))

    def _remove(self, name: str, namespace: str) -> None:
        with suppress(CliError):
            self._client.json("DELETE", f"/api/v1/functions/{quote(name, safe='')}", query={"namespace": namespace})
        self._served.pop(name, None)
        self._since[name] = time.time()

    def _follow(self, function: Function) -> None:
        """Print its lines from now on, in a thread of its own."""
        since = self._since.get(function.name, self._began)
        query: dict[str, Any] = {"tail": None, "since": repr(since), "namespace": function.spec.get("namespace")}
        source = Source(self._client.server, function.name, query, follow=True)
        colour = _COLOURS[list(self._functions).index(function.name) % len(_COLOURS)]
        arguments = (source, function.name, since, function.handler or "", colour)
        threading.Thread(target=self._print, args=arguments, daemon=True).start()

    def _print(self, source: Source, name: str, since: float, folder: Path | str, colour: str) -> None:
        """Until the function is removed: one that comes back under its name is followed anew."""
        own = os.path.relpath(folder or ".")
        with suppress(CliError):  # it was removed, or the server is gone, which its owner tells
            for line in together(self._talk, [source]):
                if self._since.get(name, self._began) != since:
                    return
                stream = line.get("stream")
                mark: Span = ("!", RED) if stream == "stderr" else " "
                text = _BUNDLE.sub(f"{own}/", str(line.get("text", "")).rstrip("\n"))
                at = clock(to_unix(line.get("time")) or time.time())
                style = DIM if stream == "system" else ""
                self._talk.data((at, DIM), " ", (f"{name:<{self._width()}}", colour), mark, " ", (text, style))

    def _width(self) -> int:
        return max(map(len, self._functions), default=0)

    def _concerned_by(self, paths: Sequence[str]) -> list[Function]:
        return [function for function in self._functions.values() if self._concerned(function, paths)]

    def _concerned(self, function: Function, paths: Sequence[str]) -> bool:
        """Whether one of them is its own, given along with it, or a secret of it."""
        roots = [*([function.handler] if function.handler else []), *function.copy]
        roots += [self._secrets / name for name in function.spec.get("secrets", ())]
        return any(is_below(path, root) for path in paths for root in roots)

    def _stack_files(self) -> set[str]:
        return {os.path.realpath(path) for path in self._stack.reads}

    def _roots(self) -> list[Path]:
        """What is watched: the stack's files, handlers' folders, copied paths; once each."""
        roots = [*self._stack.reads]
        if any(function.spec.get("secrets") for function in self._functions.values()):
            roots.append(self._secrets)
        for function in self._functions.values():
            roots += [*([function.handler] if function.handler else []), *function.copy]
        return list(dict.fromkeys(roots))


def _address(function: Function) -> tuple[str, str]:
    """Name and namespace: who has another namespace is another function."""
    return function.name, str(function.spec.get("namespace") or _NAMESPACE)


def _secret(folder: Path, name: str) -> str | None:
    """The file's text without the line break that an editor adds."""
    try:
        return (folder / name).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError):
        return None


def _moment_of(paths: Iterable[str]) -> float:
    """When the last of them was saved, on the monotonic clock; now, where the file's time is not believable."""
    now, age = time.monotonic(), 0.0
    with suppress(OSError, ValueError):
        age = time.time() - max(os.stat(path).st_mtime for path in paths)
    return now - age if 0 <= age < 2 else now


def _shown(paths: Sequence[str]) -> str:
    """`hello/handler.py and 2 more`"""
    first = os.path.relpath(paths[0])
    return first if len(paths) == 1 else f"{first} and {plural(len(paths) - 1, 'other')}"


def _in_one_line(problem: Problem, function: str = "") -> str:
    """`hello/handler.py:7: '(' was never closed`"""
    said, place = problem.detail.partition("\n")[0].removeprefix(f"{function}: "), problem.place
    if place is None or place.line is None:
        return said
    said = re.sub(rf"^\S*:{place.line}: ", "", said)
    return f"{place.file}:{place.line}: {said}" + (f" ({place.remark})" if place.remark else "")
