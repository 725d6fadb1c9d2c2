"""How a rule about a user's input is said: a field, a sentence, and the nearest word that would have been right."""

import difflib
from collections.abc import Iterable

import msgspec

from pilotlight.core.errors import InvalidSpec


def told(**keywords: object) -> msgspec.Meta:
    """A rule as JSON Schema's keywords, for the API's description; it checks nothing."""
    return msgspec.Meta(extra_json_schema=keywords)


def check(holds: bool, field: str, sentence: str) -> None:
    """InvalidSpec about the field unless it holds."""
    if not holds:
        raise InvalidSpec(f"{field}: {sentence}", field=field)


def integer(text: object, field: str) -> int:
    """A number that came as text; InvalidSpec names the field."""
    try:
        return int(str(text))
    except ValueError:
        raise InvalidSpec(f"{field}: must be a whole number, not {text!r}", field=field) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, or all that there is."""
    known = list(known)
    return meant(near(name, known)) or f"Known here: {', '.join(sorted(known))}."


def near(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Words that somebody may have meant, the nearest first. Nobody means one by a name of hundreds of characters, and
    for one of megabytes it would take seconds to find out."""
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.6) if len(name) < 256 else []


def meant(words: Iterable[str]) -> str:
    """The question whether one of them was; nothing when there are none."""
    either = " or ".join(f"`{word}`" for word in words)
    return f"Did you mean {either}?" if either else ""
