"""`faasctl new`: a folder with a handler that works, and its place in a stack file."""

import os
import re
import shutil
from pathlib import Path

import click

from faasctl.commands._common import command as make_command
from faasctl.errors import CliError, failed, usage
from faasctl.output import Screen

EXAMPLES = """
faasctl new hello
faasctl new shop --lang python3-asgi -f stack.yaml
"""
DEFAULT = "python3-http"


def _list(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from faasctl.commands.template import show

        show(ctx.obj, Path())
        ctx.exit()


@make_command("new", EXAMPLES, help="Start a function: a folder with a handler, and its entry in a stack file.")
@click.argument("name")
@click.option(
    "--lang",
    default=DEFAULT,
    metavar="NAME",
    show_default=True,
    help="The template; a folder template/NAME here comes before what is installed.",
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Show the templates, and end."
)
@click.option("-f", "--yaml", "stack_file", metavar="FILE", help="The stack file. [default: stack.yaml here]")
@click.pass_obj
def command(screen: Screen, name: str, lang: str, stack_file: str | None) -> None:
    from faasctl.stack import find_stack
    from faasctl.stack_schema import NAME
    from faasctl.templates import named, starting_files

    try:
        NAME.read(name)
    except ValueError:
        near = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
        hint = (f"For example: faasctl new {near}",) if near else ()
        raise usage(f"`{name}` cannot be a function's name; it must be {NAME.expects}", *hint) from None
    path = find_stack(stack_file) or Path("stack.yaml")
    template = named(path.parent, lang)
    folder = path.parent / name
    if folder.exists():
        raise failed("folder-exists", f"{folder} is there already", "Choose another name, or remove it.")
    files = starting_files(template)
    text = _with_entry(path, name, lang)
    _write(folder, files, path, text)
    following = (
        "faasctl dev" if "process" in template.runs_as else "faasctl up, to a server of faasctl serve --provider docker"
    )
    screen.say(f"Created {folder}/ ({', '.join(files)}) and its entry in {path}.   Next: {following}")


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


def _write(folder: Path, files: dict[str, Path], path: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True)
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise failed(
            "cannot-write", f"cannot write {error.filename}: {error.strerror}", "Look at its rights."
        ) from None
