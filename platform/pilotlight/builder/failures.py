"""What uv says when requirements cannot be had, as the error that its user needs: which line, why, what next."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pilotlight.builder.index import redacted
from pilotlight.builder.known import meant_by
from pilotlight.builder.requirements import Requirement, Requirements, normalised
from pilotlight.core.errors import InvalidRequirements, PilotlightError, SourceLocation, StorageFull, Unavailable

REASON_LINES = 8
_LINE_CHARACTERS = 300
_GLYPHS = re.compile(r"^[\s\u00d7\u2500-\u25ff]+")
"""Older versions of uv draw a tree."""
_POSITION = re.compile(r"Couldn't parse requirement in `[^`]*` at position (\d+)")


class _Kind(NamedTuple):
    slug: str
    pattern: re.Pattern[str]
    """Its group, where it has one, is the package that it is about."""
    sentence: str
    hint: str


def _kind(slug: str, pattern: str, sentence: str, hint: str) -> _Kind:
    return _Kind(slug, re.compile(pattern), sentence, hint)


_REFUSED = _kind(
    "index-refused",
    r"401 Unauthorized|403 Forbidden|lack of valid authentication credentials",
    "the package index refused the server's credentials",
    "The server's operator sets index and credentials in pip's configuration (index-url) or UV_DEFAULT_INDEX.",
)
"""uv takes such an index for one that lacks the package, and says the rest in a hint."""

_P = r"`?([A-Za-z0-9][A-Za-z0-9._-]*)"
_NO_SUCH_PACKAGE = _kind(
    "requirement-not-found",
    rf"{_P} was not found in the (?:package registry|provided package locations|cache)",
    "no package is called `{name}`",
    "Correct the name in requirements.txt and build again.",
)
"""What the resolver concludes from it says nothing more."""
_KINDS = (
    _kind(
        "requirement-not-found",
        rf"Failed to (?:download|fetch)[^\n]*`{_P} @ [^\n]*(?:\n[^\n]*){{0,4}}404",
        "there is nothing at the address of `{name}`",
        "Correct the address in requirements.txt and build again.",
    ),
    _kind(
        "index-unreachable",
        r"(?:Request failed after|error sending request|dns error|tcp connect error|operation timed out|Connection"
        r" refused|invalid peer certificate|Network connectivity is disabled|HTTP status server error|Failed to read"
        r" `--find-links`)",
        "the package index cannot be reached",
        "Look at the server's network, proxy and certificate settings (pip's configuration counts), then build again.",
    ),
    _kind(
        "requirement-build-failed",
        rf"Failed to (?:download and )?build `?{_P}",
        "`{name}` has no ready-made wheel for this Python, and building it from source failed",
        "Ask for a version that has a wheel for this Python and machine, or install its build tools on the server.",
    ),
    _kind(
        "requirement-build-failed",
        rf"Because {_P}[^ ]* (?:has|have) no (?:wheels|usable wheels|source distribution)|no wheels? .*for {_P}",
        "`{name}` has no wheel for this Python and machine",
        "Ask for a version that has a wheel for this Python and machine.",
    ),
    _NO_SUCH_PACKAGE,
    _kind(
        "requirement-no-version",
        rf"(?:Because|and) (?:there (?:is|are) no versions? of|only(?: the following versions of)?) {_P}",
        "`{name}` has no such version",
        "Ask for a version that exists; leave the version out to get the newest.",
    ),
    _kind(
        "requirement-no-version",
        rf"current Python version \([^)]*\) does not satisfy Python\S* and {_P}",
        "`{name}` is not for this version of Python",
        "Ask for a version that supports it.",
    ),
    _kind(
        "requirement-conflict",
        r"(?:Because|depends? on|you require)",
        "the requirements contradict each other",
        "Loosen one of the versions named above.",
    ),
    _kind(
        "requirement-conflict",
        rf"[Hh]ash mismatch for {_P}|hash",
        "`{name}` is not what its hash says",
        "Somebody changed the file on the index, or the hash in requirements.txt is wrong.",
    ),
)


def failure_of(lines: Sequence[str], requirements: Requirements, python: str) -> PilotlightError:
    """The error for a run of uv that failed with these lines on its standard error."""
    reason = _reason(lines)
    text = "\n".join(reason)
    if re.search(r"No space left on device|Disk quota exceeded", text):
        return StorageFull("the disk of the server's data directory is full")
    if match := _POSITION.search(text):
        return _unparsable(_at(requirements.wanted, int(match[1])), reason)
    if match := _REFUSED.pattern.search("\n".join(lines)):
        return _error(_REFUSED, None, [*reason, match[0]], requirements, python)
    for kind in _KINDS:
        if match := kind.pattern.search(text):
            return _error(kind, next(filter(None, match.groups()), None), reason, requirements, python)
    return InvalidRequirements(_detail("the requirements cannot be installed", None, reason))


def may_be_elsewhere(error: PilotlightError) -> bool:
    """Whether another index, which uv did not ask because an earlier one has the package, could have helped."""
    return error.slug in ("requirement-no-version", "requirement-conflict", "requirement-build-failed")


def timed_out(seconds: float) -> PilotlightError:
    return Unavailable(
        f"the requirements could not be resolved and installed within {seconds:g} seconds",
        slug="build-timeout",
        hint="Build again (what was downloaded is kept), or raise build.timeout_seconds in the server's settings.",
    )


def _error(
    kind: _Kind, name: str | None, reason: list[str], requirements: Requirements, python: str
) -> PilotlightError:
    requirement = _about(name, reason, requirements)
    location = None if requirement is None else _at_name(requirement)
    shown = re.split(r"[=<>!~]", name)[0] if name else "a package"
    sentence = kind.sentence.format(name=shown).replace("this Python", f"Python {python}")
    if kind.slug.startswith("index-"):
        return Unavailable(_detail(sentence, None, reason), slug=kind.slug, hint=kind.hint)
    if kind is _NO_SUCH_PACKAGE and requirement is not None and requirement.name == normalised(shown):
        meant = " or ".join(f"`{package}`" for package in meant_by(shown))
        hint = f"Did you mean {meant}? {kind.hint}" if meant else kind.hint
        return InvalidRequirements(_detail(sentence, location, []), slug=kind.slug, location=location, hint=hint)
    return InvalidRequirements(_detail(sentence, location, reason), slug=kind.slug, location=location, hint=kind.hint)


def _at_name(requirement: Requirement) -> SourceLocation:
    """The requirement's line, with the column of its name."""
    location = requirement.location
    words = re.finditer(r"[A-Za-z0-9][A-Za-z0-9._-]*", location.source or "")
    column = next((word.start() + 1 for word in words if normalised(word[0].rstrip(".-")) == requirement.name), None)
    return replace(location, column=column)


