"""Identifiers: short, unique, safe in file names; never derived from what a user named."""

import hashlib
from collections.abc import Iterable

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def encode(number: int, length: int) -> str:
    """A number in base 36, padded to `length` characters; higher digits are cut."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def digest_of(parts: Iterable[bytes]) -> str:
    """SHA-256 over length-prefixed parts, hexadecimal: no two lists of parts share a digest by concatenation."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()
