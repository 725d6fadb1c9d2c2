"""The store on SQLite: write-ahead log, every acknowledged write on the disk before it is acknowledged."""

import sqlite3
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pilotlight.core.errors import InvalidInput, StorageFull
from pilotlight.core.revision import Bundle, Revision, RevisionState
from pilotlight.core.spec import FunctionKey, FunctionSpec

KEPT_REVISIONS = 20
"""Retired and failed revisions kept for each function; enough to look back, and the table stays small."""


class StoredFunction(msgspec.Struct, frozen=True, kw_only=True):
    key: FunctionKey
    created_at: float
    live: Revision
    scaled_to: int | None = None
    scaled_at: float | None = None


class Store:
    """One file. Opened with `async with Store.open(path)`; every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Make the file or bring it up to date; InvalidInput when a newer Pilotlight wrote it."""
        path.touch(mode=0o600)  # specs hold users' variables; the log files beside it take its mode
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0)
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        store = cls(engine)
        try:
            await store._migrate()
        except BaseException:
            await engine.dispose()
            raise
        return store

    async def close(self) -> None:
        await self._engine.dispose()

    async def functions(self) -> Sequence[StoredFunction]:
        """Every function with its live revision."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT f.key, f.created_at AS function_created_at, f.scaled_to, f.scaled_at, r.* "
                    "FROM functions f JOIN revisions r ON r.id = f.live_revision ORDER BY f.key"
                )
            )
            return [_stored_function(row._mapping) for row in rows]

    async def add_revision(self, revision_id: str, spec: FunctionSpec, bundle: Bundle, now: float) -> Revision:
        """The function's next revision, to be proven. The same id again gives the same revision."""
        async with self._transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO revisions (id, function, number, spec, bundle, state, created_at) VALUES (:id, :key, "
                    "(SELECT coalesce(max(number), 0) + 1 FROM revisions WHERE function = :key), "
                    ":spec, :bundle, :state, :now) ON CONFLICT (id) DO NOTHING"
                ),
                {
                    "id": revision_id,
                    "key": spec.key,
                    "spec": msgspec.json.encode(spec).decode(),
                    "bundle": msgspec.json.encode(bundle).decode(),
                    "state": RevisionState.PROVING,
                    "now": now,
                },
            )
            row = await connection.execute(text("SELECT * FROM revisions WHERE id = :id"), {"id": revision_id})
            return _revision(row.one()._mapping)

    async def make_live(self, revision: Revision, slots: int, now: float) -> None:
        """From now on this revision is served; the one before it is retired, and so is its scale call."""
        async with self._transaction() as connection:
            values = {"id": revision.id, "key": revision.function, "slots": slots, "now": now}
            await connection.execute(
                text("UPDATE revisions SET state = 'retired' WHERE function = :key AND state = 'live'"), values
            )
            await connection.execute(text("UPDATE revisions SET state = 'live', slots = :slots WHERE id = :id"), values)
            await connection.execute(
                text(
                    "INSERT INTO functions (key, created_at, live_revision) VALUES (:key, :now, :id) "
                    "ON CONFLICT (key) DO UPDATE SET live_revision = :id, scaled_to = NULL, scaled_at = NULL"
                ),
                values,
            )
            await connection.execute(
                text(
                    "DELETE FROM revisions WHERE function = :key AND state IN ('retired', 'failed') AND number <= "
                    "(SELECT number FROM revisions WHERE id = :id) - :kept"
                ),
                values | {"kept": KEPT_REVISIONS},
            )

    async def fail_revision(self, revision_id: str, why: str) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                text("UPDATE revisions SET state = 'failed', failure = :why WHERE id = :id AND state = 'proving'"),
                {"id": revision_id, "why": why},
            )

    async def fail_unfinished(self, why: str) -> int:
        """Fail what an earlier control plane was proving when it died; how many those were."""
        async with self._transaction() as connection:
            result = await connection.execute(
                text("UPDATE revisions SET state = 'failed', failure = :why WHERE state = 'proving'"), {"why": why}
            )
            return result.rowcount

    async def scaled(self, key: FunctionKey, replicas: int, now: float) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                text("UPDATE functions SET scaled_to = :replicas, scaled_at = :now WHERE key = :key"),
                {"key": key, "replicas": replicas, "now": now},
            )

    async def remove(self, key: FunctionKey) -> None:
        """The function and all its revisions; one that is not there is fine."""
        async with self._transaction() as connection:
            await connection.execute(text("DELETE FROM functions WHERE key = :key"), {"key": key})
            await connection.execute(text("DELETE FROM revisions WHERE function = :key"), {"key": key})

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._engine)

    async def _migrate(self) -> None:
        migrations = _migrations()
        async with self._engine.begin() as connection:
            done = (await connection.execute(text("PRAGMA user_version"))).scalar_one()
            if done > len(migrations):
                raise InvalidInput(
                    f"the data directory was written by a newer Pilotlight (schema {done}, this one knows "
                    f"{len(migrations)})",
                    hint="Start the newer version, or another data directory.",
                )
            for number, script in enumerate(migrations[done:], start=done + 1):
                for statement in _statements(script):
                    await connection.execute(text(statement))
                await connection.execute(text(f"PRAGMA user_version = {number}"))


class _Transaction:
    """engine.begin(), with SQLite's full disk told as StorageFull."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._begin = engine.begin()

    async def __aenter__(self) -> AsyncConnection:
        return await self._begin.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            await self._begin.__aexit__(kind, error, traceback)
        except OperationalError as failure:
            error = failure
        if isinstance(error, OperationalError):
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageFull("the disk of the data directory is full") from error
            raise error


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrations() -> list[str]:
    """The scripts by number; they are never changed once released."""
    folder = resources.files("pilotlight.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in names]


def _statements(script: str) -> list[str]:
    lines = [line.partition("--")[0] for line in script.splitlines()]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def _stored_function(row: Any) -> StoredFunction:
    return StoredFunction(
        key=row["key"],
        created_at=row["function_created_at"],
        live=_revision(row),
        scaled_to=row["scaled_to"],
        scaled_at=row["scaled_at"],
    )


def _revision(row: Any) -> Revision:
    return Revision(
        id=row["id"],
        number=row["number"],
        spec=msgspec.json.decode(row["spec"], type=FunctionSpec),
        bundle=msgspec.json.decode(row["bundle"], type=Bundle),
        created_at=row["created_at"],
        slots=row["slots"],
    )
