"""Images on a real engine: what nobody refers to goes within the budget, and nobody else's is ever touched."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pilotlight.builder.docker import ImageBuilder, ImageOrder
from pilotlight.builder.image_shelf import ImageShelf
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.shelf import Shelf
from pilotlight.builder.template import own_dockerfile
from pilotlight.config import DiskSettings
from pilotlight.control.collector import Collector
from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.engine import Engine, connect
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import tag_again
from pilotlight.engine.images import parse_image
from pilotlight.engine.registry import Pushes
from pilotlight.providers.docker.surroundings import Images
from pilotlight.providers.fake import FakeProvider
from pilotlight.store.sql import Store
from tests.engines import context
from tests.registries import Registry
from tests.second_engine import SecondEngine, second_engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
KEY = function_key("hello")
KIB = 2**10
HOUR = 3600.0
ENVIRONMENT, HELLO, OTHER = (f"pilotlight/{name}:{'0' * 16}" for name in ("environment", "hello", "other"))


@pytest.fixture(scope="module")
def engine() -> Iterator[SecondEngine]:
    with second_engine(empty=True) as made:
        yield made


@dataclass
class Gallery:
    """One server's store, folders and images. Nothing fits, and all was used two hours ago."""

    engine: Engine
    data: Path
    store: Store
    images: ImageShelf
    provider: FakeProvider

    def collector(self, **settings: float) -> Collector:
        chosen = DiskSettings(**({"budget_mib": 0, "free_mib": 0} | settings))  # type: ignore[arg-type]
        return Collector(
            store=self.store,
            provider=self.provider,
            shelves=[Shelf(self.data, make_cache=lambda: None), self.images],
            settings=chosen,
            clock=lambda: time.time() + 2 * HOUR,
        )

    async def build(self, name: str, *, base: str = "scratch", kib: int = 10) -> str:
        """As a build does it."""
        async with self.images.building():
            await asyncio.to_thread(make_image, self.engine, name, base, kib)
            await self.images.keep([name])
        return name

    async def live(self, revision: str, image: str) -> None:
        await self.store.make_live(await self.proving(revision, image), slots=1, now=1.0)

    async def proving(self, revision: str, image: str) -> Revision:
        digest = image.replace("/", "").replace(":", "")
        folder = self.data / "bundles" / digest
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"bytes": 1, "environment": "e", "image": image}))
        bundle = Bundle(digest=digest, environment="e", template="python3-http", contract="http", image=image)
        return await self.store.add_revision(revision, FunctionSpec(name="hello", image="x"), bundle, now=1.0)

    def tags(self) -> set[str]:
        return tags_of(self.engine)

    async def pull(self, image: str, owner: str = "aa") -> str:
        """As a deploy does it: the name by which its revision refers to the image."""
        engine = await asyncio.to_thread(connect, self.engine.url, call_seconds=60, owner=owner)
        try:
            return await Images(engine, "missing").pin(image)
        finally:
            engine.close()

    def digests(self) -> set[str]:
        listed = self.engine.do(lambda client: client.images())
        return {digest for each in listed for digest in each["RepoDigests"] or () if not digest.startswith("<none>")}


def tags_of(engine: Engine) -> set[str]:
    return {tag for each in engine.do(lambda client: client.images()) for tag in each["RepoTags"] or ()}


def make_image(engine: Engine, name: str, base: str, kib: int, *, then: str = "") -> str:
    files = {"Dockerfile": f"FROM {base}\nCOPY content /{name.replace(':', '/')}\n{then}".encode()}
    files["content"] = name.encode().ljust(kib * KIB, b"x")
    return b"".join(
        engine.do(lambda client: client.build(fileobj=context(files), custom_context=True, tag=name, rm=True))
    ).decode()


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


