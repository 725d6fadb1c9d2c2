"""Which engines there are, and what their nodes are called. Pure."""

import re

from pilotlight.config import DockerSettings
from pilotlight.core.errors import InvalidSetting

LOCAL = "local"
_NAMED = re.compile(r"(?:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)=)?((?:unix|tcp|http|https|ssh|npipe)://.+)")


def engines_of(options: DockerSettings) -> list[tuple[str, str | None]]:
    """Names and addresses; without a list the one engine, called `local`. InvalidSetting for what is no address, and
    for a name that is there twice."""
    if not options.engines:
        return [(LOCAL, options.url)]
    found: dict[str, str | None] = {}
    for number, text in enumerate(options.engines, 1):
        match = _NAMED.fullmatch(text)
        if match is None:
            raise InvalidSetting(
                f"docker.engines: {text!r} is neither an address nor NAME=ADDRESS",
                field="docker.engines",
                hint="Write for example local=unix:///var/run/docker.sock, or gpu=tcp://10.0.0.2:2376.",
            )
        name = match[1] or (LOCAL if number == 1 else f"node-{number}")
        if name in found:
            raise InvalidSetting(f"docker.engines: there are two nodes called {name}", field="docker.engines")
        found[name] = match[2]
    return list(found.items())
