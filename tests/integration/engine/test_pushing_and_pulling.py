"""Images between a real engine and a real registry: there, back, refused, and cut off in the middle."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.core.errors import PilotlightError, Unsupported
from pilotlight.engine.client import Engine, connect
from pilotlight.engine.failures import Refused
from pilotlight.engine.images import digest_now, fetch, fixed, parse_image
from pilotlight.engine.registry import Pushed, Pushes
from pilotlight.engine.registry_logins import Login
from tests.engines import context, docker_engine
from tests.registries import PASSWORD, USER, Registry, outside_address

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("registry")]
SOURCE = "pilotlight-test-pushed:1"
ADA = Login(user=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One that uses nobody's logins."""
    docker_engine()
    made = connect(None, call_seconds=60, config=tmp_path_factory.mktemp("docker") / "config.json")
    made.do(lambda client: build(client, SOURCE, b"small"))
    yield made
    made.do(lambda client: client.remove_image(SOURCE, force=True))
    made.close()


def build(client: Any, name: str, data: bytes) -> None:
    """An image of one file, which takes no base."""
    files = {"Dockerfile": b'FROM scratch\nCOPY data /data\nCMD ["/data"]\n', "data": data}
    said = b"".join(client.build(fileobj=context(files), custom_context=True, tag=name, rm=True))
    assert b"Successfully" in said, said.decode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("guarded"), password=True) as running:
        yield running


@pytest.fixture
async def forget(engine: Engine) -> AsyncIterator[list[str]]:
    """Names that the engine has no more after the test."""
    names: list[str] = []
    yield names
    for name in names:
        for each in await held(engine, name):
            await engine.call(lambda client, image=each: client.remove_image(image, force=True))  # type: ignore[misc]


async def held(engine: Engine, repository: str) -> list[str]:
    """What the engine has under a repository's name, by tag or by digest."""
    found = await engine.call(lambda client: client.images(name=repository))
    return [name for each in found for name in each.get("RepoTags") or each.get("RepoDigests") or []]


async def push(engine: Engine, image: str, login: Login | None = None, source: str = SOURCE) -> Pushed:
    return await Pushes(engine).push(source, parse_image(image), login, lambda _step, _said: None)


async def refusal(work: Any) -> PilotlightError:
    with pytest.raises(PilotlightError) as error:
        await work
    assert error.value.hint
    return error.value


async def test_what_is_pushed_comes_back_by_its_digest(engine: Engine, registry: Registry, forget: list[str]) -> None:
    image = registry.name("team/hello")
    forget.append(image)
    pushed = await push(engine, f"{image}:1")
    assert registry.tags("team/hello") == ["1"]
    assert pushed.digest == registry.digest("team/hello", "1")
    before = await inspected(engine, f"{image}:1")
    await engine.call(lambda client: client.remove_image(f"{image}:1"))
    await fetch(engine, pushed.reference)
    assert (await inspected(engine, pushed.reference))["Id"] == before["Id"]
    assert str(fixed(parse_image(f"{image}:1"), before)) == f"{image}:1@{pushed.digest}"
    assert await digest_now(engine, parse_image(f"{image}:1")) == pushed.digest


async def inspected(engine: Engine, image: str) -> Any:
    return await engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("path", "word"), [("team/hello:nope", "no such image or tag"), ("nobody/nothing:1", "no such image or tag")]
)
async def test_what_is_not_there_is_not_found(engine: Engine, registry: Registry, path: str, word: str) -> None:
    for error in (
        await refusal(fetch(engine, registry.name(path))),
        await refusal(digest_now(engine, parse_image(registry.name(path)))),
    ):
        assert (error.slug, word in error.detail) == ("image-not-found", True)


async def test_without_a_login_with_a_wrong_one_and_with_the_right_one(
    engine: Engine, guarded: Registry, forget: list[str]
) -> None:
    image = guarded.name("team/hello:1")
    forget.append(guarded.name("team/hello"))
    anonymous = await refusal(push(engine, image))
    wrong = await refusal(push(engine, image, Login(user=USER, password="wr0ng")))
    assert [anonymous.slug, wrong.slug] == ["registry-login", "registry-login"]
    assert ("wants a login" in anonymous.detail, "refused the login" in wrong.detail) == (True, True)
    assert "wr0ng" not in wrong.detail + wrong.hint
    assert await held(engine, guarded.name("team/hello")) == []
    pushed = await push(engine, image, ADA)
    await engine.call(lambda client: client.remove_image(image))
    assert (await refusal(fetch(engine, image))).slug == "registry-login"
    assert (await refusal(digest_now(engine, parse_image(image)))).slug == "registry-login"
    await fetch(engine, image, {"app.dockerconfigjson": config(guarded, USER, PASSWORD)})
    secrets = {"dockerconfigjson": config(guarded, USER, PASSWORD)}
    assert await digest_now(engine, parse_image(image), secrets) == pushed.digest


def config(registry: Registry, user: str, password: str) -> bytes:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {registry.address: {"auth": pair}}}).encode()


async def test_the_servers_own_login_is_read_anew_for_each_pull(
    engine: Engine, guarded: Registry, forget: list[str]
) -> None:
    image = guarded.name("team/own:1")
    forget.append(guarded.name("team/own"))
    await push(engine, image, ADA)
    await engine.call(lambda client: client.remove_image(image))
    assert engine.config is not None
    try:
        engine.config.write_text('{"credsStore": "nowhere"}')
        broken = await refusal(fetch(engine, image))
        assert (broken.slug, "docker-credential-nowhere" in broken.detail) == ("registry-login", True)
        engine.config.write_bytes(config(guarded, USER, PASSWORD))
        await fetch(engine, image)
    finally:
        engine.config.unlink()


