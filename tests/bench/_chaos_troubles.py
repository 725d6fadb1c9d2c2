"""What goes wrong in a round of chaos: somebody kills, scales, redeploys and removes while calls are under way."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench._chaos_calls import CONTROL_PLANE, ROUTER
from tests.bench._chaos_field import Field
from tests.bench._chaos_plan import CHANGING, GONE, Round, Trouble
from tests.figures import roles


async def make(field: Field, plan: Round) -> None:
    for trouble in plan.troubles:
        await asyncio.sleep(trouble.after_seconds)
        field.book.troubles[trouble.what] += 1
        await asyncio.to_thread(_ACTS[trouble.what], field, trouble)


def _replica(field: Field, trouble: Trouble) -> None:
    if pids := field.replica_pids():
        field.kill(_one_of(pids, trouble), "replica")


def _every_replica(field: Field, _: Trouble) -> None:
    for pid in field.replica_pids():
        field.kill(pid, "replica")


def _politely(field: Field, trouble: Trouble) -> None:
    """As an operator or a machine that shuts down might: it finishes what it has."""
    if pids := field.replica_pids():
        field.kill(_one_of(pids, trouble), "replica", signal.SIGTERM)


def _container(field: Field, trouble: Trouble) -> None:
    """Whatever it is: a replica's, a zygote's, one that waits."""
    if running := [each["Id"] for each in field.containers() if each["State"] in ("running", "paused")]:
        field.kill_container(_one_of(running, trouble))


def _one(role: str) -> Callable[[Field, Trouble], None]:
    def kill(field: Field, trouble: Trouble) -> None:
        if pids := roles(field.server)[role]:
            field.kill(_one_of(pids, trouble), role)

    return kill


def _both(field: Field, trouble: Trouble) -> None:
    _one(ROUTER)(field, trouble)
    _one(CONTROL_PLANE)(field, trouble)


def _scale(replicas: int) -> Callable[[Field, Trouble], None]:
    def scale(field: Field, trouble: Trouble) -> None:
        field.ask("POST", trouble.function, "/scale", data={"replicas": replicas})

    return scale


def _redeploy(field: Field, trouble: Trouble) -> None:
    """Two that follow each other differ in the moment, so each makes a revision."""
    field.deploy(CHANGING, INIT_SECONDS=str(trouble.init_seconds), DEPLOY=str(trouble.pick))


def _remove_and_deploy(field: Field, trouble: Trouble) -> None:
    field.ask("DELETE", GONE)
    time.sleep(trouble.away_seconds)
    field.deploy(GONE, INIT_SECONDS=str(trouble.init_seconds))


def _one_of(those: Sequence[Any], trouble: Trouble) -> Any:
    return those[int(trouble.pick * len(those))]


_ACTS: dict[str, Callable[[Field, Trouble], None]] = {
    "a replica": _replica,
    "every replica": _every_replica,
    "a replica, politely": _politely,
    "a container": _container,
    "a zygote": _one("zygote"),
    "the router": _one(ROUTER),
    "the control plane": _one(CONTROL_PLANE),
    "both": _both,
    "scale to 0": _scale(0),
    "scale to 3": _scale(3),
    "redeploy": _redeploy,
    "remove and deploy": _remove_and_deploy,
    "nothing": lambda _field, _trouble: None,
}
