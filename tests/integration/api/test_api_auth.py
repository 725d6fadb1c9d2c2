"""Who is let in."""

import asyncio
import io

import aiohttp
import pytest

from tests.integration.api.memory import CREDENTIALS, Api, basic

PROTECTED = [
    ("GET", "/"),
    ("GET", "/api/v1/functions"),
    ("POST", "/api/v1/builds"),
    ("GET", "/api/v1/no-such-path"),
    ("PATCH", "/api/v1/functions"),
    ("GET", "/ui/"),
]


def stranger(api: Api, headers: dict[str, str] | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(api.socket)), headers=headers)


async def test_the_right_pair_is_let_in(guarded: Api) -> None:
    assert (await guarded.call("GET", "/api/v1/functions"))[0] == 200
    assert (await guarded.call("GET", "/system/functions"))[0] == 200  # how faas-cli tries a login


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/info"])
async def test_two_paths_are_open(guarded: Api, path: str) -> None:
    async with stranger(guarded) as http, http.get(f"http://api{path}") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/functions/hello", "/api-docs", "/x"])
async def test_who_misspells_a_functions_path_hears_that_and_not_of_a_password(guarded: Api, path: str) -> None:
    async with stranger(guarded) as http, http.post(f"http://api{path}") as answer:
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["type"]) == (404, "path-not-found")
        assert "/function/NAME" in problem["hint"]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_stranger_gets_a_problem_and_the_challenge(guarded: Api, method: str, path: str) -> None:
    async with stranger(guarded) as http, http.request(method, f"http://api{path}") as answer:
        assert (answer.status, answer.content_type) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Restricted"'


async def test_openfaas_clients_hear_their_own_words(guarded: Api) -> None:
    async with stranger(guarded, basic("admin", "wrong")) as http, http.get("http://api/system/functions") as answer:
        assert (answer.status, await answer.text()) == (401, "invalid credentials\n")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Restricted"'


@pytest.mark.parametrize("value", ["Basic", "Basic !!", "Bearer abc", "Basic \u20ac", "basic " + "A" * 4000])
async def test_a_broken_header_is_refused(guarded: Api, value: str) -> None:
    request = f"GET /api/v1/functions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {value}\r\n\r\n"
    assert (await guarded.raw(request.encode())).startswith(b"HTTP/1.1 401 ")


async def test_the_scheme_may_be_in_small_letters(guarded: Api) -> None:
    token = basic(CREDENTIALS.user, CREDENTIALS.password)["Authorization"].removeprefix("Basic ")
    request = f"GET /api/v1/functions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: basic {token}\r\n\r\n"
    assert (await guarded.raw(request.encode())).startswith(b"HTTP/1.1 200 ")


async def test_a_strangers_upload_is_not_stored(guarded: Api) -> None:
    upload = io.BytesIO(b"x" * 2**20)
    url = "http://api/api/v1/builds?name=hello&template=python3-http"
    async with stranger(guarded) as http, http.post(url, data=upload) as answer:
        assert answer.status == 401
    assert guarded.staged() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    status, _ = await api.call("POST", "/system/functions", data=b"{}", headers=headers)
    assert status == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://faas.example"}, {"Origin": "http://faas.example", "Sec-Fetch-Site": "same-origin"}],
)
async def test_a_page_of_our_own_may(api: Api, headers: dict[str, str]) -> None:
    ours = headers | {"X-Forwarded-Host": "faas.example"}
    assert (await api.call("POST", "/system/functions", data=b"{}", headers=ours))[0] == 400  # read, and found wanting


async def test_reading_is_left_to_the_browsers_own_rules(api: Api) -> None:
    assert (await api.call("GET", "/api/v1/functions", headers={"Origin": "https://evil.example"}))[0] == 200


BY_THE_ROUTER = {"X-Forwarded-For": "127.0.0.1"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("more", [{}, {"Origin": "http://evil.example"}, {"X-Forwarded-Host": "127.0.0.1"}])
async def test_without_a_password_no_name_of_another_site_leads_here(
    api: Api, method: str, more: dict[str, str]
) -> None:
    headers = BY_THE_ROUTER | {"Host": "evil.example", "X-Forwarded-Host": "evil.example"} | more
    status, problem = await api.call(method, "/api/v1/secrets", json={"name": "a", "value": "b"}, headers=headers)
    assert status == 403
    assert problem["type"] == "forbidden"
    assert "authentication" in problem["detail"] or "Origin" in headers


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"])
async def test_addresses_and_localhost_do(api: Api, host: str) -> None:
    headers = BY_THE_ROUTER | {"Host": host, "X-Forwarded-Host": host, "Origin": f"http://{host}"}
    assert (await api.call("POST", "/system/functions", data=b"{}", headers=headers))[0] == 400
    assert (await api.call("GET", "/api/v1/functions", headers=headers))[0] == 200


async def test_with_a_password_any_name_will_do(guarded: Api) -> None:
    headers = BY_THE_ROUTER | {"Host": "faas.example", "X-Forwarded-Host": "faas.example"}
    assert (await guarded.call("GET", "/api/v1/functions", headers=headers))[0] == 200


async def test_a_refused_connection_is_not_left_open(guarded: Api) -> None:
    head = b"POST /api/v1/builds HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    async with asyncio.timeout(5):
        assert b"Connection: close" in await guarded.raw(head, until=b"\r\n\r\n")
