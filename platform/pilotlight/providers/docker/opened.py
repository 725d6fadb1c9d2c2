"""What there is once an engine has answered: the provider's parts, put together."""

from collections.abc import Callable
from typing import Any

from pilotlight.config import Settings
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import Engine, EngineEvent, Watcher
from pilotlight.providers.base import Ended
from pilotlight.providers.docker.burial import Burial
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.logs import ContainerLogs
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.surroundings import Images, Networks
from pilotlight.providers.process.logfiles import LogFiles


class Opened:
    def __init__(
        self,
        engine: Engine,
        owner: str,
        settings: Settings,
        *,
        files: LogFiles,
        folders: Folders,
        init: bool,
        tell: Callable[[Replica, Ended], None],
        running_of: Callable[[FunctionKey], set[str]],
        connected: Callable[[], None],
        happened: Callable[[EngineEvent], None],
    ) -> None:
        options = settings.docker
        self.engine = engine
        self.logs = ContainerLogs(engine)
        self.networks = Networks(engine, owner, options.reach)
        self.starter = Starter(
            engine=engine,
            owner=owner,
            options=options,
            images=Images(engine, options.pull),
            networks=self.networks,
            folders=folders,
            init=init,
        )
        self.burial = Burial(
            engine=engine,
            logs=self.logs,
            files=files,
            making=settings.data_dir / "logs" / ".making",
            folders=folders,
            tell=tell,
            running_of=running_of,
        )
        self.watcher = Watcher(engine, f"{OWNER}={owner}", connected=connected, happened=happened)


def has_init(version: dict[str, Any]) -> bool:
    """An engine without one says so by leaving its version out."""
    parts = {part.get("Name"): part.get("Version") for part in version.get("Components") or []}
    return parts.get("docker-init") not in (None, "", "N/A")
