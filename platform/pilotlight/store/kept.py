"""What users keep here besides functions: secrets, namespaces, and the keys of functions.

Values are sealed before they come and unsealed after they have left; the store sees neither.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pilotlight.core.spec import FunctionKey


class StoredSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value."""

    namespace: str
    name: str
    version: str
    size_bytes: int
    sealed_with: bytes
    """How its sealed form begins, which tells the key."""
    created_at: float
    set_at: float
    sealed: bytes | None = None
    """What was sealed, where that is small."""


class StoredNamespace(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    created_at: float


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A function's key without the key itself."""

    function: FunctionKey
    digest: str
    created_at: float
    expires_at: float | None = None


SEAL_HEAD_BYTES = 9
SMALL_BYTES = 4096
"""What is sealed and not larger is listed with the secret: a start then waits for no read."""


OTHER_KEYS = 7
"""Of one function, besides its present key: a call is compared with each, and who rotates by a script in a loop with a
long grace would pile them up."""


class KeptTables:
    """A part of `Store`, which has the engine and the transactions."""

    _engine: AsyncEngine

    def _transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        raise NotImplementedError

    async def _even_if_full(self, act: Callable[[], Awaitable[Any]]) -> Any:
        raise NotImplementedError

    async def secrets(self) -> Sequence[StoredSecret]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT namespace, name, version, size_bytes, substr(sealed, 1, :head) AS sealed_with, created_at, "
                    "set_at, CASE WHEN length(sealed) <= :small THEN sealed END AS sealed FROM secrets "
                    "ORDER BY namespace, name"
                ),
                {"head": SEAL_HEAD_BYTES, "small": SMALL_BYTES},
            )
            return [StoredSecret(**row._mapping) for row in rows]

    async def sealed_secrets(self, namespace: str, names: Sequence[str]) -> Mapping[str, bytes]:
        """Of those that are there, what was sealed."""
        statement = text("SELECT name, sealed FROM secrets WHERE namespace = :namespace AND name IN :names")
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                statement.bindparams(bindparam("names", expanding=True)),
                {"namespace": namespace, "names": list(names)},
            )
            return {row[0]: row[1] for row in rows}

    async def put_secret(
        self, namespace: str, name: str, *, version: str, sealed: bytes, size_bytes: int, now: float
    ) -> None:
        """Set it, or replace its value."""
        async with self._transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO secrets VALUES (:namespace, :name, :version, :sealed, :size, :now, :now) "
                    "ON CONFLICT (namespace, name) DO UPDATE SET version = :version, sealed = :sealed, "
                    "size_bytes = :size, set_at = :now"
                ),
                {
                    "namespace": namespace,
                    "name": name,
                    "version": version,
                    "sealed": sealed,
                    "size": size_bytes,
                    "now": now,
                },
            )

    async def remove_secret(self, namespace: str, name: str) -> None:
        """One that is not there is fine."""
        statement = "DELETE FROM secrets WHERE namespace = :namespace AND name = :name"
        await self._even_if_full(lambda: self._run(statement, namespace=namespace, name=name))

    async def namespaces(self) -> Sequence[StoredNamespace]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(text("SELECT * FROM namespaces ORDER BY name"))
            return [
                StoredNamespace(
                    name=row.name,
                    labels=msgspec.json.decode(row.labels),
                    annotations=msgspec.json.decode(row.annotations),
                    created_at=row.created_at,
                )
                for row in rows
            ]

    async def put_namespace(self, namespace: StoredNamespace) -> None:
        """Make it, or replace its labels and annotations."""
        await self._run(
            "INSERT INTO namespaces VALUES (:name, :labels, :annotations, :created_at) "
            "ON CONFLICT (name) DO UPDATE SET labels = :labels, annotations = :annotations",
            name=namespace.name,
            labels=msgspec.json.encode(namespace.labels).decode(),
            annotations=msgspec.json.encode(namespace.annotations).decode(),
            created_at=namespace.created_at,
        )

    async def remove_namespace(self, name: str) -> None:
        """And the secrets in it."""
        await self._even_if_full(lambda: self._remove_namespace(name))

    async def _remove_namespace(self, name: str) -> None:
        async with self._transaction() as connection:
            await connection.execute(text("DELETE FROM secrets WHERE namespace = :name"), {"name": name})
            await connection.execute(text("DELETE FROM namespaces WHERE name = :name"), {"name": name})

    async def function_keys(self) -> Sequence[StoredKey]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT function, digest, created_at, expires_at FROM function_keys ORDER BY created_at, digest")
            )
            return [StoredKey(**row._mapping) for row in rows]

    async def sealed_key(self, digest: str) -> bytes | None:
        async with self._engine.connect() as connection:
            found = await connection.execute(
                text("SELECT sealed FROM function_keys WHERE digest = :digest"), {"digest": digest}
            )
            return found.scalar()

    async def add_function_key(self, key: StoredKey, sealed: bytes, *, others_until: float) -> None:
        """From now on this is the function's key; those before it are valid until then, if not for less already, and
        only the newest OTHER_KEYS of them."""
        async with self._transaction() as connection:
            values = {
                "digest": key.digest,
                "function": key.function,
                "sealed": sealed,
                "now": key.created_at,
                "until": others_until,
                "others": OTHER_KEYS,
            }
            await connection.execute(
                text(
                    "UPDATE function_keys SET expires_at = min(coalesce(expires_at, :until), :until) "
                    "WHERE function = :function"
                ),
                values,
            )
            await connection.execute(text("DELETE FROM function_keys WHERE expires_at <= :now"), values)
            await connection.execute(
                text(
                    "DELETE FROM function_keys WHERE function = :function AND digest NOT IN (SELECT digest FROM "
                    "function_keys WHERE function = :function ORDER BY created_at DESC, rowid DESC LIMIT :others)"
                ),
                values,
            )
            await connection.execute(
                text("INSERT INTO function_keys VALUES (:digest, :function, :sealed, :now, NULL)"), values
            )

    async def expire_function_keys(self, now: float) -> None:
        await self._run("DELETE FROM function_keys WHERE expires_at <= :now", now=now)

    async def _run(self, statement: str, **values: object) -> None:
        async with self._transaction() as connection:
            await connection.execute(text(statement), values)
