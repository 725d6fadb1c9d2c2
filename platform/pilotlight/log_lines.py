"""The programs' log goes to standard error, one line an event; a line that cannot be written is lost, and nothing else.

Standard error is often a file on the disk that is full, or a terminal that was closed. An exception out of a log call
would then end whatever was being done, and the log calls stand in the paths that must go on.
"""

import logging
import os
from contextlib import suppress

import structlog


class LogLines:
    """What structlog writes to; also its factory, since there is one standard error."""

    def __call__(self, *_names: object) -> "LogLines":
        return self

    def msg(self, message: str) -> None:
        line = f"{message}\n".encode(errors="backslashreplace")
        with suppress(OSError):
            os.write(2, line)

    debug = info = warning = error = critical = exception = msg


def log_to_stderr() -> None:
    """The same form for every program of the server: its lines stand among each other's."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=LogLines(),
        cache_logger_on_first_use=True,
    )
