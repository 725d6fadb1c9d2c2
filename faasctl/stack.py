"""The stack file: OpenFaaS' format and our own keys, read whole, with all its mistakes at once.

`read_stack` gives checked functions or raises one CliError with a Problem for each mistake: file, line, column, the
nearest keys, the type expected. Positions come from YAML's nodes; what may stand where is in `stack_schema`.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from faasctl.errors import CliError, ExitCode, Place, Problem, failed, usage
from faasctl.stack_builds import AS_IT_IS, Build, TemplateSource, not_fetched, read_build, read_templates
from faasctl.stack_schema import ENVIRONMENT_FILE, STACK, WITHOUT_EFFECT
from faasctl.stack_walk import Walk
from faasctl.templates import local_template
from faasctl.words import did_you_mean, plural
from faasctl.yaml_source import Source, Unreadable, read_bounded, read_yaml

DEFAULT_FILES = ("stack.yaml", "stack.yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of a stack file, checked."""

    name: str
    lang: str
    handler: Path | None
    """The folder with its source; None for a ready-made image."""
    image: str | None
    spec: dict[str, Any]
    """The server's FunctionSpec without its image; only what the file says."""
    copy: tuple[Path, ...] = ()
    """Files and folders that it gets besides its own (`configuration: copy:`)."""
    template: Path | None = None
    """The project's own template of this name; None leaves it to the server."""
    build: Build = AS_IT_IS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One stack file, or several as one."""

    file: str
    """For people; several files are joined by commas."""
    gateway: str | None
    functions: tuple[Function, ...]
    notes: tuple[str, ...] = ()
    """What is taken but does nothing, one sentence each."""
    reads: tuple[Path, ...] = ()
    """The files that it was read from, environment files too."""
    templates: tuple[TemplateSource, ...] = ()
    """Where its templates come from."""

    @property
    def folder(self) -> Path:
        """The project's."""
        return Path(self.file).parent

    def select(self, names: Sequence[str], pattern: str | None = None, *, regex: bool = False) -> list[Function]:
        """Those named, or those that match a glob or a regular expression; all without either. A name that is not
        here is an error."""
        known = [function.name for function in self.functions]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise CliError(ExitCode.USAGE, *(self._unknown(name, known) for name in unknown))
        matches = _matcher(pattern, regex=regex)
        chosen = [
            function for function in self.functions if (not names or function.name in names) and matches(function.name)
        ]
        if not chosen:
            detail = f"no function of {self.file} matches `{pattern}`"
            help_line = f"It has: {', '.join(known)}"
            raise CliError(ExitCode.USAGE, Problem(slug="stack-no-function", detail=detail, help=(help_line,)))
        return chosen

    def _unknown(self, name: str, known: list[str]) -> Problem:
        hint = did_you_mean(name, known) or f"It has: {', '.join(known)}"
        return Problem(slug="stack-no-function", detail=f"{self.file} has no function `{name}`", help=(hint,))


def find_stack(given: str | None) -> Path | None:
    """The file that was named, or the one here; None when there is none here."""
    if given is not None:
        return Path(given)
    return next((path for name in DEFAULT_FILES if (path := Path(name)).is_file()), None)


def load_stack(given: str | None, env: Mapping[str, str], *, substitute: bool = True) -> Stack:
    """The stack file that a command works on."""
    path = find_stack(given)
    if path is None:
        raise _missing("there is no stack.yaml here", "Name one with -f FILE, or make one: faasctl new hello")
    if "://" in str(given):
        help_line = f"Download it and name the file: curl -sSO {given}"
        raise _missing(f"{given} is an address; a stack file is read from disk, beside its handlers", help_line)
    try:
        data = read_bounded(path)
    except OSError as error:
        raise _missing(f"cannot read {path}: {error.strerror}", "Name another with -f FILE.") from None
    return read_stack(data, path, env, substitute=substitute)


def load_stacks(given: Sequence[str], env: Mapping[str, str], *, substitute: bool = True) -> Stack:
    """Several files as one; the mistakes of all of them at once."""
    if len(given) <= 1:
        return load_stack(given[0] if given else None, env, substitute=substitute)
    stacks: list[Stack] = []
    errors: list[CliError] = []
    for file in dict.fromkeys(given):
        try:
            stacks.append(load_stack(file, env, substitute=substitute))
        except CliError as error:
            errors.append(error)
    if errors:
        summary = "\n".join(error.summary for error in errors if error.summary)
        problems = [problem for error in errors for problem in error.problems]
        raise CliError(ExitCode.USAGE, *problems, summary=summary or None)
    return joined(stacks)


