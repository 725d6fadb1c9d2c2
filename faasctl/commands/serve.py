"""`faasctl serve`: becomes the server's supervisor, with only those settings that were given."""

import json
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from faasctl.commands._common import command as make_command
from faasctl.config import credentials_path, default_data_dir
from faasctl.errors import failed, usage
from faasctl.words import did_you_mean

EXAMPLES = """
faasctl serve
faasctl serve --provider docker --port 9000 --data-dir ./data
"""

PROVIDERS = ("process", "docker")
"""Those of the server's that a release of faasctl offers; a unit test compares them with the server's."""


@make_command("serve", EXAMPLES, help="Run the server on this machine, until Ctrl-C.")
@click.option("--data-dir", metavar="DIR", help="Where everything is kept. [default: ~/.local/share/pilotlight]")
@click.option("--host", metavar="ADDRESS", help="Listen here. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="[default: 8080]")
@click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="N", help="[default: 8082]")
@click.option(
    "--provider",
    metavar="|".join(PROVIDERS),
    help="How functions run: as processes of this machine, or as containers of a Docker engine. [default: process]",
)
@click.option("--keep", is_flag=True, help="Leave replicas running at the end; the next start adopts them.")
@click.option("--user", metavar="NAME", help="Started as root: the user that functions run as.")
@click.option("--python", metavar="PATH", help="The interpreter that environments are made from.")
@click.option(
    "--set",
    "given",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any setting, as router.keep_alive_seconds=30; may be repeated.",
)
def command(given: tuple[str, ...], **options: Any) -> None:
    if find_spec("pilotlight") is None:
        raise failed("server-missing", "the server is not installed beside faasctl", "pip install pilotlight")
    settings = settings_of(options, given)
    _check_provider(str(settings.get("provider", PROVIDERS[0])))
    arguments = [sys.executable, "-m", "pilotlight.supervisor", "--settings-json", json.dumps(settings)]
    arguments += ["--credentials-file", str(credentials_path(os.environ))]
    os.execv(sys.executable, arguments)  # noqa: S606 (no shell is wanted; this process becomes the server)


def _check_provider(name: str) -> None:
    """Here, and not by the server: it would say so between the lines of its log."""
    if name not in PROVIDERS:
        near = did_you_mean(name, PROVIDERS)
        detail = f"provider: there is no provider {name!r}" + (f"; {near}" if near else "")
        raise failed("invalid-setting", detail, f"There are: {', '.join(PROVIDERS)}")


def settings_of(options: dict[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The server's settings as JSON: what was given, and the data directory."""
    settings = {name: value for name, value in options.items() if value is not None and value is not False}
    for word in given:
        _put(settings, word)
    settings["data_dir"] = str(Path(settings.get("data_dir") or default_data_dir()).expanduser().absolute())
    if "python" in settings:
        settings["python"] = str(Path(str(settings["python"])).expanduser().absolute())
    return settings


def _put(settings: dict[str, Any], word: str) -> None:
    """`router.connections=100` as {"router": {"connections": 100}}; a value that is not JSON is a text."""
    path, equals, text = word.partition("=")
    *groups, name = path.split(".")
    if not equals or not name or not all(groups):
        raise usage(f"--set {word!r}: write it as KEY=VALUE, as in --set pool.spares=4")
    place = settings
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            raise usage(f"--set {word!r}: `{group}` is set to a value before, and cannot have names in it")
    try:
        place[name] = json.loads(text)
    except ValueError:
        place[name] = text
