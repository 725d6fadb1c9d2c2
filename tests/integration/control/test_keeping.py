"""Secrets, namespaces and keys over a whole control plane: what launches carry, what routes say, what is refused."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from pilotlight.core.errors import (
    Conflict,
    InvalidInput,
    KeyNotFound,
    NamespaceNotFound,
    PilotlightError,
    RevisionFailed,
    SecretNotFound,
    SecretsLocked,
    TooLarge,
)
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionSpec, Scaling, function_key
from pilotlight.providers.base import Ended
from pilotlight.providers.fake import FakeProvider
from pilotlight.store.kept import OTHER_KEYS
from tests.integration.control.scene import HELLO, Scene, hello

NS = DEFAULT_NAMESPACE
USES = hello(secrets=("token",))
LOCKED = hello(auth="key")
OTHER_KEY = "A" * 43 + "=\n"


def values(fake: FakeProvider, name: str = "token") -> list[bytes]:
    """What the replicas that run were given, the oldest first."""
    return [replica.launch.secrets[name] for _, replica in sorted(fake.backend.replicas.items())]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def deployed(scene: Scene, value: bytes) -> None:
    """`hello` with its secret is live in a control plane that is gone."""
    async with scene.plane() as (plane, _, _):
        await plane.secrets.set(NS, "token", value)
        await plane.deploy(USES)


async def test_a_launch_carries_the_values_and_does_not_show_them(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.secrets.create(NS, "token", b"\x00hunter2")
        await plane.secrets.create(NS, "unused", b"other")
        await plane.deploy(USES)
        [replica] = fake.backend.replicas.values()
        assert replica.launch.secrets == {"token": b"\x00hunter2"}
        assert "hunter2" not in repr(replica.launch)


async def test_small_and_large_values_come_together(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        for name, size in (("a", 10), ("b", 2**20), ("c", 0)):
            await plane.secrets.set(NS, name, name.encode() * size)
    async with scene.plane() as (plane, _, fake):
        await plane.deploy(hello(secrets=("c", "b", "a", "a")))
        [replica] = fake.backend.replicas.values()
        assert replica.launch.secrets == {"a": b"a" * 10, "b": b"b" * 2**20, "c": b""}


async def test_a_deploy_after_a_change_is_another_revision_with_the_new_value(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.secrets.create(NS, "token", b"one")
        await plane.deploy(USES)
        assert (await plane.deploy(USES)).unchanged
        await plane.secrets.replace(NS, "token", b"two")
        assert plane.secrets.get(NS, "token").outdated_in == (HELLO,)
        assert values(fake) == [b"one"]
        again = await plane.deploy(USES)
        assert (again.unchanged, again.view.revision) == (False, 2)
        await router.until(lambda: len(router.endpoints()) == 1)
        assert plane.secrets.get(NS, "token").outdated_in == ()
        assert b"two" in values(fake)


async def test_setting_the_same_value_changes_nothing(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.secrets.create(NS, "token", b"one")
        await plane.deploy(USES)
        await plane.secrets.replace(NS, "token", b"one")
        assert plane.secrets.get(NS, "token").outdated_in == ()
        assert (await plane.deploy(USES)).unchanged


async def test_a_replica_that_starts_later_gets_the_value_of_then(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.secrets.create(NS, "token", b"one")
        await plane.deploy(USES)
        await plane.secrets.replace(NS, "token", b"two")
        await plane.scale(HELLO, 2)
        await router.until(lambda: len(router.endpoints()) == 2)
        assert sorted(values(fake)) == [b"one", b"two"]


async def test_secrets_survive_a_restart(scene: Scene) -> None:
    await deployed(scene, b"one")
    async with scene.plane() as (plane, _, _):
        [view] = plane.secrets.all()
        assert (view.name, view.used_by, view.locked, view.size_bytes) == ("token", (HELLO,), False, 3)
        assert (await plane.deploy(USES)).unchanged


async def test_a_secret_of_another_namespace_is_not_there(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.namespaces.create("dev", {}, {})
        await plane.secrets.create("dev", "token", b"v")
        with pytest.raises(SecretNotFound, match=r"unable to find secret: token$"):
            await plane.deploy(USES)
        assert (fake.backend.starts, plane.functions()) == (0, [])


async def test_the_nearest_names_are_told(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.secrets.create(NS, "tokens", b"v")
        with pytest.raises(SecretNotFound, match=r"did you mean tokens\?"):
            await plane.deploy(USES)
        with pytest.raises(SecretNotFound, match=r"did you mean tokens\?"):
            await plane.secrets.remove(NS, "token")
        with pytest.raises(NamespaceNotFound, match=rf"did you mean {NS}\?"):
            await plane.deploy(hello(namespace="openfass-fn"))


async def test_a_secret_that_functions_use_stays_unless_somebody_insists(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.secrets.create(NS, "token", b"v")
        await plane.deploy(USES)
        with pytest.raises(Conflict, match=f"secret token is used by {HELLO}$") as raised:
            await plane.secrets.remove(NS, "token")
        assert raised.value.slug == "secret-in-use"
        await plane.secrets.remove(NS, "token", force=True)
        assert (plane.secrets.all(), values(fake)) == ([], [b"v"])


async def test_a_secret_stays_also_for_what_is_being_deployed(scene: Scene) -> None:
    async with scene.plane(ready_delay=None) as (plane, _, fake):
        await plane.secrets.create(NS, "token", b"v")
        deploying = asyncio.create_task(plane.deploy(USES))
        await until(lambda: fake.backend.replicas)
        with pytest.raises(Conflict, match=f"secret token is used by {HELLO}$"):
            await plane.secrets.remove(NS, "token")
        await fake.make_ready(next(iter(fake.backend.replicas)))
        await deploying
        assert [view.used_by for view in plane.secrets.all()] == [(HELLO,)]


async def test_a_deploy_that_failed_holds_no_secret(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        await plane.secrets.create(NS, "token", b"v")
        fake.load_failure = Ended(id="", reason="load-failed", detail="no handler", slug="handler-missing")
        with pytest.raises(RevisionFailed):
            await plane.deploy(USES)
        await plane.secrets.remove(NS, "token")
        assert plane.secrets.all() == []


async def test_a_function_whose_secret_is_gone_says_so_and_starts_once_it_is_back(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.secrets.create(NS, "token", b"v")
        await plane.deploy(USES)
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        await plane.secrets.remove(NS, "token", force=True)
        router.report(waiting=1)
        await router.until(lambda: router.routes[HELLO].failure is not None)
        failure = router.routes[HELLO].failure
        assert failure is not None
        assert (failure.slug, failure.detail[:30]) == ("secret-not-found", "unable to find secret: token (")
        await plane.secrets.create(NS, "token", b"back")
        assert (await plane.function(HELLO)).state == "starting"
        await router.until(lambda: len(router.endpoints()) == 1)
        assert values(fake) == [b"back"]


def gone(scene: Scene) -> None:
    (scene.folder / "auth" / "secrets.key").unlink()


def another(scene: Scene) -> None:
    (scene.folder / "auth" / "secrets.key").write_text(OTHER_KEY)


@pytest.mark.parametrize("spoil", [gone, another])
async def test_without_its_key_file_only_what_needs_secrets_fails(scene: Scene, spoil: Callable[[Scene], None]) -> None:
    await deployed(scene, b"one")
    key = (scene.folder / "auth" / "secrets.key").read_text()
    spoil(scene)
    async with scene.plane() as (plane, router, fake):
        assert [view.locked for view in plane.secrets.all()] == [True]
        assert len(router.endpoints()) == 1
        await plane.deploy(FunctionSpec(name="free", image=hello().image))
        with pytest.raises(SecretsLocked) as raised:
            await plane.deploy(hello(2, secrets=("token",)))
        assert raised.value.state == "nothing changed, revision 1 keeps serving"
        assert [replica.launch.function for replica in fake.backend.replicas.values()].count(HELLO) == 1
        (scene.folder / "auth" / "secrets.key").write_text(key)
        assert (await plane.deploy(hello(2, secrets=("token",)))).view.revision == 3


async def test_a_lost_key_file_is_left_behind_by_a_new_one_and_setting_again(scene: Scene) -> None:
    await deployed(scene, b"one")
    another(scene)
    async with scene.plane() as (plane, _, fake):
        await plane.secrets.replace(NS, "token", b"two")
        assert [view.locked for view in plane.secrets.all()] == [False]
        await plane.deploy(USES)
        assert b"two" in values(fake)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("", b"v", InvalidInput),
        ("../x", b"v", InvalidInput),
        ("a..b", b"v", InvalidInput),
        (".x", b"v", InvalidInput),
        ("x.", b"v", InvalidInput),
        ("a" * 254, b"v", InvalidInput),
        ("a\n", b"v", InvalidInput),
        ("é", b"v", InvalidInput),
        ("x", b"v" * (2**20 + 1), TooLarge),
    ],
)
async def test_what_cannot_be_a_secret(scene: Scene, name: str, value: bytes, error: type[PilotlightError]) -> None:
    async with scene.plane() as (plane, _, _):
        with pytest.raises(error):
            await plane.secrets.set(NS, name, value)
        assert plane.secrets.all() == []


@pytest.mark.parametrize("name", ["a", "HF_TOKEN", "tls.crt", "a-b_c.D", "0", "a" * 253])
async def test_what_can_be_one(scene: Scene, name: str) -> None:
    async with scene.plane() as (plane, _, _):
        view, is_new = await plane.secrets.set(NS, name, b"v" * 2**20)
        assert (view.name, view.size_bytes, is_new) == (name, 2**20, True)


# Keys


async def test_a_function_with_a_key_is_closed_to_all_others(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(LOCKED)
        view = await plane.key(HELLO)
        assert view.key.startswith("plk_")
        assert router.routes[HELLO].key_digests == (digest_of(view.key),)
        assert view.key not in repr((view, plane.functions(), router.routes))


async def test_a_function_without_one_is_open(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello())
        assert router.routes[HELLO].key_digests is None
        for act in (plane.key, plane.rotate_key):
            with pytest.raises(KeyNotFound):
                await act(HELLO)


async def test_a_key_survives_redeploys_and_restarts_and_goes_with_its_function(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.deploy(LOCKED)
        first = await plane.key(HELLO)
        await plane.deploy(hello(2, auth="key"))
    async with scene.plane() as (plane, router, _):
        assert await plane.key(HELLO) == first
        assert router.routes[HELLO].key_digests == (digest_of(first.key),)
        await plane.remove(HELLO)
        await plane.deploy(LOCKED)
        assert (await plane.key(HELLO)).key != first.key


async def test_a_rotation_closes_to_the_old_key_at_once(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(LOCKED)
        first = await plane.key(HELLO)
        second = await plane.rotate_key(HELLO)
        assert router.routes[HELLO].key_digests == (digest_of(second.key),)
        assert ((await plane.key(HELLO)).key, second.others_valid_until) == (second.key, None)
        assert second.applied
        assert first.key != second.key


async def test_with_a_grace_the_old_key_opens_until_it_is_over(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(LOCKED)
        first = await plane.key(HELLO)
        second = await plane.rotate_key(HELLO, grace_seconds=0.5)
        both = (digest_of(first.key), digest_of(second.key))
        assert router.routes[HELLO].key_digests == both
        [(digest, seconds)] = router.routes[HELLO].key_seconds.items()
        assert (digest, 0 < seconds <= 0.5) == (digest_of(first.key), True)
        assert second.others_valid_until is not None
        await router.until(lambda: router.routes[HELLO].key_digests == (digest_of(second.key),))


async def test_of_many_rotations_only_the_newest_keys_open(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(LOCKED)
        keys = [(await plane.rotate_key(HELLO, grace_seconds=60)).key for _ in range(12)]
        newest = tuple(digest_of(key) for key in keys[-1 - OTHER_KEYS :])
        assert router.routes[HELLO].key_digests == newest
    async with scene.plane() as (_, router, _):
        assert sorted(router.routes[HELLO].key_digests or ()) == sorted(newest)


async def test_a_rotation_says_when_no_router_has_confirmed_it(scene: Scene) -> None:
    scene.settings = dataclasses.replace(scene.settings, applied_timeout_seconds=0.1)
    async with scene.plane() as (plane, router, _):
        await plane.deploy(LOCKED)
        await router.leave()
        assert not (await plane.rotate_key(HELLO)).applied


async def test_an_expired_key_does_not_come_back_with_a_restart(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.deploy(LOCKED)
        second = await plane.rotate_key(HELLO, grace_seconds=0.05)
    await asyncio.sleep(0.06)
    async with scene.plane() as (_, router, _):
        assert router.routes[HELLO].key_digests == (digest_of(second.key),)


@pytest.mark.parametrize("grace_seconds", [-1.0, float("inf"), float("nan"), 31 * 86_400.0])
async def test_a_grace_has_bounds(scene: Scene, grace_seconds: float) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.deploy(LOCKED)
        with pytest.raises(InvalidInput, match="grace_seconds"):
            await plane.rotate_key(HELLO, grace_seconds=grace_seconds)


async def test_calls_do_not_depend_on_the_key_file(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.deploy(LOCKED)
        first = await plane.key(HELLO)
    gone(scene)
    async with scene.plane() as (plane, router, _):
        assert router.routes[HELLO].key_digests == (digest_of(first.key),)
        await plane.deploy(hello(2, auth="key"))
        with pytest.raises(SecretsLocked):
            await plane.key(HELLO)


async def test_a_deploy_that_fails_opens_nothing(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(LOCKED)
        key = await plane.key(HELLO)
        fake.load_failure = Ended(id="", reason="load-failed", detail="no handler", slug="handler-missing")
        with pytest.raises(RevisionFailed):
            await plane.deploy(hello(2))
        assert router.routes[HELLO].key_digests == (digest_of(key.key),)


# Namespaces


async def test_a_namespace_is_made_before_it_is_used(scene: Scene) -> None:
    async with scene.plane() as (plane, _, fake):
        there = hello(namespace="dev")
        with pytest.raises(NamespaceNotFound, match="there is no namespace dev"):
            await plane.deploy(there)
        with pytest.raises(NamespaceNotFound):
            await plane.secrets.create("dev", "token", b"v")
        assert fake.backend.starts == 0
        await plane.namespaces.create("dev", {"team": "x"}, {"a": "b"})
        await plane.deploy(there)
    async with scene.plane() as (plane, _, _):
        view = plane.namespaces.get("dev")
        assert (view.labels, view.annotations, view.functions) == ({"team": "x", "openfaas": "1"}, {"a": "b"}, 1)


async def test_a_namespace_is_removed_when_no_function_is_in_it(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.namespaces.create("dev", {}, {})
        await plane.secrets.create("dev", "token", b"v")
        await plane.deploy(hello(namespace="dev"))
        with pytest.raises(Conflict, match=r"namespace dev has functions: hello\.dev"):
            await plane.namespaces.remove("dev")
        await plane.remove(function_key("hello", "dev"))
        await plane.namespaces.remove("dev")
        assert ([view.name for view in plane.namespaces.all()], plane.secrets.all()) == ([NS], [])


async def test_a_secret_that_is_set_while_its_namespace_goes_goes_with_it(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.namespaces.create("dev", {}, {})
        await asyncio.gather(plane.secrets.create("dev", "token", b"one"), plane.namespaces.remove("dev"))
        assert plane.secrets.all() == []
        await plane.namespaces.create("dev", {}, {})
    async with scene.plane() as (plane, _, _):
        assert plane.secrets.all() == []


async def test_of_two_who_make_a_namespace_one_hears_that_it_is_there(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        first, second = await asyncio.gather(
            plane.namespaces.create("dev", {"by": "one"}, {}),
            plane.namespaces.create("dev", {"by": "two"}, {}),
            return_exceptions=True,
        )
        assert isinstance(second, Conflict)
        assert plane.namespaces.get("dev") == first


async def test_a_namespace_that_is_changed_while_it_goes_is_gone(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        await plane.namespaces.create("dev", {}, {})
        changed, removed = await asyncio.gather(
            plane.namespaces.remove("dev"), plane.namespaces.update("dev", {"a": "b"}, {}), return_exceptions=True
        )
        assert (changed, type(removed)) == (None, NamespaceNotFound)
    async with scene.plane() as (plane, _, _):
        assert not plane.namespaces.has("dev")


async def test_nothing_is_removed_under_a_deploy(scene: Scene) -> None:
    async with scene.plane(ready_delay=None) as (plane, _, fake):
        await plane.namespaces.create("dev", {}, {})
        deploy = asyncio.create_task(plane.deploy(hello(namespace="dev")))
        while not fake.backend.replicas:
            await asyncio.sleep(0.005)
        with pytest.raises(Conflict, match=r"hello\.dev"):
            await plane.namespaces.remove("dev")
        for replica in list(fake.backend.replicas):
            await fake.make_ready(replica)
        await deploy


async def test_the_default_namespace_is_always_there(scene: Scene) -> None:
    async with scene.plane() as (plane, _, _):
        with pytest.raises(Conflict):
            await plane.namespaces.remove(NS)
        with pytest.raises(Conflict):
            await plane.namespaces.create(NS, {}, {})
        assert [view.name for view in plane.namespaces.all()] == [NS]
        assert (await plane.namespaces.update(NS, {"a": "b"}, {})).labels == {"a": "b", "openfaas": "1"}


# What OpenFaaS' clients see at once


async def test_replicas_are_true_at_once_after_each_call(scene: Scene) -> None:
    async with scene.plane() as (plane, router, _):
        await plane.deploy(hello(scale=Scaling(min=2, max=5)))
        assert (await plane.function(HELLO)).wanted == 2
        for replicas in (4, 0, 3, 0):
            await plane.scale(HELLO, replicas)
            assert (await plane.function(HELLO)).wanted == replicas
        await router.until(lambda: not router.endpoints())
        router.report(waiting=1)
        await router.until(router.endpoints)
        assert (await plane.function(HELLO)).wanted >= 1