def joined(stacks: Sequence[Stack]) -> Stack:
    """As one; a function that two files have is a mistake, the first file's server counts."""
    owners: dict[str, Stack] = {}
    for stack in stacks:
        for function in stack.functions:
            if function.name in owners:
                detail = f"{function.name} stands in {owners[function.name].file} and in {stack.file}"
                raise failed("stack-duplicate-key", detail, "Rename one, or leave one of the files out.")
            owners[function.name] = stack
    return Stack(
        file=", ".join(stack.file for stack in stacks),
        gateway=next((stack.gateway for stack in stacks if stack.gateway), None),
        functions=tuple(function for stack in stacks for function in stack.functions),
        notes=tuple(note for stack in stacks for note in stack.notes),
        reads=tuple(path for stack in stacks for path in stack.reads),
    )


def read_stack(data: bytes, path: Path, env: Mapping[str, str], *, substitute: bool = True) -> Stack:
    """The file's functions, or a CliError with all its mistakes. Without `substitute`, `${NAME}` is only text."""
    problems: list[Problem] = []
    walk = Walk(problems)
    try:
        source = read_yaml(data, str(path), env, substitute=substitute)
        stack = _Composer(walk, source, path, env, substitute=substitute).stack()
    except Unreadable as error:
        problems.append(error.problem)
        stack = None
    if problems or stack is None:
        summary = f"{plural(len(problems), 'error')} in {path}, nothing was sent. All keys: faasctl help stack-file"
        raise CliError(ExitCode.USAGE, *sorted(problems, key=_by_place), summary=summary)
    return stack


def _by_place(problem: Problem) -> tuple[str, int, int]:
    """As somebody who goes through the file meets them."""
    place = problem.place
    return ("", 0, 0) if place is None else (place.file, place.line or 0, place.column or 0)


def gateway_in(data: bytes, file: str, env: Mapping[str, str]) -> str | None:
    """Only the server that a file names, whatever else is wrong in it."""
    try:
        source = read_yaml(data, file, env)
    except Unreadable:
        return None
    found = Walk([]).read(source, source.root, STACK, ()) if source.root is not None else None
    gateway = ((found or {}).get("provider") or {}).get("gateway")
    return None if gateway is None else str(gateway)


