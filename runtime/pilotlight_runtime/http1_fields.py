"""A head's headers, sorted into what is passed on and what somebody wants noted: part of http1, which says why."""

from functools import cache

from pilotlight_runtime.http1_heads import NOTED, Headers

SPELLINGS = 2048
"""Spellings of names that are remembered; further ones are looked at each time."""


class Spellings(dict[bytes, bytes]):
    """Names as they come: the lower-case name where it is to be noted, b"" where it is passed on."""

    def __init__(self, noted: frozenset[bytes]) -> None:
        self._noted = noted
        for name in noted:
            self[name] = self[name.title()] = name

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        kind = lower if lower in self._noted else b""
        if len(self) < SPELLINGS:
            self[name] = kind
        return kind


@cache
def spellings(noted: frozenset[bytes]) -> Spellings:
    """Shared by all parsers that note the same, and what always is noted."""
    return Spellings(NOTED | noted)


class Fields:
    """What llhttp calls for each header of a head; RequestHead says what becomes of them."""

    __slots__ = ("_names", "headers", "noted")

    def __init__(self, names: Spellings) -> None:
        self._names = names
        self.headers: Headers = []
        self.noted: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = self._names[name]
        if not kind:
            self.headers.append((name, value.rstrip(b" \t")))
        elif kind in self.noted:
            self.noted[kind] += b", " + value.rstrip(b" \t")
        else:
            self.noted[kind] = value.rstrip(b" \t")