async def test_a_file_of_logins_that_cannot_be_read_keeps_nobody_from_what_is_everybodys(
    engine: Engine, registry: Registry, forget: list[str]
) -> None:
    image = registry.name("team/public:1")
    forget.append(registry.name("team/public"))
    await push(engine, image)
    await engine.call(lambda client: client.remove_image(image))
    assert engine.config is not None
    engine.config.write_text("{")
    try:
        await fetch(engine, image)
    finally:
        engine.config.unlink()


async def test_a_certificate_that_nobody_signed(engine: Engine, tmp_path: Path) -> None:
    with Registry(tmp_path, host=outside_address(), tls=True) as registry:
        for work in (push(engine, registry.name("a:1")), fetch(engine, registry.name("a:1"))):
            error = await refusal(work)
            assert (error.slug, "signed by nobody" in error.detail) == ("registry-tls", True)
            assert f"/etc/docker/certs.d/{registry.address}/ca.crt" in error.hint


async def test_a_registry_that_speaks_plain_http(engine: Engine, tmp_path: Path) -> None:
    with Registry(tmp_path, host=outside_address()) as registry:
        for work in (push(engine, registry.name("a:1")), fetch(engine, registry.name("a:1"))):
            error = await refusal(work)
            assert (error.slug, "plain HTTP" in error.detail) == ("registry-tls", True)


async def test_a_registry_that_takes_nothing(engine: Engine, tmp_path: Path) -> None:
    with Registry(tmp_path, read_only=True) as registry:
        error = await refusal(push(engine, registry.name("a:1")))
        assert (error.slug, "read-only" in error.detail) == ("push-refused", True)


async def test_a_registry_that_is_away(engine: Engine, tmp_path: Path) -> None:
    registry = Registry(tmp_path)  # never started
    for work in (push(engine, registry.name("a:1")), fetch(engine, registry.name("a:1"))):
        error = await refusal(work)
        assert (error.slug, f"nothing listens on {registry.address}" in error.detail) == ("registry-unreachable", True)


async def test_a_machine_that_nobody_knows(engine: Engine) -> None:
    error = await refusal(fetch(engine, "registry.invalid/a:1"))
    assert error.slug == "registry-unreachable"


async def test_a_name_that_is_none(engine: Engine) -> None:
    assert (await refusal(fetch(engine, "registry.invalid/Upper:1"))).slug == "image-name"


async def test_an_image_that_is_gone(engine: Engine, registry: Registry) -> None:
    error = await refusal(push(engine, registry.name("a:1"), source="pilotlight-test-pushed:gone"))
    assert (error.slug, "faasctl build" in error.hint) == ("image-not-found", True)


async def test_other_platforms_are_refused_with_what_would_make_them(engine: Engine) -> None:
    about = await inspected(engine, SOURCE)
    own = f"{about['Os']}/{about['Architecture']}"
    await Pushes(engine).check_platforms(SOURCE, (own,))
    with pytest.raises(Unsupported, match="buildx"):
        await Pushes(engine).check_platforms(SOURCE, (own, "linux/s390x"))


@pytest.fixture(scope="module")
def large(engine: Engine) -> Iterator[str]:
    """It cannot be packed, so a push takes a while."""
    name = "pilotlight-test-pushed:large"
    engine.do(lambda client: build(client, name, os.urandom(96 * 2**20)))
    yield name
    engine.do(lambda client: client.remove_image(name, force=True))


async def begun(engine: Engine, registry: Registry, large: str, image: str) -> "asyncio.Task[Pushed]":
    """A push of which something is in the registry already."""
    pushing = asyncio.create_task(push(engine, image, source=large))
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(uploading, registry):
            assert not pushing.done()
            await asyncio.sleep(0.01)
    return pushing


def uploading(registry: Registry) -> bool:
    return any(path.stat().st_size > 2**20 for path in registry.store.glob("**/_uploads/*/data"))


async def test_a_push_that_its_client_leaves_ends_in_the_engine_and_leaves_no_name(
    engine: Engine, tmp_path: Path, large: str
) -> None:
    with Registry(tmp_path) as registry:
        image = registry.name("team/large:1")
        pushing = await begun(engine, registry, large, image)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        assert await held(engine, registry.name("team/large")) == []
        assert registry.tags("team/large") == []


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_registry_that_is_killed_in_the_middle_leaves_nothing_half_done(
    engine: Engine, tmp_path: Path, large: str, forget: list[str]
) -> None:
    """The engine itself tries five times, for about 50 s; then the push fails, and a later one succeeds."""
    with Registry(tmp_path) as registry:
        image = registry.name("team/large:1")
        forget.append(registry.name("team/large"))
        await push(engine, image)
        before, digest = await inspected(engine, image), registry.digest("team/large", "1")
        pushing = await begun(engine, registry, large, image)
        registry.kill()
        error = await refusal(pushing)
        assert error.slug == "registry-unreachable"
        assert (await inspected(engine, image))["Id"] == before["Id"]
        registry.start()
        assert registry.digest("team/large", "1") == digest
        assert (await push(engine, image, source=large)).digest == registry.digest("team/large", "1") != digest


async def test_pushes_under_one_name_go_one_after_the_other(
    engine: Engine, registry: Registry, forget: list[str]
) -> None:
    image = registry.name("team/twice:1")
    forget.append(registry.name("team/twice"))
    pushes = Pushes(engine)
    done = await asyncio.gather(
        *(pushes.push(SOURCE, parse_image(image), None, lambda _step, _said: None) for _ in range(3))
    )
    assert {each.digest for each in done} == {registry.digest("team/twice", "1")}
    with pytest.raises(Refused):
        await inspected(engine, registry.name("team/never:1"))
