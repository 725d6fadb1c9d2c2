"""The tags by which servers say on an engine which images they need, so that the engine itself keeps count.

An image that a build made is called pilotlight/NAME:DIGEST, and each server that needs it gives it
pilotlight-OWNER/NAME:DIGEST as well. One that a server has pulled gets pilotlight-OWNER/pulled/REPOSITORY:NAME-ID, with
short digests of the repository, of the name that was asked for and of the bytes: what else it is called is then known
to be somebody else's doing. An image without such a tag was there before, or was pulled by hand. All but `pulling` is
pure.
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


def owner_of(data_dir: Path) -> str:
    """Which server's something is: several may share an engine."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An image as one server's to remove."""

    name: str
    """`pilotlight/NAME:DIGEST` of what was built, `pulled/REPOSITORY:NAME-ID` of what was pulled."""
    claim: str
    """The server's own tag."""
    names: frozenset[str]
    """By which it is asked for. They go when nobody else claims it, and before the claim: what a crash leaves is found
    by that."""
    is_shared: bool
    """Another server claims it, too."""


def claim_of(owner: str, name: str) -> str:
    """`name`: a Holding's."""
    return f"pilotlight-{owner}/{name.removeprefix('pilotlight/')}"


def is_ours(tag: str) -> bool:
    """Whether builds or claims, whoever's, name images so."""
    return is_built_here(tag) or _BUILT.fullmatch(tag) is not None or _PULLED.fullmatch(tag) is not None


def is_pulled(name: str) -> bool:
    return name.startswith("pulled/")


def pulled_names(tags: Iterable[str]) -> frozenset[str]:
    """Of an image with these tags, as any server claims it; none where no server has pulled it."""
    return frozenset(match[2] for match in map(_PULLED.fullmatch, tags) if match)


def holdings(owner: str, tags: Collection[str], digests: Collection[str]) -> list[Holding]:
    """Of an image that its engine knows by these names. None where one of them is nobody's of ours: it is its namer's,
    too, and its room would not come back. What a killed build left, which nobody claims, is anybody's."""
    asked = [match for match in map(_PULLED.fullmatch, tags) if match]
    by_name, repositories = {match[4] for match in asked}, {match[3] for match in asked}
    others = {tag for tag in tags if not is_ours(tag)}
    strange = {tag for tag in others if _short(tag) not in by_name}
    if asked:
        strange |= {each for each in digests if _short(each.partition("@")[0]) not in repositories}
    if strange:
        return []
    return _built(owner, tags) + _pulled(owner, asked, others.union(digests))


def _built(owner: str, tags: Collection[str]) -> list[Holding]:
    owners: dict[str, set[str]] = {tag: set() for tag in tags if is_built_here(tag)}
    for match in filter(None, map(_BUILT.fullmatch, tags)):
        owners.setdefault(f"pilotlight/{match[2]}", set()).add(match[1])
    return [
        Holding(name=name, claim=claim_of(owner, name), names=frozenset({name}), is_shared=bool(those - {owner}))
        for name, those in sorted(owners.items())
        if owner in those or not those
    ]


def _pulled(owner: str, asked: Iterable[re.Match[str]], names: Collection[str]) -> list[Holding]:
    claims = {match[2] for match in asked if match[1] == owner}
    is_shared = any(match[1] != owner for match in asked)
    return [
        Holding(name=name, claim=claim_of(owner, name), names=frozenset(names), is_shared=is_shared)
        for name in sorted(claims)
    ]


@contextmanager
def pulling(owner: str, repository: str, image: str, client: Any) -> Iterator[None]:
    """Around a pull of REPOSITORY:TAG or REPOSITORY@DIGEST by docker's APIClient; blocks. An image that was not there
    in any form gets the owner's claim. With a crash in between it has none, and stays until it is removed by hand."""
    before = set(client.images(quiet=True, all=True)) if owner else set()
    yield
    if not owner:
        return
    with suppress(Exception):  # it is there, and that was asked for; without a claim it is never collected
        found = str(client.inspect_image(image)["Id"])
        if found not in before:
            tag = f"{_short(image)}-{_short(found)}"  # the same name may stand for other bytes tomorrow
            client.tag(found, claim_of(owner, f"pulled/{_short(repository)}"), tag)


def _short(name: str) -> str:
    return hashlib.sha256(full_name(name).encode()).hexdigest()[:16]
