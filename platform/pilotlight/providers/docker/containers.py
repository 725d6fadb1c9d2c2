"""From a launch to a container and back: what the engine is asked for, and what its labels tell the next control plane.

Everything that adoption needs is a label, so that there is nothing beside the engine that could disagree with it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pilotlight.config import DockerSettings
from pilotlight.core.spec import FunctionKey, split_key
from pilotlight.providers.base import Launch, Limits
from pilotlight.providers.docker.watchdogs import NO_WATCHDOG, Asked, Watchdog, ends_at_once, variables_of, watchdog_of

PORT = 8080
SECRETS_DIR = "/var/openfaas/secrets"
FUNCTION_DIR = "/home/app/function"
"""Where a bundle lies in every image of ours."""
PROVIDER_DIR = "/run/pilotlight"
PYTHON = "/opt/environment/bin/python"
BOOTSTRAP = "/opt/pilotlight/runtime/pilotlight_runtime/bootstrap.py"
PRIME = "/opt/pilotlight/environment/prime.py"
"""What every environment image of ours has."""
REUSE_IDLE_SECONDS = 5.0
"""Servers that are not ours close idle connections; Go's watchdogs after some seconds."""

PREFIX = "dev.pilotlight."
OWNER, REPLICA, FUNCTION, REVISION = (PREFIX + name for name in ("owner", "replica", "function", "revision"))
CONCURRENCY, CPU, MEMORY, NOTES = (PREFIX + name for name in ("concurrency", "cpu_milli", "memory_mib", "notes"))
NODE = PREFIX + "node"
ZYGOTE, POOL = PREFIX + "zygote", PREFIX + "pool"
"""Of containers that belong to no function when they are made."""
STANDBY = PREFIX + "standby"
"""Of containers that wait, paused, to become a replica of their revision."""

