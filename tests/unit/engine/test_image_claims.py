"""Whose an image is, by its names: a server removes what it built or pulled, and what nobody else has a part in."""

import string

from hypothesis import given
from hypothesis import strategies as st

from pilotlight.engine.claims import Holding, claim_of, holdings, is_ours, pulled_names, pulling

DIGEST = "sha256:" + "d" * 64
BUILT = f"pilotlight/hello:{'0' * 16}"
TEAM = "registry.example:5000/team/app"


class OneImage:
    """An engine's client that has one image, from a pull on."""

    def __init__(self, *, there: bool = False) -> None:
        self.there = there
        self.tags: set[str] = set()

    def images(self, *, quiet: bool, all: bool) -> list[str]:  # noqa: A002 (docker's own)
        return ["sha256:1"] if self.there else []

    def inspect_image(self, _image: str) -> dict[str, str]:
        return {"Id": "sha256:1"}

    def tag(self, _image: str, repository: str, tag: str) -> None:
        self.tags.add(f"{repository}:{tag}")


def claim(owner: str, repository: str, image: str, *, there: bool = False) -> set[str]:
    client = OneImage(there=there)
    with pulling(owner, repository, image, client):
        pass
    return client.tags


def test_a_pulled_image_is_the_pullers_under_every_name_that_the_pull_gave_it() -> None:
    mine = claim("aa", TEAM, f"{TEAM}:1")
    (held,) = holdings("aa", {f"{TEAM}:1", *mine}, {f"{TEAM}@{DIGEST}"})
    assert held.names == {f"{TEAM}:1", f"{TEAM}@{DIGEST}"}
    assert ({held.claim}, held.is_shared) == (mine, False)
    assert held.claim == claim_of("aa", held.name)


def test_docker_hubs_short_names_are_the_same_names() -> None:
    mine = claim("aa", "docker.io/library/redis", "docker.io/library/redis:7")
    assert holdings("aa", {"redis:7", *mine}, {f"redis@{DIGEST}"})
    assert mine == claim("aa", "redis", "redis:7")


def test_what_was_pulled_by_digest_has_no_tag_but_ours() -> None:
    image = f"{TEAM}@{DIGEST}"
    (held,) = holdings("aa", claim("aa", TEAM, image), {image})
    assert held.names == {image}


def test_a_tag_that_was_moved_to_other_bytes_leaves_the_old_ones_to_the_puller() -> None:
    assert holdings("aa", claim("aa", TEAM, f"{TEAM}:latest"), {f"{TEAM}@{DIGEST}"})


def test_nothing_is_claimed_of_what_was_there_or_for_nobody() -> None:
    assert claim("aa", TEAM, f"{TEAM}:1", there=True) == set()
    assert claim("", TEAM, f"{TEAM}:1") == set()


def test_what_another_server_claims_too_is_shared_and_what_it_alone_claims_is_its_own() -> None:
    mine, theirs = claim("aa", TEAM, f"{TEAM}:1"), claim("bb", TEAM, f"{TEAM}:1")
    (held,) = holdings("aa", {f"{TEAM}:1"} | mine | theirs, ())
    assert held.is_shared
    assert holdings("aa", {f"{TEAM}:1"} | theirs, ()) == []
    assert pulled_names(mine) == pulled_names(theirs) == {held.name}


def test_a_digest_of_another_repository_is_somebody_elses_pull() -> None:
    mine = claim("aa", TEAM, f"{TEAM}:1")
    assert holdings("aa", {f"{TEAM}:1", *mine}, {f"{TEAM}@{DIGEST}", f"other/app@{DIGEST}"}) == []


def test_a_built_image_is_its_claimants_or_without_one_anybodys() -> None:
    mine, theirs = claim_of("aa", BUILT), claim_of("bb", BUILT)
    whole = Holding(name=BUILT, claim=mine, names=frozenset({BUILT}), is_shared=False)
    assert holdings("aa", {BUILT}, ()) == holdings("aa", {BUILT, mine}, ()) == [whole]
    assert holdings("aa", {BUILT, theirs}, ()) == []
    assert holdings("aa", {BUILT, mine, theirs}, ())[0].is_shared


_NAMES = st.sampled_from(
    [
        BUILT,
        f"{TEAM}:1",
        "redis:7",
        *(claim_of(owner, BUILT) for owner in ("aa", "bb")),
        *claim("aa", TEAM, f"{TEAM}:1"),
        *claim("bb", TEAM, f"{TEAM}:1"),
    ]
)


@given(st.frozensets(_NAMES), st.text(string.ascii_lowercase, min_size=1), st.text(string.digits, min_size=1))
def test_an_image_with_a_name_of_anybodys_own_is_never_held(tags: frozenset[str], name: str, tag: str) -> None:
    assert holdings("aa", tags | {f"mine/{name}:{tag}"}, ()) == []


@given(st.frozensets(_NAMES))
def test_a_claim_is_always_the_owners_and_no_name_that_goes_is_a_claim(tags: frozenset[str]) -> None:
    for held in holdings("aa", tags, ()):
        assert held.claim.startswith("pilotlight-aa/")
        assert not any(name.startswith("pilotlight-") for name in held.names)
        assert is_ours(held.claim)
