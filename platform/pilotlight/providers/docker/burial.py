"""What is done when a container has ended: find out why, tell it, write down what it printed, and remove it all."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.failures import Refused
from pilotlight.providers.base import Ended, LogLine
from pilotlight.providers.docker.containers import unix_seconds
from pilotlight.providers.docker.ends import OOM_SECONDS, Death, how_a_pooled_one_ended, how_it_ended, last_word
from pilotlight.providers.docker.logs import ContainerLogs, archive
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Common, Site
from pilotlight.providers.process.messages import ChildEnded

log = structlog.get_logger(__name__)

LAST_LINES = 20
KILLED = 137
OOM_WORD_SECONDS = 0.1
"""That the kernel killed for memory is told on another way than the end, and may come a moment later."""
UNSAID = ("signal", "exit", "lost", "killed", "out-of-memory")
"""Ends that a replica could not tell its log."""


class Burial:
    def __init__(
        self, site: Site, common: Common, logs: ContainerLogs, *, tell: Callable[[Replica, Ended], None]
    ) -> None:
        self._site = site
        self._common = common
        self._files = common.files
        self._making = common.settings.data_dir / "logs" / ".making"
        self._logs = logs
        self._tell = tell

    async def bury(self, replica: Replica, exit_code: int | None, *, quietly: bool) -> None:
        try:
            ended = await (self._why_pooled if replica.is_pooled else self._why)(replica, exit_code)
        except Exception as error:  # whatever it was: its end is told
            log.warning("why it ended is not known", replica=replica.id, reason=str(error) or repr(error))
            ended = Ended(id=replica.id, reason="lost", detail="nobody could say how it ended")
        if not quietly:
            self._tell(replica, ended)
        try:
            await self._clear_away(replica, ended)
        except (PilotlightError, OSError) as error:  # it is found again when the engine is back, or at the next start
            log.warning("not cleared away", replica=replica.id, reason=str(error))

    async def _clear_away(self, replica: Replica, ended: Ended) -> None:
        container = replica.record.container
        if replica.is_pooled:  # its log is a file already
            await self._site.remove(container)
            await self._end_log(replica, ended)
        else:
            await self._keep_log(replica, ended)
            await self._site.remove(container)
        await asyncio.to_thread(self._common.folders.drop, replica.id)
        if replica.claim is not None:
            await asyncio.to_thread(self._common.folders.drop, replica.claim.zygote)
            await asyncio.to_thread(self._common.berths.drop, replica.claim.zygote, replica.id)

    async def _why(self, replica: Replica, exit_code: int | None) -> Ended:
        return how_it_ended(
            replica.id,
            await self._autopsy(replica, exit_code),
            stopping=replica.stopping,
            insisted_after=replica.insisted_after,
            memory_mib=replica.record.memory_mib,
            last_lines=await self._last_lines(replica),
        )

    async def _why_pooled(self, replica: Replica, exit_code: int | None) -> Ended:
        last_lines: tuple[str, ...] = ()
        with suppress(OSError):
            last_lines = await asyncio.to_thread(self._files.last_lines, replica.record.function, replica.id)
        word = replica.status or await asyncio.to_thread(self._last_word, replica)
        if word is not None and word.oom and replica.oom_at is None:
            await asyncio.sleep(OOM_WORD_SECONDS)
        return how_a_pooled_one_ended(
            replica.id,
            word=word,
            cause=replica.cause,
            death=None if word else await self._autopsy(replica, exit_code),
            stopping=replica.stopping,
            insisted_after=replica.insisted_after,
            memory_mib=replica.record.memory_mib,
            oom_lately=replica.oom_at is not None and time.time() - replica.oom_at < OOM_SECONDS,
            last_lines=last_lines,
        )

    def _last_word(self, replica: Replica) -> ChildEnded | None:
        """What its zygote left in the engine's log, for us who did not listen. Blocks."""
        with suppress(PilotlightError, Refused):
            lines = self._logs.tail(replica.record, LAST_LINES)
            return last_word((line.text for line in lines), replica.id)
        return None

    async def _autopsy(self, replica: Replica, exit_code: int | None) -> Death:
        container = replica.record.container
        state: dict[str, Any] = {}
        with suppress(Refused, PilotlightError):
            found = await self._site.engine.call(lambda client: client.inspect_container(container))
            state = dict(found["State"])
            exit_code = int(state["ExitCode"])
        if exit_code == KILLED and replica.record.memory_mib and not replica.stopping and replica.oom_at is None:
            await asyncio.sleep(OOM_WORD_SECONDS)
        ended_at = 0.0
        with suppress(ValueError, KeyError):
            ended_at = unix_seconds(state["FinishedAt"])
        # The word of the kernel may come after the end that it explains.
        oom_at = None if replica.oom_at is None else min(replica.oom_at, ended_at or replica.oom_at)
        return Death(
            exit_code=exit_code,
            oom_killed=bool(state.get("OOMKilled")),
            ended_at=ended_at or (oom_at or 0.0),
            oom_at=oom_at,
            error=str(state.get("Error") or ""),
        )

    async def _last_lines(self, replica: Replica) -> tuple[str, ...]:
        with suppress(PilotlightError):
            lines = await asyncio.to_thread(self._logs.tail, replica.record, LAST_LINES)
            return tuple(line.text for line in lines)
        return ()

    async def _end_log(self, replica: Replica, ended: Ended) -> None:
        try:
            if ended.reason in UNSAID:
                await asyncio.to_thread(self._files.note, replica.record.function, replica.id, ended.detail)
            await self._prune(replica)
        except OSError as error:
            log.warning("log not ended", replica=replica.id, reason=error.strerror)

    async def _keep_log(self, replica: Replica, ended: Ended) -> None:
        record = replica.record
        try:
            lines = await asyncio.to_thread(self._logs.lines, record, tail=None, since=None)
            if ended.reason in UNSAID:
                at = lines[-1].time if lines else record.created
                lines = [*lines, LogLine(time=at, replica=replica.id, stream="system", text=ended.detail)]
            if lines:
                await asyncio.to_thread(archive, self._files, self._making, record.function, replica.id, lines)
            await self._prune(replica)
        except OSError as error:
            log.warning("log not kept", replica=replica.id, reason=error.strerror)

    async def _prune(self, replica: Replica) -> None:
        function = replica.record.function
        await asyncio.to_thread(self._files.prune, function, self._common.running_of(function))
