"""A little of the disk set aside: on a full one the server still starts, and what frees room can still be written."""

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 256 * 1024
"""SQLite's shared memory file takes 32 KiB, the write-ahead log of a removal some pages of 4 KiB."""


class Reserve:
    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Set it aside, if it is not and there is room."""
        if self._path.exists():
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:
            self.give_up()
        finally:
            os.close(fd)

    def give_up(self) -> bool:
        """Whether there was any."""
        with suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False
