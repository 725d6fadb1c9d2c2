"""`registryAuth` of OpenFaaS' clients: a login becomes a secret of the function, or is refused and not repeated."""

import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotlight.api.server import make_app, serving
from pilotlight.core.spec import function_key
from tests.integration.api.memory import DIGEST, MemoryControl

LOGIN = base64.b64encode(b"ada:s3cret").decode()
OTHER = base64.b64encode(b"bob:other").decode()
IMAGE = {"service": "hello", "image": "registry.example:5000/team/hello:1"}
SECRET = "hello.dockerconfigjson"


class OfImages:
    """A server whose functions are images."""

    def __init__(self, control: MemoryControl, http: aiohttp.ClientSession) -> None:
        self.control, self.http = control, http

    async def deploy(self, method: str = "POST", **body: object) -> tuple[int, str]:
        async with self.http.request(method, "/system/functions", json=IMAGE | body) as answer:
            return answer.status, await answer.text()

    async def logins(self) -> Any:
        """What the secret holds; None without it."""
        view = self.control.views.get(function_key("hello"))
        if view is None or SECRET not in view.spec.secrets:
            return None
        return json.loads((await self.control.secrets.values(view.spec))[SECRET])["auths"]


@pytest.fixture
async def server() -> AsyncIterator[OfImages]:
    home = Path(tempfile.mkdtemp(prefix="pl-api-"))
    control = MemoryControl(folder=home)
    app = make_app(
        control, credentials=None, version="1", provider="docker", staging_dir=home / "staging", upload_limit_mib=1
    )
    async with serving(app, home / "api.sock"):
        connector = aiohttp.UnixConnector(str(home / "api.sock"))
        async with aiohttp.ClientSession("http://api", connector=connector) as http:
            yield OfImages(control, http)
    shutil.rmtree(home)


async def test_a_login_becomes_a_secret_of_the_function(server: OfImages) -> None:
    assert (await server.deploy(registryAuth=LOGIN))[0] == 202
    assert await server.logins() == {"registry.example:5000": {"auth": LOGIN}}
    assert (await server.deploy("PUT", registryAuth=OTHER, secrets=[SECRET]))[0] == 202
    assert await server.logins() == {"registry.example:5000": {"auth": OTHER}}


@pytest.mark.parametrize("given", [None, ""])
async def test_none_is_none(server: OfImages, given: str | None) -> None:
    assert (await server.deploy(registryAuth=given))[0] == 202
    assert await server.logins() is None


@pytest.mark.parametrize("given", ["%%%", base64.b64encode(b"s3cret").decode(), ["s3cret"], 7])
async def test_what_is_no_login_is_refused_and_not_repeated(server: OfImages, given: object) -> None:
    status, text = await server.deploy(registryAuth=given)
    assert (status, "registryAuth: must be base64 of user:password" in text) == (400, True)
    assert str(given) not in text
    assert not server.control.views
    assert not server.control.secrets.all()


async def test_a_deploy_that_is_refused_leaves_the_login_as_it_was(server: OfImages) -> None:
    await server.deploy(registryAuth=LOGIN)
    assert (await server.deploy("POST", registryAuth=OTHER))[0] >= 400
    assert await server.logins() == {"registry.example:5000": {"auth": LOGIN}}
    assert (await server.deploy("PUT", service="nobody", registryAuth=OTHER))[0] == 404
    assert len(server.control.secrets.all()) == 1


async def test_what_was_built_here_needs_no_login(server: OfImages) -> None:
    status, _ = await server.deploy(image=f"bundle/hello@sha256:{DIGEST}", registryAuth=LOGIN)
    assert (status, await server.logins()) == (202, None)
