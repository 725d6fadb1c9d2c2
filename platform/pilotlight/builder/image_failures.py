"""Why an image could not be built: the step's own lines, and where in the Dockerfile it stands. Pure."""

import re

from pilotlight.builder.image_log import Step
from pilotlight.core.errors import (
    InvalidRequirements,
    InvalidSource,
    PilotlightError,
    RevisionFailed,
    SourceLocation,
    StorageFull,
    Unavailable,
    Unsupported,
)

SHOWN_LINES = 12
_PYTHON = re.compile(r'File "(?:/home/app|/home/app/function|\.)?/?function/([^"]+)", line (\d+)')
_RAISED = re.compile(r"^(?:\*\*\* *)?(\w*Error): (.*)$", re.M)
_PARSING = re.compile(r"parse error (?:on |at )?line (\d+): (.*)", re.I | re.S)
_MISSING = re.compile(
    r"(?:file not found in build context or excluded by \.dockerignore: stat (?P<classic>\S+?):"
    r"|COPY failed: stat (?:\S*/)?(?P<older>\S+?): (?:no such|file does not)"
    r"|no source files were specified"
    r'|"(?P<buildkit>/[^"]*)"(?:: not found| not found))'
)
_ENGINE = re.compile(
    r"failed to create endpoint|could not find bridge|failed to create shim|error creating overlay mount"
)
"""Not the source's fault."""
_FULL = re.compile(r"no space left on device|disk quota exceeded|Errno 28\b", re.I)

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


_NO_WAY_OUT = (
    "If this machine can reach it, the engine's network for builds cannot: serve with --set docker.build_network=host. "
    "Else look at the server's network, proxy and certificate settings."
)


def build_failure(step: Step, said: str) -> PilotlightError:
    """`said`: the engine's sentence."""
    text = "\n".join((*step.lines, said))
    if _FULL.search(text):
        return no_room()
    if _ENGINE.search(said):
        return Unavailable(f"the Docker engine could not run a step of the build: {said.strip()}")
    if (error := _of_python(text)) is not None:
        return error
    if re.search(r"\bpip\b.*\binstall\b", step.text) and (error := _of_pip(step, text)) is not None:
        return error
    if re.search(r"Unknown flag: (?:mount|network|security|link|parents)|requires BuildKit", said):
        return Unsupported(f"the Dockerfile needs BuildKit: {said.strip()}", slug="buildkit-missing")
    if (match := _PARSING.search(said)) is not None:
        line, why = int(match[1]), match[2].strip()
        location = SourceLocation(file="Dockerfile", line=line)
        return InvalidSource(f"Dockerfile:{line}: {why}", slug="image-build-failed", location=location)
    return _of_step(step, said)


def no_room() -> StorageFull:
    return StorageFull(
        "the disk of the Docker engine is full",
        hint="Remove what no container uses (`docker image prune`, `docker builder prune`) on the engine's machine; "
        "`docker system df` says what takes the room. Then build again.",
    )


def too_slow(seconds: float) -> Unavailable:
    return Unavailable(
        f"the image was not built within {seconds:g} seconds",
        slug="build-timeout",
        hint="Build again (the steps that were finished are kept), or raise build.timeout_seconds in the server's "
        "settings.",
    )


def base_failure(line: int, failure: PilotlightError) -> PilotlightError:
    """Why an image that a Dockerfile begins with could not be had. A registry that is away stays its own trouble."""
    failure.detail = f"Dockerfile:{line}: {failure.detail}"
    if isinstance(failure, RevisionFailed):
        location = SourceLocation(file="Dockerfile", line=line)
        return InvalidSource(failure.detail, slug="base-image", location=location)
    return failure


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
                hint = _NO_WAY_OUT if slug == "index-unreachable" else None
                return Unavailable(whole, slug=slug, hint=hint)
            return InvalidRequirements(whole, slug=slug)
    return None


def _of_step(step: Step, said: str) -> PilotlightError:
    location = None
    if step.line is not None:
        shown = step.text if len(step.text) < 200 else f"{step.text[:197]}..."
        location = SourceLocation(file="Dockerfile", line=step.line, source=shown)
    where = f"Dockerfile:{step.line}: " if location else ""
    what = step.text if len(step.text) <= 120 else f"{step.text[:117]}..."
    sentence = f"{where}{what}: {_why(said)}" if step.text else f"the image cannot be built: {_why(said)}"
    lines = [f"  {line}" for line in step.lines[-SHOWN_LINES:]]
    return InvalidSource("\n".join([sentence, *lines]), slug="image-build-failed", location=location)


def _why(said: str) -> str:
    if code := re.search(r"(?:returned a non-zero code|exit code): (\d+)", said):
        return f"exited with code {code[1]}"
    if missing := _MISSING.search(said):
        name = next((each for each in missing.groups() if each), "such file").lstrip("/")
        return f"there is no {name} in the build's context, or .dockerignore leaves it out"
    return said.strip()
