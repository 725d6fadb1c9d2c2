"""Logins for registries: found in a configuration file, in a secret or by a program, and told to nobody."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import RevisionFailed, StartFailed
from pilotlight.engine.registry_logins import (
    Login,
    default_config,
    for_the_function,
    header,
    host_of,
    is_login,
    login_for,
    parse_header,
    parse_logins,
)

NOWHERE = Path("/nonexistent/config.json")
ADA = Login(user="ada", password="s3:cret")


def auth(user: str = "ada", password: str = "s3:cret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def config(**sections: object) -> bytes:
    return json.dumps(sections).encode()


def test_a_login_is_found_by_its_registry() -> None:
    found = parse_logins(config(auths={"r.example:5000": auth(), "other.example": auth("bob")}))
    assert found.by_registry["r.example:5000"] == ADA


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://R.example/v2/", "r.example"),
        ("http://r.example:5000", "r.example:5000"),
        ("r.example:5000", "r.example:5000"),
    ],
)
def test_addresses_stand_for_registries(address: str, host: str) -> None:
    assert host_of(address) == host


def test_tokens_and_plain_members_are_logins_too() -> None:
    found = parse_logins(config(auths={"a": {"identitytoken": "t"}, "b": {"username": "u", "password": "p"}, "c": {}}))
    assert found.by_registry == {"a": Login(token="t"), "b": Login(user="u", password="p")}
    assert found.by_registry["a"].sent() == {"identitytoken": "t"}


def test_a_program_is_chosen_by_registry_before_the_one_for_all() -> None:
    found = parse_logins(config(credHelpers={"https://a.example": "ecr-login"}, credsStore="desktop"))
    assert (found.helper_for("a.example"), found.helper_for("b.example")) == ("ecr-login", "desktop")


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["auths", "credHelpers", "credsStore", "auth", "r"]) | st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_file_is_logins_or_refused(data: bytes) -> None:
    try:
        parse_logins(data)
    except ValueError as error:
        assert str(error) in ("it is not JSON", "it is no JSON object")


def test_a_secret_comes_before_the_servers_own(tmp_path: Path) -> None:
    own = tmp_path / "config.json"
    own.write_bytes(config(auths={"r.example": auth("server")}))
    secrets = {"app.dockerconfigjson": config(auths={"r.example": auth()})}
    assert login_for("r.example", secrets, own) == ADA
    assert login_for("r.example", {}, own) == Login(user="server", password="s3:cret")
    assert login_for("elsewhere.example", secrets, own) is None
    assert login_for("r.example", {}, NOWHERE) is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("dockerconfigjson", True), ("hello.dockerconfigjson", True), ("mydockerconfigjson", False), ("api-key", False)],
)
def test_logins_are_secrets_of_one_name_and_never_get_into_a_function(name: str, is_one: bool) -> None:
    assert is_login(name) is is_one
    assert for_the_function({name: b"x"}) == ({} if is_one else {name: b"x"})


def test_a_secret_that_is_no_configuration_is_told_and_not_repeated() -> None:
    with pytest.raises(RevisionFailed) as error:
        login_for("r.example", {"dockerconfigjson": b"ada:s3cret"}, NOWHERE)
    assert error.value.slug == "registry-login"
    assert "s3cret" not in error.value.detail + error.value.hint


def test_a_secret_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, f"touch {tmp_path}/ran")
    assert login_for("r.example", {"dockerconfigjson": config(credsStore="test")}, NOWHERE) is None
    assert not (tmp_path / "ran").exists()


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A docker-credential-test on PATH, and a configuration that names it."""
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    file = folder / "config.json"
    file.write_bytes(config(credsStore="test"))
    return file


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        ('{"Username": "ada", "Secret": "s3:cret"}', ADA),
        ('{"Username": "<token>", "Secret": "t"}', Login(token="t")),
        ('{"Username": "", "Secret": ""}', None),
    ],
)
def test_a_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, login: Login | None) -> None:
    file = helper(tmp_path, monkeypatch, f"cat > {tmp_path}/asked; echo '{answer}'")
    assert login_for("docker.io", {}, file) == login
    assert (tmp_path / "asked").read_text() == "https://index.docker.io/v1/"


def test_a_program_that_knows_nothing_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert login_for("r.example", {}, file) is None


@pytest.mark.parametrize(
    ("script", "word"), [("echo the keychain is locked; exit 1", "locked"), ("echo what", "no login"), ("exit 3", "3")]
)
def test_a_program_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, word: str) -> None:
    file = helper(tmp_path, monkeypatch, script)
    with pytest.raises(StartFailed, match=word):
        login_for("r.example", {}, file)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(config(credsStore="nowhere"))
    with pytest.raises(StartFailed, match="docker-credential-nowhere"):
        login_for("r.example", {}, file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{")
    with pytest.raises(StartFailed, match="not JSON"):
        login_for("r.example", {}, file)
    with pytest.raises(StartFailed, match="directory"):
        login_for("r.example", {}, tmp_path)


def test_docker_says_where_its_file_lies() -> None:
    assert default_config({"DOCKER_CONFIG": "/x"}) == Path("/x/config.json")
    assert default_config({}) == Path.home() / ".docker" / "config.json"


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_header_carries_a_login_there_and_back(user: str, password: str, token: str) -> None:
    login = Login(user=user or "u", password=password or "p", token=token)
    expected = Login(token=token) if token else login
    assert parse_header(header(login)) == expected


def test_no_login_is_a_header_too() -> None:
    assert parse_header(header(None)) is None


@given(st.text(max_size=40))
def test_any_header_is_a_login_or_refused(value: str) -> None:
    try:
        parse_header(value)
    except ValueError as error:
        assert value not in str(error) or len(value) < 5


def test_a_login_says_nothing_of_itself() -> None:
    assert "s3:cret" not in repr(ADA)
    assert "t0ken" not in repr(Login(token="t0ken"))
