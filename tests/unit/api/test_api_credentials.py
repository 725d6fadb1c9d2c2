"""Credentials: from the supervisor's files, and against a header."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.api.auth import Credentials, is_own_host
from pilotlight.core.errors import InvalidInput

OURS = Credentials(user="admin", password="se:cret")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def files(data_dir: Path, user: str, password: str) -> Path:
    (data_dir / "auth").mkdir()
    (data_dir / "auth" / "basic-auth-user").write_text(user)
    (data_dir / "auth" / "basic-auth-password").write_text(password)
    return data_dir


def test_the_right_header_is_admitted() -> None:
    assert OURS.admit(basic("admin:se:cret"))


@given(st.text())
def test_nothing_else_is_admitted(header: str) -> None:
    assert not OURS.admit(header)
    assert not OURS.admit(f"Basic {header}")
    assert OURS.admit(basic(header)) == (header == "admin:se:cret")


def test_the_right_token_under_another_scheme_is_refused() -> None:
    assert not OURS.admit(basic("admin:se:cret").replace("Basic", "Bearer"))


def test_the_supervisors_files_are_read_without_their_line_ends(tmp_path: Path) -> None:
    assert Credentials.load(files(tmp_path, "admin\n", "se:cret\r\n")) == OURS


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="basic-auth-password is empty"):
        Credentials.load(files(tmp_path, "admin", "\n"))


def test_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="basic-auth-user"):
        Credentials.load(tmp_path)


def test_the_password_is_not_in_what_is_logged() -> None:
    assert "cret" not in repr(OURS)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "10.1.2.3", "[::1]:8080", "localhost", "LOCALHOST:8080", "x.localhost", "localhost.", "Mine:80"],
)
def test_addresses_localhost_and_our_own_names_are_no_other_sites(host: str) -> None:
    assert is_own_host(host, {"mine"})


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "notlocalhost", "[::1", ""],
)
def test_any_other_name_may_be_another_sites(host: str) -> None:
    assert not is_own_host(host, {"mine"})
