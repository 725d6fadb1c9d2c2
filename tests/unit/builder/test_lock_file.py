"""uv's lock, held against what the user and the runtime ask for."""

import pytest

from pilotlight.builder.lock import checked, packages
from pilotlight.builder.requirements import Requirements, read_requirements
from pilotlight.core.errors import InvalidRequirements

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
LOCK = (
    f"idna==3.4 \\\n    --hash={A} \\\n    --hash={B}\n"
    f"six @ https://h/six-1-py3-none-any.whl \\\n    --hash={C}\n"
    f"uvloop==0.20.0 \\\n    --hash={C}\n"
)


def requirements(text: str) -> Requirements:
    return read_requirements(lambda path: text.encode() if path == "requirements.txt" else None, {})


def test_versions_are_found_by_name() -> None:
    assert packages(LOCK) == {"idna": "3.4", "uvloop": "0.20.0"}


def test_without_wishes_the_lock_stays_as_it_is() -> None:
    assert checked(LOCK, requirements("idna"), {}) == LOCK


def test_only_hashes_that_the_user_allows_remain() -> None:
    narrowed = checked(LOCK, requirements(f"idna==3.4 --hash={B}\nsix"), {})
    assert B in narrowed
    assert A not in narrowed
    assert narrowed.count(C) == 2


def test_no_allowed_hash_at_all_is_an_error_at_its_line() -> None:
    with pytest.raises(InvalidRequirements, match=r"requirements\.txt:2: no file of idna==3\.4"):
        checked(LOCK, requirements(f"six\nidna==3.4 --hash={C}"), {})


def test_a_dependency_below_the_runtimes_floor_is_refused() -> None:
    with pytest.raises(InvalidRequirements, match=r"uvloop 0\.20\.0 is too old") as caught:
        checked(LOCK, requirements("six"), {"uvloop": "0.21"})
    assert caught.value.slug == "requirement-conflict"
