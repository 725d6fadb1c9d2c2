"""The user's logins for registries: where they are found, what helps when they cannot be read, and no trace of them."""

import json
from base64 import b64encode, urlsafe_b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.docker_config import config_path, login_header, registry_of
from faasctl.errors import CliError, ExitCode

PAIR = b64encode(b"ada:s3:cret").decode()


def write(folder: Path, **sections: object) -> dict[str, str]:
    """The environment in which the file counts."""
    (folder / "config.json").write_text(json.dumps(sections))
    return {"DOCKER_CONFIG": str(folder)}


def login(registry: str, env: dict[str, str]) -> object:
    header = login_header(registry, env)
    return None if header is None else json.loads(urlsafe_b64decode(header))


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("r.example:5000", "r.example:5000"),
        ("https://r.example:5000/v2/", "r.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_a_login_is_found_by_its_registry(tmp_path: Path, key: str, registry: str) -> None:
    env = write(tmp_path, auths={key: {"auth": PAIR}})
    assert login(registry, env) == {"username": "ada", "password": "s3:cret"}
    assert login("elsewhere.example", env) is None


def test_a_token_counts_before_a_password(tmp_path: Path) -> None:
    env = write(tmp_path, auths={"r": {"auth": PAIR, "identitytoken": "t"}})
    assert login("r", env) == {"identitytoken": "t"}


def test_docker_says_where_its_file_lies(tmp_path: Path) -> None:
    assert config_path({"HOME": "/home/ada"}) == Path("/home/ada/.docker/config.json")
    assert config_path({"HOME": "/home/ada", "DOCKER_CONFIG": "/x"}) == Path("/x/config.json")
    assert login_header("r", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None


@pytest.mark.parametrize("entry", [{}, {"auth": ""}, {"auth": "%"}, {"auth": "YWRh"}, "x", None])
def test_an_entry_without_a_login_is_none(tmp_path: Path, entry: object) -> None:
    assert login("r", write(tmp_path, auths={"r": entry})) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "ada:s3cret"])
def test_a_broken_file_is_told_and_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CliError) as error:
        login_header("r", {"DOCKER_CONFIG": str(tmp_path)})
    assert error.value.exit_code is ExitCode.CREDENTIALS
    assert "config.json" in str(error.value)
    assert "s3cret" not in str(error.value)


@given(st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["auths", "r", "auth", "identitytoken", "credHelpers"]), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    folder = tmp_path_factory.mktemp("docker")
    (folder / "config.json").write_text(json.dumps(document))
    try:
        login_header("r", {"DOCKER_CONFIG": str(folder), "PATH": ""})
    except CliError as error:
        assert [problem.slug for problem in error.problems] == ["docker-config-unreadable"]


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_helper_program_is_asked_and_one_for_a_registry_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, f"""cat > {tmp_path}/asked; echo '{{"Username": "<token>", "Secret": "t"}}'""")
    env = write(tmp_path, credHelpers={"r.example": "test"}, credsStore="nowhere")
    assert login("r.example", env) == {"identitytoken": "t"}
    assert (tmp_path / "asked").read_text() == "r.example"
    with pytest.raises(CliError, match="docker-credential-nowhere"):
        login("other.example", env)


@pytest.mark.parametrize(
    ("script", "word"), [("echo locked; exit 1", "locked"), ("echo {}", "no login"), ("exit 7", "exit code 7")]
)
def test_a_helper_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, word: str) -> None:
    helper(tmp_path, monkeypatch, script)
    with pytest.raises(CliError, match=word):
        login("r", write(tmp_path, credsStore="test"))


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    env = write(tmp_path, credsStore="test", auths={"r": {"auth": PAIR}})
    assert login("r", env) == {"username": "ada", "password": "s3:cret"}


@pytest.mark.parametrize(
    ("image", "registry"),
    [("hello", "docker.io"), ("ada/hello:1", "docker.io"), ("r.example/a", "r.example"), ("localhost/a", "localhost")],
)
def test_a_registry_is_what_looks_like_a_machine(image: str, registry: str) -> None:
    assert registry_of(image) == registry
