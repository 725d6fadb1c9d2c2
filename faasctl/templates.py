"""Where templates are: the project's own in `template/` beside the stack file, and those that come with Pilotlight.

A project's template hides one of the same name that is installed, as under OpenFaaS.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasctl.errors import CliError, ExitCode, Place, Problem, failed
from faasctl.words import did_you_mean

FOLDER = "template"
NAME = re.compile(r"[a-z0-9][-._a-z0-9]{0,62}")
A_NAME = "a-z, 0-9, `.`, `_` and `-`, at most 63 characters"
DEFAULT_HANDLER_FOLDER = "function"
WHOLE_FOLDER = "dockerfile"
"""The template whose functions are the whole context of their build: they bring their Dockerfile themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    name: str
    folder: Path
    local: bool
    """Whether it is the project's own; its files go to the server with each build."""
    welcome: str = ""
    handler_folder: str = DEFAULT_HANDLER_FOLDER
    runs_as: str = "image"
    """`process, image` or `image`: which servers can build it."""

    @property
    def about(self) -> str:
        """Its first sentence."""
        text = " ".join(self.welcome.split())
        return text.split(": ", 1)[0].split(". ", 1)[0].removesuffix(".")

    @property
    def start(self) -> Path:
        """What a function of it begins with."""
        return self.folder / self.handler_folder


def local_template(project: Path, name: str) -> Path | None:
    """The folder of the project's own template of this name."""
    folder = project / FOLDER / name
    if NAME.fullmatch(name) is None or name == WHOLE_FOLDER or not folder.is_dir():
        return None
    return folder


def names_of(project: Path) -> list[str]:
    """Of all of them, without a look into their files."""
    return sorted({folder.name for root in (project / FOLDER, *_roots()) for folder in _folders(root)})


def templates_of(project: Path) -> dict[str, Template]:
    """All by name: the installed ones, and the project's over them."""
    found = {template.name: template for template in installed()}
    for folder in _folders(project / FOLDER):
        found[folder.name] = read_template(folder, local=True)
    return dict(sorted(found.items()))


def installed() -> Iterator[Template]:
    """Beside the package where it is installed, or in the repository. They are read as data; nothing of the server is
    imported."""
    for root in _roots():
        folders = list(_folders(root))
        if folders:
            yield from (read_template(folder, local=False) for folder in folders)
            return
    raise failed("template-missing", "the templates' files are not where faasctl is installed", "Install it anew.")


def is_installed(name: str) -> bool:
    """Whether Pilotlight brings a template of this name."""
    return any((root / name / "template.yml").is_file() for root in _roots())


def named(project: Path, name: str) -> Template:
    """The template of this name; CliError says which there are."""
    known = templates_of(project)
    if name in known:
        return known[name]
    near = did_you_mean(name, known)
    there_are = f"There are: {', '.join(known)}"
    fetch = "Fetch others: faasctl template pull URL"
    detail = f"there is no template `{name}`" + (f"; {near}" if near else "")
    raise failed("template-unknown", detail, there_are, fetch)


def read_template(folder: Path, *, local: bool) -> Template:
    """CliError when template.yml cannot be read."""
    file = folder / "template.yml"
    given = _load(file) if file.is_file() else {}
    start = given.get("handler_folder") or DEFAULT_HANDLER_FOLDER
    if not isinstance(start, str) or Path(start).is_absolute() or ".." in Path(start).parts:
        raise _wrong(file, f"handler_folder: {start!r} is no folder of the template")
    in_process = not local and ("contract" in given or "like" in given)
    return Template(
        name=folder.name,
        folder=folder,
        local=local,
        welcome=str(given.get("welcome_message") or ""),
        handler_folder=start,
        runs_as="process, image" if in_process else "image",
    )


def starting_files(template: Template) -> dict[str, Path]:
    """What a function of this template begins with, by name. Beside them a folder may hold what programs left there."""
    from faasctl.pack import is_ignored  # brings tarfile along, and every reader of a stack file comes by here

    root = template.start
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path for name, path in files.items() if not any(map(is_ignored, Path(name).parts))}


def _roots() -> tuple[Path, Path]:
    package = Path(__file__).parent
    return package.parent / "pilotlight" / "_templates", package.parent / "templates"


def _load(file: Path) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise _wrong(file, " ".join(str(error).split())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(file, str(error)) from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _wrong(file, "it must be a mapping")
    return given


def _wrong(file: Path, why: str) -> CliError:
    problem = Problem(slug="template-wrong", detail=f"{file} is wrong: {why}", place=Place(file=str(file)))
    return CliError(ExitCode.FAILED, problem)


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and NAME.fullmatch(folder.name) and is_template(folder):
            yield folder


def is_template(folder: Path) -> bool:
    return (folder / "template.yml").is_file() or (folder / "Dockerfile").is_file()
