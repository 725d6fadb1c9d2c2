"""Where packages come from: pip's settings reach uv, credentials too, and end in no message."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from pilotlight.builder.index import IndexSettings, index_settings
from pilotlight.core.errors import InvalidRequirements, PilotlightError
from tests.integration.builder.conftest import Make

NO_PIP: dict[str, str] = {}


def simple(folder: Path, links: Path, *packages: str) -> Path:
    """An index as a folder (PEP 503) with these packages of `links`."""
    for package in packages:
        place = folder / package.split("-")[0]
        place.mkdir(parents=True, exist_ok=True)
        files = sorted(path.name for path in links.glob(f"{package}*"))
        (place / "index.html").write_text("".join(f'<a href="{(links / name).as_uri()}">{name}</a>' for name in files))
    return folder


@pytest.fixture
async def closed_index(links: Path) -> AsyncIterator[str]:
    """The address of an index that wants user `me` and password `s3cret`; the address holds them."""
    expected = "Basic " + base64.b64encode(b"me:s3cret").decode()

    async def page(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401)
        if "file" in request.match_info:
            return web.FileResponse(links / request.match_info["file"])
        names = sorted(path.name for path in links.glob(f"{request.match_info['name']}-*"))
        text = "".join(f'<a href="/files/{name}">{name}</a>' for name in names)
        return web.Response(text=text, content_type="text/html", status=200 if names else 404)

    app = web.Application()
    app.add_routes([web.get("/simple/{name}/", page), web.get("/files/{file}", page)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://me:s3cret@127.0.0.1:{port}/simple"
    await runner.cleanup()


async def test_an_index_of_pips_configuration_is_used(make_workshop: Make, data_dir: Path, links: Path) -> None:
    index = simple(data_dir / "index", links, "greet")
    (data_dir / "pip.conf").write_text(f"[global]\nindex-url = {index.as_uri()}\n")
    workshop = await make_workshop(index_settings(NO_PIP, [data_dir / "pip.conf"]))
    assert (await workshop.build(requirements="greet\n")).environment


async def test_credentials_in_the_address_reach_the_index(make_workshop: Make, closed_index: str) -> None:
    workshop = await make_workshop(index_settings({"PIP_INDEX_URL": closed_index}, []))
    await workshop.build(requirements="greet\n")
    text = "".join(path.read_text() for path in workshop.data_dir.glob("environments/*/*.[jl]*"))
    assert "s3cret" not in text + "".join(line.message for line in workshop.said)


async def test_refused_credentials_are_said_without_showing_them(make_workshop: Make, closed_index: str) -> None:
    workshop = await make_workshop(index_settings({"PIP_INDEX_URL": closed_index.replace("s3cret", "wr0ng")}, []))
    with pytest.raises(PilotlightError) as caught:
        await workshop.build(requirements="greet\n")
    assert caught.value.slug == "index-refused"
    assert "wr0ng" not in caught.value.detail


async def test_an_index_that_does_not_answer_is_distinguished(make_workshop: Make) -> None:
    index = IndexSettings(variables={"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"})
    with pytest.raises(PilotlightError) as caught:
        await (await make_workshop(index)).build(requirements="greet\n")
    assert caught.value.slug == "index-unreachable"
    assert caught.value.retryable


async def test_several_indexes_of_pips_are_all_asked_when_the_first_has_no_fitting_version(
    make_workshop: Make, data_dir: Path, links: Path
) -> None:
    old, new = simple(data_dir / "old", links, "greet-1.0"), simple(data_dir / "new", links, "greet-2.0")
    environ = {"PIP_EXTRA_INDEX_URL": old.as_uri(), "PIP_INDEX_URL": new.as_uri()}
    workshop = await make_workshop(index_settings(environ, []))
    assert (await workshop.build(requirements="greet==2.0\n")).environment


async def test_a_package_comes_from_the_first_index_that_has_it(
    make_workshop: Make, data_dir: Path, links: Path
) -> None:
    old, new = simple(data_dir / "old", links, "greet-1.0"), simple(data_dir / "new", links, "greet-2.0")
    environ = {"PIP_EXTRA_INDEX_URL": old.as_uri(), "PIP_INDEX_URL": new.as_uri()}
    workshop = await make_workshop(index_settings(environ, []))
    bundle = await workshop.build(requirements="greet\n")
    lock = (workshop.builder.environment_dir(bundle.environment) / "requirements.lock").read_text()
    assert lock.startswith("greet==1.0 ")


async def test_this_machines_own_settings_reach_uv(make_workshop: Make) -> None:
    workshop = await make_workshop(index_settings(os.environ))
    with pytest.raises(InvalidRequirements) as caught:
        await workshop.build(requirements="numpy\nno-such-package-pilotlight-test\n")
    assert caught.value.slug == "requirement-not-found"
