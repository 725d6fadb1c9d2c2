"""What to do next, where the user's own files say more than the server can know: which file, which name, which key."""

import json
import os
import re
from dataclasses import replace

from faasctl.errors import Place, Problem
from faasctl.stack import Function

_PYTHON_MODULE = re.compile(r"module named ['`]?([A-Za-z_][A-Za-z0-9_]*)")
_NODE_MODULE = re.compile(r"Cannot find (?:module|package) ['`]([^'`]+)['`]")
_ENDED_WELL = re.compile(r"\bexited with code 0\b")
_NO_NETWORK = re.compile(r"\bnetwork (\S+) not found\b")
_NPM_UNKNOWN = re.compile(r"'([^'\s]+?)@[^'@\s]*' is not in (?:this|the npm) registry")
_NPM_VERSION = re.compile(r"No matching version found for (\S+?)\.?(?:\s|$)")
_DOCKERFILE = "Dockerfile"


def cured(problem: Problem, function: Function) -> Problem:
    """The problem of a build or a deploy with a better help, if there is one; the function's name in place of NAME."""
    if problem.slug == "image-build-failed" and (found := _of_package_json(problem.detail, function)):
        detail, place = found
        return replace(
            problem, detail=f"{function.name}: {detail}", place=place, help=("Correct it, then: faasctl up",)
        )
    better = _better(problem, function)
    if better is not None:
        return replace(problem, help=(better,), place=problem.place or _place_of(problem, function))
    return replace(problem, help=tuple(_filled(each, function) for each in problem.helps()))


def _better(problem: Problem, function: Function) -> str | None:
    match problem.slug:
        case "import-failed":
            return _beside(function, problem.detail) or _node_package(function, problem.detail)
        case "crashed-at-start":
            return _no_server(function) if _ENDED_WELL.search(problem.detail) else _last_words(problem, function)
        case "image-not-runnable" if own := _own_dockerfile(function):
            return f"Correct CMD, ENTRYPOINT or fprocess in {own}: it names a program of the image. Then: faasctl up"
        case "image-build-failed" if "no build stage" in problem.detail:
            own = _own_dockerfile(function) or f"{function.lang}'s {_DOCKERFILE}"
            return f"Only ARG may stand before the first FROM in {own}; begin it as in: FROM debian:bookworm-slim"
        case "image-build-failed" if network := _NO_NETWORK.search(problem.detail):
            return (
                f"Not a mistake of yours: the server's setting docker.build_network names {network[1]}, which "
                "`docker network ls` does not show. Its operator corrects it: --set docker.build_network=host, say."
            )
    return None


def _filled(line: str, function: Function) -> str:
    """With names that can be pasted."""
    line = line.replace("faasctl logs NAME", f"faasctl logs {function.name}")
    if function.handler is not None or not function.image:
        return line
    return re.sub(r"`(docker [a-z0-9 -]+) IMAGE`", lambda found: f"`{found[1]} {function.image}`", line)


def _beside(function: Function, detail: str) -> str | None:
    """When the module that was not found lies beside the handler's folder."""
    found = _PYTHON_MODULE.search(detail)
    if found is None or function.handler is None:
        return None
    for name in (found[1], f"{found[1]}.py"):
        if (function.handler.parent / name).exists():
            return f"{name} lies beside the function's folder; give it along: `configuration: copy: [./{name}]`"
    return None


def _node_package(function: Function, detail: str) -> str | None:
    """With the package's own name, and where the user's package.json is."""
    found = _NODE_MODULE.search(detail)
    if found is None or function.handler is None:
        return None
    if found[1].startswith((".", "/")):
        return f"There is no such file in {os.path.relpath(function.handler)}; correct the path, then: faasctl up"
    scope = 2 if found[1].startswith("@") else 1
    package = "/".join(found[1].split("/")[:scope])
    where = os.path.relpath(function.handler / "package.json")
    return f'Add "{package}" to `dependencies` in {where} (or correct its name), then: faasctl up'


def _of_package_json(detail: str, function: Function) -> tuple[str, Place] | None:
    """npm's page of error lines as one sentence, and the line of package.json that it is about."""
    path = None if function.handler is None else function.handler / "package.json"
    if path is None or not ("package.json" in detail or "npm" in detail):
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    shown = os.path.relpath(path)
    try:
        json.loads(text)
    except RecursionError:
        return None
    except json.JSONDecodeError as error:
        source = text.splitlines()[error.lineno - 1] if error.lineno <= len(text.splitlines()) else None
        place = Place(file=shown, line=error.lineno, column=error.colno, source=source)
        return f"package.json is not valid JSON: {error.msg}", place
    if unknown := _NPM_UNKNOWN.search(detail):
        return f"npm's registry has no package `{unknown[1]}`", _line_with(text, unknown[1], shown)
    if version := _NPM_VERSION.search(detail):
        package, _, wanted = version[1].rpartition("@")
        return f"npm's registry has no version {wanted} of `{package}`", _line_with(text, package, shown)
    return None


def _line_with(text: str, package: str, file: str) -> Place:
    """Where package.json names it; the file alone where another package asks for it."""
    for number, line in enumerate(text.splitlines(), 1):
        if (column := line.find(f'"{package}"')) >= 0:
            return Place(file=file, line=number, column=column + 1, source=line, width=len(package) + 2)
    return Place(file=file)


def _no_server(function: Function) -> str | None:
    must = "must start a server that stays, on port 8080"
    if own := _own_dockerfile(function):
        return f"Its program ended by itself: CMD in {own} {must}. Then: faasctl up"
    if function.handler is None:
        return f"The image's command ended by itself: it {must}. `docker run --rm {function.image}` shows what it does."
    return None


def _last_words(problem: Problem, function: Function) -> str | None:
    """A function that was never live has no log to look into."""
    if problem.state is None or not problem.state.startswith("nothing was deployed"):
        return None
    own = _own_dockerfile(function)
    what = f"; what ended is CMD in {own}" if own else ""
    return f"Its last words, if it had any, are in the error{what}. Correct it, then: faasctl up"


def _own_dockerfile(function: Function) -> str | None:
    """That of the function's folder, where it is the one that is built."""
    path = None if function.handler is None or function.lang != "dockerfile" else function.handler / _DOCKERFILE
    return os.path.relpath(path) if path is not None and path.is_file() else None


def _place_of(problem: Problem, function: Function) -> Place | None:
    own = _own_dockerfile(function) if problem.slug == "image-build-failed" else None
    return Place(file=own) if own is not None else None
