"""Why a container ended, in one word and one sentence, from what the engine knows of it. Pure."""

import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from pilotlight.providers.base import Ended
from pilotlight.providers.process.ends import Status
from pilotlight.providers.process.ends import how_it_ended as how_a_process_ended
from pilotlight.providers.process.messages import ChildEnded, Ending, Failed, is_an_end
from pilotlight_runtime.contained import LAST_WORDS

OOM_SECONDS = 5.0
"""The engine says that the kernel killed for memory, but not whom. A container that ends this soon afterwards ended of
it: its main process was killed, or gave up because a child of it was."""
_SIGNALS = range(129, 129 + 64)
LOAD_FAILED = 66
"""With this our runtime ends when a handler cannot be loaded; its last line says why (runtime/README.md)."""
_RUNTIME_SAYS = re.compile(
    r"(handler-syntax|handler-missing|import-failed|init-failed|load-failed): (.*?)(?: \(([^()]+), line (\d+)\))?"
)
_LACKS = {
    "read-only file system": "image-writes",
    "operation not permitted": "image-rights",
    "permission denied": "image-rights",
}
"""What the kernel refuses in a container is in the last words of whoever gave up for it."""
_INIT_SAYS = re.compile(r"\[FATAL tini \(\d+\)\] (exec .* failed: .*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What is known of one end; times are of the engine's clock."""

    exit_code: int | None = None
    """As the engine has it: 128 + N for signal N. None: it is not known any more."""
    oom_killed: bool = False
    """The engine's own flag; it stays down when a child was killed."""
    ended_at: float = 0.0
    oom_at: float | None = None
    """When the kernel last killed something in the container for memory."""
    error: str = ""


def how_it_ended(
    replica: str,
    death: Death,
    *,
    stopping: bool,
    insisted_after: float | None = None,
    memory_mib: int | None = None,
    last_lines: tuple[str, ...] = (),
) -> Ended:
    """Memory comes first, then that it was asked to end, or made to, then its status."""
    number = _signal(death.exit_code)
    reason, detail = _reason(death, number, stopping, insisted_after, memory_mib)
    slug = None
    file, line = None, None
    if reason == "exit" and (why := _not_run(last_lines)):
        reason, detail, slug = "load-failed", f"its image cannot be run: {why}", "image-not-runnable"
    elif death.exit_code == LOAD_FAILED and last_lines and (said := _RUNTIME_SAYS.fullmatch(last_lines[-1])):
        reason, slug, detail, file = "load-failed", said[1], said[2], said[3]
        line = int(said[4]) if said[4] else None
    elif reason == "exit" and death.exit_code:
        slug = _lacked(last_lines)
    return Ended(
        id=replica,
        reason=reason,
        detail=detail,
        exit_code=death.exit_code if number is None else None,
        signal=number,
        slug=slug,
        file=file,
        line=line,
        last_lines=last_lines,
    )


def how_a_pooled_one_ended(
    replica: str,
    *,
    word: ChildEnded | None,
    cause: Failed | Ending | None,
    death: Death | None,
    stopping: bool,
    insisted_after: float | None = None,
    memory_mib: int | None = None,
    oom_lately: bool = False,
    last_lines: tuple[str, ...] = (),
) -> Ended:
    """`word` is its zygote's, `cause` its own. Without its zygote's word what the engine knows has to do: `death`.
    `oom_lately`: the kernel has killed something in its container for memory a moment ago."""
    if word is None and cause is None and death is not None:
        return how_it_ended(
            replica,
            death,
            stopping=stopping,
            insisted_after=insisted_after,
            memory_mib=memory_mib,
            last_lines=last_lines,
        )
    if word is not None and _ended_of_memory(word, oom_lately) and not stopping:
        limit = f", limit {memory_mib}Mi" if memory_mib else ""
        cause = Ending(reason="out-of-memory", detail=f"out of memory{limit}")
    status = None
    if word is not None:
        status = Status(code=word.status, max_rss_mib=word.max_rss_kib // 1024)
    elif death is not None and death.exit_code is not None:
        status = Status(code=_wait_status(death.exit_code))
    return how_a_process_ended(
        replica,
        status=status,
        stopping=stopping,
        insisted_after=insisted_after,
        cause=cause,
        last_lines=last_lines,
    )


def _ended_of_memory(word: ChildEnded, oom_lately: bool) -> bool:
    """That the kernel killed at some time is not enough: a child of it may have been killed hours ago."""
    return word.oom and (word.status & 0x7F == signal.SIGKILL or (oom_lately and word.status != 0))


def last_word(lines: Iterable[str], replica: str) -> ChildEnded | None:
    """What a zygote prints when its replica has ended (pilotlight_runtime/contained.py)."""
    for line in lines:
        if line.startswith(LAST_WORDS):
            with suppress(msgspec.MsgspecError):
                word = msgspec.json.decode(line.removeprefix(LAST_WORDS), type=ChildEnded)
                if word.id == replica and is_an_end(word.status):
                    return word
    return None


def _wait_status(exit_code: int) -> int:
    """As of waitpid, of what the engine has as 128 + N for signal N."""
    number = _signal(exit_code)
    return number if number is not None else exit_code << 8


def _reason(
    death: Death, number: int | None, stopping: bool, insisted_after: float | None, memory_mib: int | None
) -> tuple[str, str]:
    if _out_of_memory(death) and not stopping:
        return "out-of-memory", "out of memory" + (f", limit {memory_mib}Mi" if memory_mib else "")
    if insisted_after is not None:
        return "killed", f"killed: it did not end within {insisted_after:g} s after it was told to"
    how = _describe(death, number)
    if stopping:
        return "stopped", f"stopped: {how}"
    if death.exit_code is None:
        return "lost", how
    return ("exit", how) if number is None else ("signal", how)


def _out_of_memory(death: Death) -> bool:
    if death.oom_killed:
        return True
    return death.oom_at is not None and 0 <= death.ended_at - death.oom_at <= OOM_SECONDS and death.exit_code != 0


def _describe(death: Death, number: int | None) -> str:
    if death.exit_code is None:
        return "its container is gone, so nobody could say how it ended"
    if number is not None:
        try:
            return f"killed by signal {number} ({signal.Signals(number).name})"
        except ValueError:  # a real-time signal
            return f"killed by signal {number}"
    return f"exited with code {death.exit_code}" + (f": {death.error}" if death.error else "")


def _not_run(last_lines: tuple[str, ...]) -> str | None:
    """What the engine's init said of a command that it could not run; nothing of the image's own ran then."""
    said = _INIT_SAYS.match(last_lines[0]) if len(last_lines) == 1 else None
    return None if said is None else said[1].lower()


def _lacked(last_lines: tuple[str, ...]) -> str | None:
    said = "\n".join(last_lines[-5:]).lower()
    return next((slug for words, slug in _LACKS.items() if words in said), None)


def _signal(exit_code: int | None) -> int | None:
    return exit_code - 128 if exit_code in _SIGNALS and exit_code is not None else None
