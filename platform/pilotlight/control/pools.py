"""Which pools stay warm: those of the live revisions, and no other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog

from pilotlight.control.launcher import pool_of
from pilotlight.core.errors import PilotlightError
from pilotlight.core.revision import Revision
from pilotlight.providers.base import Pool, Provider

log = structlog.get_logger(__name__)


class Pools:
    """Keeps `spares` spares in each pool of a live revision."""

    def __init__(self, provider: Provider, *, spares: int) -> None:
        self.spares = spares
        self._provider = provider
        self._kept: set[Pool] = set()
        self._proving: Counter[Pool] = Counter()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def proving(self, pool: Pool) -> AsyncIterator[None]:
        """Kept while a revision is proven that is not live yet; the next `sync` lets it go if that came to nothing.
        Raises what preparing it raises."""
        self._proving[pool] += 1
        self._kept.add(pool)
        try:
            await self._provider.prepare(pool, self.spares)
            yield
        finally:
            self._proving[pool] -= 1

    async def sync(self, live: Iterable[Revision]) -> None:
        """Prepare what is missing, then let go of what is not needed any more. A pool that cannot be made is logged:
        its function's next start tries again and tells its caller."""
        async with self._lock:
            revisions = list(live)
            wanted = {pool_of(revision, revisions) for revision in revisions} | set(+self._proving)
            for pool in wanted - self._kept:
                if await self._prepare(pool, self.spares):
                    self._kept.add(pool)
            for pool in self._kept - wanted:
                if await self._prepare(pool, 0):
                    self._kept.discard(pool)

    async def _prepare(self, pool: Pool, count: int) -> bool:
        try:
            await self._provider.prepare(pool, count)
        except PilotlightError as error:
            log.warning("pool not prepared", environment=pool.environment[:12], detail=error.detail)
            return False
        return True