MIN_MEMORY_MIB = 6
"""Engines refuse less."""
MIN_POOLED_MEMORY_MIB = 48
"""A zygote and its child that has loaded nothing have 20 to 25; with less the kernel would kill them."""
MIN_CPU_MILLI = 10
"""The kernel refuses a quota under 1 ms in 100."""
CPU_PERIOD = 100_000
LOG_MAX, LOG_FILES = "10m", "2"
"""As much as a replica that is a process keeps."""
_ROOT = re.compile(r"(|root|0)(:.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a replica from its container alone."""

    id: str
    container: str
    """The engine's id of it."""
    function: FunctionKey
    revision: str
    node: str
    address: str
    concurrency: int
    cpu_milli: int | None
    memory_mib: int | None
    notes: tuple[str, ...]
    """What was given differently from what was asked for."""
    created: float
    """Unix seconds, of the engine's clock."""
    stop_signal: str
    """What asks it to end; an image may want another one than SIGTERM."""
    running: bool
    started: bool
    """Whether it was ever started."""
    pid: int = 0
    """Of its first process, on the engine's machine."""
    watchdog: Watchdog = NO_WATCHDOG

    @property
    def asked(self) -> Asked:
        slots = self.concurrency or 0
        return Asked(address=self.address, container=self.container, pid=self.pid, watchdog=self.watchdog, slots=slots)

    def claimed(self, replica: str) -> "Record":
        """The same container, as somebody's."""
        return replace(self, id=replica)

    def as_found(self, *, running: bool) -> "Record":
        return replace(self, running=running)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What surrounds a container: made before it."""

    owner: str
    network: str
    published: bool
    """Its port is published on 127.0.0.1."""
    init: bool
    """The engine has an init, which hands on signals and reaps orphans."""
    secrets_dir: str | None
    standby: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits as they are given, with a note for each that is not as asked."""

    memory_mib: int | None
    cpu_milli: int | None
    notes: tuple[str, ...]


def name_of(owner: str, replica: str) -> str:
    return f"pilotlight-{owner}-{replica}"


def bounds(launch: Launch, options: DockerSettings, *, least_mib: int = MIN_MEMORY_MIB) -> Bounds:
    """`least_mib`: what a container of this kind needs at least."""
    notes: list[str] = []
    memory, cpu = launch.limits.memory_mib, launch.limits.cpu_milli
    if memory is None:
        memory = options.memory_mib
    if memory is not None and memory < least_mib:
        why = "a container can have" if least_mib == MIN_MEMORY_MIB else "Python and this runtime need"
        notes.append(f"limits.memory: {memory}Mi is less than {why}; it has {least_mib}Mi")
        memory = least_mib
    if cpu is not None and cpu < MIN_CPU_MILLI:
        notes.append(f"limits.cpu: {cpu}m is less than a container can have; it has {MIN_CPU_MILLI}m")
        cpu = MIN_CPU_MILLI
    return Bounds(memory_mib=memory, cpu_milli=cpu, notes=tuple(notes))


def creation(launch: Launch, image: Mapping[str, Any], place: Place, options: DockerSettings) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`. `image` is what the engine says of the image.

    No CPU limit: it would slow down the start, so it follows when the replica is ready."""
    given = bounds(launch, options)
    name, _ = split_key(launch.function)
    variables = launch_variables(launch, with_secrets=place.secrets_dir is not None)
    variables |= ends_at_once(variables_of((image.get("Config") or {}).get("Env") or ()) | variables)
    return {
        "Image": image["Id"],
        "Hostname": name[:63],
        "User": user_of(image, options),
        "Env": [f"{key}={value}" for key, value in variables.items()],
        "Labels": _labels(launch, place, given, options),
        "Healthcheck": {"Test": ["NONE"]},  # a process every few seconds, for what the router sees by itself
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "HostConfig": _host_config(launch, place, given, options),
    }


def launch_variables(launch: Launch, *, with_secrets: bool) -> dict[str, str]:
    name, namespace = split_key(launch.function)
    ours = {"OPENFAAS_NAME": name, "OPENFAAS_NAMESPACE": namespace, "PILOTLIGHT_REVISION": launch.revision}
    for_our_runtime = {
        "PILOTLIGHT_CONCURRENCY": str(launch.concurrency or ""),
        "PILOTLIGHT_TIMEOUT_SECONDS": f"{launch.timeout_seconds:g}",
        "PILOTLIGHT_MAX_STREAM_SECONDS": f"{launch.max_stream_seconds:g}",
        "PILOTLIGHT_DEBUG": "1" if launch.debug else "",
    }
    secrets = {"PILOTLIGHT_SECRETS": SECRETS_DIR} if with_secrets else {}
    told = {name: value for name, value in for_our_runtime.items() if value}
    return {**launch.variables, **told, **ours, **secrets}


NO_LABELS = dict.fromkeys(
    (OWNER, REPLICA, FUNCTION, REVISION, NODE, CONCURRENCY, CPU, MEMORY, NOTES, ZYGOTE, POOL, STANDBY), ""
)
"""A container inherits its image's labels, and an image may have any: none of ours is left to it."""


def _labels(launch: Launch, place: Place, given: Bounds, options: DockerSettings) -> dict[str, str]:
    return NO_LABELS | {
        OWNER: place.owner,
        STANDBY: "paused" if place.standby else "",
        REPLICA: launch.id,
        FUNCTION: launch.function,
        REVISION: launch.revision,
        NODE: launch.node,
        CONCURRENCY: str(launch.concurrency or options.slots),
        CPU: str(given.cpu_milli or ""),
        MEMORY: str(given.memory_mib or ""),
        NOTES: json.dumps(given.notes),
    }


def _host_config(launch: Launch, place: Place, given: Bounds, options: DockerSettings) -> dict[str, Any]:
    config = hardened(launch.limits, place.network, given.memory_mib, launch.devices, options)
    if launch.read_only_root is not None:
        config["ReadonlyRootfs"] = launch.read_only_root
    if place.init:
        config["Init"] = True
    if place.published:
        config["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    if place.secrets_dir is not None:
        config["Mounts"] = [mount(place.secrets_dir, SECRETS_DIR)]
    return config


def hardened(
    limits: Limits, network: str, memory_mib: int | None, devices: Sequence[str], options: DockerSettings
) -> dict[str, Any]:
    """What holds for every container of ours, whatever runs in it."""
    config: dict[str, Any] = {
        "NetworkMode": network,
        "ReadonlyRootfs": options.read_only,
        "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108 (the container's own)
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": limits.processes,
        "Ulimits": [{"Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files}],
        # Ours whatever the engine's default is: some drivers cannot be read back.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_MAX, "max-file": LOG_FILES}},
        "RestartPolicy": {"Name": "no"},
    }
    if memory_mib is not None:
        config |= {"Memory": memory_mib * 2**20, "MemorySwap": memory_mib * 2**20}
    if devices:
        config["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(devices), "Capabilities": [["gpu"]]}]
    return config


def mount(source: str, target: str) -> dict[str, Any]:
    """A folder of this machine, which the container can read and nothing more."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}


def user_of(image: Mapping[str, Any], options: DockerSettings) -> str:
    own = str((image.get("Config") or {}).get("User") or "")
    return options.run_as if _ROOT.fullmatch(own) else own


def is_standby(inspected: Mapping[str, Any]) -> bool:
    return bool((inspected["Config"].get("Labels") or {}).get(STANDBY))


def record_of(inspected: Mapping[str, Any]) -> Record | None:
    """Of what the engine says of a container; None when its labels are not as we write them."""
    labels = inspected["Config"].get("Labels") or {}
    state = inspected["State"]
    if not labels.get(REPLICA):
        return None
    try:
        return Record(
            id=labels[REPLICA],
            container=inspected["Id"],
            function=FunctionKey(labels[FUNCTION]),
            revision=labels[REVISION],
            node=labels[NODE],
            address=_address(inspected),
            concurrency=int(labels[CONCURRENCY]),
            cpu_milli=int(labels[CPU]) if labels[CPU] else None,
            memory_mib=int(labels[MEMORY]) if labels[MEMORY] else None,
            notes=tuple(json.loads(labels[NOTES])),
            created=unix_seconds(inspected["Created"]),
            stop_signal=str(inspected["Config"].get("StopSignal") or "SIGTERM"),
            running=bool(state["Running"]),
            started=state["Status"] != "created",
            pid=int(state.get("Pid") or 0),
            watchdog=watchdog_of(variables_of(inspected["Config"].get("Env") or ())),
        )
    except (KeyError, ValueError):
        return None


def _address(inspected: Mapping[str, Any]) -> str:
    """An address that nobody answers at, once it has ended."""
    settings = inspected["NetworkSettings"]
    published = (settings.get("Ports") or {}).get(f"{PORT}/tcp")
    if published:
        return f"tcp:{published[0]['HostIp']}:{published[0]['HostPort']}"
    addresses = [network.get("IPAddress") for network in (settings.get("Networks") or {}).values()]
    return f"tcp:{next(filter(None, addresses), '0.0.0.0')}:{PORT}"


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def unix_seconds(text: str) -> float:
    """Of an RFC 3339 time with up to nanoseconds, to the microsecond; ValueError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    return (int(whole.timestamp()) * 1_000_000 + int((match[2] or "0")[:6].ljust(6, "0"))) / 1e6
