"""`faasctl key`: what callers of a function with `auth: key` send; to be piped, so it stands alone on stdout."""

import click

from faasctl.commands._common import client_of, json_option, named, namespace_option, path_of, seconds_of, server_option
from faasctl.commands._common import command as make_command
from faasctl.errors import usage
from faasctl.output import Screen

EXAMPLES = """
faasctl key hello
faasctl key hello --rotate
"""


@make_command("key", EXAMPLES, help="Show the key of a function with `auth: key`, or make a new one.")
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Make a new key; the old one is refused from then on.")
@click.option("--grace", metavar="DURATION", help="With --rotate: the old key is good for so much longer.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen, name: str, rotate: bool, grace: str | None, namespace: str | None, server: str | None
) -> None:
    if grace and not rotate:
        raise usage("--grace goes with --rotate", f"faasctl key {name} --rotate --grace {grace}")
    client = client_of(server)
    with named(client, name, namespace):
        if rotate:
            body = {"grace_seconds": seconds_of("--grace", grace)} if grace else {}
            answer = client.json("POST", path_of(name, "/key/rotate"), query={"namespace": namespace}, body=body)
        else:
            answer = client.get(path_of(name, "/key"), namespace=namespace)
    if screen.json:
        screen.document(answer)
        return
    screen.data(str(answer.get("key")))
    if not answer.get("applied", True):
        screen.say("no router has confirmed the new key yet: until it does, the one before is the key that opens")
    if screen.person_reads:
        screen.say(f'\nCallers send it:  curl -H "X-Function-Key: $(faasctl key {name})" ...')
