"""Images that an engine gets from a registry, for the builder's bases and for ready-made functions alike."""

from typing import Any

from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused


async def pull(engine: Engine, image: str) -> str:
    """What engine or registry said against it; nothing when they said nothing."""

    def verb(client: Any) -> str:
        name, tag = with_tag(image)
        for step in client.pull(name, tag=tag, stream=True, decode=True):
            if "error" in step:
                return str(step["error"])
        return ""

    try:
        return await engine.call(verb, slow=True)
    except Refused as refused:
        return refused.said


def with_tag(image: str) -> tuple[str, str]:
    """Its name, and its tag or digest. Without one an engine would pull all that there are."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
