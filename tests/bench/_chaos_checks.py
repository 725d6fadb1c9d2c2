"""What must hold after each round of chaos, whatever happened in it: the server comes to rest, whole and empty."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from typing import Any

from pilotlight.config import ControlSettings
from pilotlight.control.plan import BACKOFF_MAX_SECONDS
from pilotlight.engine.client import THREADS
from pilotlight.router.relay import ABANDON_SECONDS
from tests.bench._chaos_calls import BACK_SECONDS, BUSY_SECONDS
from tests.bench._chaos_field import TIMEOUT_SECONDS, Field
from tests.bench._chaos_plan import FUNCTIONS
from tests.figures import faults, figures, roles, zombies
from tests.harness import wait_for
from tests.traces import astray, replica_containers

DRAIN_SECONDS, GRACE_SECONDS = 4, 2
"""As the server is told: shorter than by default, so that rounds are short."""
SETTINGS = {"control.drain_seconds": DRAIN_SECONDS, "control.kill_grace_seconds": GRACE_SECONDS}
ANSWERS_SECONDS = BACKOFF_MAX_SECONDS + BUSY_SECONDS
"""After starts that failed (their replicas were killed) the next one may be a minute away."""
EMPTY_SECONDS = DRAIN_SECONDS + GRACE_SECONDS + ControlSettings().applied_timeout_seconds + BACK_SECONDS
"""Scaled to zero: the router's word, the drain, the insistence; and a replica that a dead control plane had been
starting is found and ended by the next one."""
TIDY_SECONDS = 20.0
"""Spares are forked again, records and containers removed, ended processes waited for."""
SLACK = {"supervisor": 2, "router": 8, "control plane": 8, "zygote": 4}
"""Descriptors more than at rest before the first round: the moment's questions between router and control plane. What
leaks with each round passes it within the ten in which nobody kills the processes that stay."""
ENGINE_SLACK = 4 * THREADS
"""Of a control plane that asks an engine: connections that the client's pool keeps, and a stream for each container."""


class Checks:
    def __init__(self, field: Field) -> None:
        self._field = field
        self._server = field.server
        self._log_at = 0
        self._rest: dict[str, int] = {}
        self.descriptors: dict[str, list[int]] = {}
        """The most that one process of the role had, after each round."""

    def all(self) -> Iterator[str]:
        """Sentences about what does not hold. After the first thing that does not come nothing else is waited for."""
        yield from faults(self._log())
        for what, holds, seconds in self._steps():
            try:
                wait_for(_forgiving(holds), seconds=seconds, what=what)
            except AssertionError as error:
                yield f"{error}; {self._state()}"
                break
        yield from faults(self._log())

    def _steps(self) -> Iterator[tuple[str, Callable[[], object], float]]:
        quiet = TIMEOUT_SECONDS[self._field.provider] + ABANDON_SECONDS + BUSY_SECONDS  # callers left, replicas go on
        yield "the API answers", self._api_answers, BACK_SECONDS
        for name in FUNCTIONS:
            yield f"{name} is deployed", partial(self._is_there, name), ANSWERS_SECONDS
        yield "nothing is in flight and nothing waits", self._is_idle, quiet
        for name in FUNCTIONS:
            yield f"{name} answers", partial(self._answers, name), ANSWERS_SECONDS
        yield "nothing is in flight after one call each", self._is_idle, quiet
        for name in FUNCTIONS:
            yield f"{name} is scaled to zero", partial(self._scale_to_zero, name), BACK_SECONDS
        yield "no replica is left", self._is_empty, EMPTY_SECONDS
        yield "nothing is astray", lambda: not self._astray(), TIDY_SECONDS
        yield "descriptors are as few as at rest", self._descriptors_are_few, TIDY_SECONDS

    def _api_answers(self) -> bool:
        return self._server.api("GET", "/api/v1/info").status == 200

    def _is_there(self, name: str) -> bool:
        """Or is deployed now: a deploy, or the removal before it, may have failed with what was killed."""
        return name in self._listed() or self._field.deploy(name) in (200, 201)

    def _is_idle(self) -> bool:
        return all(view["in_flight"] == view["waiting"] == 0 for view in self._listed().values())

    def _listed(self) -> dict[str, dict[str, Any]]:
        """Asked for one by one they come with what their containers use, which takes an engine a second each."""
        answer = self._server.api("GET", "/api/v1/functions")
        assert answer.status == 200, answer
        return {view["name"]: view for view in answer.json()["functions"]}

    def _answers(self, name: str) -> bool:
        headers = {"X-Id": "check", "X-Work": "answer"}
        return self._server.call(f"/function/{name}", b"x", headers=headers).status == 200

    def _scale_to_zero(self, name: str) -> bool:
        return self._field.ask("POST", name, "/scale", data={"replicas": 0}) == 200

    def _is_empty(self) -> bool:
        return not any(self._server.function(name)["replicas_detail"] for name in FUNCTIONS)

    def _astray(self) -> list[str]:
        """With containers there are no records to hold them against, but their labels."""
        if self._field.provider == "process":
            return astray(self._server)
        left = replica_containers(self._server, self._field.containers())
        dead = [f"{pid} is a zombie" for pid in zombies(self._server)]
        return dead + [f"container {container[:12]} of {replica} is left" for container, replica in left.items()]

    def _descriptors_are_few(self) -> bool:
        """Those of the first look, before any trouble, are what others are held against."""
        now = self._descriptors()
        if not all(count <= self._most(role, count) for role, count in now.items()):
            return False
        for role, count in now.items():
            self._rest.setdefault(role, count)
            self.descriptors.setdefault(role, []).append(count)
        return True

    def _descriptors(self) -> dict[str, int]:
        return {role: max(map(_descriptors, pids)) for role, pids in roles(self._server).items() if pids}

    def _most(self, role: str, count: int) -> int:
        engine = ENGINE_SLACK if self._field.provider == "docker" and role == "control plane" else 0
        return self._rest.get(role, count) + SLACK[role] + engine

    def _log(self) -> str:
        """What was written since the last look."""
        with self._server.log.open("rb") as file:
            file.seek(self._log_at)
            new = file.read()
        self._log_at += len(new)
        return new.decode(errors="replace")

    def _state(self) -> str:
        """For whoever looks for the cause."""
        found = [f"descriptors {self._descriptors()}, {self._rest} at rest"]
        with suppress(OSError, HTTPException, AssertionError):
            found += self._astray()
            found += [_told(self._server.function(name)) for name in FUNCTIONS]
        return "; ".join(found)


def _forgiving(holds: Callable[[], object]) -> Callable[[], bool]:
    """Who asks while a router or control plane is being started gets no answer; it asks again."""

    def tried() -> bool:
        try:
            return bool(holds())
        except (OSError, EOFError, HTTPException, AssertionError):
            return False

    return tried


def _descriptors(pid: int) -> int:
    found = figures(pid)
    return found.descriptors if found else 0


def _told(view: dict[str, Any]) -> str:
    replicas = [f"{each['id']} {each['state']}" for each in view["replicas_detail"]]
    counts = f"{view['in_flight']} in flight, {view['waiting']} waiting, {view['replicas']} wanted ({view['state']})"
    return f"{view['spec']['name']}: {counts}, {replicas or 'no replicas'}, last end {view['last_end']}"
