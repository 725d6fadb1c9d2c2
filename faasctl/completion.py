"""What a shell offers at Tab: commands, topics, options, and the names of what is on the server or in a stack file.

Silent on every failure: a Tab never complains. click is imported for options alone.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from faasctl.menu import ALIASES, GROUPS, MORE, NAMES, TOPICS

if TYPE_CHECKING:
    import click

SECONDS = 1.0
"""A shell that hangs at Tab is worse than one that offers nothing."""
SHELLS = ("bash", "zsh", "fish")
SUBCOMMANDS = {
    "secret": ("create", "set", "update", "list", "remove"),
    "namespace": ("create", "list", "remove"),
    "template": ("list", "pull"),
}
_OF_THE_SERVER = {"functions": "functions", "secrets": "secrets", "namespaces": "namespaces"}
_ONE = {"invoke": "functions", "describe": "functions", "scale": "functions", "key": "functions"}
_SEVERAL = {"logs": "functions", "remove": "functions", "top": "functions"}
_OF_THE_STACK = ("up", "deploy", "build", "push", "publish", "dev")
_SERVER_FLAGS, _NAMESPACE_FLAGS = ("-s", "--server", "-g", "--gateway"), ("-n", "--namespace")


def complete(typed: list[str]) -> list[str]:
    """Words that may stand where the last of `typed` stands, each with its meaning behind a tab if it has one."""
    try:
        *before, current = typed or [""]
        offered = list(_offered(before, current))
    except Exception:
        return []
    return [line for line in offered if line.startswith(current)]


def _offered(before: list[str], current: str) -> Iterable[str]:
    if not before:
        texts = {name: text for commands in (*GROUPS.values(), MORE) for name, text in commands.items()}
        return [f"{name}\t{text}" for name, text in texts.items()]
    command, rest = ALIASES.get(before[0], before[0]), before[1:]
    if command not in NAMES:
        return []
    if current.startswith("-"):
        return _options(command, rest)
    if rest and rest[-1].startswith("-") and _takes_value(command, rest):
        if (command, rest[-1]) == ("new", "--lang"):
            return _template_names(rest)
        return _server_names("namespaces", rest) if rest[-1] in _NAMESPACE_FLAGS else []
    return _arguments(command, rest)


def _arguments(command: str, rest: list[str]) -> Iterable[str]:
    given = _without_options(command, rest)
    if command in SUBCOMMANDS:
        if not given:
            return SUBCOMMANDS[command]
        return _server_names(f"{command}s", rest) if given[0] in ("set", "update", "remove") and len(given) == 1 else []
    if command == "help":
        return [] if given else [*NAMES, *TOPICS]
    if command == "completion":
        return [] if given else SHELLS
    if command in _OF_THE_STACK:
        return [name for name in _stack_names(rest) if name not in given]
    if command in _ONE:
        return [] if given else _server_names(_ONE[command], rest)
    if command in _SEVERAL:
        return [name for name in _server_names(_SEVERAL[command], rest) if name not in given]
    return []


def _server_names(kind: str, rest: list[str]) -> list[str]:
    """Asked of the server that the same command line would ask."""
    from faasctl.client import Client
    from faasctl.config import server_here

    client = Client(server_here(_value_of(rest, _SERVER_FLAGS), os.environ), connect_seconds=SECONDS)
    query = {} if kind == "namespaces" else {"namespace": _value_of(rest, _NAMESPACE_FLAGS)}
    found = client.json("GET", f"/api/v1/{kind}", query=query, seconds=SECONDS).get(kind) or []
    return sorted(str(each["name"]) if isinstance(each, dict) else str(each) for each in found)


def _stack_names(rest: list[str]) -> list[str]:
    """The keys under `functions:`, by their indent: YAML takes 20 ms to import."""
    named = _value_of(rest, ("-f", "--yaml"))
    for path in (named,) if named else ("stack.yaml", "stack.yml"):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            return _keys_under_functions(file.read(1 << 20))
    return []


def _template_names(rest: list[str]) -> list[str]:
    """The project's, beside its stack file, and the installed ones."""
    from pathlib import Path

    from faasctl.templates import names_of

    return names_of(Path(_value_of(rest, ("-f", "--yaml")) or "stack.yaml").parent)


def _keys_under_functions(text: str) -> list[str]:
    names: list[str] = []
    indent = None
    for line in text.partition("\nfunctions:")[2].splitlines() or text.partition("functions:")[2].splitlines():
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        indent = depth if indent is None else indent
        if depth == indent and word.endswith(":"):
            names.append(word[:-1].strip("'\""))
    return names


def _value_of(words: list[str], flags: tuple[str, ...]) -> str | None:
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in flags:
            return value if equals else "".join(words[number + 1 : number + 2])
    return None


def _without_options(command: str, words: list[str]) -> list[str]:
    """The arguments among the words."""
    given: list[str] = []
    for number, word in enumerate(words):
        if word.startswith("-") or (
            number and words[number - 1].startswith("-") and _takes_value(command, words[:number])
        ):
            continue
        given.append(word)
    return given


def _takes_value(command: str, words: list[str]) -> bool:
    """Whether the last word is an option that wants one more."""
    if words[-1] in (*_SERVER_FLAGS, *_NAMESPACE_FLAGS):
        return True
    import click

    return any(
        isinstance(option, click.Option) and not option.is_flag and words[-1] in option.opts
        for option in _parameters(command, words)
    )


def _options(command: str, words: list[str]) -> list[str]:
    found = ["--help"]
    for option in _parameters(command, words):
        found += [flag for flag in option.opts if flag.startswith("--")]
    return sorted(found)


def _parameters(command: str, words: list[str]) -> "list[click.Parameter]":
    import click

    from faasctl.cli import cli

    context = click.Context(cli)
    found = cli.get_command(context, command)
    if isinstance(found, click.Group) and words:
        found = found.get_command(context, words[0])
    return [] if found is None else found.params
