"""Counts of calls in the store: written seldom, in one transaction, and never on a call's way."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import text

from pilotlight.core.spec import FunctionKey
from pilotlight.store.sql import Store


class StoredCount(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one function that one run of a router answered with one status."""

    function: FunctionKey
    router: str
    epoch: str
    code: int
    calls: int


class CountTable:
    """Implements control.counts.CountStore."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> Sequence[StoredCount]:
        """All of functions that are there; what is left of others (removed while the server died) goes."""
        async with self._store.transaction() as connection:
            await connection.execute(text("DELETE FROM call_counts WHERE function NOT IN (SELECT key FROM functions)"))
            rows = await connection.execute(text("SELECT function, router, epoch, code, calls FROM call_counts"))
            return [
                StoredCount(function=FunctionKey(row[0]), router=row[1], epoch=row[2], code=row[3], calls=row[4])
                for row in rows
            ]

    async def save(
        self, counts: Iterable[StoredCount], *, removed: Iterable[FunctionKey], ended: Iterable[tuple[str, str]]
    ) -> None:
        """Forget removed functions and ended runs (router, epoch), then take these in. Raises StorageFull."""
        gone = [{"function": function} for function in removed]
        over = [{"router": router, "epoch": epoch} for router, epoch in ended]
        rows = [msgspec.structs.asdict(count) for count in counts]
        async with self._store.transaction() as connection:
            if gone:
                await connection.execute(text("DELETE FROM call_counts WHERE function = :function"), gone)
            if over:
                await connection.execute(
                    text("DELETE FROM call_counts WHERE router = :router AND epoch = :epoch"), over
                )
            if rows:
                await connection.execute(
                    text(
                        "INSERT INTO call_counts (function, router, epoch, code, calls) "
                        "VALUES (:function, :router, :epoch, :code, :calls) "
                        "ON CONFLICT (function, router, epoch, code) DO UPDATE SET calls = excluded.calls"
                    ),
                    rows,
                )