def _about(name: str | None, reason: list[str], requirements: Requirements) -> Requirement | None:
    """The line to show: that of the package, or of the first requirement that the reason mentions."""
    if name is not None and (found := requirements.find(re.split(r"[=<>!~]", name)[0].rstrip(".-"))):
        return found
    words = {normalised(word) for word in re.findall(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", " ".join(reason))}
    return next((each for each in requirements.wanted if each.name in words), None)


def _at(wanted: Iterable[Requirement], position: int) -> Requirement | None:
    """The requirement at a byte of the file that `Uv.resolve` writes: one a line."""
    for each in wanted:
        position -= len(each.text.encode()) + 1
        if position < 0:
            return each
    return None


def _unparsable(requirement: Requirement | None, reason: list[str]) -> PilotlightError:
    location = None if requirement is None else requirement.location
    return InvalidRequirements(_detail("this is no requirement", location, reason[1:]), location=location)


def _detail(sentence: str, location: SourceLocation | None, reason: list[str]) -> str:
    where = "" if location is None else f"{location.file}:{location.line}: "
    return "\n".join([f"{where}{sentence}", *(f"  {line}" for line in reason[:REASON_LINES])])


_NOISE = ("Resolved ", "Using ", "Updating ", "warning: ", "No solution found when resolving", "[stderr]", "[stdout]")


def _reason(lines: Sequence[str]) -> list[str]:
    """uv's own lines, without its hints (they speak of its command line) and its progress."""
    kept: list[str] = []
    for line in lines:
        if line.startswith("hint:"):
            break
        text = redacted(_GLYPHS.sub("", line).removeprefix("error: ").removeprefix("cause: "))
        if text and not text.startswith(_NOISE):
            kept.append(text[:_LINE_CHARACTERS])
    return kept
