"""What the demo needs of a Docker engine: is there one, what is left of the demo on it, and how to clear that away."""

from contextlib import closing
from pathlib import Path
from typing import Any

from pilotlight.builder.image_functions import owner_of_builds
from pilotlight.core.errors import PilotlightError
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.provider import owner_of


def find_engine() -> str:
    """Its version; a sentence that says what to do raises SystemExit where there is none."""
    from pilotlight.engine.client import connect

    try:
        engine = connect(None, call_seconds=10)
        version = engine.do(lambda client: client.version())["Version"]
        engine.close()
    except PilotlightError as error:
        raise SystemExit(f"{error.detail}\n  {error.hint}\nWithout Docker: make demo") from None
    return f"version {version} at {engine.url}"


def left_of(data: Path) -> list[str]:
    """Names of containers and networks of the server with this data directory."""
    with _client() as client:
        filters = {"label": f"{OWNER}={owner_of(data)}"}
        containers = [name for each in client.containers(all=True, filters=filters) for name in each["Names"]]
        return containers + [each["Name"] for each in client.networks(filters=filters)]


def remove_images(data: Path) -> None:
    """Those that it built and that no other server on this engine has. Its own tags say which they are."""
    from docker.errors import APIError

    mine = f"pilotlight-{owner_of_builds(data)}/"
    with _client() as client:
        for image in client.images():
            tags = image["RepoTags"] or []
            own = [tag for tag in tags if tag.startswith(mine)]
            others = [tag for tag in tags if tag.startswith("pilotlight-") and tag not in own]
            for tag in own if others else tags if own else []:
                try:
                    client.remove_image(tag)
                except APIError:
                    continue  # something else begins with it


def _client() -> Any:
    from docker import APIClient
    from docker.utils import kwargs_from_env

    return closing(APIClient(**kwargs_from_env(), version="auto"))
