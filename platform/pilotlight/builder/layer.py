"""The runtime that lies beside every environment: pilotlight_runtime, uvloop and httptools.

Copied from the server's own installation (a wheel or a source checkout), so that it has exactly the version that the
server was tested with, to a place that the functions' user can read; addressed by its contents.
"""

import asyncio
import compileall
import hashlib
import importlib.util
import py_compile
import shutil
import sys
from pathlib import Path

from pilotlight.builder.files import make_staging, publish, seal, storage_errors
from pilotlight.core.errors import PilotlightError
from pilotlight.core.naming import digest_of

PACKAGES = ("pilotlight_runtime", "uvloop", "httptools")
_LEFT_OUT = ("__pycache__", "*.pyc", "*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.c", "*.h")
"""Sources of compiled modules and type stubs: half of the size, and nothing that runs."""


async def ensure_layer(data_dir: Path) -> Path:
    """The layer's directory, DATA/runtime/DIGEST, made when it is not there."""
    return await asyncio.to_thread(_ensure_layer, data_dir)


def _ensure_layer(data_dir: Path) -> Path:
    folders = [_package_folder(name) for name in PACKAGES]
    place = data_dir / "runtime" / _digest(folders)
    if place.is_dir():
        return place
    with storage_errors():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.chmod(0o755)
        (data_dir / "staging").mkdir(exist_ok=True)
        made = make_staging(data_dir / "staging")
        for folder in folders:
            shutil.copytree(folder, made / folder.name, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        _compile(made)
    seal(made)
    publish(made, place)
    return place


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise PilotlightError(f"the server's installation lacks {name}", hint="Install pilotlight again.")
    return Path(spec.origin).parent


def _digest(folders: list[Path]) -> str:
    """Over the names and contents of all files that are copied, and the ABI that they were compiled for."""
    parts = [str(sys.implementation.cache_tag).encode()]
    ignore = shutil.ignore_patterns(*_LEFT_OUT)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder.parent)
            if path.is_file() and not any(ignore(str(folder), [part]) for part in inside.parts):
                parts += [str(inside).encode(), hashlib.sha256(path.read_bytes()).digest()]
    return digest_of(parts)


def _compile(made: Path) -> None:
    """Byte code that is valid wherever the files are moved and whatever their times become: they never change."""
    compileall.compile_dir(
        str(made),
        quiet=2,
        stripdir=str(made),
        force=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
