"""From a folder to an answering function: upload and build, then deploy; what `up`, `deploy` and `build` share."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faasctl.building import headers_of, packed_for, query_of, template_for
from faasctl.client import Client, problem_of
from faasctl.cures import cured
from faasctl.each import try_each
from faasctl.errors import CliError, ExitCode, Place, Problem, failed
from faasctl.output import Screen
from faasctl.pack import Packed
from faasctl.progress import Progress, progress_for
from faasctl.stack import Function
from faasctl.words import in_phases, plural, size

BUILD_SILENCE_SECONDS = 960.0
"""A server may install for 15 minutes without a word; a minute more says that it is gone."""
DEPLOY_SECONDS = 240.0
"""A replica may take two minutes to prove a revision, and another may have to go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    reference: str
    environment: str


@dataclass(slots=True)
class Rollout:
    """Builds and deploys one function at a time."""

    client: Client
    screen: Screen
    began: float
    show: Callable[[str, str], Progress] | None = None
    """Takes a function's name and template; None shows progress on the screen."""

    def up(self, function: Function, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Build unless it is ready-made, deploy; the result as `--json` shows it."""
        started = time.monotonic()
        with self._progress(function) as progress:
            image = function.image if function.handler is None else self._built(function, progress).reference
            spec = merged(function.spec, overrides) | {"image": image}
            answer = self._deployed(function, spec, progress, started)
        return {
            "name": function.name,
            "revision": answer.get("revision"),
            "unchanged": bool(answer.get("unchanged")),
            "url": self.client.server.url + str(answer.get("url") or f"/function/{function.name}"),
            "reference": image,
            "phases": answer.get("phases") or {},
            "applied": answer.get("applied", True),
            "seconds": round(time.monotonic() - started, 4),
        }

    def build(self, function: Function) -> dict[str, Any]:
        started = time.monotonic()
        with self._progress(function) as progress:
            built = self._built(function, progress)
        return {
            "name": function.name,
            "reference": built.reference,
            "environment": built.environment,
            "seconds": round(time.monotonic() - started, 4),
        }

    def _progress(self, function: Function) -> Progress:
        if self.show is not None:
            return self.show(function.name, function.lang)
        return progress_for(self.screen, function.name, function.lang, self.began)

    def _built(self, function: Function, progress: Progress) -> Built:
        folder = function.handler
        if folder is None:
            raise failed("nothing-to-build", f"{function.name} is a ready-made image", "Deploy it: faasctl deploy")
        started = time.monotonic()
        progress.doing("uploaded", "")
        template, note = template_for(function, self.client)
        if note is not None:
            self.screen.say("note: ", note)
        packed = self._packed(function, folder, template)
        with (
            closing(packed.file),
            self._in_words_of(function),
            self.client.lines(
                "POST",
                "/api/v1/builds",
                query=query_of(function, template),
                body=packed.file,
                headers=headers_of(function, packed),
                seconds=BUILD_SILENCE_SECONDS,
            ) as events,
        ):
            sent = f"{plural(packed.files, 'file')}, {size(packed.content_bytes)}"
            progress.done("uploaded", sent, _since(started))
            return self._follow(events, progress, time.monotonic())

    def _packed(self, function: Function, folder: Path, template: Path | None) -> Packed:
        try:
            return packed_for(function, folder, template)
        except CliError as error:
            problems = [replace(problem, state=self._what_serves(function)) for problem in error.problems]
            raise CliError(error.exit_code, *problems) from error

    def _follow(self, events: Iterator[dict[str, Any]], progress: Progress, started: float) -> Built:
        """The build's own story, up to its end."""
        reused = True
        for event in events:
            match event.get("event"):
                case "progress":
                    said = str(event.get("message", ""))
                    making = event.get("step") == "environment" and said.startswith("making")
                    reused = reused and not making and event.get("step") != "build"
                    progress.doing("built", f"{event.get('step')}: {said}" if event.get("step") else said)
                case "built":
                    built = Built(
                        reference=str(event.get("reference", "")), environment=str(event.get("environment", ""))
                    )
                    environment = f"environment {_short(built.environment)}{' reused' if reused else ''}"
                    progress.done("built", environment, _since(started))
                    return built
                case "failed":
                    problem = problem_of(event.get("problem") or {})
                    progress.failed("built", problem.slug.replace("-", " "), _since(started))
                    raise CliError(ExitCode.FAILED, problem)
        detail = "the server ended in the middle of the build; nothing of it is kept"
        raise failed("build-interrupted", detail, "It comes back by itself; then build again.")

    def _deployed(self, function: Function, spec: dict[str, Any], progress: Progress, started: float) -> dict[str, Any]:
        progress.doing("proved", "")
        asked = time.monotonic()
        path = f"/api/v1/functions/{quote(function.name)}"
        try:
            with self._in_words_of(function):
                query = {"namespace": spec.get("namespace")}
                answer = self.client.json("PUT", path, query=query, body=spec, seconds=DEPLOY_SECONDS)
        except CliError as error:
            progress.failed("proved", error.problems[0].slug.replace("-", " "), _since(asked))
            raise
        revision = answer.get("revision", 0)
        if answer.get("unchanged"):
            progress.unchanged(revision, _since(started))
            return answer
        phases = {str(name): float(value) for name, value in (answer.get("phases") or {}).items()}
        if phases:
            progress.done("proved", "one replica answered", _since(asked), in_phases(phases))
        progress.done("live", f"revision {revision}")
        for note in answer.get("notes") or ():
            progress.done("note", str(note))
        return answer

    @contextmanager
    def _in_words_of(self, function: Function) -> Iterator[None]:
        """Problems with the function's name, its files as seen from here, and what serves now."""
        try:
            yield
        except CliError as error:
            if error.exit_code in (ExitCode.UNREACHABLE, ExitCode.CREDENTIALS):
                raise
            problems = [self._localized(problem, function) for problem in error.problems]
            raise CliError(error.exit_code, *problems, summary=error.summary) from error

    def _localized(self, problem: Problem, function: Function) -> Problem:
        if not problem.detail.startswith(f"{function.name}:"):
            problem = replace(problem, detail=f"{function.name}: {problem.detail}")
        if problem.place is not None and function.handler is not None:
            problem = replace(problem, place=_localized_place(problem.place, function, function.handler, problem.slug))
        if problem.state is None:
            problem = replace(problem, state=self._what_serves(function))
        return cured(problem, function)

    def _what_serves(self, function: Function) -> str | None:
        """Best effort: the error at hand matters more than a second one."""
        try:
            path = f"/api/v1/functions/{quote(function.name)}"
            answer = self.client.get(path, namespace=function.spec.get("namespace"))
        except CliError as error:
            new = error.exit_code == ExitCode.NOT_FOUND
            return "nothing changed; nothing is served under this name yet" if new else None
        return f"nothing changed, revision {answer.get('revision')} keeps serving"


def roll_out(rollout: Rollout, functions: list[Function], overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All of them, in order; one that fails keeps none of the others from being deployed. CliError at the end."""

    def one(function: Function) -> dict[str, Any]:
        result = rollout.up(function, overrides)
        if not rollout.screen.json:
            rollout.screen.data(result["url"])
        if not result["applied"]:
            rollout.screen.say(f"{function.name}: no router has taken it yet; it will as soon as one is back")
        return result

    rollout.client.reach()
    return _each(rollout, functions, one, done="Deployed")


def build_all(rollout: Rollout, functions: list[Function]) -> list[dict[str, Any]]:
    """As `roll_out`, without deploying."""

    def one(function: Function) -> dict[str, Any]:
        result = rollout.build(function)
        if not rollout.screen.json:
            rollout.screen.data(result["reference"])
        return result

    rollout.client.reach()
    return _each(rollout, functions, one, done="Built")


def _each(
    rollout: Rollout, functions: list[Function], one: Callable[[Function], dict[str, Any]], *, done: str
) -> list[dict[str, Any]]:
    results, error = try_each(rollout.screen, {each.name: each for each in functions}, one, done=done)
    _print_json(rollout.screen, results)
    if error is not None:
        raise error
    return results


def _print_json(screen: Screen, results: list[dict[str, Any]]) -> None:
    if screen.json:
        screen.document({"functions": results})


def merged(spec: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The stack file's words and then the command line's: mappings are joined, lists added to, the rest replaced."""
    result = dict(spec)
    for key, value in overrides.items():
        if isinstance(value, dict):
            result[key] = result.get(key, {}) | value
        elif isinstance(value, list):
            result[key] = [*result.get(key, []), *(item for item in value if item not in result.get(key, []))]
        else:
            result[key] = value
    return result


def _localized_place(place: Place, function: Function, handler: Path, slug: str) -> Place:
    """In the function's files, in those of the project's own template, or in the server's."""
    if (handler / place.file).exists() or place.file != "Dockerfile":
        return _here(place, handler, slug)
    if function.template is not None:
        return _here(place, function.template, slug)
    return replace(place, file=f"{function.lang}'s {place.file}")


def _here(place: Place, folder: Path, slug: str = "") -> Place:
    """A place in the uploaded source as a path from where the user stands, with the user's own line."""
    path = folder / place.file
    shown = os.path.relpath(path)
    if slug.startswith("requirement-") and place.source is not None and place.column is not None:
        name = re.match(r"[A-Za-z0-9._-]+", place.source[place.column - 1 :])
        place = replace(place, width=len(name[0]) if name else 1)
    if place.source is not None or place.line is None:
        return replace(place, file=shown)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return replace(place, file=shown)
    return replace(place, file=shown, source=lines[place.line - 1] if place.line <= len(lines) else None)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:6]


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000
