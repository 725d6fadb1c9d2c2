"""The tags by which servers say on an engine which images they need, so that the engine itself keeps count.

An image that a build made is called pilotlight/NAME:DIGEST, and each server that needs it gives it
pilotlight-OWNER/NAME:DIGEST as well. One that a server has pulled gets pilotlight-OWNER/pulled/REPOSITORY:NAME-ID, with
short digests of the repository, of the name that was asked for and of the bytes: what else it is called is then known
to be somebody else's doing. An image without such a tag was there before, or was pulled by hand. All but
`tag_again` and `pulling` is pure.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotlight.core.naming import is_built_here
from pilotlight.engine.failures import full_name

_BUILT = re.compile(r"pilotlight-([0-9a-f]+)/([^/:]+:[0-9a-f]{16})")
_PULLED = re.compile(r"pilotlight-([0-9a-f]+)/(pulled/([0-9a-f]{16}):([0-9a-f]{16})-[0-9a-f]{16})")
_REPOSITORY = re.compile(r"pilotlight-[0-9a-f]+/(?:[^/:]+|pulled/[0-9a-f]{16})")
"""Of either. Engines with containerd's image store give every tag's repository a digest, too."""


def owner_of(data_dir: Path) -> str:
    """Which server's something is: several may share an engine."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An image as one server's to remove."""

    name: str
    """`pilotlight/NAME:DIGEST` of what was built, `pulled/REPOSITORY:NAME-ID` of what was pulled."""
    own_tags: tuple[str, ...]
    """The server's; one but where the same bytes were pulled under several names."""
    names: frozenset[str]
    """By which it is asked for. They go when no other server needs it, and before the own tags: what a crash leaves is
    found by those."""
    is_shared: bool
    """Another server has a tag on it, too."""


def own_tag(owner: str, name: str) -> str:
    """`name`: a Holding's."""
    return f"pilotlight-{owner}/{name.removeprefix('pilotlight/')}"


def is_ours(tag: str) -> bool:
    """Whether builds or servers, whoever's, name images so."""
    return is_built_here(tag) or _BUILT.fullmatch(tag) is not None or _PULLED.fullmatch(tag) is not None


def is_pulled(name: str) -> bool:
    return name.startswith("pulled/")


def pulled_names(tags: Iterable[str]) -> frozenset[str]:
    """Of an image with these tags, by any server's; none where no server has pulled it."""
    return frozenset(match[2] for match in map(_PULLED.fullmatch, tags) if match)


def held_names(tags: Collection[str]) -> frozenset[str]:
    """Those of what any server has built or pulled here: who relies on it gives each of them its own tag."""
    return pulled_names(tags) | _owners(tags).keys()


def holdings(owner: str, tags: Collection[str], digests: Iterable[str]) -> list[Holding]:
    """Of an image that its engine knows by these names. None where one of them is nobody's of ours: it is its namer's,
    too, and its room would not come back. What a killed build left, which nobody has a tag on, is anybody's."""
    pulls = [match for match in map(_PULLED.fullmatch, tags) if match]
    by_name, repositories = {match[4] for match in pulls}, {match[3] for match in pulls}
    others = {tag for tag in tags if not is_ours(tag)}
    theirs = {each for each in digests if _REPOSITORY.fullmatch(each.partition("@")[0]) is None}
    strange = {tag for tag in others if _short(tag) not in by_name}
    if pulls:
        strange |= {each for each in theirs if _short(each.partition("@")[0]) not in repositories}
    if strange:
        return []
    return _built(owner, tags) + _pulled(owner, pulls, others | theirs)


def _built(owner: str, tags: Collection[str]) -> list[Holding]:
    return [
        Holding(
            name=name,
            own_tags=(own_tag(owner, name),),
            names=frozenset({name}),
            is_shared=bool(those - {owner}),
        )
        for name, those in sorted(_owners(tags).items())
        if owner in those or not those
    ]


def _owners(tags: Collection[str]) -> dict[str, set[str]]:
    """Of what was built, by its name."""
    owners: dict[str, set[str]] = {tag: set() for tag in tags if is_built_here(tag)}
    for match in filter(None, map(_BUILT.fullmatch, tags)):
        owners.setdefault(f"pilotlight/{match[2]}", set()).add(match[1])
    return owners


def _pulled(owner: str, pulls: Collection[re.Match[str]], names: Collection[str]) -> list[Holding]:
    """One at most, so that the bytes go at once."""
    own = sorted(match[2] for match in pulls if match[1] == owner)
    if not own:
        return []
    return [
        Holding(
            name=own[0],
            own_tags=tuple(own_tag(owner, name) for name in own),
            names=frozenset(names),
            is_shared=any(match[1] != owner for match in pulls),
        )
    ]


def tag_again(owner: str, names: Iterable[str], image: str, client: Any) -> None:
    """The image counts as used now, and is the owner's from now on; blocks. `names`: Holdings'."""
    for name in names:
        repository, _, tag = own_tag(owner, name).rpartition(":")
        client.tag(image, repository, tag)


@contextmanager
def pulling(owner: str, repository: str, image: str, client: Any) -> Iterator[None]:
    """Around a pull of REPOSITORY:TAG or REPOSITORY@DIGEST by docker's APIClient; blocks. An image that was not there
    in any form gets the owner's tag. With a crash in between it has none, and stays until it is removed by hand."""
    before = set(client.images(quiet=True, all=True)) if owner else set()
    yield
    if not owner:
        return
    with suppress(Exception):  # it is there, and that was asked for; without a tag of ours it is never collected
        found = str(client.inspect_image(image)["Id"])
        if found not in before:
            tag = f"{_short(image)}-{_short(found)}"  # the same name may stand for other bytes tomorrow
            client.tag(found, own_tag(owner, f"pulled/{_short(repository)}"), tag)


def _short(name: str) -> str:
    return hashlib.sha256(full_name(name).encode()).hexdigest()[:16]
