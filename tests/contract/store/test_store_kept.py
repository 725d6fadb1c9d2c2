"""Secrets, namespaces and keys in the store, on a real SQLite file and in the model's store."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionKey, FunctionSpec, function_key
from pilotlight.store.kept import OTHER_KEYS, SEAL_HEAD_BYTES, SMALL_BYTES, StoredKey, StoredNamespace
from pilotlight.store.sql import Store, _migrations, _statements
from tests.integration.model.store import MemoryStore

SEALED = b"\x01 eight.b the rest"
HELLO = function_key("hello")
BUNDLE = Bundle(digest="d1", environment="e1", template="python3-http", contract="http")


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db") if request.param == "sqlite" else MemoryStore()
    yield store
    await store.close()


async def put(store: Store, namespace: str, name: str, *, version: str = "v1", now: float = 1.0) -> None:
    await store.put_secret(namespace, name, version=version, sealed=SEALED, size_bytes=3, now=now)


async def test_what_is_small_is_listed_with_the_secret(store: Store) -> None:
    await put(store, "dev", "small")
    await store.put_secret("dev", "large", version="v", sealed=bytes(SMALL_BYTES + 1), size_bytes=1, now=1.0)
    assert {secret.name: secret.sealed for secret in await store.secrets()} == {"small": SEALED, "large": None}


async def test_a_secret_is_listed_with_what_tells_its_key(store: Store) -> None:
    await put(store, "dev", "b")
    await put(store, "dev", "a")
    assert [secret.name for secret in await store.secrets()] == ["a", "b"]
    [first, _] = await store.secrets()
    assert first.sealed_with == SEALED[:SEAL_HEAD_BYTES]
    assert (first.version, first.size_bytes, first.created_at) == ("v1", 3, 1.0)


async def test_what_was_sealed_is_given_for_the_names_that_are_there(store: Store) -> None:
    await put(store, "dev", "a")
    await put(store, "prod", "b")
    assert await store.sealed_secrets("dev", ["a", "b"]) == {"a": SEALED}
    assert await store.sealed_secrets("dev", []) == {}


async def test_a_new_value_keeps_when_the_secret_was_made(store: Store) -> None:
    await put(store, "dev", "a", version="v1", now=1.0)
    await put(store, "dev", "a", version="v2", now=2.0)
    [secret] = await store.secrets()
    assert (secret.version, secret.created_at, secret.set_at) == ("v2", 1.0, 2.0)


async def test_removing_a_secret_twice_is_removing_it_once(store: Store) -> None:
    await put(store, "dev", "a")
    await put(store, "prod", "a")
    for _ in range(2):
        await store.remove_secret("dev", "a")
    assert [secret.namespace for secret in await store.secrets()] == ["prod"]


async def test_a_namespace_goes_with_its_secrets(store: Store) -> None:
    await store.put_namespace(StoredNamespace(name="dev", labels={"a": "b"}, annotations={}, created_at=1.0))
    await put(store, "dev", "a")
    await put(store, "prod", "a")
    assert [namespace.labels for namespace in await store.namespaces()] == [{"a": "b"}]
    await store.remove_namespace("dev")
    assert (await store.namespaces(), [secret.namespace for secret in await store.secrets()]) == ([], ["prod"])


async def test_a_namespace_keeps_when_it_was_made(store: Store) -> None:
    first = StoredNamespace(name="dev", labels={}, annotations={}, created_at=1.0)
    await store.put_namespace(first)
    await store.put_namespace(msgspec.structs.replace(first, labels={"a": ":b"}, created_at=9.0))
    [namespace] = await store.namespaces()
    assert (namespace.labels, namespace.created_at) == ({"a": ":b"}, 1.0)


def a_key(digest: str, now: float, function: FunctionKey = HELLO) -> StoredKey:
    return StoredKey(function=function, digest=digest, created_at=now)


async def test_the_key_before_is_valid_for_as_long_as_was_said(store: Store) -> None:
    await store.add_function_key(a_key("d1", 1.0), b"s1", others_until=1.0)
    await store.add_function_key(a_key("d2", 2.0), b"s2", others_until=12.0)
    assert [(key.digest, key.expires_at) for key in await store.function_keys()] == [("d1", 12.0), ("d2", None)]
    await store.expire_function_keys(11.9)
    assert await store.sealed_key("d1") == b"s1"
    await store.expire_function_keys(12.0)
    assert (await store.sealed_key("d1"), await store.sealed_key("d2")) == (None, b"s2")


async def test_a_second_rotation_makes_no_key_valid_for_longer(store: Store) -> None:
    await store.add_function_key(a_key("d1", 1.0), b"s1", others_until=1.0)
    await store.add_function_key(a_key("d2", 2.0), b"s2", others_until=12.0)
    await store.add_function_key(a_key("d3", 3.0), b"s3", others_until=103.0)
    assert [(key.digest, key.expires_at) for key in await store.function_keys()] == [
        ("d1", 12.0),
        ("d2", 103.0),
        ("d3", None),
    ]


async def test_of_the_keys_before_only_the_newest_are_kept(store: Store) -> None:
    other = function_key("other")
    await store.add_function_key(a_key("o1", 0.0, other), b"o1", others_until=0.0)
    for number in range(OTHER_KEYS + 5):
        await store.add_function_key(a_key(f"d{number}", float(number)), b"s", others_until=1000.0)
    kept = [key.digest for key in await store.function_keys()]
    assert kept == ["o1", *(f"d{number}" for number in range(4, OTHER_KEYS + 5))]


async def test_without_a_grace_the_key_before_is_gone_at_once(store: Store) -> None:
    other = function_key("other")
    await store.add_function_key(a_key("o1", 1.0, other), b"o1", others_until=1.0)
    await store.add_function_key(a_key("d1", 1.0), b"s1", others_until=1.0)
    await store.add_function_key(a_key("d2", 2.0), b"s2", others_until=2.0)
    assert [key.digest for key in await store.function_keys()] == ["o1", "d2"]


async def test_a_functions_keys_go_with_it(store: Store) -> None:
    await store.add_function_key(a_key("d1", 1.0), b"s1", others_until=1.0)
    await store.remove(HELLO)
    assert await store.function_keys() == []


async def test_a_revision_remembers_the_versions_of_its_secrets(store: Store) -> None:
    spec = FunctionSpec(name="hello", image="bundle/hello@sha256:d1", secrets=("a",))
    revision = await store.add_revision("r1", spec, BUNDLE, 1.0, {"a": "v7"})
    await store.make_live(revision, slots=4, now=2.0)
    [function] = await store.functions()
    assert revision.secrets == function.live.secrets == {"a": "v7"}


async def test_a_store_from_before_keeps_its_namespaces_and_revisions(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as old:
        for script in _migrations()[:2]:
            for statement in _statements(script):
                old.execute(statement)
        for key in ("hello.openfaas-fn", "a.dev", "b.dev"):
            spec = f'{{"name":"{key.partition(".")[0]}","namespace":"{key.partition(".")[2]}","image":"x"}}'
            bundle = '{"digest":"d","environment":"e","template":"t","contract":"http"}'
            old.execute("INSERT INTO functions VALUES (?, 5.0, ?, NULL, NULL)", (key, key))
            values = (key, key, 1, spec, bundle, "live", 4, 5.0, None)
            old.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        old.execute("PRAGMA user_version = 2")
    old.close()
    store = await Store.open(tmp_path / "store.db")
    namespaces = [(namespace.name, namespace.labels) for namespace in await store.namespaces()]
    functions = await store.functions()
    await store.close()
    assert namespaces == [("dev", {"openfaas": "1"}), ("openfaas-fn", {"openfaas": "1"})]
    assert [function.live.secrets for function in functions] == [{}, {}, {}]
