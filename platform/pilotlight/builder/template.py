"""A language's recipe: a folder of that name with template.yml, and what it names beside it."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from pilotlight.core.checks import meant, near
from pilotlight.core.errors import InvalidInput
from pilotlight.core.naming import digest_of
from pilotlight.core.spec import Contract, is_name


class _BuildOption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    packages: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """template.yml: OpenFaaS' keys, then ours."""

    language: str
    fprocess: str | None = None
    build_options: tuple[_BuildOption, ...] = ()
    welcome_message: str = ""
    handler_folder: str = "function"
    mount_ssh: bool = False

    contract: Contract = "http"
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
    contract: str
    handlers: tuple[str, ...]
    requirements: tuple[str, ...]
    preimport: tuple[str, ...]
    prime: bytes | None
    """The prime script's source."""


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
    folder = directory / name
    text = (folder / "template.yml").read_bytes()
    file = _parse(text, name)
    base = load_template(directory, file.like) if file.like not in (None, name) else None
    prime = base.prime if base is not None else None
    if file.prime is not None:
        prime = _beside(folder, file.prime)
    return Template(
        name=name,
        digest=digest_of([text, prime or b"", (base.digest if base is not None else "").encode()]),
        contract=file.contract,
        handlers=file.handlers or ("handler",),
        requirements=file.requirements or (base.requirements if base is not None else ()),
        preimport=file.preimport or (base.preimport if base is not None else ()),
        prime=prime,
    )


def _parse(text: bytes, name: str) -> _File:
    try:
        return msgspec.convert(yaml.safe_load(text), _File)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InvalidInput(f"template {name}: template.yml is wrong: {error}", field="template") from error


def _beside(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise InvalidInput(f"template {folder.name}: prime must name a file beside template.yml", field="template")
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(
            f"template {folder.name}: there is no {name} beside template.yml", field="template"
        ) from None
