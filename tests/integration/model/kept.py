"""Secrets, namespaces and keys of the model's store; each write is durable at once."""

from collections.abc import Mapping, Sequence

import msgspec

from pilotlight.core.spec import FunctionKey
from pilotlight.store.kept import (
    OTHER_KEYS,
    SEAL_HEAD_BYTES,
    SMALL_BYTES,
    KeptTables,
    StoredKey,
    StoredNamespace,
    StoredSecret,
)


class MemoryKept(KeptTables):
    def __init__(self) -> None:
        self._secrets: dict[tuple[str, str], tuple[StoredSecret, bytes]] = {}
        self._namespaces: dict[str, StoredNamespace] = {}
        self._keys: dict[str, tuple[StoredKey, bytes]] = {}

    async def secrets(self) -> Sequence[StoredSecret]:
        return [secret for _, (secret, _) in sorted(self._secrets.items())]

    async def sealed_secrets(self, namespace: str, names: Sequence[str]) -> Mapping[str, bytes]:
        found = {name: self._secrets.get((namespace, name)) for name in names}
        return {name: each[1] for name, each in found.items() if each is not None}

    async def put_secret(
        self, namespace: str, name: str, *, version: str, sealed: bytes, size_bytes: int, now: float
    ) -> None:
        before = self._secrets.get((namespace, name))
        secret = StoredSecret(
            namespace=namespace,
            name=name,
            version=version,
            size_bytes=size_bytes,
            sealed_with=sealed[:SEAL_HEAD_BYTES],
            created_at=before[0].created_at if before else now,
            set_at=now,
            sealed=sealed if len(sealed) <= SMALL_BYTES else None,
        )
        self._secrets[namespace, name] = secret, sealed

    async def remove_secret(self, namespace: str, name: str) -> None:
        self._secrets.pop((namespace, name), None)

    async def namespaces(self) -> Sequence[StoredNamespace]:
        return [self._namespaces[name] for name in sorted(self._namespaces)]

    async def put_namespace(self, namespace: StoredNamespace) -> None:
        before = self._namespaces.get(namespace.name, namespace)
        self._namespaces[namespace.name] = msgspec.structs.replace(namespace, created_at=before.created_at)

    async def remove_namespace(self, name: str) -> None:
        self._namespaces.pop(name, None)
        self._secrets = {key: secret for key, secret in self._secrets.items() if key[0] != name}

    async def function_keys(self) -> Sequence[StoredKey]:
        return sorted((key for key, _ in self._keys.values()), key=lambda key: (key.created_at, key.digest))

    async def sealed_key(self, digest: str) -> bytes | None:
        return self._keys[digest][1] if digest in self._keys else None

    async def add_function_key(self, key: StoredKey, sealed: bytes, *, others_until: float) -> None:
        for digest, (other, other_sealed) in list(self._keys.items()):
            if other.function == key.function:
                until = others_until if other.expires_at is None else min(other.expires_at, others_until)
                self._keys[digest] = msgspec.structs.replace(other, expires_at=until), other_sealed
        await self.expire_function_keys(key.created_at)
        others = [known for known, (other, _) in self._keys.items() if other.function == key.function]
        for digest in others[:-OTHER_KEYS]:
            del self._keys[digest]
        self._keys[key.digest] = key, sealed

    async def expire_function_keys(self, now: float) -> None:
        self._keys = {
            digest: (key, sealed)
            for digest, (key, sealed) in self._keys.items()
            if key.expires_at is None or key.expires_at > now
        }

    def drop_keys(self, function: FunctionKey) -> None:
        self._keys = {digest: each for digest, each in self._keys.items() if each[0].function != function}
