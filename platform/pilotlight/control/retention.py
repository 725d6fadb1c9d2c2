"""Which of the things on the disk may go, so that the rest is within a budget. Pure; collector.py does it.

What is referenced is never removed, however large it is. Of the rest the one whose last use is longest ago goes first;
what an earlier revision would need goes only after everything that nobody is likely to want again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pilotlight.builder.base import Kept


@dataclass(frozen=True, slots=True)
class Verdict:
    kept: Kept
    remove: bool
    reason: str
    """One word: referenced, young, fits, or over-budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Names of what is needed (never removed), and of what would be good to have (removed last)."""

    referenced: frozenset[str] = frozenset()
    preferred: frozenset[str] = frozenset()


def judge(
    everything: Iterable[Kept], wants: Wants, *, budget_bytes: int, min_age_seconds: float, now: float
) -> list[Verdict]:
    """A verdict on each, in the order in which they would go. Nothing that is kept needs something that is removed."""
    things = list(everything)
    used_at = _last_uses(things)
    referenced = _with_needs(things, wants.referenced)
    preferred = _with_needs(things, wants.preferred)
    total = sum(each.bytes for each in things)
    verdicts = []
    for each in sorted(things, key=lambda one: (one.name in preferred, used_at[one.name], one.needs is None, one.name)):
        young = used_at[each.name] > now - min_age_seconds
        reason = "referenced" if each.name in referenced else "young" if young else None
        if reason is None and total > budget_bytes:
            total -= each.bytes
            verdicts.append(Verdict(each, True, "over-budget"))
        else:
            verdicts.append(Verdict(each, False, reason or "fits"))
    return verdicts


def _last_uses(things: list[Kept]) -> dict[str, float]:
    """By name. An environment was used last when the last of its bundles was: it goes after all of them."""
    uses = {each.name: each.used_at for each in things}
    for each in things:
        if each.needs is not None:
            uses[each.needs] = max(each.used_at, uses.get(each.needs, each.used_at))
    return uses


def _with_needs(things: Iterable[Kept], names: frozenset[str]) -> frozenset[str]:
    return names | {each.needs for each in things if each.name in names and each.needs is not None}
