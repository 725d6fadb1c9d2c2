"""Reads uv's lock (requirements.txt with hashes): checks it against what the user and the runtime ask for."""

import re
from collections.abc import Mapping

from pilotlight.builder.requirements import Requirements, below_floor, normalised, release
from pilotlight.core.errors import InvalidRequirements

_ENTRY = re.compile(r"^(?=\S)(?!#)(.+?)((?: \\\n    --hash=\S+)*)$", re.MULTILINE)
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")


def checked(lock: str, requirements: Requirements, floor: Mapping[str, str]) -> str:
    """The lock with only those hashes that the user allows, where there are such. InvalidRequirements when that leaves
    nothing, or when a package that the runtime needs came out too old."""
    _check_floor(lock, requirements, floor)
    allowed = {each.name: each.hashes for each in requirements.wanted if each.hashes}
    if not allowed:
        return lock
    return "".join(_narrowed(match[1], _hashes(match[2]), allowed, requirements) for match in _ENTRY.finditer(lock))


def packages(lock: str) -> dict[str, str]:
    """Versions by normalised name; packages that were named by address have none and are left out."""
    found = (_PINNED.match(match[1]) for match in _ENTRY.finditer(lock))
    return {normalised(match[1]): match[2] for match in found if match}


def _check_floor(lock: str, requirements: Requirements, floor: Mapping[str, str]) -> None:
    for name, version in packages(lock).items():
        if name in floor and release(version) < release(floor[name]):
            requirement = requirements.find(name)
            raise below_floor(name, version, floor[name], None if requirement is None else requirement.location)


def _narrowed(head: str, hashes: list[str], allowed: Mapping[str, tuple[str, ...]], requirements: Requirements) -> str:
    named = _NAMED.match(head)
    name = normalised(named[1]) if named else ""
    kept = [value for value in hashes if value in allowed[name]] if name in allowed else hashes
    if hashes and not kept:
        requirement = requirements.find(name)
        location = None if requirement is None else requirement.location
        where = "" if location is None else f"{location.file}:{location.line}: "
        raise InvalidRequirements(
            f"{where}no file of {head} on the index has one of the hashes that requirements.txt allows",
            slug="requirement-conflict",
            location=location,
            hint="Correct the hashes, or leave them out; what is installed is always checked against the index's own.",
        )
    return head + "".join(f" \\\n    --hash={value}" for value in kept) + "\n"


def _hashes(text: str) -> list[str]:
    return re.findall(r"--hash=(\S+)", text)
