"""`faasctl scale`: so many replicas now; the autoscaler carries on from there."""

import click

from faasctl.commands._common import client_of, json_option, named, namespace_option, path_of, server_option
from faasctl.commands._common import command as make_command
from faasctl.output import Screen
from faasctl.words import plural

EXAMPLES = """
faasctl scale hello 3
faasctl scale hello 0
"""


@make_command("scale", EXAMPLES, help="Want so many replicas of a function now; the autoscaler carries on from there.")
@click.argument("name")
@click.argument("replicas", type=click.IntRange(min=0), metavar="N")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, name: str, replicas: int, namespace: str | None, server: str | None) -> None:
    client = client_of(server)
    with named(client, name, namespace):
        query = {"namespace": namespace}
        answer = client.json("POST", path_of(name, "/scale"), query=query, body={"replicas": replicas})
    if screen.json:
        screen.document(answer)
        return
    ready = int((answer.get("function") or {}).get("ready_replicas") or 0)
    screen.say(f"{name}  {plural(replicas, 'replica')} wanted, {ready} ready.  See it: faasctl describe {name}")
