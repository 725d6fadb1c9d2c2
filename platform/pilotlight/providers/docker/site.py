"""What a node gives to those who make containers on it: its engine, and what is said, made and removed there."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import structlog

from pilotlight.config import DockerSettings, Settings
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.providers.base import Event
from pilotlight.providers.docker.berths import Berths
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.surroundings import Images, Networks
from pilotlight.providers.process.logfiles import LogFiles

log = structlog.get_logger(__name__)
_T = TypeVar("_T")
Listed: TypeAlias = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all nodes of a provider share."""

    settings: Settings
    owner: str
    files: LogFiles
    folders: Folders
    berths: Berths
    bundle_dir: Callable[[str], Path]
    tell: Callable[[Event], None]
    started: Callable[[Replica], None]
    """One more whose container's log may be followed."""
    running_of: Callable[[FunctionKey], set[str]]
    """Ids whose log files are not to be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    node: str
    owner: str
    """Whose the containers are: an engine may have several servers."""
    engine: Engine
    images: Images
    networks: Networks
    options: DockerSettings
    has_init: bool
    limits_memory: bool
    """Not every kernel lets its engine do that; replicas watch their own where it cannot."""
    idle_end_seconds: float
    """Without word from a control plane for so long, a zygote and its replica end themselves."""

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """The engine's id of it. Refused with 409 where there is one of that name."""
        made = await self.engine.call(self.engine.post("/containers/create", body, name=name))
        return str(made["Id"])

    async def remove(self, container: str) -> None:
        """By its id or name, also one that runs. One that is gone, or is being removed, is fine."""
        try:
            await self.engine.call(lambda client: client.remove_container(container, force=True, v=True))
        except Refused as refused:
            if refused.status not in (404, 409):
                log.warning("container not removed", container=container[:12], reason=refused.said)

    async def in_network(self, run: Callable[[], Awaitable[_T]], clear: Callable[[], Awaitable[None]]) -> _T:
        """`run` makes and starts a container, `clear` removes it again. Where its network was pruned since we made it,
        that is made again, and the container too."""
        try:
            return await run()
        except Refused as refused:
            if not _lost_network(refused):
                raise
        self.networks.forget()
        await clear()
        return await run()

    async def listed(self) -> Listed:
        """Everything of ours in the engine, ended or not."""

        def verb(client: Any) -> Listed:
            found = []
            for each in client.containers(all=True, filters={"label": f"{OWNER}={self.owner}"}):
                with suppress(Exception):  # gone since it was listed
                    found.append(client.inspect_container(each["Id"]))
            return found

        return await self.engine.call(verb)


def _lost_network(refused: Refused) -> bool:
    return refused.status == 404 and "network" in refused.said.lower()
