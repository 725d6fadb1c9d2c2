"""Directories that appear whole or not at all.

Everything the builder keeps is made in DATA/staging and moved to its place by one rename, after its bytes were brought
to the disk; so a killed build, or a machine that loses power, leaves nothing half-made where someone looks for it.
"""

import ctypes
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pilotlight.config import Sandbox
from pilotlight.core.errors import StorageFull

SOURCE_TIME_NS = 315_532_800 * 10**9
"""1980-01-01, the first moment that every archive format knows: the time of all files whose time means nothing."""

FOLDER_MODE = PROGRAM_MODE = 0o755
FILE_MODE = 0o644
"""Readable to the functions' user, writable to nobody but the platform."""

_FEW_FILES = 64
_SIDE_BY_SIDE = 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors() -> Iterator[None]:
    """A full disk as the sentence that its user needs."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("the disk of the server's data directory is full") from error
        raise


def make_staging(staging: Path, mode: int = 0o711) -> Path:
    """A new directory for something in the making; nobody can guess its name."""
    with storage_errors():
        directory = staging / secrets.token_hex(16)
        directory.mkdir(mode=0o700)
        directory.chmod(mode)
        return directory


def give(path: Path, sandbox: Sandbox) -> None:
    """Let the functions' user have it, while a program of that user works on it."""
    if sandbox.uid is not None and sandbox.gid is not None:
        os.chown(path, sandbox.uid, sandbox.gid, follow_symlinks=False)


def publish(made: Path, place: Path) -> None:
    """Move a directory to its place; when another build was faster, its result stays and ours goes."""
    with storage_errors():
        _persist(made)
        try:
            made.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            remove(made)
        else:
            _fsync(place.parent)


def write_atomically(place: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    with storage_errors():
        made = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        try:
            made.write_bytes(data)
            _fsync(made)
            made.rename(place)
        finally:
            made.unlink(missing_ok=True)


def seal(directory: Path) -> None:
    """Make what the functions' user made the platform's own: readable to all, writable to nobody else.

    The user's programs are gone by now, but links that they left are never followed."""
    for folder, folders, files, fd in os.fwalk(directory, follow_symlinks=False):
        _own(fd, FOLDER_MODE)
        for name in files:
            _seal_file(name, fd)
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                os.chown(name, os.getuid(), os.getgid(), dir_fd=fd, follow_symlinks=False)


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    with storage_errors():
        path = directory / "manifest.json"
        path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        path.chmod(FILE_MODE)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """None when there is nothing of that name."""
    try:
        manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_bytes())
    except FileNotFoundError:
        return None
    return manifest


def disk_bytes(path: Path) -> int:
    """What a file, or a directory with all that is in it, takes on the disk; measured once, when it is made."""
    total = _allocated(path)
    for folder, folders, files in os.walk(path):
        total += sum(_allocated(Path(folder, name)) for name in (*folders, *files))
    return total


def remove(path: Path) -> None:
    """Remove a file or a whole directory; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _allocated(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:  # removed meanwhile
        return 0


def _persist(directory: Path) -> None:
    """Bring all of it to the disk: its files side by side when it is little, else the whole file system at once.

    Side by side they share the file system's commits: ten files take 2 ms on ext4, one after the other 30."""
    paths = [Path(folder, name) for folder, _, names in os.walk(directory) for name in (*names, ".")]
    if len(paths) > _FEW_FILES:
        _sync_filesystem(directory)
        return
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        for _ in threads.map(_fsync, (path for path in paths if not path.is_symlink())):
            pass


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_filesystem(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", str(directory))
    finally:
        os.close(fd)


def _seal_file(name: str, folder: int) -> None:
    """A program keeps its right to be run; links stay links, and what is neither link nor file goes."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            os.unlink(name, dir_fd=folder)
            return
        os.chown(name, os.getuid(), os.getgid(), dir_fd=folder, follow_symlinks=False)
        return
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            _own(fd, PROGRAM_MODE if mode & 0o100 else FILE_MODE)
        else:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


def _own(fd: int, mode: int) -> None:
    os.fchown(fd, os.getuid(), os.getgid())
    os.fchmod(fd, mode)
