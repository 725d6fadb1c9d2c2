"""From a folder to a registry: build what has changed, tag it as the stack file says, push; what `push` and `publish`
share."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from faasctl.client import problem_of
from faasctl.docker_config import HUB, login_header, registry_of
from faasctl.each import try_each
from faasctl.errors import CliError, ExitCode, Problem, failed, usage
from faasctl.output import DIM
from faasctl.progress import Progress
from faasctl.rollout import Built, Rollout
from faasctl.stack import Function

PUSH_SILENCE_SECONDS = 330.0
"""The server gives up after five minutes without a word of its engine."""
TAGS = ("latest", "digest", "sha", "branch", "describe")
_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How images are named, and what for."""

    tag: str = "latest"
    platforms: tuple[str, ...] = ()


class Publishing(Rollout):
    """Builds and pushes one function at a time."""

    def push(self, function: Function, name: str, login: str | None, way: Way) -> dict[str, Any]:
        """The result as `--json` shows it."""
        started = time.monotonic()
        with self._progress(function) as progress:
            built = self._built(function, progress)
            image = tagged(name, way.tag, function, built)
            done = self._pushed(function, built.reference, image, login, way, progress)
        return {
            "name": function.name,
            "image": done["image"],
            "digest": done["digest"],
            "reference": done["reference"],
            "seconds": round(time.monotonic() - started, 4),
        }

    def _pushed(
        self, function: Function, reference: str, image: str, login: str | None, way: Way, progress: Progress
    ) -> dict[str, Any]:
        started = time.monotonic()
        progress.doing("pushed", "")
        headers = {"Content-Type": "application/json"} | ({} if login is None else {"X-Registry-Auth": login})
        body = _json({"reference": reference, "image": image, "platforms": way.platforms})
        with (
            _named(function),
            self.client.lines(
                "POST", "/api/v1/images/push", body=body, headers=headers, seconds=PUSH_SILENCE_SECONDS
            ) as events,
        ):
            for event in events:
                match event.get("event"):
                    case "progress":
                        progress.doing("pushed", f"{event.get('step')}: {event.get('message')}")
                    case "pushed":
                        progress.done("pushed", image, (time.monotonic() - started) * 1000)
                        return event
                    case "failed":
                        problem = problem_of(event.get("problem") or {})
                        progress.failed("pushed", problem.slug.replace("-", " "), (time.monotonic() - started) * 1000)
                        raise CliError(_exit_of(problem), problem)
        detail = "the server ended in the middle of the push; nothing of it can be pulled"
        raise failed("push-failed", detail, "It comes back by itself; then push again.")

    def check_provider(self) -> None:
        """CliError where functions are no images, before anything is uploaded."""
        info = self.client.get("/api/v1/info")
        if info.get("provider") == "process":
            raise failed(
                "not-supported",
                f"{self.client.server.url} runs functions as processes, so there is no image to push",
                "Push from a server that runs containers: faasctl serve --provider docker",
            )


@contextmanager
def _named(function: Function) -> Iterator[None]:
    """Problems with the function's name; what serves is not touched by a push."""
    try:
        yield
    except CliError as error:
        if error.exit_code in (ExitCode.UNREACHABLE, ExitCode.CREDENTIALS):
            raise
        problems = [replace(each, detail=f"{function.name}: {each.detail}") for each in error.problems]
        raise CliError(error.exit_code, *problems, summary=error.summary) from error


def push_all(publishing: Publishing, functions: Sequence[Function], way: Way) -> None:
    """All of them, in order; one that fails keeps none of the others from being pushed. CliError at the end."""
    screen = publishing.screen
    images = {each.name: named_image(each) for each in functions}  # the mistakes of all, before the first is built
    registries = sorted({*map(registry_of, images.values())})
    logins = {registry: login_header(registry, os.environ) for registry in registries}

    def one(function: Function) -> dict[str, Any]:
        image = images[function.name]
        result = publishing.push(function, image, logins[registry_of(image)], way)
        if not screen.json:
            screen.data(result["reference"])
        return result

    publishing.client.reach()
    publishing.check_provider()
    results, error = try_each(screen, {each.name: each for each in functions}, one, done="Pushed")
    if screen.json:
        screen.document({"functions": results})
    if error is not None:
        raise error
    if screen.person_reads and results:
        last = results[-1]
        screen.say(("\nOn any server:  ", DIM), f"faasctl deploy {last['name']} --image {last['reference']}")


def pushable(functions: Sequence[Function], names: Sequence[str]) -> list[Function]:
    """Those that are built here; a ready-made image is in its registry already. One that was named is an error."""
    ready_made = [function.name for function in functions if function.handler is None]
    found = [function for function in functions if function.handler is not None]
    if ready_made and (names or not found):
        which = f"{ready_made[0]} is" if len(ready_made) == 1 else f"{', '.join(ready_made)} are"
        raise failed("nothing-to-build", f"{which} ready-made, so there is nothing to push", "Deploy: faasctl deploy")
    return found


def named_image(function: Function) -> str:
    """Where the stack file says that it goes; CliError for a name that nothing can be pushed under."""
    image = function.image
    if not image:
        raise failed("push-no-registry", f"{function.name}: the stack file has no `image:`, so there is no name for it")
    repository, _ = _parts(image)
    if "@" in image:
        detail = f"{function.name}: `image: {image}` names bytes that are there already"
        raise failed("push-no-registry", detail, "Push to a tag: leave out the @ and what follows.")
    if registry_of(image) == HUB and "/" not in repository.removeprefix(f"{HUB}/"):
        detail = f"{function.name}: `image: {image}` names no registry"
        raise failed("push-no-registry", detail)
    if repository != repository.lower():
        detail = f"{function.name}: `image: {image}`: a repository's name is in lower case"
        raise failed("image-name", detail, f"Write `image: {image.replace(repository, repository.lower())}`.")
    return image


def tagged(image: str, how: str, function: Function, built: Built) -> str:
    """With the tag that --tag asks for, as OpenFaaS builds it: the stack file's, and what tells versions apart."""
    repository, tag = _parts(image)
    match how:
        case "digest":
            tag = f"{tag}-{built.reference.rpartition(':')[2][:12]}"
        case "sha":
            tag = f"{tag}-{_git(function, 'rev-parse', '--short=8', 'HEAD')}"
        case "branch":
            branch = _git(function, "rev-parse", "--abbrev-ref", "HEAD")
            tag = f"{tag}-{branch}-{_git(function, 'rev-parse', '--short=8', 'HEAD')}"
        case "describe":
            tag = f"{tag}-{_git(function, 'describe', '--tags', '--always')}"
    return f"{repository}:{_NO_TAG.sub('-', tag)[:128]}"


def _parts(image: str) -> tuple[str, str]:
    """Repository and tag."""
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")


def _git(function: Function, *words: str) -> str:
    program = shutil.which("git")
    if program is None or function.handler is None:
        raise usage("--tag: it takes git, which is not on PATH", "Choose --tag digest, or leave it out.")
    done = subprocess.run([program, "-C", str(function.handler), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0][:200]
        detail = f"--tag: {function.name}: git cannot say which version this is: {why}"
        raise usage(detail, "Commit it first, choose --tag digest, or leave it out.")
    return done.stdout.strip()


def _exit_of(problem: Problem) -> ExitCode:
    from faasctl.client import exit_of

    return exit_of(problem.slug, 500)


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()
