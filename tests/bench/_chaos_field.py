"""The server that chaos is made on: its functions, processes and containers, and the book of what went wrong."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from pilotlight.engine.client import Engine, connect
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.docker.containers import OWNER
from tests.bench._chaos_plan import FUNCTIONS, HANDLER
from tests.bench._soak_traffic import Kill
from tests.figures import roles
from tests.harness import Server

TIMEOUT_SECONDS = {"process": 8.0, "docker": 12.0}
"""Of functions with no timeout of their own: some starts in a row, of which a container's may take a second or two."""
MOST_REPLICAS = {"process": 4, "docker": 2}
BASE = "chaos-plain"
"""The one that is built; the others are its bundle under further names."""
CONNECTION_BROKEN = "connection broken"


@dataclass(slots=True)
class Book:
    answers: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    """To the API, by what was asked and what came."""
    troubles: Counter[str] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Promises, as sentences."""


class Field:
    def __init__(self, server: Server, provider: str) -> None:
        self.server = server
        self.provider = provider
        self.book = Book()
        self._spec: dict[str, Any] = {}
        self._engine: Engine | None = connect(None, call_seconds=60) if provider == "docker" else None
        self._owner = owner_of(server.data_dir)

    def begin(self) -> None:
        self.server.deploy(BASE, HANDLER)
        self._spec = self.server.function(BASE)["spec"]
        for name in FUNCTIONS:
            status = self.deploy(name)
            assert status in (200, 201), f"{name} could not be deployed: {status}"

    def timeout_of(self, name: str) -> float:
        return float(str(FUNCTIONS[name].get("timeout_seconds", TIMEOUT_SECONDS[self.provider])))

    def deploy(self, name: str, **environment: str) -> int:
        spec = self._spec | FUNCTIONS[name] | {"name": name, "timeout_seconds": self.timeout_of(name)}
        scale = self._spec["scale"] | {"max": MOST_REPLICAS[self.provider]}
        return self.ask("PUT", name, data=spec | {"environment": environment, "scale": scale})

    def ask(self, method: str, name: str, verb: str = "", *, data: Mapping[str, object] | None = None) -> int:
        """A request to the API about a function; its status, 0 when the connection broke (a router was killed)."""
        try:
            answer = self.server.api(method, f"/api/v1/functions/{name}{verb}", data)
        except TimeoutError:
            self.book.broken.append(f"{method} of {name}{verb} had no answer")
            return 0
        except (OSError, EOFError, HTTPException):
            self.book.requests[f"{verb or method}: {CONNECTION_BROKEN}"] += 1
            return 0
        self.book.requests[f"{verb or method}: {answer.status}"] += 1
        if answer.status == 500:
            self.book.broken.append(f"{method} of {name}{verb} got {answer.body[:300]!r}")
        return answer.status

    def replica_pids(self) -> list[int]:
        """With spares, which are none yet."""
        return sorted(set(self.server.processes()["zygote"]) - set(roles(self.server)["zygote"]))

    def kill(self, pid: int, role: str, how: signal.Signals = signal.SIGKILL) -> None:
        self.book.kills.append(Kill(time.monotonic(), role))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)

    def containers(self) -> list[dict[str, Any]]:
        """All of this server's, also those that have ended."""
        assert self._engine is not None
        labelled = {"label": f"{OWNER}={self._owner}"}
        found = self._engine.do(lambda client: client.containers(all=True, filters=labelled))
        return sorted(found, key=lambda each: str(each["Id"]))

    def kill_container(self, container: str) -> None:
        assert self._engine is not None
        with contextlib.suppress(Refused):  # it has ended, or is being removed
            self._engine.do(lambda client: client.kill(container))

    def remove_images(self) -> None:
        """Those of this run; what they are built on serves the next one."""
        if self._engine is None:
            return
        tags = [tag for each in self._engine.do(lambda client: client.images()) for tag in each["RepoTags"] or ()]
        for tag in tags:
            if tag.startswith((f"pilotlight-{self._owner}/", f"pilotlight/{BASE}:")):
                with contextlib.suppress(Refused):
                    self._engine.do(lambda client, tag=tag: client.remove_image(tag, force=True))  # type: ignore[misc]

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
