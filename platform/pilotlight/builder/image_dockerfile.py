"""What a Dockerfile says, as far as the platform needs to know before an engine reads it. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_VERTEXES = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})
"""What BuildKit counts in a stage, besides an image that it begins with."""
_SECRET = re.compile(r"#\s*with-secret:\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*")
_BUILDKIT = re.compile(
    r"^\s*(?:RUN|COPY|ADD)\s.*(?:--(?:mount|link|security)\b|<<-?[\"']?\w)|^#\s*syntax\s*=", re.I | re.M
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    text: str
    """On one line."""
    line: int
    """Where it begins, from 1."""
    stage: str
    """The name of its stage, or `stage-N`; empty before the first."""
    vertex: int
    """Its number in its stage as BuildKit counts: steps, and a FROM that fetches. 0 for the others."""

    @property
    def word(self) -> str:
        return self.text.split()[0].upper()


def instructions(dockerfile: str) -> list[Instruction]:
    found: list[Instruction] = []
    stages: list[str] = []
    vertex = 0
    for text, line in _joined(dockerfile):
        words = text.split()
        word = words[0].upper()
        counts = word in _VERTEXES and bool(stages)
        if word == "FROM":
            counts = _base(words) not in (*stages, "scratch", "")
            named = len(words) >= 4 and words[-2].upper() == "AS"
            stages.append(words[-1] if named else f"stage-{len(stages)}")
            vertex = 0
        vertex += counts
        stage = stages[-1] if stages else ""
        found.append(Instruction(text=text, line=line, stage=stage, vertex=vertex if counts else 0))
    return found


def _base(words: list[str]) -> str:
    """What a FROM names."""
    return next((word for word in words[1:] if not word.startswith("--")), "")


def _joined(dockerfile: str) -> Iterator[tuple[str, int]]:
    """Each instruction on one line, with the number of the line that it begins on."""
    parts: list[str] = []
    begin = 0
    for number, raw in enumerate(dockerfile.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#") or (not line and not parts):
            continue
        begin = begin or number
        parts.append(line.removesuffix("\\").rstrip())
        if not line.endswith("\\"):
            text = " ".join(part for part in parts if part)
            if text:
                yield text, begin
            parts, begin = [], 0


def needs_buildkit(dockerfile: str) -> bool:
    """Mounts, here-documents, or a language of its own."""
    return _BUILDKIT.search(dockerfile) is not None


def has_stage(dockerfile: str, name: str) -> bool:
    return any(each.word == "FROM" and each.stage == name for each in instructions(dockerfile))


def declared(dockerfile: str) -> frozenset[str]:
    """The build arguments that it takes."""
    words = (word for each in instructions(dockerfile) if each.word == "ARG" for word in each.text.split()[1:])
    return frozenset(word.partition("=")[0] for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    name: str
    line: int
    """Where it is named."""


def base_images(dockerfile: str, arguments: Mapping[str, str]) -> list[BaseImage]:
    """The images that it begins with, its own stages apart; arguments before the first FROM count. One whose name has
    other variables in it is left to the engine."""
    known: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, BaseImage] = {}
    for each in instructions(dockerfile):
        if each.word == "ARG" and not each.stage:
            for word in each.text.split()[1:]:
                name, _, default = word.partition("=")
                known[name] = arguments.get(name, default.strip("\"'"))
        if each.word == "FROM":
            image = _filled(_base(each.text.split()), known)
            if image and image not in stages and image != "scratch" and "$" not in image:
                found.setdefault(image, BaseImage(name=image, line=each.line))
            stages.add(each.stage)
    return list(found.values())


def _filled(word: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return known.get(name) or (match[2] if match[2] is not None else "") or match[0]

    return _VARIABLE.sub(value, word)


def on_image(dockerfile: str, stage: str, image: str) -> str:
    """The Dockerfile with a stage that was built before in the place of its instructions: what begins with it has its
    very files, whatever the engine still remembers of how they were made. No line changes its number."""
    lines = dockerfile.splitlines()
    begins = [each.line - 1 for each in instructions(dockerfile) if each.word == "FROM"]
    named = {each.stage: each.line - 1 for each in instructions(dockerfile) if each.word == "FROM"}
    begin = named[stage]
    end = min((line for line in begins if line > begin), default=len(lines))
    lines[begin:end] = [f"FROM {image} AS {stage}", *[""] * (end - begin - 1)]
    return "\n".join(lines) + "\n"


def takes_only(dockerfile: str, folder: str) -> bool:
    """Whether all that it wants of its context lies in one folder."""
    for each in instructions(dockerfile):
        words = [word for word in each.text.split()[1:] if not word.startswith("--")]
        own = each.word in ("COPY", "ADD") and "--from=" not in each.text
        if own and any(word != folder and not word.startswith(f"{folder}/") for word in words[:-1]):
            return False
        if "--mount=" in each.text or (each.text.endswith("]") and own):
            return False
    return True


def secrets_wanted(dockerfile: str) -> frozenset[str]:
    """The secrets that it can use where there are any: comments `# with-secret: ID` above a RUN."""
    return frozenset(match[1] for line in dockerfile.splitlines() if (match := _SECRET.fullmatch(line.strip())))


def with_secrets(dockerfile: str, ids: frozenset[str]) -> str:
    """The Dockerfile with these secrets mounted where its comments ask for them. Engines without BuildKit take no
    mounts, so that none is written there beforehand; no line changes its number."""
    lines = dockerfile.splitlines(keepends=True)
    waiting: list[str] = []
    for number, line in enumerate(lines):
        match = _SECRET.fullmatch(line.strip())
        if match:
            waiting += [match[1]] if match[1] in ids else []
        elif waiting and line.split()[:1] and line.split()[0].upper() == "RUN":
            mounts = " ".join(f"--mount=type=secret,id={each},target=/run/secrets/{each},mode=0444" for each in waiting)
            lines[number] = line.replace(line.split()[0], f"RUN {mounts}", 1)
            waiting = []
    return "".join(lines)
