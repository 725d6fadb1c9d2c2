"""Sealing: how secrets and functions' keys lie in the store, opened by a key file that lies beside it.

Whoever gets a copy of the store alone reads none of them. What is sealed is

    0x01, 8 bytes that tell which key, 12 bytes of nonce, AES-256-GCM of the value

and bound to what it is for: one secret's sealed value in another one's place does not open. The key file has a line for
each key, the one in use first, so that a new key can be put before an old one. It is read each time: putting it back
needs no restart. The library takes 16 ms and 10 MiB, so it is loaded when the first secret is.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from pilotlight.core.errors import SecretsLocked
from pilotlight.store.kept import SEAL_HEAD_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = structlog.get_logger(__name__)
_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_HEAD = (
    "# What Pilotlight's secrets are sealed with, the key in use first. Without this file they cannot be read: keep a\n"
    "# copy, and not beside the store.\n"
)
_FILE = "the key file of the secrets (auth/secrets.key in the server's data directory)"


class Seal:
    """`in_use` says whether something is sealed already: only if not, a missing key file is made."""

    def __init__(self, path: Path, in_use: Callable[[], bool]) -> None:
        self._path = path
        self._in_use = in_use
        self._making = threading.Lock()
        self._warned_of: int | None = None

    def close(self, value: bytes, purpose: str) -> bytes:
        """The value as it may be stored. Raises SecretsLocked."""
        with self._making:  # the first two secrets at once make one key file
            key = self._keys(make=True)[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _head(key) + nonce + _cipher(key).encrypt(nonce, value, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What `close` was given for this purpose. Raises SecretsLocked."""
        [value] = self.open_all([(sealed, purpose)])
        return value

    def open_all(self, sealed: Iterable[tuple[bytes, str]]) -> list[bytes]:
        """The same for several, each with its purpose; the key file is read once, and not for none."""
        keys: list[bytes] = []
        values = []
        for each, purpose in sealed:
            keys = keys or self._keys()
            values.append(_open(keys, each, purpose))
        return values

    @staticmethod
    def head_of(sealed: bytes) -> bytes:
        """Which key it was sealed with."""
        return sealed[:SEAL_HEAD_BYTES]

    def heads(self) -> frozenset[bytes]:
        """How that begins which can be opened now; nothing when the key file cannot be read."""
        try:
            return frozenset(_head(key) for key in self._keys())
        except SecretsLocked:
            return frozenset()

    def _keys(self, *, make: bool = False) -> list[bytes]:
        try:
            with self._path.open(encoding="ascii") as file:
                self._look_at(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
                text = file.read()
        except FileNotFoundError:
            if self._in_use() or not make:
                raise SecretsLocked(f"{_FILE} is gone") from None
            return [self._make()]
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SecretsLocked(f"{_FILE} cannot be read: {why}") from error
        lines = [line.strip() for line in text.splitlines()]
        keys = [_key(line, number) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
        if not keys:
            raise SecretsLocked(f"{_FILE} is empty")
        return keys

    def _look_at(self, mode: int) -> None:
        """Who put it back from a copy may have left it open to others; said once for each such mode."""
        if mode & (stat.S_IRWXG | stat.S_IRWXO) == 0:
            self._warned_of = None
        elif mode != self._warned_of:
            self._warned_of = mode
            cure = f"chmod 600 {self._path}"
            log.warning("the key file of the secrets is open to others than its owner", mode=f"{mode:04o}", cure=cure)

    def _make(self) -> bytes:
        """Whole, and on the disk, before anything is sealed with it."""
        key = secrets.token_bytes(_KEY_BYTES)
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(f"{_HEAD}{base64.b64encode(key).decode()}\n".encode())
                file.flush()
                os.fsync(fd)
            draft.rename(self._path)
            _sync(self._path.parent)
        except OSError as error:
            raise SecretsLocked(
                f"{_FILE} cannot be made: {error.strerror}", hint="Give the server room and the right to write there."
            ) from error
        return key


def _key(line: str, number: int) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SecretsLocked(f"line {number} of {_FILE} is no key (32 bytes in base64)")
    return key


def _open(keys: Sequence[bytes], sealed: bytes, purpose: str) -> bytes:
    head, rest = sealed[:SEAL_HEAD_BYTES], sealed[SEAL_HEAD_BYTES:]
    key = next((key for key in keys if _head(key) == head), None)
    if key is None:
        raise SecretsLocked(f"{purpose} was stored under another key than those in {_FILE}")
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], purpose.encode())
    except InvalidTag:
        hint = "The store was altered or is damaged: set it again, or put the store back from a backup."
        raise SecretsLocked(f"{purpose} is not what was stored", hint=hint) from None


def _head(key: bytes) -> bytes:
    return _VERSION + hashlib.sha256(b"pilotlight key\0" + key).digest()[: SEAL_HEAD_BYTES - 1]


def load() -> None:
    """What the first sealing or opening takes 16 ms for; in a busy process more."""
    with contextlib.suppress(SecretsLocked):
        _cipher(bytes(_KEY_BYTES))


def _cipher(key: bytes) -> "AESGCM":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        hint = "Install it for the server (pip install cryptography), then start the server again."
        raise SecretsLocked("the package `cryptography` is missing", hint=hint) from error
    return AESGCM(key)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
