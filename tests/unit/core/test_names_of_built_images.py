"""Which images no registry is asked for: those that a build here made."""

import pytest

from pilotlight.core.naming import is_built_here


def test_what_a_build_made_is_told_by_its_name() -> None:
    assert is_built_here("pilotlight/hello:0123456789abcdef")


@pytest.mark.parametrize(
    "name",
    [
        "pilotlight/hello:latest",
        "pilotlight/hello",
        "hello:0123456789abcdef",
        "registry:5000/pilotlight/hello:0123456789abcdef",
        "pilotlight/team/hello:0123456789abcdef",
        "pilotlight/hello:0123456789abcdef@sha256:00",
        "pilotlight/hello:0123456789abcdeF",
        "",
    ],
)
def test_any_other_name_may_be_in_a_registry(name: str) -> None:
    assert not is_built_here(name)
