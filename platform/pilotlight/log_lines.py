"""The programs' log goes to standard error, one line an event; a line that cannot be written is lost, and nothing else.

Standard error is often a file on the disk that is full, or a terminal that was closed. An exception out of a log call
would then end whatever was being done, and the log calls stand in the paths that must go on.
"""

import os
from contextlib import suppress


class LogLines:
    """What structlog writes to; also its factory, since there is one standard error."""

    def __call__(self, *_names: object) -> "LogLines":
        return self

    def msg(self, message: str) -> None:
        line = f"{message}\n".encode(errors="backslashreplace")
        with suppress(OSError):
            os.write(2, line)

    debug = info = warning = error = critical = exception = msg