async def publish(gallery: "Gallery", registry: Registry, *, kib: int = 10) -> str:
    """An image that the registry has, and the engine has not; with each size other bytes."""
    image = registry.name("team/app:1")
    await asyncio.to_thread(make_image, gallery.engine, "made:1", "scratch", kib)
    await Pushes(gallery.engine).push("made:1", parse_image(image), None, lambda _step, _said: None)
    for name in ("made:1", image):
        gallery.engine.do(lambda client, name=name: client.remove_image(name))  # type: ignore[misc]
    return image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("bundles", "environments", "runtime", "staging", "cache/locks", "cache/trials", "cache/uv"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
async def gallery(engine: SecondEngine, data: Path) -> AsyncIterator[Gallery]:
    store = await Store.open(data / "store.db")
    provider = FakeProvider()
    await provider.open()
    yield Gallery(engine.engine, data, store, shelf_of(engine, data, "aa"), provider)
    await provider.close(keep=False)
    await store.close()
    engine.tidy()
    for each in engine.engine.do(lambda client: client.images()):
        with suppress(Refused):  # gone with what was built upon it
            engine.engine.do(lambda client, id_=each["Id"]: client.remove_image(id_, force=True))  # type: ignore[misc]


def shelf_of(engine: SecondEngine, data: Path, owner: str, *, budget: str = "") -> ImageShelf:
    async def connected() -> Engine:
        return engine.engine

    return ImageShelf(connected, owner=owner, data_dir=data, budget=budget)


async def test_a_removed_functions_image_goes_when_the_budget_says_so(gallery: Gallery) -> None:
    await gallery.build(ENVIRONMENT)
    await gallery.live("r1", await gallery.build(HELLO, base=ENVIRONMENT))
    assert await gallery.collector().collect() == []
    await gallery.store.remove(KEY)
    assert await gallery.collector(budget_mib=1).collect() == []
    gone = await gallery.collector().collect()
    assert [name.partition("/")[0] for name in gone] == ["bundles", "images", "images"]
    assert gone[1:] == [f"images/{HELLO}", f"images/{ENVIRONMENT}"]
    assert gallery.tags() == set()


async def test_what_a_live_a_proven_or_an_earlier_revision_refers_to_stays(gallery: Gallery) -> None:
    images = [f"pilotlight/hello:{number:016x}" for number in range(4)]
    for number, image in enumerate(images[:3]):
        await gallery.live(f"r{number}", await gallery.build(image))
    await gallery.proving("r3", await gallery.build(images[3]))
    await gallery.build(OTHER)
    assert await gallery.collector().collect() == [f"images/{OTHER}"]
    assert gallery.tags() >= set(images)


async def test_an_image_of_which_there_is_a_container_stays(gallery: Gallery) -> None:
    await gallery.build(HELLO)
    made = gallery.engine.do(gallery.engine.post("/containers/create", {"Image": HELLO, "Cmd": ["x"]}))
    assert await gallery.collector().collect() == []
    gallery.engine.do(lambda client: client.remove_container(made["Id"]))
    assert await gallery.collector().collect() == [f"images/{HELLO}"]


async def test_what_another_server_uses_too_goes_with_the_last_of_them(
    gallery: Gallery, engine: SecondEngine, tmp_path: Path
) -> None:
    await gallery.build(HELLO)
    another = shelf_of(engine, tmp_path, "bb")
    async with another.building():
        await another.keep([HELLO])
    assert await gallery.collector().collect() == [f"images/{HELLO}"]
    assert gallery.tags() == {HELLO, HELLO.replace("pilotlight/", "pilotlight-bb/")}
    assert await gallery.collector().collect() == []
    gallery.images = another
    await gallery.collector().collect()
    assert gallery.tags() == set()


async def test_what_somebody_gave_a_name_of_his_own_stays(gallery: Gallery) -> None:
    await gallery.build(HELLO)
    gallery.engine.do(lambda client: client.tag(HELLO, "mine", "1"))
    gallery.engine.do(lambda client: client.tag(HELLO, "pilotlight/mine", "latest"))
    await asyncio.to_thread(make_image, gallery.engine, "theirs:1", "scratch", 1)
    assert await gallery.collector().collect() == []
    assert {"mine:1", "theirs:1", HELLO} <= gallery.tags()


async def test_nothing_goes_while_a_build_runs_or_when_one_has_begun_since_the_look(gallery: Gallery) -> None:
    await gallery.build(HELLO)
    async with gallery.images.building():
        assert await gallery.collector().collect() == []
    (kept,) = await asyncio.to_thread(gallery.images.everything)
    await gallery.build(OTHER)
    assert not await asyncio.to_thread(gallery.images.take, kept)
    assert HELLO in gallery.tags()


async def test_what_a_crash_left_of_a_removal_goes_the_next_time(gallery: Gallery) -> None:
    await gallery.build(HELLO)
    gallery.engine.do(lambda client: client.remove_image(HELLO))
    assert len(gallery.tags()) == 1
    assert await gallery.collector().collect() == [f"images/{HELLO}"]
    assert gallery.tags() == set()


async def test_what_a_crash_left_of_a_build_is_nobodys_and_goes(gallery: Gallery) -> None:
    await asyncio.to_thread(make_image, gallery.engine, HELLO, "scratch", 1)
    assert await gallery.collector(min_age_seconds=3 * HOUR).collect() == []
    assert await gallery.collector().collect() == [f"images/{HELLO}"]


async def test_the_layers_of_a_build_that_failed_upon_ours_go(gallery: Gallery) -> None:
    await gallery.build(ENVIRONMENT)
    said = await asyncio.to_thread(make_image, gallery.engine, HELLO, ENVIRONMENT, 1, then="COPY missing /\n")
    assert "Successfully" not in said
    dangling = {"dangling": True}
    assert gallery.engine.do(lambda client: client.images(filters=dangling))
    await gallery.live("r1", ENVIRONMENT)
    assert len(await gallery.collector().collect()) == 1
    assert not gallery.engine.do(lambda client: client.images(filters=dangling))
    assert gallery.tags() >= {ENVIRONMENT}


async def test_sizes_are_what_the_engine_would_get_back(gallery: Gallery) -> None:
    await asyncio.to_thread(make_image, gallery.engine, "theirs:1", "scratch", 100)
    await gallery.build(ENVIRONMENT, base="theirs:1", kib=30)
    await gallery.build(HELLO, base=ENVIRONMENT, kib=7)
    found = {each.name: (each.bytes, each.needs) for each in await asyncio.to_thread(gallery.images.everything)}
    assert found == {
        f"images/{ENVIRONMENT}": (30 * KIB, None),
        f"images/{HELLO}": (7 * KIB, f"images/{ENVIRONMENT}"),
    }


async def test_an_engine_that_is_away_keeps_nothing_else_from_being_collected(gallery: Gallery) -> None:
    async def away() -> Engine:
        raise StartFailed("it is away", slug="engine-unreachable")

    await gallery.proving("r1", HELLO)
    await gallery.store.remove(KEY)
    gallery.images = ImageShelf(away, owner="aa", data_dir=gallery.data)
    gone = await gallery.collector().collect()
    assert [name.partition("/")[0] for name in gone] == ["bundles"]


async def test_an_image_that_is_gone_already_is_no_trouble(gallery: Gallery) -> None:
    await gallery.build(HELLO)
    (kept,) = await asyncio.to_thread(gallery.images.everything)
    for tag in gallery.tags():
        gallery.engine.do(lambda client, tag=tag: client.remove_image(tag))  # type: ignore[misc]
    assert await asyncio.to_thread(gallery.images.take, kept)
    with pytest.raises(Refused):
        gallery.engine.do(lambda client: client.inspect_image(HELLO))  # type: ignore[no-untyped-call]


async def test_a_name_that_somebody_took_from_a_live_image_comes_back(gallery: Gallery) -> None:
    await gallery.live("r1", await gallery.build(HELLO))
    gallery.engine.do(lambda client: client.remove_image(HELLO))
    gallery.images = ImageShelf(gallery.images._connect, owner="aa", data_dir=gallery.data)  # of the next control plane
    assert await gallery.collector().collect() == []
    assert HELLO in gallery.tags()


async def test_an_image_that_was_pulled_for_a_removed_function_goes_wholly(
    gallery: Gallery, registry: Registry
) -> None:
    image = await publish(gallery, registry)
    await gallery.live("r1", await gallery.pull(image))
    assert await gallery.collector().collect() == []
    await gallery.store.remove(KEY)
    assert await gallery.collector(budget_mib=1).collect() == []
    gone = await gallery.collector().collect()
    assert [name.split("/")[:2] for name in gone] == [["bundles", gone[0].split("/")[1]], ["images", "pulled"]]
    assert gallery.tags() | gallery.digests() == set()
    assert gallery.engine.do(lambda client: client.images(all=True)) == []


async def test_what_was_there_before_the_server_wanted_it_stays(gallery: Gallery, registry: Registry) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image, owner="")  # by hand
    await gallery.live("r1", await gallery.pull(image))
    await gallery.store.remove(KEY)
    assert [name.partition("/")[0] for name in await gallery.collector().collect()] == ["bundles"]
    assert gallery.tags() == {image}


