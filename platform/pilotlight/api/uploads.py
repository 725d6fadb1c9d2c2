"""A source tar on its way to the builder: streamed to a file within a bound, gone whatever happens."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from aiohttp import web

from pilotlight.api.reading import chunks
from pilotlight.builder.files import remove
from pilotlight.core.errors import InvalidInput, InvalidSource, StorageFull
from pilotlight.finishing import surely

_PREFIX = "upload-"
_WRITE_BYTES = 2**20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@asynccontextmanager
async def staging(directory: Path) -> AsyncIterator[Path]:
    """A new empty file, removed at the end of the block."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _storage_full(), tempfile.NamedTemporaryFile(dir=directory, prefix=_PREFIX, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        await surely(asyncio.to_thread(remove, path))  # freeing 200 MiB takes the file system 20 ms and more


async def receive(request: web.Request, path: Path, *, limit: int) -> None:
    """The body, as it was sent (a gzip stays one; the builder looks for itself), into the file."""
    encoding = request.headers.get("Content-Encoding", "").lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise InvalidInput(f"Content-Encoding: {encoding!r} is not taken here; send gzip or none")
    with _storage_full(), path.open("wb") as file:
        pending = bytearray()
        async for chunk in chunks(request, limit):
            pending += chunk
            if len(pending) >= _WRITE_BYTES:
                await _write(file, pending)
                pending = bytearray()
        await _write(file, pending)
        if file.tell() == 0:
            raise InvalidSource("the upload is empty")


def sweep(directory: Path) -> None:
    """Remove what a control plane that was killed left; there is one of them per directory."""
    for path in directory.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


async def _write(file: IO[bytes], data: bytearray) -> None:
    """A disk that is slow must not hold up the loop that starts replicas."""
    await asyncio.to_thread(file.write, data)


@contextmanager
def _storage_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFull("the disk that uploads are kept on is full") from error
