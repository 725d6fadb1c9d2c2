"""Which bytes a function's image stands for: bound at the deploy, had again at a start, whatever became of its tag."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pilotlight.core.errors import InvalidInput, PilotlightError
from pilotlight.engine.client import Engine, connect
from pilotlight.engine.images import parse_image
from pilotlight.engine.registry import Pushes
from pilotlight.engine.registry_logins import Login
from pilotlight.providers.docker.surroundings import Images
from tests.engines import context, docker_engine
from tests.registries import PASSWORD, USER, Registry

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("registry")]
LOCAL = "pilotlight-test-pulls"
Publish = Callable[..., Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One that uses nobody's logins, with two images that are not the same."""
    docker_engine()
    made = connect(None, call_seconds=60, config=tmp_path_factory.mktemp("docker") / "config.json")
    for version in ("one", "two"):
        made.do(lambda client, version=version: build(client, version))  # type: ignore[misc]
    yield made
    for version in ("one", "two"):
        made.do(lambda client, version=version: client.remove_image(f"{LOCAL}:{version}", force=True))  # type: ignore[misc]
    made.close()


def build(client: Any, version: str) -> None:
    files = {"Dockerfile": b'FROM scratch\nCOPY data /data\nCMD ["/data"]\n', "data": version.encode()}
    said = b"".join(client.build(fileobj=context(files), custom_context=True, tag=f"{LOCAL}:{version}", rm=True))
    assert b"Successfully" in said, said.decode()


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
async def publish(engine: Engine, registry: Registry) -> AsyncIterator[Publish]:
    """Moves the tag 1 in the registry to a version. The engine has nothing of it afterwards."""
    image = registry.name("team/app:1")

    async def move(version: str, login: Login | None = None, to: str = image) -> str:
        done = await Pushes(engine).push(f"{LOCAL}:{version}", parse_image(to), login, lambda _step, _said: None)
        await clear(engine, to)
        return done.digest

    yield move
    await clear(engine, image)


async def clear(engine: Engine, image: str) -> None:
    repository = parse_image(image).repository
    for found in await engine.call(lambda client: client.images(name=repository)):
        for name in found.get("RepoTags") or found.get("RepoDigests") or []:
            if name.startswith(repository):
                await engine.call(lambda client, name=name: client.remove_image(name, force=True))  # type: ignore[misc]


async def refusal(work: Any) -> PilotlightError:
    with pytest.raises(PilotlightError) as error:
        await work
    return error.value


async def version_of(engine: Engine, version: str) -> str:
    found = await engine.call(lambda client: client.inspect_image(f"{LOCAL}:{version}"))  # type: ignore[no-untyped-call]
    return str(found["Id"])


async def test_a_tag_that_is_moved_after_the_deploy_changes_no_start(
    engine: Engine, registry: Registry, publish: Publish
) -> None:
    image, images = registry.name("team/app:1"), Images(engine, "missing")
    digest = await publish("one")
    pinned = await images.pin(image)
    assert pinned == f"{image}@{digest}"
    assert await publish("two") != digest  # the engine has neither now
    assert (await images.ensure(pinned))["Id"] == await version_of(engine, "one")


async def test_a_deploy_asks_the_registry_only_where_the_policy_says_so(
    engine: Engine, registry: Registry, publish: Publish
) -> None:
    image = registry.name("team/app:1")
    first = await publish("one")
    await Images(engine, "missing").pin(image)
    second = await push_beside(engine, image, "two")
    assert await Images(engine, "missing").pin(image) == f"{image}@{first}"
    assert await Images(engine, "never").pin(image) == f"{image}@{first}"
    assert await Images(engine, "always").pin(image) == f"{image}@{second}"
    assert (await Images(engine, "always").ensure(f"{image}@{second}"))["Id"] == await version_of(engine, "two")


async def push_beside(engine: Engine, image: str, version: str) -> str:
    """As somebody on another machine would: this engine goes on having what it had under the tag."""
    found = await engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
    name = parse_image(image)
    done = await Pushes(engine).push(f"{LOCAL}:{version}", name, None, lambda _step, _said: None)
    await engine.call(lambda client: client.tag(found["Id"], name.repository, tag=name.tag))
    return done.digest