async def test_bytes_that_were_there_under_another_name_stay_though_they_were_pulled(
    gallery: Gallery, registry: Registry
) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image, owner="")
    gallery.engine.do(lambda client: client.tag(image, "mine", "1"))
    gallery.engine.do(lambda client: client.remove_image(image))
    await gallery.pull(image)
    assert await gallery.collector().collect() == []
    assert gallery.tags() == {image, "mine:1"}


async def test_a_pulled_image_of_an_earlier_revision_or_of_a_container_stays(
    gallery: Gallery, registry: Registry
) -> None:
    first = await gallery.pull(await publish(gallery, registry, kib=1))
    await gallery.live("r1", first)
    gallery.engine.do(lambda client: client.tag(parse_image(first).canonical, "kept", "1"))  # while the tag is moved
    image = await publish(gallery, registry, kib=2)
    gallery.engine.do(lambda client: client.remove_image("kept:1"))
    await gallery.live("r2", await gallery.pull(image))
    assert await gallery.collector().collect() == []
    await gallery.store.remove(KEY)
    made = gallery.engine.do(gallery.engine.post("/containers/create", {"Image": image, "Cmd": ["x"]}))
    gone = [name for name in await gallery.collector().collect() if name.startswith("images/")]
    assert (len(gone), gallery.digests()) == (
        1,
        {parse_image(image).repository + "@" + registry.digest("team/app", "1")},
    )
    gallery.engine.do(lambda client: client.remove_container(made["Id"]))
    assert len(await gallery.collector().collect()) == 1


