"""Identifiers: short, unique, safe in file names; never derived from what a user named."""

import hashlib
import re
from collections.abc import Iterable

_BUILT_HERE = re.compile(r"pilotlight/[^/:@\s]+:[0-9a-f]{16}")
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


def is_built_here(image: str) -> bool:
    """Whether it is the name of an image that a build made: no registry has it, and who looked for it in one might get
    somebody else's."""
    return _BUILT_HERE.fullmatch(image) is not None