async def test_a_registry_that_is_away_is_no_harm_to_what_is_here(
    engine: Engine, registry: Registry, publish: Publish
) -> None:
    image, images = registry.name("team/app:1"), Images(engine, "missing")
    await publish("one")
    pinned = await images.pin(image)
    await images.ensure(pinned)
    registry.kill()
    assert (await images.ensure(pinned))["Id"] == await version_of(engine, "one")
    assert await images.pin(image) == pinned
    assert await Images(engine, "always").pin(pinned) == pinned
    refused = await refusal(Images(engine, "always").pin(image))
    assert (refused.slug, "nothing listens" in refused.detail) == ("registry-unreachable", True)


async def test_an_image_that_is_gone_with_its_registry_is_told_as_such(
    engine: Engine, registry: Registry, publish: Publish
) -> None:
    image, images = registry.name("team/app:1"), Images(engine, "missing")
    await publish("one")
    pinned = await images.pin(image)
    await clear(engine, image)
    registry.kill()
    error = await refusal(images.ensure(pinned))
    assert error.slug == "registry-unreachable"
    assert error.detail.startswith("the engine does not have this image, and ")
    never = await refusal(Images(engine, "never").ensure(pinned))
    assert (never.slug, "set to pull none" in never.detail) == ("image-not-found", True)


async def test_an_image_that_no_registry_knows_is_bound_to_this_engine(engine: Engine) -> None:
    images = Images(engine, "missing")
    name = "pilotlight-test-pulls-alone"
    await engine.call(lambda client: client.tag(f"{LOCAL}:one", name, tag="1"))
    try:
        pinned = await images.pin(f"{name}:1")
        assert pinned.startswith(f"{name}:1@id:")
        await engine.call(lambda client: client.tag(f"{LOCAL}:two", name, tag="1", force=True))
        assert (await images.ensure(pinned))["Id"] == await version_of(engine, "one")
    finally:
        await engine.call(lambda client: client.remove_image(f"{name}:1"))
    gone = await refusal(images.ensure(f"{name}:1@id:{'0' * 64}"))
    assert (gone.slug, "came from no registry" in gone.detail) == ("image-not-found", True)


async def test_a_functions_secret_opens_its_registry(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, publish: Publish
) -> None:
    with Registry(tmp_path_factory.mktemp("guarded"), password=True) as registry:
        image = registry.name("team/app:1")
        digest = await publish("one", Login(user=USER, password=PASSWORD), image)
        images = Images(engine, "missing")
        assert (await refusal(images.pin(image))).slug == "registry-login"
        folder = registry.docker_config(tmp_path_factory.mktemp("ada"))
        logins = {"dockerconfigjson": (folder / "config.json").read_bytes()}
        assert await images.pin(image, logins) == f"{image}@{digest}"
        assert await Images(engine, "always").pin(image, logins) == f"{image}@{digest}"
        await clear(engine, image)
        assert (await images.ensure(f"{image}@{digest}", logins))["Id"] == await version_of(engine, "one")
        await clear(engine, image)


async def test_several_starts_share_one_pull(engine: Engine, registry: Registry, publish: Publish) -> None:
    image, images = registry.name("team/app:1"), Images(engine, "missing")
    fresh = secrets.token_hex(8)  # an engine remembers the manifests that it has seen, and asks for them no more
    await engine.call(lambda client: build(client, fresh))
    digest = await publish(fresh)
    await engine.call(lambda client: client.remove_image(f"{LOCAL}:{fresh}", force=True))
    await asyncio.gather(*(images.ensure(f"{image}@{digest}") for _ in range(5)))
    asked = [line for line in registry.log.read_text().splitlines() if "response completed" in line]
    got = [line for line in asked if "method=GET" in line and f"/manifests/{digest}" in line]
    assert len(got) == 1, asked


@pytest.mark.parametrize("image", ["Upper:1", "https://r.example/a", "a b", ""])
async def test_what_is_no_name_asks_nobody(engine: Engine, image: str) -> None:
    with pytest.raises(InvalidInput):
        await Images(engine, "always").pin(image)
