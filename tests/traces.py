"""What a server has on its machine, and what of it belongs to nobody: processes, sockets, records, files."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from pilotlight.config import run_dir_of
from pilotlight.providers.docker.containers import POOL, REPLICA, STANDBY
from tests.harness import Server, wait_for

SPARES = 2


def wait_until_nothing_is_astray(server: Server, *, seconds: float = 15.0) -> None:
    last: list[str] = []

    def none() -> bool:
        last[:] = astray(server)
        return not last

    try:
        wait_for(none, seconds=seconds)
    except AssertionError:
        raise AssertionError(f"still after {seconds:g} s: {last}\n{server.log.read_text()[-6000:]}") from None


def astray(server: Server) -> list[str]:
    """A sentence for everything that is there and should not be, or the other way round."""
    run = run_dir_of(server.data_dir)
    zygotes, replicas = _records(run, "zygote"), _records(run, "replica")
    return [
        *_processes(server, zygotes, replicas),
        *_run_dir(run, zygotes, replicas),
        *_replicas_told(server, replicas),
        *_half_made(server.data_dir),
    ]


def replicas_of(server: Server, name: str) -> list[dict[str, Any]]:
    """Records of the function's replicas that run or start, by their start."""
    records = _records(run_dir_of(server.data_dir), "replica")
    return sorted((r for r in records if r["function"].split(".")[0] == name), key=lambda r: str(r["id"]))


def replica_containers(server: Server, containers: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Which of them, as the engine lists them, is which replica; without spares and standbys."""
    claims = run_dir_of(server.data_dir) / "docker" / "claims"
    claimed = [json.loads(path.read_bytes()) for path in claims.glob("*.json")]
    found, claimants = {}, {each["container"]: each["replica"] for each in claimed}
    for container in containers:
        labels = container["Labels"]
        if container["Id"] in claimants:
            found[container["Id"]] = claimants[container["Id"]]
        elif not labels.get(STANDBY) and not labels.get(POOL):
            found[container["Id"]] = labels[REPLICA]
    return found


def zygote_pids(server: Server) -> list[int]:
    return [record["pid"] for record in _records(run_dir_of(server.data_dir), "zygote") if record["pid"]]


def build_pids(server: Server) -> list[int]:
    """Programs that builds of this server run: what has its folder in the command line and is no program of its own.
    (Their environment says it better, but containers let nobody read another user's.)"""
    own = {server.pid, *(pid for pids in server.processes().values() for pid in pids)}
    folder = str(server.data_dir)
    lines = {p.pid: " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])}
    return [pid for pid, line in lines.items() if folder in line and pid not in own]


def _processes(server: Server, zygotes: list[dict[str, Any]], replicas: list[dict[str, Any]]) -> Iterator[str]:
    programs = server.processes()
    for program in ("router", "app"):
        if len(programs[program]) != 1:
            yield f"{len(programs[program])} processes of {program}"
    roots, functions = {z["pid"] for z in zygotes}, {r["pid"] for r in replicas}
    known = {server.pid, *programs["router"], *programs["app"], *roots, *functions}
    spares = dict.fromkeys(roots, 0)
    for process in psutil.process_iter(["pid", "ppid", "status"]):
        pid, parent = process.info["pid"], process.info["ppid"]
        if process.info["status"] == psutil.STATUS_ZOMBIE and parent in known:
            yield f"{pid} is a zombie of {parent}"
        elif pid in programs["zygote"] and pid not in roots | functions:
            spares[parent] = spares.get(parent, 0) + 1
    for parent, number in spares.items():
        if parent not in roots:
            yield f"{number} orphans of a zygote under process {parent}"
        elif number > SPARES:
            yield f"zygote {parent} has {number} spares"
    for pid in (roots | functions) - set(programs["zygote"]):
        yield f"{pid} is recorded and does not run"
    for pid in build_pids(server):
        yield f"{pid} is left of a build"


def _run_dir(run: Path, zygotes: list[dict[str, Any]], replicas: list[dict[str, Any]]) -> Iterator[str]:
    wanted = {run / "api.sock", run / "link.sock"}
    wanted |= {run / "z" / f"{z['id']}{end}" for z in zygotes for end in (".sock", ".log")}
    wanted |= {Path(r["socket"]) for r in replicas}
    wanted |= {run / "records" / f"zygote-{z['id']}.json" for z in zygotes}
    wanted |= {run / "records" / f"replica-{r['id']}.json" for r in replicas}
    found = {path for path in run.rglob("*") if not path.is_dir()}
    yield from (f"{path} belongs to nobody" for path in found - wanted)
    yield from (f"{path} is missing" for path in wanted - found)


def _replicas_told(server: Server, replicas: list[dict[str, Any]]) -> Iterator[str]:
    """What the API tells is what runs, and nothing is on its way any more."""
    told = set()
    answer = server.api("GET", "/api/v1/functions")
    if answer.status != 200:
        yield f"the API answers {answer.status}"
        return
    for listed in answer.json()["functions"]:
        function = server.function(listed["name"])
        for replica in function["replicas_detail"]:
            told.add(replica["id"])
            if replica["state"] != "ready" or replica["revision"] != function["revision"]:
                yield f"{listed['name']}: {replica['id']} of revision {replica['revision']} is {replica['state']}"
    if told != (recorded := {r["id"] for r in replicas}):
        yield f"told {sorted(told)}, recorded {sorted(recorded)}"


def _half_made(data: Path) -> Iterator[str]:
    yield from (f"{path} was left in staging" for path in (data / "staging").iterdir())
    for folder in ("bundles", "environments"):
        yield from (
            f"{path} has no manifest" for path in (data / folder).iterdir() if not (path / "manifest.json").exists()
        )


def _records(run: Path, kind: str) -> list[dict[str, Any]]:
    found = []
    for path in (run / "records").glob(f"{kind}-*.json"):
        try:
            found.append(json.loads(path.read_bytes()))
        except FileNotFoundError:  # it ended just now
            continue
    return found