@pytest.mark.parametrize("how", ["named", "built upon"])
async def test_a_pulled_image_that_somebody_made_his_own_meanwhile_stays(
    gallery: Gallery, registry: Registry, how: str
) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image)
    if how == "named":
        gallery.engine.do(lambda client: client.tag(image, "mine", "1"))
    else:
        await asyncio.to_thread(make_image, gallery.engine, "mine:1", image, 1)
    assert await gallery.collector().collect() == []
    assert {image, "mine:1"} <= gallery.tags()
    gallery.engine.do(lambda client: client.remove_image("mine:1"))
    assert len(await gallery.collector().collect()) == 1


async def test_a_pulled_image_goes_with_the_last_server_that_uses_it(
    gallery: Gallery, registry: Registry, engine: SecondEngine, tmp_path: Path
) -> None:
    image = await publish(gallery, registry)
    pinned = await gallery.pull(image)
    another = shelf_of(engine, tmp_path, "bb")
    await another.open()
    await asyncio.to_thread(another.used, {f"images/{pinned}"})
    assert len(await gallery.collector().collect()) == 1
    assert image in gallery.tags()
    gallery.images = another
    assert len(await gallery.collector().collect()) == 1
    assert gallery.tags() | gallery.digests() == set()


async def test_a_base_that_a_build_pulled_stays_as_long_as_what_was_built_upon_it(
    gallery: Gallery, registry: Registry
) -> None:
    base = await gallery.pull(await publish(gallery, registry))
    await gallery.live("r1", await gallery.build(HELLO, base=parse_image(base).canonical))
    assert await gallery.collector().collect() == []
    await gallery.store.remove(KEY)
    gone = await gallery.collector().collect()
    assert [name.split("/")[:2] for name in gone[1:]] == [["images", "pilotlight"], ["images", "pulled"]]
    assert gallery.engine.do(lambda client: client.images(all=True)) == []


