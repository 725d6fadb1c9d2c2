"""Starting a zygote's process: the interpreter of an environment, as the functions' user, with nothing inherited."""

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pilotlight.config import Sandbox
from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Pool
from pilotlight.providers.process import procfs
from pilotlight.providers.process.records import RunDir, ZygoteRecord, listen

LOG_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the provider was given to make zygotes with."""

    sandbox: Sandbox
    layer: Path
    environment_dir: Callable[[str], Path]
    prime: Callable[[str], Path | None]
    idle_end_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    record: ZygoteRecord
    process: procfs.Process
    control: socket.socket


def spawn(recipe: Recipe, pool: Pool, run: RunDir, *, spares: int) -> Spawned:
    """A zygote that runs and is recorded; it says hello once it has imported everything."""
    record = ZygoteRecord(id=secrets.token_hex(4), pool=pool)
    python = recipe.environment_dir(pool.environment) / "venv" / "bin" / "python"
    if not python.exists():
        raise StartFailed(f"the environment {pool.environment} is not there any more", hint="Build the function again.")
    listener = listen(run.zygote_socket(record.id))
    with listener:
        run.write(record)
        pid = _execute(recipe, pool, listener, run.zygote_log(record.id), python, spares)
    found = procfs.stat(pid)
    process = procfs.find(pid, found.started) if found else None
    if process is None:
        os.waitpid(pid, 0)
        raise StartFailed(f"{python} ended at once: {last_words(run.zygote_log(record.id))}")
    record = ZygoteRecord(id=record.id, pool=pool, pid=pid, started=process.started)
    run.write(record)
    return Spawned(record=record, process=process, control=connect(run.zygote_socket(record.id)))


def connect(path: str) -> socket.socket:
    """OSError when nobody listens there."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.setblocking(False)  # the backlog has room: a connection is made at once or not at all
    try:
        control.connect(path)
    except BaseException:
        control.close()
        raise
    return control


def last_words(log: str, limit: int = 500) -> str:
    """The end of what a zygote printed, in one line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it said nothing"


def bound(log: str) -> None:
    """Zygotes hardly print; one that does must not fill the disk. It appends, so it goes on at the new end."""
    with suppress(FileNotFoundError):
        if os.stat(log).st_size > LOG_BYTES:
            os.truncate(log, 0)


def _execute(recipe: Recipe, pool: Pool, listener: socket.socket, log: str, python: Path, spares: int) -> int:
    prime = recipe.prime(pool.environment)
    config = _as_file(
        {
            "environment": pool.environment,
            "namespace": pool.namespace,
            "preimports": list(pool.preimports),
            "prime": None if prime is None else str(prime),
            "spares": spares,
            "idle_end_seconds": recipe.idle_end_seconds,
        }
    )
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    bootstrap = recipe.layer / "pilotlight_runtime" / "bootstrap.py"
    numbers = ["--control-fd", str(listener.fileno()), "--config-fd", str(config)]
    sandboxed = recipe.sandbox.uid is not None
    try:
        process = subprocess.Popen(
            [str(python), "-P", str(bootstrap), "zygote", *numbers],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(listener.fileno(), config),
            cwd="/",
            env={"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **dict(pool.variables)},
            start_new_session=True,
            umask=0o077,
            user=recipe.sandbox.uid if sandboxed else None,
            group=recipe.sandbox.gid if sandboxed else None,
            extra_groups=[] if sandboxed else None,
        )
    except OSError as error:
        raise StartFailed(f"{python} could not be run: {error.strerror or error}") from error
    finally:
        os.close(output)
        os.close(config)
    process.returncode = 0  # watched and waited for by its pidfd, not by this object
    return process.pid


def _as_file(value: object) -> int:
    """A descriptor to read the value from: memory that is full from the start, where a pipe could fill up."""
    fd = os.memfd_create("pilotlight-zygote")
    os.write(fd, json.dumps(value).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
