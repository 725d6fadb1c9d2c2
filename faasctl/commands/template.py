"""`faasctl template`: what functions can be begun with, and templates of other people."""

from pathlib import Path
from typing import Any

import click

from faasctl.commands._common import family, json_option
from faasctl.errors import failed, usage
from faasctl.output import BOLD, Screen

EXAMPLES = """
faasctl template list
faasctl template pull https://git.example.org/team/templates.git
"""
FROM_STACK = "stack"


@family("template", EXAMPLES, help="List the templates, and fetch those of other people.")
def command() -> None:
    pass


@command.member(
    "list",
    "faasctl template list\nfaasctl template list --json",
    help="Show the templates, this folder's own too.",
)
@json_option
@click.pass_obj
def list_(screen: Screen) -> None:
    show(screen, Path())


def show(screen: Screen, project: Path) -> None:
    from faasctl.templates import templates_of

    found = list(templates_of(project).values())
    if screen.json:
        facts = [
            {"name": each.name, "about": each.about, "runs_as": each.runs_as.split(", "), "local": each.local}
            for each in found
        ]
        screen.document({"templates": facts})
        return
    screen.table(
        ["NAME", "RUNS AS", "FROM", "WHAT FOR"],
        [
            [(each.name, BOLD), each.runs_as, str(each.folder) if each.local else "Pilotlight", each.about]
            for each in found
        ],
    )


@command.member(
    "pull",
    "faasctl template pull https://git.example.org/team/templates.git#v2\nfaasctl template pull stack",
    help="Fetch templates into template/ here.\n\nFrom a git repository (URL#REFERENCE: a branch, tag or commit), an "
    f"archive (.zip, .tar.gz) or a folder. With `{FROM_STACK}`: those that the stack file names under `configuration: "
    "templates:`.",
)
@click.argument("source", metavar=f"URL|PATH|{FROM_STACK}")
@click.option("--overwrite", is_flag=True, help="Replace templates that are there.")
@click.option("-f", "--yaml", "stack_file", metavar="FILE", help=f"With `{FROM_STACK}`: the stack file.")
@json_option
@click.pass_obj
def pull(screen: Screen, source: str, overwrite: bool, stack_file: str | None) -> None:
    if source == FROM_STACK:
        results = _pull_stack(screen, stack_file, overwrite=overwrite)
    elif stack_file is not None:
        raise usage(f"-f goes with `{FROM_STACK}`", f"For example: faasctl template pull {FROM_STACK} -f {stack_file}")
    else:
        results = [_pull(screen, source, Path(), overwrite=overwrite)]
    if screen.json:
        screen.document({"pulled": results})


def _pull(screen: Screen, text: str, project: Path, *, overwrite: bool, only: str | None = None) -> dict[str, Any]:
    from faasctl.template_sources import parse_source, pull
    from faasctl.templates import FOLDER

    pulled = pull(parse_source(text), project, overwrite=overwrite, only=only)
    names = ", ".join(pulled.names)
    screen.say(f"Fetched into {project / FOLDER}/: {names}   Next: faasctl new NAME --lang {pulled.names[0]}")
    return {"source": text, "templates": list(pulled.names), "commit": pulled.commit}


def _pull_stack(screen: Screen, stack_file: str | None, *, overwrite: bool) -> list[dict[str, Any]]:
    """What is there already stays: a stack file is pulled again by everyone who works with it."""
    import os

    from faasctl.stack import load_stack

    stack = load_stack(stack_file, os.environ)
    project = stack.folder
    if not stack.templates:
        help_line = "For example: configuration: {templates: [{name: ruby, source: https://git.example.org/t.git}]}"
        raise failed("template-source", f"{stack.file} names no templates", help_line)
    results = []
    for wanted in stack.templates:
        if not overwrite and (project / "template" / wanted.name).exists():
            screen.say(f"template/{wanted.name} is there already (--overwrite replaces it)")
        elif wanted.source is None:
            _without_source(screen, wanted.name, project)
        else:
            results.append(_pull(screen, wanted.source, project, overwrite=overwrite, only=wanted.name))
    return results


def _without_source(screen: Screen, name: str, project: Path) -> None:
    from faasctl.templates import templates_of

    if name not in templates_of(project):
        detail = f"template {name} has no `source:`, and none of this name comes with Pilotlight"
        raise failed("template-source", detail, "There is no store of templates; write where it comes from.")
    screen.say(f"{name} comes with Pilotlight")
