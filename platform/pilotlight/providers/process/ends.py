"""Why a replica ended, in one word and one sentence, from what its process, its zygote and itself said. Pure."""

import os
import signal
from dataclasses import dataclass

from pilotlight.providers.base import Ended
from pilotlight.providers.process.cgroups import Overuse
from pilotlight.providers.process.messages import Ending, Failed

DETAIL_CHARACTERS = 4000
"""Of a sentence that a function wrote: it is kept, sent to every router, and given to every caller."""
_OWN_WORDS = {"out-of-memory": "out-of-memory", "stuck": "stuck", "idle": "stopped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What waiting for the process gave."""

    code: int
    """As of waitpid."""
    max_rss_mib: int = 0


def how_it_ended(
    replica: str,
    *,
    status: Status | None,
    stopping: bool,
    insisted_after: float | None = None,
    cause: Failed | Ending | None = None,
    overuse: Overuse | None = None,
    last_lines: tuple[str, ...] = (),
) -> Ended:
    """What the replica said itself comes first (or the kernel of its memory), then that it was asked to, or made to
    after so many seconds, then its status; without any it is lost."""
    if overuse is not None and cause is None:
        cause = out_of_memory(overuse)
    if insisted_after is not None and cause is None:
        reason, detail = "killed", f"killed: it did not end within {insisted_after:g} s after it was told to"
    else:
        reason, detail = _reason(status, stopping, cause)
    code = None if status is None else os.waitstatus_to_exitcode(status.code)
    failed = cause if isinstance(cause, Failed) else None
    return Ended(
        id=replica,
        reason=reason,
        detail=_bounded(detail),
        exit_code=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
        slug=failed.slug if failed else None,
        file=_bounded(failed.file) if failed and failed.file else None,
        line=failed.line if failed else None,
        source=_bounded(failed.source) if failed and failed.source else None,
        last_lines=last_lines,
    )


def _bounded(text: str) -> str:
    return text if len(text) <= DETAIL_CHARACTERS else f"{text[:DETAIL_CHARACTERS]}..."


def out_of_memory(overuse: Overuse) -> Ending:
    """In the runtime's words."""
    detail = f"out of memory: {overuse.used_mib} MiB in use, the limit is {overuse.limit_mib} MiB"
    return Ending(reason="out-of-memory", detail=detail)


def _reason(status: Status | None, stopping: bool, cause: Failed | Ending | None) -> tuple[str, str]:
    if isinstance(cause, Failed):
        return "load-failed", cause.detail
    if isinstance(cause, Ending):
        return _OWN_WORDS.get(cause.reason, "exit"), cause.detail
    how = describe_status(status)
    if stopping:
        return "stopped", f"stopped: {how}" if status else "stopped"
    if status is None:
        return "lost", "it ended after its zygote had ended, so nobody could say how"
    if os.WIFSIGNALED(status.code):
        return "signal", how + _suspicion(status)
    return "exit", how


def describe_status(status: Status | None) -> str:
    """ "exited with code 3", "killed by signal 11 (SIGSEGV)"."""
    if status is None:
        return "nobody could say how it ended"
    code = os.waitstatus_to_exitcode(status.code)
    return f"killed by signal {-code}{_name(-code)}" if code < 0 else f"exited with code {code}"


def _name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""  # a real-time signal


def _suspicion(status: Status) -> str:
    """Nobody here sends an unprovoked SIGKILL; the kernel does when memory runs out."""
    if os.WTERMSIG(status.code) != signal.SIGKILL:
        return ""
    used = f" (it had used {status.max_rss_mib} MiB)" if status.max_rss_mib else ""
    return f"; perhaps out of memory{used}"
