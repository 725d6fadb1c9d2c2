"""What is sealed opens with its key file and for its purpose, and with nothing else; what is missing is said."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pilotlight.control.sealing import Seal
from pilotlight.core.errors import SecretsLocked

OTHER_KEY = "A" * 43 + "=\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "auth" / "secrets.key"


@pytest.fixture
def seal(path: Path) -> Seal:
    return Seal(path, lambda: path.exists())


def test_the_key_file_is_made_with_the_first_secret_for_its_owner_alone(path: Path, seal: Seal) -> None:
    assert not path.exists()
    seal.close(b"v", "p")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secrets.key"]


def test_what_was_sealed_opens(seal: Seal) -> None:
    @settings(max_examples=50)
    @given(value=st.binary(max_size=1000), purpose=st.text(st.characters(codec="utf-8"), max_size=50))
    def check(value: bytes, purpose: str) -> None:
        assert seal.open(seal.close(value, purpose), purpose) == value

    check()


def test_the_first_secrets_at_once_make_one_key_file(seal: Seal) -> None:
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda _: seal.close(b"v", "p"), range(32)))
    assert {seal.open(each, "p") for each in sealed} == {b"v"}


def test_equal_values_look_different_and_nothing_of_them_shows(seal: Seal) -> None:
    first, second = seal.close(b"hunter2" * 5, "p"), seal.close(b"hunter2" * 5, "p")
    assert first != second
    assert b"hunter2" not in first


def test_it_opens_for_its_own_purpose_only(seal: Seal) -> None:
    sealed = seal.close(b"v", "secret dev/a")
    with pytest.raises(SecretsLocked, match="secret dev/b is not what was stored"):
        seal.open(sealed, "secret dev/b")


def test_what_was_altered_does_not_open(seal: Seal) -> None:
    sealed = seal.close(b"value", "p")
    for place in range(9, len(sealed)):
        altered = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SecretsLocked):
            seal.open(altered, "p")


def test_a_missing_key_file_is_not_made_anew_when_something_is_sealed(path: Path) -> None:
    seal = Seal(path, lambda: True)
    with pytest.raises(SecretsLocked, match="is gone"):
        seal.close(b"v", "p")
    with pytest.raises(SecretsLocked, match="is gone"):
        seal.open(b"\x01" + b"0" * 40, "p")
    assert not path.exists()
    assert seal.heads() == frozenset()


def wrong(path: Path) -> None:
    path.write_text(OTHER_KEY)


def broken(path: Path) -> None:
    path.write_text("# a comment\n\nnot base64!\n")


def empty(path: Path) -> None:
    path.write_text("")


def binary(path: Path) -> None:
    path.write_bytes(b"\xff" * 32)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong, "p was stored under another key than those in "),
        (broken, "line 3 of .* is no key"),
        (empty, "is empty"),
        (binary, "cannot be read: it is no text"),
        (folder, "cannot be read: Is a directory"),
    ],
)
def test_a_key_file_that_does_not_open_says_why(
    path: Path, seal: Seal, spoil: Callable[[Path], None], why: str
) -> None:
    sealed = seal.close(b"value", "p")
    spoil(path)
    with pytest.raises(SecretsLocked, match=why) as raised:
        seal.open(sealed, "p")
    assert "backup" in raised.value.hint
    assert seal.head_of(sealed) not in seal.heads()


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_key_file_of_somebody_else_says_so(path: Path, seal: Seal) -> None:
    sealed = seal.close(b"value", "p")
    path.chmod(0)
    with pytest.raises(SecretsLocked, match="Permission denied"):
        seal.open(sealed, "p")


def test_a_new_key_before_the_old_one_seals_and_both_open(path: Path, seal: Seal) -> None:
    old = seal.close(b"old", "p")
    path.write_text(OTHER_KEY + path.read_text())
    new = seal.close(b"new", "p")
    assert (seal.open(old, "p"), seal.open(new, "p")) == (b"old", b"new")
    assert seal.head_of(old) != seal.head_of(new)
    path.write_text(OTHER_KEY)
    assert seal.open(new, "p") == b"new"
    with pytest.raises(SecretsLocked):
        seal.open(old, "p")


def test_a_key_file_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("in the way")
    seal = Seal(tmp_path / "auth" / "secrets.key", lambda: False)
    with pytest.raises(SecretsLocked, match="cannot be"):
        seal.close(b"v", "p")


def test_a_key_file_that_others_can_read_is_warned_of_once(path: Path, seal: Seal) -> None:
    sealed = seal.close(b"v", "p")
    with capture_logs() as said:
        seal.open(sealed, "p")
        assert said == []
        path.chmod(0o644)
        for _ in range(3):
            seal.open(sealed, "p")
    assert [(line["log_level"], line["mode"], line["cure"]) for line in said] == [
        ("warning", "0644", f"chmod 600 {path}")
    ]
