"""What a server is asked for when it shall build: the function's files, its own template, the build's settings."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from faasctl.client import Client
from faasctl.errors import CliError, failed, usage
from faasctl.pack import Packed, pack
from faasctl.stack import Function
from faasctl.stack_builds import Build
from faasctl.templates import is_installed

SECRET_HEADER = "X-Build-Secret"  # noqa: S105 (a name)


def template_for(function: Function, client: Client) -> tuple[Path | None, str | None]:
    """The project's own template that goes along, and a note when the server's own is taken instead: a server of
    processes builds none of other people's, but has those of Pilotlight under the same names."""
    if function.template is None or not is_installed(function.lang):
        return function.template, None
    if client.get("/api/v1/info").get("provider") != "process":
        return function.template, None
    return None, f"{function.template} makes images and this server runs processes; it uses its own {function.lang}"


def query_of(function: Function, template: Path | None) -> dict[str, object]:
    build = function.build
    return {
        "name": function.name,
        "template": function.lang,
        "namespace": function.spec.get("namespace"),
        "layout": None if template is None else "template",
        "options": ",".join(build.options) or None,
        "build_args": [f"{name}={value}" for name, value in build.args] or None,
    }


def headers_of(function: Function, packed: Packed) -> dict[str, str | list[str]]:
    secrets = [f"{name}={_secret(path)}" for name, path in function.build.secrets]
    headers: dict[str, str | list[str]] = {
        "Content-Type": "application/x-tar",
        "Content-Length": str(packed.tar_bytes),
    }
    return headers | ({SECRET_HEADER: secrets} if secrets else {})


def packed_for(function: Function, folder: Path, template: Path | None) -> Packed:
    return pack(folder, function.copy, template=template)


def with_build(functions: Iterable[Function], given: Build) -> list[Function]:
    """The command line's words about a build after the stack file's."""
    return [replace(function, build=_joined(function.build, given)) for function in functions]


def given_build(arguments: Iterable[str], options: Iterable[str]) -> Build:
    """Of --build-arg and --build-option."""
    from faasctl.stack_schema import VARIABLE

    args: dict[str, str] = {}
    for text in arguments:
        name, found, value = text.partition("=")
        try:
            VARIABLE.read(name)
        except ValueError:
            found = ""
        if not found:
            raise usage(f"--build-arg {text!r}: write it as NAME=VALUE")
        args[name] = value
    return Build(options=tuple(options), args=tuple(args.items()))


def _joined(first: Build, second: Build) -> Build:
    options = dict.fromkeys((*first.options, *second.options))
    args = dict(first.args) | dict(second.args)
    return replace(first, options=tuple(options), args=tuple(args.items()))


def _secret(path: Path) -> str:
    try:
        return b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> CliError:
    return failed("stack-build-secret", f"cannot read {path}: {error.strerror}")
