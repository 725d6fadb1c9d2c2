"""`faasctl new`: a folder with a handler that works, and its place in a stack file."""

import os
import re
from pathlib import Path

import click

from faasctl.commands._common import command as make_command
from faasctl.errors import CliError, failed, usage
from faasctl.output import Screen

EXAMPLES = """
faasctl new hello
faasctl new shop --lang python3-asgi -f stack.yaml
"""
LANGUAGES = ("python3-http", "python3-lambda", "python3-asgi")
SUFFIXES = frozenset({".py", ".txt"})
"""Of a template's files; beside them its folder may hold what programs left there."""


@make_command("new", EXAMPLES, help="Start a function: a folder with a handler, and its entry in a stack file.")
@click.argument("name")
@click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    default=LANGUAGES[0],
    metavar="NAME",
    show_default=True,
    help=f"The template: {', '.join(LANGUAGES[:-1])} or {LANGUAGES[-1]}.",
)
@click.option("-f", "--yaml", "stack_file", metavar="FILE", help="The stack file. [default: stack.yaml here]")
@click.pass_obj
def command(screen: Screen, name: str, lang: str, stack_file: str | None) -> None:
    from faasctl.stack import find_stack
    from faasctl.stack_schema import NAME

    try:
        NAME.read(name)
    except ValueError:
        near = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
        hint = (f"For example: faasctl new {near}",) if near else ()
        raise usage(f"`{name}` cannot be a function's name; it must be {NAME.expects}", *hint) from None
    path = find_stack(stack_file) or Path("stack.yaml")
    folder = path.parent / name
    if folder.exists():
        raise failed("folder-exists", f"{folder} is there already", "Choose another name, or remove it.")
    files = starting_files(lang)
    text = _with_entry(path, name, lang)
    _write(folder, files, path, text)
    screen.say(f"Created {folder}/ ({', '.join(files)}) and its entry in {path}.   Next: faasctl dev")


def starting_files(lang: str) -> dict[str, str]:
    """What a function of this template begins with: the template's own files, beside the package where it is installed
    or in the repository. They are read as data; nothing of the server is imported."""
    package = Path(__file__).parents[1]
    roots = (package.parent / "pilotlight" / "_templates", package.parent / "templates")
    folder = next((root / lang / "function" for root in roots if (root / lang / "function").is_dir()), None)
    if folder is None:
        raise failed("template-missing", f"the files of {lang} are not where faasctl is installed", "Install it anew.")
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def _with_entry(path: Path, name: str, lang: str) -> str:
    """The stack file's text with one more function, checked before anything is written."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = "functions:\n"
    except (OSError, UnicodeDecodeError) as error:
        raise failed("stack-missing", f"cannot read {path}: {error}", "Name another with -f FILE.") from None
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    line, indent = _place(path, text, name)
    entry = f"{indent}{name}:\n{indent}  lang: {lang}\n{indent}  handler: ./{name}\n{indent}  image: {name}:latest\n"
    return "".join([*lines[:line], entry, *lines[line:]])


def _place(path: Path, text: str, name: str) -> tuple[int, str]:
    """After which line the entry goes, and how far in."""
    from yaml.nodes import MappingNode

    from faasctl.yaml_source import Unreadable, read_yaml

    cannot = f"cannot add to {path}"
    try:
        root = read_yaml(text.encode(), str(path), os.environ).root
    except Unreadable as error:
        raise failed("stack-syntax", f"{cannot}: {error.problem.detail}", "Correct it first.") from None
    entries = root.value if isinstance(root, MappingNode) else []
    found = next(((key, value) for key, value in entries if key.value == "functions"), None)
    if found is None:
        raise _by_hand(cannot, "it has no `functions:`")
    key, value = found
    if not isinstance(value, MappingNode):
        return key.start_mark.line + 1, "  "
    if any(each.value == name for each, _ in value.value):
        raise failed("function-exists", f"{path} has a function `{name}` already", "Choose another name.")
    if value.flow_style or not value.value:
        raise _by_hand(cannot, "its `functions` are written in braces")
    lines = text.splitlines()
    last = value.end_mark.line if value.end_mark.column == 0 else len(lines)
    while last > 0 and not lines[last - 1].strip():
        last -= 1
    return last, " " * value.start_mark.column


def _by_hand(cannot: str, why: str) -> CliError:
    return failed("stack-unusual", f"{cannot}: {why}", "Add the function by hand: faasctl help stack-file")


def _write(folder: Path, files: dict[str, str], path: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise failed(
            "cannot-write", f"cannot write {error.filename}: {error.strerror}", "Look at its rights."
        ) from None
