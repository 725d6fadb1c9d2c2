"""Builds by BuildKit, through Docker's client program and its plugin buildx: the way that knows build secrets.

A secret is a file in memory for as long as its build runs, which nobody but the server's user can read: the client
reads it there, and the engine mounts it for the one step that asks for it.
"""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from pilotlight.builder.image_engine import Job, Say
from pilotlight.builder.image_failures import build_failure
from pilotlight.builder.image_log import PlainLog
from pilotlight.core.errors import Unavailable

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of 0700 with a name that nobody can guess is made in it)
_PREFIX = "pilotlight-build-"
_LOOK_SECONDS = 20.0
_ENDING_SECONDS = 10.0
_LINE_BYTES = 2**20


class BuildxMaker:
    def __init__(self, program: str, url: str, *, network: str | None, owner: str) -> None:
        """`owner`: of the folders that hold secrets, so that another server's are left alone."""
        self._program = program
        self._url = url
        self._network = network
        self._owner = owner

    async def make(self, job: Job, say: Say) -> None:
        log = PlainLog(job.dockerfile, say)
        with _as_files(job.secrets, self._owner) as files:
            async with self._running(self._arguments(job, files)) as process:
                feeding = asyncio.create_task(_feed(process, job))
                try:
                    await _read(process, log)
                    status = await process.wait()
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
        if status != 0:
            raise build_failure(log.step, log.error or f"the client ended with status {status}")

    def sweep(self) -> None:
        """Remove what a server that was killed left."""
        for folder in SHARED_MEMORY.glob(f"{_PREFIX}{self._owner}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _arguments(self, job: Job, files: Mapping[str, Path]) -> list[str]:
        # The builder `default` is the engine itself: another one would know none of its images.
        arguments = ["--host", self._url, "buildx", "build", "--builder=default", "--progress=plain", "--load"]
        arguments += [f"--tag={job.image}"]
        arguments += [f"--build-arg={name}={value}" for name, value in sorted(job.context.arguments.items())]
        arguments += [f"--secret=id={name},src={path}" for name, path in sorted(files.items())]
        arguments += [] if job.target is None else [f"--target={job.target}"]
        arguments += [] if self._network is None else [f"--network={self._network}"]
        return [*arguments, "-"]

    @asynccontextmanager
    async def _running(self, arguments: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,
            env=_variables(os.environ),
        )
        try:
            yield process
        finally:
            await asyncio.shield(_end(process))


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The server's own, with the engine said once."""
    kept = {name: value for name, value in environ.items() if name not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    return kept | {"NO_COLOR": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


async def find_buildx(url: str, *, network: str | None, owner: str) -> BuildxMaker | None:
    """None where the client program, its plugin, or an engine that knows BuildKit is missing."""
    program = shutil.which("docker")
    if program is None or not SHARED_MEMORY.is_dir():
        return None
    process = await asyncio.create_subprocess_exec(
        program,
        "buildx",
        "version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return BuildxMaker(program, url, network=network, owner=owner) if status == 0 else None


@contextmanager
def _as_files(given: Mapping[str, bytes], owner: str) -> Iterator[dict[str, Path]]:
    if not given:
        yield {}
        return
    folder = SHARED_MEMORY / f"{_PREFIX}{owner}-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
        files = {name: folder / str(number) for number, name in enumerate(given)}
        for name, path in files.items():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(given[name])
        yield files
    except OSError as error:
        raise Unavailable(f"build secrets cannot be held in memory: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _feed(process: asyncio.subprocess.Process, job: Job) -> None:
    """The context, as fast as it is taken; a client that ends early says why by itself."""
    assert process.stdin is not None  # noqa: S101 (it is a pipe)
    with suppress(BrokenPipeError, ConnectionResetError):
        pieces = job.context.tar()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            process.stdin.write(piece)
            await process.stdin.drain()
        process.stdin.close()


async def _read(process: asyncio.subprocess.Process, log: PlainLog) -> None:
    assert process.stderr is not None  # noqa: S101 (it is a pipe)
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a line without an end is no line for a person
            continue
        if not line:
            return
        log.take(line.decode(errors="replace").rstrip())


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asked to end it ends the build in the engine as well; killed it would too, when the engine sees it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDING_SECONDS):
                await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
