"""The store on SQLite: write-ahead log, every acknowledged write on the disk before it is acknowledged."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pilotlight.core.errors import InvalidInput, StorageFull
from pilotlight.core.revision import Bundle, Revision, RevisionState
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.store.kept import KeptTables
from pilotlight.store.reserve import Reserve

KEPT_REVISIONS = 20
"""Retired and failed revisions kept for each function; enough to look back, and the table stays small."""


_T = TypeVar("_T")
LOG_BYTES = 4 * 2**20
"""The write-ahead log gives back what it takes beyond this; on a full disk it grows, since it cannot be merged."""


class StoredFunction(msgspec.Struct, frozen=True, kw_only=True):
    key: FunctionKey
    created_at: float
    live: Revision
    scaled_to: int | None = None
    scaled_at: float | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A revision with what it refers to."""

    revision: str
    function: FunctionKey
    number: int
    state: str
    bundle: str
    environment: str
    image: str | None = None
    environment_image: str | None = None


class Store(KeptTables):
    """One file. Opened with `async with Store.open(path)`; every method is one transaction."""

    def __init__(self, engine: AsyncEngine, reserve: Reserve) -> None:
        self._engine = engine
        self._reserve = reserve

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Make the file or bring it up to date; InvalidInput when a newer Pilotlight wrote it. A full disk does not
        keep it from being opened, unless the reserve is used up, too."""
        reserve = Reserve(path.with_suffix(".reserve"))
        try:
            store = await cls._open(path, reserve)
        except StorageFull:
            if not reserve.give_up():
                raise
            store = await cls._open(path, reserve)
        reserve.keep()
        return store

    @classmethod
    async def _open(cls, path: Path, reserve: Reserve) -> "Store":
        path.touch(mode=0o600)  # specs hold users' variables; the log files beside it take its mode
        # Errors do not repeat a statement's values: among them are users' variables.
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        store = cls(engine, reserve)
        try:
            await store._migrate()
        except OperationalError as error:
            await engine.dispose()
            if _is_full(error):
                raise StorageFull("the disk of the data directory is full") from error
            raise
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

    async def references(self) -> Sequence[Reference]:
        """What every stored revision refers to, the newest of each function first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT id, function, number, state, bundle ->> 'digest', bundle ->> 'environment', "
                    "bundle ->> 'image', bundle ->> 'environment_image' FROM revisions ORDER BY function, number DESC"
                )
            )
            return [
                Reference(
                    revision=row[0],
                    function=row[1],
                    number=row[2],
                    state=row[3],
                    bundle=row[4],
                    environment=row[5],
                    image=row[6],
                    environment_image=row[7],
                )
                for row in rows
            ]

    async def add_revision(
        self,
        revision_id: str,
        spec: FunctionSpec,
        bundle: Bundle,
        now: float,
        secrets: Mapping[str, str] = MappingProxyType({}),
    ) -> Revision:
        """The function's next revision, to be proven. The same id again gives the same revision."""
        async with self._transaction() as connection:
            await connection.execute(text("DELETE FROM removed WHERE key = :key"), {"key": spec.key})
            await connection.execute(
                text(
                    "INSERT INTO revisions (id, function, number, spec, bundle, secrets, state, created_at) "
                    "VALUES (:id, :key, (SELECT coalesce(max(number), 0) + 1 FROM revisions WHERE function = :key), "
                    ":spec, :bundle, :secrets, :state, :now) ON CONFLICT (id) DO NOTHING"
                ),
                {
                    "id": revision_id,
                    "key": spec.key,
                    "spec": msgspec.json.encode(spec).decode(),
                    "bundle": msgspec.json.encode(bundle).decode(),
                    "secrets": msgspec.json.encode(dict(secrets)).decode(),
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
        await self._even_if_full(lambda: self._fail_revision(revision_id, why))

    async def _fail_revision(self, revision_id: str, why: str) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                text("UPDATE revisions SET state = 'failed', failure = :why WHERE id = :id AND state = 'proving'"),
                {"id": revision_id, "why": why},
            )

    async def fail_unfinished(self, why: str) -> int:
        """Fail what an earlier control plane was proving when it died; how many those were."""
        return await self._even_if_full(lambda: self._fail_unfinished(why))

    async def _fail_unfinished(self, why: str) -> int:
        async with self._transaction() as connection:
            result = await connection.execute(
                text("UPDATE revisions SET state = 'failed', failure = :why WHERE state = 'proving'"), {"why": why}
            )
            return result.rowcount

    async def scaled(self, key: FunctionKey, replicas: int | None, now: float) -> None:
        """What a scale call asked for; None when it is over."""
        async with self._transaction() as connection:
            await connection.execute(
                text("UPDATE functions SET scaled_to = :replicas, scaled_at = :now WHERE key = :key"),
                {"key": key, "replicas": replicas, "now": now},
            )

    async def remove(self, key: FunctionKey) -> None:
        """The function and all its revisions; one that is not there is fine. What else is kept of it goes later, and
        is not forgotten meanwhile: see `removed`. It can be done on a full disk: for this the reserve is there."""
        await self._even_if_full(lambda: self._remove(key))

    async def _remove(self, key: FunctionKey) -> None:
        async with self._transaction() as connection:
            await connection.execute(text("DELETE FROM functions WHERE key = :key"), {"key": key})
            await connection.execute(text("DELETE FROM revisions WHERE function = :key"), {"key": key})
            await connection.execute(text("DELETE FROM function_keys WHERE function = :key"), {"key": key})
            await connection.execute(text("INSERT INTO removed VALUES (:key) ON CONFLICT DO NOTHING"), {"key": key})

    async def removed(self) -> Sequence[FunctionKey]:
        """Functions that are gone, of which something is still kept."""
        async with self._engine.connect() as connection:
            return list((await connection.execute(text("SELECT key FROM removed ORDER BY key"))).scalars())

    async def forgotten(self, key: FunctionKey) -> None:
        """Nothing of a removed function is kept any more."""
        async with self._transaction() as connection:
            await connection.execute(text("DELETE FROM removed WHERE key = :key"), {"key": key})

    async def abandon(self, before: float) -> Sequence[FunctionKey]:
        """Remove the revisions of what was never live, if the last of them is older than this; whose those were."""
        self._reserve.keep()
        async with self._transaction() as connection:
            rows = await connection.execute(
                text(
                    "SELECT function FROM revisions WHERE function NOT IN (SELECT key FROM functions) "
                    "GROUP BY function HAVING max(created_at) < :before AND sum(state != 'failed') = 0"
                ),
                {"before": before},
            )
            keys = list(rows.scalars())
            for key in keys:
                await connection.execute(text("INSERT INTO removed VALUES (:key) ON CONFLICT DO NOTHING"), {"key": key})
                await connection.execute(text("DELETE FROM revisions WHERE function = :key"), {"key": key})
            return keys

    async def _even_if_full(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """For what ends something: on a full disk the reserve is there for it."""
        try:
            done = await act()
        except StorageFull:
            if not self._reserve.give_up():
                raise
            done = await act()
        self._reserve.keep()
        return done

    def transaction(self) -> "_Transaction":
        """One transaction, for the tables that have modules of their own."""
        return self._transaction()

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._engine)

    async def _migrate(self) -> None:
        migrations = _migrations()
        async with self._engine.begin() as connection:
            # Python's sqlite3 begins no transaction for statements that define tables: half of them would stay.
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
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
            if _is_full(error):
                raise StorageFull("the disk of the data directory is full") from error
            raise error


def _is_full(error: OperationalError) -> bool:
    """Of the write-ahead log's shared memory, whose file could not be made large enough, SQLite says that it is an IO
    error."""
    return getattr(error.orig, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "busy_timeout = 5000",
        f"journal_size_limit = {LOG_BYTES}",
    ):
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
        secrets=msgspec.json.decode(row["secrets"], type=dict[str, str]),
    )