async def test_nameless_images_that_others_built_upon_what_was_pulled_stay(
    gallery: Gallery, registry: Registry
) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image)
    await asyncio.to_thread(make_image, gallery.engine, "mine:1", image, 1, then="COPY missing /\n")
    assert len(gallery.engine.do(lambda client: client.images(filters={"dangling": True}))) == 1
    await gallery.collector().collect()
    assert len(gallery.engine.do(lambda client: client.images(filters={"dangling": True}))) == 1


async def test_a_base_is_this_servers_before_a_build_relies_on_it(gallery: Gallery, registry: Registry) -> None:
    """The server that pulled it may want its room meanwhile."""
    base = await publish(gallery, registry)
    await gallery.pull(base, owner="bb")
    folder = gallery.data / "hello"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY missing /\n")
    order = ImageOrder(name="hello", template=own_dockerfile(), template_dir=None, handler_dir=folder)
    builder = ImageBuilder(gallery.engine, runtime=gallery.data, index=IndexSettings(), buildkit=False)
    async with gallery.images.building():
        with pytest.raises(PilotlightError):
            await builder.build(order, lambda _progress: None, gallery.images.keep)
    owners = {tag.partition("/")[0] for tag in gallery.tags() if "/pulled/" in tag}
    assert owners == {"pilotlight-aa", "pilotlight-bb"}


@pytest.mark.parametrize("how", ["by its tag", "by its digest"])
async def test_what_is_deployed_since_it_was_looked_at_stays(gallery: Gallery, registry: Registry, how: str) -> None:
    image = await publish(gallery, registry)
    pinned = await gallery.pull(image)
    await gallery.images.open()
    (kept,) = await asyncio.to_thread(gallery.images.everything)
    await gallery.pull(image if how == "by its tag" else pinned)
    assert not await asyncio.to_thread(gallery.images.take, kept)
    (seen,) = await asyncio.to_thread(gallery.images.everything)
    assert await asyncio.to_thread(gallery.images.take, seen)


async def test_what_was_pulled_under_two_names_at_once_goes_at_once(gallery: Gallery, registry: Registry) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image)
    second = f"pulled/{'1' * 16}:{'2' * 16}-{'3' * 16}"
    gallery.engine.do(lambda client: tag_again("aa", [second], image, client))
    assert len(await gallery.collector().collect()) == 1
    assert gallery.tags() | gallery.digests() == set()


async def test_what_an_engine_does_not_have_is_not_asked_for_at_each_look(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gallery.images.open()
    asked = []
    real = gallery.engine._client.inspect_image

    def noted(image: str) -> object:
        asked.append(image)
        return real(image)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(gallery.engine._client, "inspect_image", noted)
    for _ in range(2):
        await asyncio.to_thread(gallery.images.used, {f"images/{HELLO}"})
    assert asked == [HELLO]


async def test_a_further_engine_has_a_budget_of_its_own(
    gallery: Gallery, registry: Registry, engine: SecondEngine
) -> None:
    image = await publish(gallery, registry)
    await gallery.pull(image)
    gallery.images = shelf_of(engine, gallery.data, "aa", budget="node-2")
    await gallery.live("r1", "nothing")
    manifest = next((gallery.data / "bundles").iterdir()) / "manifest.json"
    manifest.write_text(json.dumps({"bytes": 5 * 2**20, "environment": "e"}))
    # What is over its budget is referenced, and on another machine.
    assert await gallery.collector(budget_mib=1).collect() == []
    assert [name.split("/")[:2] for name in await gallery.collector().collect()] == [["images", "pulled"]]
