"""Whose an image is, by its names: a server removes what it built or pulled, and what nobody else has a part in."""

import string

from hypothesis import given
from hypothesis import strategies as st

from pilotlight.engine.image_tags import Holding, held_names, holdings, is_ours, own_tag, pulled_names, pulling

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


def pulled_tags(owner: str, repository: str, image: str, *, there: bool = False) -> set[str]:
    client = OneImage(there=there)
    with pulling(owner, repository, image, client):
        pass
    return client.tags


def test_a_pulled_image_is_the_pullers_under_every_name_that_the_pull_gave_it() -> None:
    mine = pulled_tags("aa", TEAM, f"{TEAM}:1")
    (held,) = holdings("aa", {f"{TEAM}:1", *mine}, {f"{TEAM}@{DIGEST}"})
    assert held.names == {f"{TEAM}:1", f"{TEAM}@{DIGEST}"}
    assert ({*held.own_tags}, held.is_shared) == (mine, False)
    assert held.own_tags == (own_tag("aa", held.name),)


def test_docker_hubs_short_names_are_the_same_names() -> None:
    mine = pulled_tags("aa", "docker.io/library/redis", "docker.io/library/redis:7")
    assert holdings("aa", {"redis:7", *mine}, {f"redis@{DIGEST}"})
    assert mine == pulled_tags("aa", "redis", "redis:7")


def test_what_was_pulled_by_digest_has_no_tag_but_ours() -> None:
    image = f"{TEAM}@{DIGEST}"
    (held,) = holdings("aa", pulled_tags("aa", TEAM, image), {image})
    assert held.names == {image}


def test_a_tag_that_was_moved_to_other_bytes_leaves_the_old_ones_to_the_puller() -> None:
    assert holdings("aa", pulled_tags("aa", TEAM, f"{TEAM}:latest"), {f"{TEAM}@{DIGEST}"})


def test_what_was_there_is_not_the_pullers_and_nobodys_pull_leaves_no_tag() -> None:
    assert pulled_tags("aa", TEAM, f"{TEAM}:1", there=True) == set()
    assert pulled_tags("", TEAM, f"{TEAM}:1") == set()


def test_what_another_server_has_a_tag_on_too_is_shared_and_what_it_alone_has_is_its_own() -> None:
    mine, theirs = pulled_tags("aa", TEAM, f"{TEAM}:1"), pulled_tags("bb", TEAM, f"{TEAM}:1")
    (held,) = holdings("aa", {f"{TEAM}:1"} | mine | theirs, ())
    assert held.is_shared
    assert holdings("aa", {f"{TEAM}:1"} | theirs, ()) == []
    assert pulled_names(mine) == pulled_names(theirs) == {held.name}


def test_a_digest_of_another_repository_is_somebody_elses_pull() -> None:
    mine = pulled_tags("aa", TEAM, f"{TEAM}:1")
    assert holdings("aa", {f"{TEAM}:1", *mine}, {f"{TEAM}@{DIGEST}", f"other/app@{DIGEST}"}) == []


def test_digests_that_an_engine_gives_servers_own_tags_are_nobodys_pull() -> None:
    """Those of containerd's image store have one for each tag."""
    mine, theirs = pulled_tags("aa", TEAM, f"{TEAM}:1"), pulled_tags("bb", TEAM, f"{TEAM}:1")
    digests = {f"{tag.rpartition(':')[0]}@{DIGEST}" for tag in mine | theirs | {f"{TEAM}:1", own_tag("bb", BUILT)}}
    (held,) = holdings("aa", {f"{TEAM}:1"} | mine | theirs, digests)
    assert held.names == {f"{TEAM}:1", f"{TEAM}@{DIGEST}"}


def test_what_one_server_has_pulled_under_two_names_goes_at_once() -> None:
    mine = pulled_tags("aa", TEAM, f"{TEAM}:1") | pulled_tags("aa", "redis", "redis:7")
    (held,) = holdings("aa", {f"{TEAM}:1", "redis:7", *mine}, {f"{TEAM}@{DIGEST}", f"redis@{DIGEST}"})
    assert set(held.own_tags) == mine
    assert held.names == {f"{TEAM}:1", "redis:7", f"{TEAM}@{DIGEST}", f"redis@{DIGEST}"}


def test_a_built_image_is_of_those_with_a_tag_on_it_or_without_one_anybodys() -> None:
    mine, theirs = own_tag("aa", BUILT), own_tag("bb", BUILT)
    whole = Holding(name=BUILT, own_tags=(mine,), names=frozenset({BUILT}), is_shared=False)
    assert holdings("aa", {BUILT}, ()) == holdings("aa", {BUILT, mine}, ()) == [whole]
    assert holdings("aa", {BUILT, theirs}, ()) == []
    assert holdings("aa", {BUILT, mine, theirs}, ())[0].is_shared


def test_who_relies_on_an_image_takes_over_what_others_have_built_and_pulled_alone() -> None:
    theirs = pulled_tags("bb", TEAM, f"{TEAM}:1")
    built = BUILT.replace("hello", "other")
    assert held_names({BUILT, own_tag("bb", built), f"{TEAM}:1", *theirs}) == {BUILT, built, *pulled_names(theirs)}
    assert held_names({f"{TEAM}:1", "pilotlight/mine:latest"}) == set()


_NAMES = st.sampled_from(
    [
        BUILT,
        f"{TEAM}:1",
        "redis:7",
        *(own_tag(owner, BUILT) for owner in ("aa", "bb")),
        *pulled_tags("aa", TEAM, f"{TEAM}:1"),
        *pulled_tags("bb", TEAM, f"{TEAM}:1"),
    ]
)


@given(st.frozensets(_NAMES), st.text(string.ascii_lowercase, min_size=1), st.text(string.digits, min_size=1))
def test_an_image_with_a_name_of_anybodys_own_is_never_held(tags: frozenset[str], name: str, tag: str) -> None:
    assert holdings("aa", tags | {f"mine/{name}:{tag}"}, ()) == []


@given(st.frozensets(_NAMES))
def test_own_tags_are_always_the_owners_and_no_name_that_goes_is_a_servers(tags: frozenset[str]) -> None:
    for held in holdings("aa", tags, ()):
        assert not any(name.startswith("pilotlight-") for name in held.names)
        for tag in held.own_tags:
            assert tag.startswith("pilotlight-aa/")
            assert is_ours(tag)
