"""Which server, as whom, and what is said of where that came from."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.config import Server, choose_server, credentials_path
from faasctl.errors import CliError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}


def store(env: dict[str, str], **logins: str) -> None:
    """Logins as user:password by address; `_` stands for what a keyword cannot hold."""
    path = credentials_path(env)
    path.parent.mkdir()
    pairs = {url: dict(zip(("user", "password"), text.split(":"), strict=True)) for url, text in logins.items()}
    path.write_text(json.dumps(pairs))


def test_the_order_is_flag_environment_stack_file_login_default(env: dict[str, str]) -> None:
    store(env, **{"http://login:1": "u:p"})
    full = env | {"FAASCTL_SERVER": "http://own:1", "OPENFAAS_URL": "http://openfaas:1"}

    def url(flag: str | None, gateway: str | None, env: dict[str, str]) -> str:
        return choose_server(flag, gateway=gateway, env=env).url

    assert url("http://flag:1", "http://stack:1", full) == "http://flag:1"
    assert url(None, "http://stack:1", full) == "http://own:1"
    assert url(None, "http://stack:1", env | {"OPENFAAS_URL": "http://openfaas:1"}) == "http://openfaas:1"
    assert url(None, "http://stack:1", env) == "http://stack:1"
    assert url(None, None, env) == "http://login:1"
    assert url(None, None, {"HOME": "/nowhere"}) == "http://127.0.0.1:8080"


def test_the_default_in_a_stack_file_says_nothing(env: dict[str, str]) -> None:
    store(env, **{"http://login:1": "u:p"})
    assert choose_server(None, gateway="http://127.0.0.1:8080", env=env).url == "http://login:1"


def test_each_address_knows_where_it_came_from(env: dict[str, str]) -> None:
    assert choose_server("http://a", env=env).origin == "--server"
    assert choose_server(None, env=env | {"OPENFAAS_URL": "http://a"}).origin == "the environment variable OPENFAAS_URL"
    assert (
        choose_server(None, gateway="http://a", stack_file="s.yml", env=env).origin == "`provider: gateway:` in s.yml"
    )
    assert choose_server(None, env=env).origin.startswith("the default address; no FAASCTL_SERVER")


def test_of_several_logins_none_is_guessed(env: dict[str, str]) -> None:
    store(env, **{"http://a:1": "u:p", "http://b:1": "u:p"})
    server = choose_server(None, env=env)
    assert server.url == "http://127.0.0.1:8080"
    assert "2 logins" in server.origin
    assert server.others == ("http://a:1", "http://b:1")


def test_logins_of_other_servers_are_known_beside_that_of_the_default(env: dict[str, str]) -> None:
    store(env, **{"http://127.0.0.1:8080": "u:p", "http://b:1": "u:p"})
    server = choose_server(None, env=env)
    assert "2 logins" in server.origin
    assert server.others == ("http://b:1",)
    assert choose_server("http://a:1", env=env).others == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("localhost:9000", "http://localhost:9000"),
        ("HTTPS://Faas.Example.ORG/", "https://faas.example.org"),
        ("http://a/Base/", "http://a/Base"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_made_regular(env: dict[str, str], given: str, expected: str) -> None:
    assert choose_server(given, env=env).url == expected


@pytest.mark.parametrize("given", ["ftp://a", "http://", "http://a:99999", "http://a?x=1", "http://a b", "http://[::1"])
def test_what_is_no_address_is_refused(env: dict[str, str], given: str) -> None:
    with pytest.raises(CliError) as caught:
        choose_server(given, env=env)
    assert caught.value.exit_code == 2


def test_a_password_in_a_refused_address_is_not_repeated(env: dict[str, str]) -> None:
    with pytest.raises(CliError) as caught:
        choose_server("ftp://me:hunter2@a", env=env)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("password", ["hun/ter2", "12/hunter2", "hun#ter2", "hun?ter2", "hun[ter2", "hun\u2100ter2"])
def test_a_password_that_should_have_been_escaped_is_not_repeated(env: dict[str, str], password: str) -> None:
    with pytest.raises(CliError) as caught:
        choose_server(f"http://admin:{password}@faas.example.org:8080", env=env)
    assert "faas.example.org" in str(caught.value.to_json())
    assert "ter2" not in str(caught.value.to_json())
    assert "'hun" not in str(caught.value.to_json())


def test_the_stored_password_is_found(env: dict[str, str]) -> None:
    store(env, **{"http://127.0.0.1:8080": "admin:secret"})
    for flag in (None, "http://127.0.0.1:8080/", "http://localhost:8080"):
        found = choose_server(flag, env=env).credentials
        assert found is not None
        assert (found.user, found.password) == ("admin", "secret")


def test_another_servers_password_is_not_used(env: dict[str, str]) -> None:
    store(env, **{"http://127.0.0.1:8080": "admin:secret"})
    assert choose_server("http://127.0.0.1:8081", env=env).credentials is None
    assert choose_server("http://127.0.0.1.evil.example:8080", env=env).credentials is None


def test_an_address_may_carry_its_password(env: dict[str, str]) -> None:
    server = choose_server("http://me:p%40ss@a:1", env=env)
    assert server.url == "http://a:1"
    assert server.credentials is not None
    assert (server.credentials.user, server.credentials.password) == ("me", "p@ss")


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_broken_file_of_logins_is_told(env: dict[str, str], text: str) -> None:
    credentials_path(env).parent.mkdir()
    credentials_path(env).write_text(text)
    with pytest.raises(CliError) as caught:
        choose_server(None, env=env)
    assert (caught.value.exit_code, caught.value.problems[0].slug) == (4, "credentials-unreadable")


@given(text=st.text(max_size=40))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        found = choose_server(text, env={"HOME": "/nowhere"})
    except CliError as error:
        assert error.exit_code == 2
    else:
        assert isinstance(found, Server)
        assert found.url.startswith("http")
