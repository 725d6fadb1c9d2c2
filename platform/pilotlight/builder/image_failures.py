"""Why an image could not be built: the step's own lines, and where in the Dockerfile it stands. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pilotlight.builder.image_context import instructions
from pilotlight.builder.index import redacted
from pilotlight.core.errors import (
    InvalidRequirements,
    InvalidSource,
    PilotlightError,
    RevisionFailed,
    SourceLocation,
    StorageFull,
    Unavailable,
)

SHOWN_LINES = 12
_STEP = re.compile(r"Step (\d+)/\d+ : (.*)", re.S)
_PYTHON = re.compile(r'File "(?:/home/app|/home/app/function|\.)?/?function/([^"]+)", line (\d+)')
_RAISED = re.compile(r"^(?:\*\*\* *)?(\w*Error): (.*)$", re.M)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(
    r"^( ---> |Removing intermediate container|\[notice\]|WARNING: Running pip as|Collecting |  ?Downloading "
    r"| +[\u2500-\u257f])"
)

_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)"
_PIP: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "index-unreachable",
        re.compile(
            r"NewConnectionError|Max retries exceeded|CERTIFICATE_VERIFY_FAILED|Temporary failure in name resolution"
        ),
        "the package index cannot be reached from a build container",
    ),
    (
        "index-refused",
        re.compile(r"(?:401|403) (?:Error|Client Error)|status code 40[13]"),
        "the package index refused the build",
    ),
    (
        "requirement-conflict",
        re.compile(r"ResolutionImpossible|conflicting dependencies"),
        "the requirements contradict each other",
    ),
    (
        "requirement-not-found",
        re.compile(rf"satisfies the requirement {_NAME}\S* \(from versions: none\)"),
        "no package is called `{name}`",
    ),
    (
        "requirement-no-version",
        re.compile(rf"satisfies the requirement {_NAME}\S* \(from versions: "),
        "`{name}` has no such version",
    ),
    (
        "requirement-build-failed",
        re.compile(rf"Failed (?:building wheel for|to build) {_NAME}"),
        "`{name}` has no ready-made wheel, and building it failed",
    ),
    (
        "invalid-requirements",
        re.compile(r"Invalid requirement: (\S+)"),
        "`{name}` is no requirement",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    number: int
    """From 1, as the engine counts; 0 before the first."""
    text: str
    lines: tuple[str, ...]
    """What it printed."""


def step_of(line: str) -> tuple[int, str] | None:
    """`Step 3/9 : RUN ...` as its number and text."""
    match = _STEP.fullmatch(line.strip())
    return (int(match[1]), " ".join(match[2].split())) if match else None


def tidy(text: str) -> list[str]:
    """The lines that a person would want to see: no colours, no progress bars, no addresses with passwords."""
    lines = [redacted(_COLOURS.sub("", line)).rstrip() for line in re.split(r"[\r\n]+", text)]
    return [line[:400] for line in lines if line and not _NOISE.match(line)]


def build_failure(step: Step, said: str, dockerfile: str) -> PilotlightError:
    """`said`: the engine's sentence."""
    text = "\n".join((*step.lines, said))
    if re.search(r"no space left on device|No space left on device", text):
        return StorageFull("the disk of the Docker engine is full")
    if (error := _of_python(text)) is not None:
        return error
    if re.search(r"\bpip\b.*\binstall\b", step.text) and (error := _of_pip(step, text)) is not None:
        return error
    return _of_step(step, said, dockerfile)


def _of_python(text: str) -> PilotlightError | None:
    place, raised = _PYTHON.search(text), _RAISED.search(text)
    if place is None or raised is None or raised[1] not in ("SyntaxError", "IndentationError", "TabError"):
        return None
    location = SourceLocation(file=place[1], line=int(place[2]))
    return RevisionFailed(f"{place[1]}:{place[2]}: {raised[2]}", slug="handler-syntax", location=location)


def _of_pip(step: Step, text: str) -> PilotlightError | None:
    reasons = [line for line in step.lines if line.startswith("ERROR") or "conflict" in line or "depends on" in line]
    detail = [f"  {line.removeprefix('ERROR: ')}" for line in (reasons or list(step.lines))[-SHOWN_LINES:]]
    for slug, pattern, sentence in _PIP:
        if match := pattern.search(text):
            name = next(iter(match.groups()), None) or "a package"
            name = re.split(r"[=<>!~;\[]", name)[0]
            whole = "\n".join([sentence.format(name=name), *detail])
            if slug.startswith("index-"):
                return Unavailable(whole, slug=slug)
            return InvalidRequirements(whole, slug=slug)
    return None


def _of_step(step: Step, said: str, dockerfile: str) -> PilotlightError:
    location = _line_of(step, dockerfile)
    code = re.search(r"returned a non-zero code: (\d+)", said)
    why = f"exited with code {code[1]}" if code else said.strip()
    where = f"Dockerfile:{location.line}: " if location else ""
    what = step.text if len(step.text) <= 120 else f"{step.text[:117]}..."
    shown = [f"  {line}" for line in step.lines[-SHOWN_LINES:]]
    sentence = f"{where}{what}: {why}" if step.number else f"the image cannot be built: {why}"
    return InvalidSource("\n".join([sentence, *shown]), slug="image-build-failed", location=location)


def _line_of(step: Step, dockerfile: str) -> SourceLocation | None:
    """The engine counts instructions; a Dockerfile that it cannot read has no step at all."""
    found: Sequence[tuple[str, int]] = instructions(dockerfile)
    if not 1 <= step.number <= len(found):
        return None
    text, line = found[step.number - 1]
    return SourceLocation(file="Dockerfile", line=line, source=text if len(text) < 200 else f"{text[:197]}...")