@dataclass(slots=True)
class _Composer:
    """From a file's nodes to functions: what one key alone cannot tell."""

    walk: Walk
    source: Source
    path: Path
    env: Mapping[str, str]
    substitute: bool = True
    notes: list[str] = field(default_factory=list)
    reads: list[Path] = field(default_factory=list)

    def stack(self) -> Stack | None:
        root = self.source.root
        data = self.walk.read(self.source, root, STACK, ()) if root is not None else None
        if data is None:
            if not self.walk.problems:
                self._problem("stack-empty", f"{self.path} is empty", ())
            return None
        found = data.get("functions") or {}
        if not found and not self.walk.problems:
            self._problem("stack-empty", f"{self.path} has no functions", ("functions", "<key>"))
        copy = tuple(self._copied((data.get("configuration") or {}).get("copy", ())))
        functions = tuple(replace(self._function(name, given or {}), copy=copy) for name, given in found.items())
        templates = tuple(read_templates((data.get("configuration") or {}).get("templates", ()), self._problem))
        fetch = "faasctl template pull stack" + ("" if self.path.name in DEFAULT_FILES else f" -f {self.path}")
        missing = not_fetched(templates, [function.lang for function in functions], self.path.parent)
        self.notes += [f"template {name} is not here yet; fetch it: {fetch}" for name in missing]
        self.notes += [
            f"{self.path}: ${{{name}}} is not set and counts as empty"
            for name in dict.fromkeys(self.source.masked.unset)
        ]
        return Stack(
            file=str(self.path),
            gateway=(data.get("provider") or {}).get("gateway"),
            functions=functions,
            notes=tuple(self.notes),
            reads=(self.path, *self.reads),
            templates=templates,
        )

    def _function(self, name: str, given: dict[str, Any]) -> Function:
        at = ("functions", name)
        for key, why in WITHOUT_EFFECT.items():
            if key in given:
                self._without_effect((*at, key), why)
        ready_made = bool(given.get("skip_build")) or ("image" in given and "handler" not in given)
        if ready_made and "image" not in given:
            self._problem("stack-missing-key", f"{name}: `skip_build` needs `image`", (*at, "<key>"))
        handler = None if ready_made else self._handler(name, given, at)
        self._check_scale(name, given.get("scale") or {}, (*at, "scale"))
        lang = str(given.get("lang", "")).partition("@")[0]
        return Function(
            name=name,
            lang=lang,
            handler=handler,
            image=given.get("image"),
            spec=self._spec(name, given, at),
            template=None if handler is None else local_template(self.path.parent, lang),
            build=AS_IT_IS if handler is None else read_build(name, given, self.path.parent, self._problem),
        )

    def _handler(self, name: str, given: dict[str, Any], at: tuple[str, ...]) -> Path | None:
        for key in ("lang", "handler"):
            if key not in given and (*at, key) not in self.walk.nodes:
                self._problem("stack-missing-key", f"{name}: `{key}` is missing", (*at, "<key>"))
        if "handler" not in given:
            return None
        folder = self.path.parent / str(given["handler"])
        if not _exists(folder):
            self._problem("stack-handler", f"{name}: there is no folder {folder}", (*at, "handler"))
        elif not folder.is_dir():
            detail = f"{name}: `handler` must be a folder; {folder} is a file"
            self._problem("stack-handler", detail, (*at, "handler"))
        return folder

    def _check_scale(self, name: str, scale: dict[str, Any], at: tuple[str, ...]) -> None:
        least, most = scale.get("min", 0), scale.get("max", 20)
        if least > most:
            key = "min" if "min" in scale else "max"
            detail = f"{name}: `scale` needs min <= max, not min {least} and max {most}"
            self._problem("stack-scale", detail, (*at, key))

    def _spec(self, name: str, given: dict[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": name}
        spec |= {key: given[key] for key in _SAME_NAME if key in given}
        spec |= _renamed({key: given[key] for key in ("timeout", "body_limit") if key in given})
        if "scale" in given:
            spec["scale"] = _renamed(given["scale"])
        if "cors" in given:
            spec["cors"] = self._cors(name, given["cors"], (*at, "cors"))
        for number, file in enumerate(given.get("environment_file", ())):
            read = self._environment_file(file, (*at, "environment_file", str(number)))
            spec["environment"] = spec.get("environment", {}) | read
        return spec

    def _cors(self, name: str, cors: dict[str, Any], at: tuple[str, ...]) -> dict[str, Any]:
        if not cors.get("origins") and (*at, "origins") not in self.walk.nodes:
            self._problem("stack-missing-key", f"{name}: `cors` needs `origins`", (*at, "<key>"))
        if cors.get("credentials") and "*" in cors.get("origins", ()):
            detail = f"{name}: `cors.credentials` needs origins by name, not *: a browser refuses both together"
            self._problem("stack-cors", detail, (*at, "credentials"))
        return _renamed(cors)

    def _environment_file(self, file: str, at: tuple[str, ...]) -> dict[str, str]:
        path = self.path.parent / file
        self.reads.append(path)
        try:
            source = read_yaml(read_bounded(path), str(path), self.env, substitute=self.substitute)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no such name can exist"
            self._problem("stack-environment-file", f"cannot read {path}: {why}", at)
            return {}
        except Unreadable as error:
            self.walk.problems.append(error.problem)
            return {}
        if source.root is None:
            return {}
        data = self.walk.read(source, source.root, ENVIRONMENT_FILE, ("<file>", str(path)))
        return dict((data or {}).get("environment") or {})

    def _copied(self, paths: Iterable[str]) -> Iterator[Path]:
        """`configuration: copy:` as OpenFaaS has it: inside the project, or it could take anything of the user's."""
        for number, text in enumerate(paths):
            at, path = ("configuration", "copy", str(number)), self.path.parent / text
            if not _exists(path):
                self._problem("stack-copy", f"`copy`: there is no {path}", at)
            elif not path.resolve().is_relative_to(self.path.parent.resolve()):
                self._problem("stack-copy", f"`copy`: {text} lies outside of {self.path.parent.resolve()}", at)
            else:
                yield path

    def _without_effect(self, at: tuple[str, ...], why: str) -> None:
        line = self.walk.nodes[(*at, "<key>")].start_mark.line + 1
        self.notes.append(f"{self.path}:{line}: `{at[-1]}` has no effect: {why}")

    def _problem(self, slug: str, detail: str, at: tuple[str, ...]) -> None:
        node = self.walk.nodes.get(at)
        place = Place(file=str(self.path)) if node is None else self.source.place(node)
        self.walk.problem(slug, detail, place)


_SAME_NAME = (
    "namespace", "environment", "secrets", "labels", "annotations", "constraints", "limits", "requests", "fprocess",
    "readonly_root_filesystem", "contract", "concurrency", "queue", "auth", "debug",
)  # fmt: skip
_OTHER_NAME = {
    "timeout": "timeout_seconds", "body_limit": "body_limit_mib", "idle": "idle_seconds",
    "down_window": "down_window_seconds", "max_age": "max_age_seconds",
}  # fmt: skip
"""The server says the unit in the name; a person writes it with the value."""


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_OTHER_NAME.get(key, key): value for key, value in values.items()}


def _matcher(pattern: str | None, *, regex: bool) -> Callable[[str], object]:
    if pattern is None:
        return lambda name: True
    if not regex:
        return lambda name: fnmatch.fnmatchcase(name, pattern)
    try:
        return re.compile(pattern).search
    except re.error as error:
        raise usage(f"--regex {pattern!r} is no regular expression: {error}") from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, a zero byte, a folder that may not be entered
        return False


def _missing(detail: str, help_line: str) -> CliError:
    return CliError(ExitCode.USAGE, Problem(slug="stack-missing", detail=detail, help=(help_line,)))
