"""What images really take on an engine, where most of one's layers are another's too. Pure.

Images that begin with the same layers have them once. So every piece of a chain of layers is counted once: not at all
where an image that is nobody's of ours has it too, since it would stay, else for the image that the others begin with.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of an engine, also such as have no name."""

    id: str
    names: frozenset[str]
    """REPOSITORY:TAG each."""
    digests: frozenset[str] = frozenset()
    """REPOSITORY@sha256:... each, as registries know it."""
    bytes: int
    """With all that it shares."""
    layers: tuple[str, ...]
    """Their digests, the lowest first."""
    parent: str = ""
    """The image that it was built on; nothing where the engine does not know."""
    used_at: float = 0.0
    """Unix seconds when it was last given a name, or made."""

    def chain(self) -> list[str]:
        """For each layer a word for it and all that lie below."""
        words, word = [], ""
        for layer in self.layers:
            word = hashlib.sha256(f"{word} {layer}".encode()).hexdigest()
            words.append(word)
        return words


def own_bytes(images: Iterable[Image], ours: Collection[str]) -> Mapping[str, int]:
    """By id of `ours`: what the engine would get back, were all of ours removed, each byte under one of them."""
    every = list(images)
    chains = {each.id: each.chain() for each in every}
    sizes = {chains[each.id][-1]: each.bytes for each in every if each.layers}
    others = {word for each in every if each.names and each.id not in ours for word in chains[each.id]}
    found = dict.fromkeys(ours, 0)
    counted: set[str] = set()
    for image in sorted(every, key=lambda one: (len(one.layers), one.id)):
        if image.id not in found:
            continue
        below = 0
        for word in chains[image.id]:
            if word not in sizes:
                continue
            if word not in counted and word not in others:
                found[image.id] += max(0, sizes[word] - below)
            counted.add(word)
            below = sizes[word]
    return found


def beginnings(images: Iterable[Image], ours: Collection[str]) -> Mapping[str, str]:
    """By id of `ours`: which other of them it begins with, the longest such."""
    chosen = sorted((each for each in images if each.id in ours), key=lambda one: (len(one.layers), one.id))
    found = {}
    ends: dict[str, str] = {}
    for image in chosen:
        below = [ends[word] for word in image.chain()[:-1] if word in ends]
        if below:
            found[image.id] = below[-1]
        if image.layers:
            ends.setdefault(image.chain()[-1], image.id)
    return found


def begun_with_by_others(images: Iterable[Image], ours: Collection[str]) -> frozenset[str]:
    """Those of `ours` that an image which is not, and has a name, begins with."""
    every = list(images)
    others = {word for each in every if each.names and each.id not in ours for word in each.chain()}
    return frozenset(each.id for each in every if each.id in ours and each.layers and each.chain()[-1] in others)


def leftovers(images: Iterable[Image], ours: Collection[str]) -> frozenset[str]:
    """Ids of what builds upon ours that failed have left: nameless, and nothing is built on it."""
    every = {each.id: each for each in images}
    parents = {each.parent for each in every.values()}
    return frozenset(
        each.id
        for each in every.values()
        if not each.names and each.id not in parents and not _above(each, every).isdisjoint(ours)
    )


def _above(image: Image, every: Mapping[str, Image]) -> frozenset[str]:
    """Ids of all that it was built on."""
    above: list[str] = []
    while image.parent in every and image.parent not in above:
        above.append(image.parent)
        image = every[image.parent]
    return frozenset(above)
