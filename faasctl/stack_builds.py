"""What a stack file says about building: arguments, options and secrets of a function's image, and where templates come
from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasctl.templates import A_NAME, NAME, is_installed, local_template

SECRET_BYTES = 5000
"""It travels in a header."""
Tell = Callable[[str, str, tuple[str, ...]], None]
"""Takes a mistake's slug, its sentence, and the path of its node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How a function's image is built."""

    options: tuple[str, ...] = ()
    """Names from the template's build_options."""
    args: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, Path], ...] = ()
    """Names, and the files that hold them."""


AS_IT_IS = Build()


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSource:
    """One of `configuration: templates:`."""

    name: str
    source: str | None = None


def read_build(name: str, given: Mapping[str, Any], folder: Path, tell: Tell) -> Build:
    """`folder` is the stack file's."""
    secrets = [(key, folder / text) for key, text in given.get("build_secrets", {}).items()]
    for key, path in secrets:
        if (why := _unfit(path)) is not None:
            at = ("functions", name, "build_secrets", key)
            tell("stack-build-secret", f"{name}: build secret {key}: {path}: {why}", at)
    return Build(
        options=tuple(given.get("build_options", ())),
        args=tuple(given.get("build_args", {}).items()),
        secrets=tuple(secrets),
    )


def read_templates(given: Iterable[str | Mapping[str, str]], tell: Tell) -> Iterator[TemplateSource]:
    for number, each in enumerate(given):
        entry = {"name": each} if isinstance(each, str) else each
        name = entry.get("name", "")
        if NAME.fullmatch(name) is None:
            at = ("configuration", "templates", str(number))
            tell("stack-template", f"`templates`: `{name}` is no template's name: {A_NAME}", at)
        else:
            yield TemplateSource(name=name, source=entry.get("source"))


def not_fetched(templates: Iterable[TemplateSource], languages: Iterable[str], folder: Path) -> list[str]:
    """Names of templates that functions want, that are neither here nor with Pilotlight, and could be fetched."""
    wanted = {template.name for template in templates} & set(languages)
    return sorted(name for name in wanted if local_template(folder, name) is None and not is_installed(name))


def _unfit(path: Path) -> str | None:
    try:
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        size = None
    if size is None:
        return "there is no such file"
    return f"it has more than {SECRET_BYTES} bytes" if size > SECRET_BYTES else None
