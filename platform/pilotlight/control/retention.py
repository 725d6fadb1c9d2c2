"""Which of the things on the disk may go, so that the rest is within a budget. Pure; collector.py does it.

What is referenced is never removed, however large it is. Of the rest the one whose last use is longest ago goes first;
what an earlier revision would need goes only after everything that nobody is likely to want again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pilotlight.builder.base import Kept


@dataclass(frozen=True, slots=True)
class Verdict:
    kept: Kept
    remove: bool
    reason: str
    """One word: referenced, young, fits, over-budget, or useless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Names of what is needed (never removed), and of what would be good to have (removed last)."""

    referenced: frozenset[str] = frozenset()
    preferred: frozenset[str] = frozenset()


def judge(
    everything: Iterable[Kept],
    wants: Wants,
    *,
    budget_bytes: int,
    short_bytes: Mapping[str, int] = MappingProxyType({}),
    min_age_seconds: float,
    now: float,
) -> list[Verdict]:
    """A verdict on each, in the order in which they would go. Nothing that is kept needs something that is removed.

    `short_bytes`: how much more should be free on each disk, whatever the budget is."""
    things = {each.name: each for each in everything}
    depths = {name: len(_needs(things, name)) for name in things}
    used_at = _last_uses(things, depths)
    referenced = _with_needs(things, wants.referenced)
    preferred = _with_needs(things, wants.preferred)
    total, short = sum(each.bytes for each in things.values()), dict(short_bytes)
    verdicts: dict[str, Verdict] = {}
    for each in sorted(
        things.values(), key=lambda one: (one.name in preferred, used_at[one.name], -depths[one.name], one.name)
    ):
        young = used_at[each.name] > now - min_age_seconds
        reason = "referenced" if each.name in referenced else "young" if young else None
        if reason is None and (total > budget_bytes or short.get(each.disk, 0) > 0):
            total -= each.bytes
            short[each.disk] = short.get(each.disk, 0) - each.bytes
            verdicts[each.name] = Verdict(each, True, "over-budget")
        else:
            verdicts[each.name] = Verdict(each, False, reason or "fits")
    return _without_useless(things, verdicts, depths)


def _without_useless(
    things: Mapping[str, Kept], verdicts: Mapping[str, Verdict], depths: Mapping[str, int]
) -> list[Verdict]:
    """What lies on another disk than the thing that it needs may fit there, and is of no use without it."""
    gone = {name for name, verdict in verdicts.items() if verdict.remove}
    useless = {name for name in things.keys() - gone if not gone.isdisjoint(_needs(things, name))}
    found = [Verdict(v.kept, True, "useless") if v.kept.name in useless else v for v in verdicts.values()]
    return sorted(found, key=lambda one: -depths[one.kept.name]) if useless else found


def _last_uses(things: Mapping[str, Kept], depths: Mapping[str, int]) -> dict[str, float]:
    """By name. An environment was used last when the last of its bundles was: it goes after all of them."""
    uses = {name: each.used_at for name, each in things.items()}
    for name in sorted(things, key=lambda one: -depths[one]):
        needs = things[name].needs
        if needs is not None:
            uses[needs] = max(uses[name], uses.get(needs, uses[name]))
    return uses


def _with_needs(things: Mapping[str, Kept], names: frozenset[str]) -> frozenset[str]:
    return names.union(*(_needs(things, name) for name in names))


def _needs(things: Mapping[str, Kept], name: str) -> list[str]:
    """All that it is of no use without: a bundle's image, and the environment that that begins with."""
    found: list[str] = []
    while (each := things.get(name)) is not None and each.needs is not None and each.needs not in found:
        name = each.needs
        found.append(name)
    return found
