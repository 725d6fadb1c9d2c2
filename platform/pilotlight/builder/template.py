"""A language's recipe: a folder of that name with template.yml, and what it names beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml

from pilotlight.core.checks import meant, near
from pilotlight.core.errors import InvalidInput
from pilotlight.core.naming import digest_of
from pilotlight.core.spec import Contract, is_name

_THEIRS = frozenset({"fprocess", "welcome_message", "mount_ssh"})
"""OpenFaaS' keys that mean nothing to a build."""


class _BuildOption(msgspec.Struct, frozen=True):
    name: str
    packages: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """template.yml: OpenFaaS' keys, then ours. Keys that neither knows are left to whom they are for."""

    language: str = ""
    build_options: tuple[_BuildOption, ...] | None = None
    handler_folder: str | None = None

    contract: Contract | None = None
    """None: an image that answers on port 8080 by itself, whatever is in it."""
    like: str | None = None
    """Another template, from which come the requirements, the prime script and the modules that are not given here."""
    handlers: tuple[str, ...] = ("handler",)
    """Modules that may hold the handler; the first one that a function has is taken."""
    requirements: tuple[str, ...] = ()
    """Requirements that every function of this template has beside its own."""
    prime: str | None = None
    """A script beside template.yml that a zygote runs after its imports."""
    preimport: tuple[str, ...] = ()
    """Modules tried for the zygote beside those that the handler imports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    name: str
    digest: str
    contract: str | None
    handlers: tuple[str, ...]
    requirements: tuple[str, ...]
    preimport: tuple[str, ...]
    prime: bytes | None
    """The prime script's source."""
    handler_folder: str = "function"
    """Where the handler's folder lies in what is built."""
    build_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Packages of the system, by the name under which a stack file chooses them."""

    def packages(self, options: Sequence[str]) -> tuple[str, ...]:
        """InvalidInput for an option that it does not have."""
        for option in options:
            if option not in self.build_options:
                known = ", ".join(sorted(self.build_options)) or "none"
                guess = meant(near(option, self.build_options, most=1))
                raise InvalidInput(
                    f"build_options: template {self.name} has no option {option[:80]!r}",
                    slug="invalid-build-option",
                    field="build_options",
                    hint=f"{guess} It has: {known}.".lstrip(),
                )
        return tuple(dict.fromkeys(package for option in options for package in self.build_options[option]))


DOCKERFILE = "dockerfile"
"""The language without a template: a folder with a Dockerfile of its own."""


def own_dockerfile() -> Template:
    return Template(name=DOCKERFILE, digest="", contract=None, handlers=(), requirements=(), preimport=(), prime=None)


def uploaded_template(folder: Path, name: str, directory: Path) -> Template:
    """One that came with its function. `directory` has those that it may be like."""
    if not (folder / "template.yml").is_file():
        raise _invalid(name, "it has no template.yml, so that it is no template")
    return _loaded(folder, name, directory)


def load_template(directory: Path, name: str) -> Template:
    """InvalidInput for a name that is not there, naming those that are, and for a template that is wrong in itself."""
    known = sorted(path.parent.name for path in directory.glob("*/template.yml"))
    if not is_name(name) or name not in known:
        guess = meant(near(name, known, most=1))
        raise InvalidInput(
            f"template: there is no template called {name[:80]!r}",
            slug="template-not-found",
            field="template",
            hint=f"{guess} Known here: {', '.join(known) or 'none'}.".lstrip(),
        )
    return _loaded(directory / name, name, directory)


def _loaded(folder: Path, name: str, directory: Path) -> Template:
    text = (folder / "template.yml").read_bytes()
    file = _parse(text, name)
    base = load_template(directory, file.like) if file.like not in (None, name) else None
    prime = base.prime if base is not None else None
    if file.prime is not None:
        prime = _beside(folder, file.prime)
    options = {option.name: option.packages for option in file.build_options or ()}
    return Template(
        name=name,
        digest=digest_of([text, prime or b"", (base.digest if base is not None else "").encode()]),
        contract=file.contract,
        handlers=file.handlers or ("handler",),
        requirements=file.requirements or (base.requirements if base is not None else ()),
        preimport=file.preimport or (base.preimport if base is not None else ()),
        prime=prime,
        handler_folder=_folder(file.handler_folder or (base.handler_folder if base is not None else "function"), name),
        build_options=options if file.build_options is not None or base is None else base.build_options,
    )


def _folder(path: str, name: str) -> str:
    """Below the context; InvalidInput for what leads out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise _invalid(name, f"handler_folder must be a folder below the template's own, not {path[:80]!r}")
    return "/".join(parts)


def _parse(text: bytes, name: str) -> _File:
    try:
        given = yaml.safe_load(text) or {}
        file = msgspec.convert(given, _File)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise _invalid(name, f"template.yml is wrong: {error}") from error
    if file.contract is not None:  # one of ours, so that a key which nearly is one of ours is misspelt
        for key in set(map(str, given)) - {field.name for field in msgspec.structs.fields(_File)} - _THEIRS:
            if guess := meant(near(key, [field.name for field in msgspec.structs.fields(_File)], most=1)):
                raise _invalid(name, f"template.yml is wrong: there is no key `{key}`. {guess}")
    return file


def _invalid(name: str, sentence: str) -> InvalidInput:
    return InvalidInput(f"template {name}: {sentence}", slug="invalid-template", field="template")


def _beside(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise InvalidInput(f"template {folder.name}: prime must name a file beside template.yml", field="template")
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(
            f"template {folder.name}: there is no {name} beside template.yml", field="template"
        ) from None
