"""Every setting of the server, documented where it is defined.

`faasctl serve` turns its flags into one JSON document, which the supervisor hands to its children; nothing reads an
environment variable later on.
"""

import hashlib
import json
import os
import pwd
import stat
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from pilotlight.claims import url
from pilotlight.core.checks import meant, near
from pilotlight.core.errors import InvalidSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    header_limit_bytes: int = 64 * 1024
    """Request line and headers together. nginx has 8 KiB a line, Go 1 MiB; signed tokens and cookies fit in 64 KiB."""

    read_timeout_seconds: float = 30.0
    """A client that sends part of a request's head and then nothing is let go after this."""

    keep_alive_seconds: float = 75.0
    """An idle client connection is closed after this; nginx' default."""

    hold_without_routes_seconds: float = 10.0
    """How long a request waits when the router has no routes yet; then 503."""

    call_depth: int = 16
    """How deep functions may call functions; a call from outside has depth 0. A circle would fill every queue in it."""

    api_seconds: float = 30.0
    """How long a request to the API that only reads may wait for an answer. Followed logs may wait for ever, and what
    deploys, scales or removes for twice `control.start_timeout_seconds`."""

    connections: int = 8192
    """Client connections at once; further ones wait in the listening socket's backlog."""

    buffer_bytes: int = 256 * 1024
    """Body bytes buffered per direction and request before the sender is made to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    spares: int = 2
    """Forked children that a zygote keeps ready. One hides a fork (2 ms), the second a call that comes right after.
    With `provider: docker` so many containers with a zygote (some 20 MiB, and what it imports) for each environment,
    namespace, set of start-up variables and size of memory."""

    idle_end_seconds: float = 900.0
    """Zygotes and replicas end themselves without requests and without word from a control plane for this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    upload_limit_mib: int = 256
    """A source tar, as sent. AI functions bring small models along."""

    unpacked_limit_mib: int = 1024
    """The same unpacked, against bombs."""

    files_limit: int = 20_000

    timeout_seconds: float = 900.0
    """Resolving and installing one environment, or building one image; large wheels over slow links take minutes."""

    trial_seconds: float = 20.0
    """A pre-import trial: import, fork, load the handler, exit."""

    concurrency: int = 2
    """Builds at once; each is mostly one process of uv."""

    arguments: tuple[str, ...] = ()
    """NAME=VALUE, given to each Dockerfile that declares them: a mirror of npm (NPM_CONFIG_REGISTRY), or of Go's
    modules. They are no secrets: an image keeps them in its history. pip's index, certificates and proxies come by
    themselves."""

    buildkit: Literal["auto", "never"] = "auto"
    """BuildKit, where Docker's client program and its plugin buildx are there, builds what has secrets and what other
    people's templates say; the rest, and everything with `never`, is built by the engine's own builder, which knows no
    secrets and is quicker with small changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    start_timeout_seconds: float = 120.0
    """From launch to ready; `init` may load gigabytes."""

    drain_seconds: float = 30.0
    """A replica taken out of service may finish its requests for this long."""

    kill_grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""

    max_stream_seconds: float = 3600.0
    """A streamed answer that is older than this is ended: it would hold its replica, and an old revision, for ever."""

    tick_seconds: float = 1.0
    """The autoscaler looks at every function this often; a waiting request never waits for it."""

    applied_timeout_seconds: float = 10.0
    """How long deploy, remove and scale wait for the router's word; after that they return and say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSettings:
    """What can be made again (bundles, environments, caches, images that were built or pulled) is removed when it takes
    too much room; what a function refers to never is. Logs have their own bounds."""

    budget_mib: int = 20 * 1024
    """Some twenty environments with a deep-learning framework, or thousands of small ones. What was made from source
    and what the engine that builds has pulled for it share it; each further engine has as much for what it pulled."""

    free_mib: int = 1024
    """What is not referenced goes, also within the budget, when less than this (or a twentieth of a small disk) is
    free, on the data directory's disk or on that of an engine's images: the store, logs and the next build need room,
    and others who write there do not know of our budget."""

    min_age_seconds: float = 3600.0
    """What was built or used within this time stays: it may be about to be deployed. More than a build's timeout."""

    interval_seconds: float = 600.0
    """How often is looked, besides after each build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """For `provider: docker`."""

    url: str | None = None
    """`unix:///PATH`, `tcp://HOST:PORT` or `ssh://HOST`; None takes DOCKER_HOST and its companions from the
    environment, else /var/run/docker.sock."""

    engines: tuple[str, ...] = ()
    """Several engines, each a node: addresses as above, or NAME=ADDRESS. Sockets can only be passed to engines on this
    machine: elsewhere there are no pools, and replicas are called over TCP."""

    pull: Literal["missing", "always", "never"] = "missing"
    """When a registry is asked for an image. A deploy finds out which bytes a tag stands for, and every later start
    runs those, so this is about deploys: `always` asks at each of them and finds a tag that was moved, `missing` where
    the engine does not have the tag, `never` not at all. At a start only bytes that are gone are fetched again."""

    config: Path | None = None
    """Docker's configuration file, whose logins are used for pulls; None for $DOCKER_CONFIG/config.json or
    ~/.docker/config.json of the server's user. It is read anew for each pull."""

    reach: Literal["auto", "container", "published"] = "auto"
    """How replicas are called: by their container's address, or by a port published on 127.0.0.1, which takes a hop
    more. `auto` takes addresses where this machine is the gateway of the containers' network."""

    gateway: str | None = None
    """Where containers reach the router, as `http://HOST:PORT`; functions are told it in PILOTLIGHT_GATEWAY. None makes
    the router listen at the gateway of each namespace's network, at the public port, for functions alone; where this
    machine is not that gateway (an engine elsewhere, in a virtual machine, without root), functions are told none."""

    build_network: str | None = None
    """The engine's network for the steps of a build; None takes the engine's default. `host` where its bridge has no
    way out to a package index."""

    standbys: int = 1
    """Paused containers kept ready for each function whose image is not of our templates, 0 or 1: a call to a cold one
    then waits for milliseconds. Each holds the memory that its function needs when idle."""

    standby_memory_mib: int | None = None
    """Memory that all paused containers of a node may hold together; the one that was made longest ago goes first. None
    for a quarter of the node's."""

    run_as: str = "10001:10001"
    """Who runs in images that name no user of their own, or root. Images with a user keep it. `0:0` is root, for images
    that need it: without capabilities, but what it finds in a mount or in a fault of the kernel it finds as root."""

    read_only: bool = True
    """The root file system, of functions that do not say `readonly_root_filesystem`; /tmp can always be written to.
    What is written lies on the engine's disk, without a bound."""

    slots: int = 100
    """Requests at once in an image that is not ours, when its function does not say: only the image knows better."""

    memory_mib: int | None = None
    """For functions without `limits: memory:`; None leaves them the whole machine."""

    call_seconds: float = 60.0
    """How long the engine may take for one answer, pulls and builds apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    data_dir: Path
    """Store, environments, bundles, logs, credentials."""

    host: str = "127.0.0.1"
    """Anything else is a decision: with the process provider functions are as trusted as you."""

    port: int = 8080
    metrics_port: int = 8082

    provider: str = "process"

    python: Path | None = None
    """The interpreter that environments are made from; None takes the server's own, or the system's of the same
    version where the functions' user cannot reach the server's."""

    user: str | None = None
    """For a platform started as root: who builds, zygotes and replicas run as; None takes `pilotlight` where such a
    user exists, else `nobody`. Not used otherwise."""

    build_user: str | None = None
    """The same for builds alone, which run other people's code, too (a package's setup.py); None takes
    `pilotlight-build` where such a user exists, else the functions' user, who can then reach uv's cache and alter what
    later builds install from it."""

    templates_dir: Path | None = None
    """None takes the packaged ones, or the repository's in a source checkout."""

    auth: bool = True
    """Basic authentication on everything but functions and /healthz."""

    keep: bool = False
    """Leave zygotes and replicas running when the server stops; the next start adopts them."""

    router: RouterSettings = field(default_factory=RouterSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    build: BuildSettings = field(default_factory=BuildSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    docker: DockerSettings = field(default_factory=DockerSettings)

    @property
    def run_dir(self) -> Path:
        return run_dir_of(self.data_dir)

    @property
    def api_socket(self) -> Path:
        return self.run_dir / "api.sock"

    @property
    def link_socket(self) -> Path:
        return self.run_dir / "link.sock"

    @property
    def gateway(self) -> str:
        """Where functions reach the router; they are told in PILOTLIGHT_GATEWAY. The supervisor knows the port."""
        return url(self.host, self.port)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """What `to_json` wrote, or a part of it; unknown names and wrong types raise InvalidSetting."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InvalidSetting(f"the settings are no JSON: {error}") from error
        settings: Settings = _build(cls, data, prefix="")
        return settings


def run_dir_of(data_dir: Path) -> Path:
    """Where sockets, records and secrets live: in memory where possible, since each start makes some; short, since a
    socket's path may have 107 bytes; one for each data directory."""
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]
    if os.getuid() == 0:  # root's own directory cannot be entered by the functions' user, who needs its secrets
        base = "/dev/shm" if os.path.ismount("/dev/shm") else "/tmp"  # noqa: S108 (claimed with owner and mode checks)
        return Path(base) / f"pilotlight-0-{digest}"
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own and os.path.isdir(own) and len(own) < 60:
        return Path(own) / f"pilotlight-{digest}"
    return Path(f"/tmp/pilotlight-{os.getuid()}-{digest}")  # noqa: S108 (as above)


def claim_private_dir(path: Path, mode: int = 0o700) -> Path:
    """Make the directory, or check that the one that is there is a real directory and ours."""
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise InvalidSetting(
                f"{path} is not a directory of user {os.getuid()}; remove it and start again"
            ) from None
    path.chmod(mode)
    return path


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Who functions run as: None ids mean the platform's own user."""

    uid: int | None = None
    gid: int | None = None


def sandbox_user(settings: Settings) -> Sandbox:
    """The unprivileged user of a platform that was started as root; InvalidSetting when there is no such one."""
    if os.getuid() != 0:
        return Sandbox()
    return _first_of([settings.user] if settings.user else ["pilotlight", "nobody"], field="user")


def build_sandbox(settings: Settings) -> Sandbox:
    """Whom builds run as: a user of their own where there is one, else the functions'."""
    if os.getuid() != 0:
        return Sandbox()
    if settings.build_user:
        return _first_of([settings.build_user], field="build_user")
    try:
        return _first_of(["pilotlight-build"], field="build_user")
    except InvalidSetting:
        return sandbox_user(settings)


def _first_of(names: list[str], *, field: str) -> Sandbox:
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Sandbox(entry.pw_uid, entry.pw_gid)
    raise InvalidSetting(
        f"{field}: no unprivileged user called {' or '.join(names)}",
        field=field,
        hint=f"Create one (`useradd --system {names[0]}`) or name another.",
    )


def _build(kind: type[Any], data: object, *, prefix: str) -> Any:
    """The settings of one group; InvalidSetting names the one that is unknown or of the wrong type."""
    if not isinstance(data, dict):
        raise InvalidSetting(f"setting {prefix.rstrip('.')}: it has settings in it, as in --set {prefix}NAME=VALUE")
    types = get_type_hints(kind)
    for name, value in data.items():
        if name not in types:
            guess = meant(f"{prefix}{word}" for word in near(name, types))
            hint = guess or f"Known here: {', '.join(sorted(types))}."
            raise InvalidSetting(f"setting {prefix}{name}: there is no such setting", field=name, hint=hint)
        data = data | {name: _value(types[name], value, f"{prefix}{name}")}
    return kind(**data)


def _value(kind: Any, value: object, name: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, prefix=f"{name}.")  # type: ignore[arg-type]
    if isinstance(value, str) and kind in (Path, Path | None):
        return Path(value)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        sentence = f"setting {name}: {str(error).lower()}, not {json.dumps(value)}"
        raise InvalidSetting(sentence, field=name) from error
