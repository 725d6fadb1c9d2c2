"""What engines print while they build, as lines for a person and as the step that failed. Pure.

The engine's own builder sends JSON with `Step 3/9 : RUN ...` in it; BuildKit's client prints `#7 [stage 2/4] RUN ...`,
and then that number before each line.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotlight.builder.image_dockerfile import Instruction, instructions
from pilotlight.builder.index import redacted

_KEPT_LINES = 200
_LINE = 400
_STEP = re.compile(r"Step (\d+)/\d+ : (.*)", re.S)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NOISE = re.compile(
    r"^( ---> |Removing intermediate container|\[notice\]|WARNING: Running pip as|Collecting |  ?Downloading "
    r"|Sending build context|Successfully (?:built|tagged) | +[\u2500-\u257f]|sha256:[0-9a-f]{64} )"
)
_VERTEX = re.compile(r"#(\d+) (\[(?:(\S+) )?(\d+)/\d+\] (.*)|\[internal\] .*)")
_SAID = re.compile(r"#(\d+) (?:sha256:\S+ )?\d+\.\d+ (.*)")
_ENDED = re.compile(r"#(\d+) (?:sha256:\S+ )?(ERROR: .*|CACHED|DONE .*)")
_FAILED = re.compile(r"ERROR: (?:failed to (?:build|solve): )*(.*)")
_LAYERS = re.compile(
    r"rpc error: code = \w+ desc = |failed to solve(?: with frontend \S+)?: |failed to create LLB definition: "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    text: str = ""
    """Its instruction; empty before the first."""
    line: int | None = None
    """In the Dockerfile, from 1."""
    lines: tuple[str, ...] = ()
    """What it printed."""


def tidy(text: str) -> list[str]:
    """The lines that a person would want to see: no colours, no progress bars, no addresses with passwords."""
    lines = [redacted(_ESCAPES.sub("", line)).rstrip() for line in re.split(r"[\r\n]+", text)]
    return [line[:_LINE] for line in lines if line and not _NOISE.match(line)]


def step_of(line: str) -> tuple[int, str] | None:
    """`Step 3/9 : RUN ...` as its number and text."""
    match = _STEP.fullmatch(line.strip())
    return (int(match[1]), " ".join(match[2].split())) if match else None


class ClassicLog:
    """The engine's stream of one build."""

    def __init__(self, dockerfile: str, say: Callable[[str], Any]) -> None:
        self._instructions = instructions(dockerfile)
        self._say = say
        self._number, self._text = 0, ""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.error: str | None = None

    @property
    def step(self) -> Step:
        """The one under way, which is the one that failed."""
        known = 1 <= self._number <= len(self._instructions)
        line = self._instructions[self._number - 1].line if known else None
        return Step(text=self._text, line=line, lines=tuple(self._lines))

    def take(self, message: Mapping[str, Any]) -> None:
        if "error" in message:
            self.error = str((message.get("errorDetail") or {}).get("message") or message["error"])
        text = str(message.get("stream") or "")
        began = step_of(text)
        if began is not None:
            self._number, self._text = began
            self._lines.clear()
            self._say(redacted(text.strip())[:200])
            return
        for line in tidy(text):
            self._lines.append(line)
            self._say(line)


@dataclass(slots=True)
class _Vertex:
    text: str
    line: int | None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))


class PlainLog:
    """What `docker buildx build --progress=plain` prints. Steps run side by side, so each has its own lines."""

    def __init__(self, dockerfile: str, say: Callable[[str], Any]) -> None:
        self._instructions = instructions(dockerfile)
        self._say = say
        self._vertexes: dict[str, _Vertex] = {}
        self._failed: _Vertex | None = None
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self.error: str | None = None

    @property
    def step(self) -> Step:
        if self._failed is None:
            return Step(lines=tuple(self._last))
        return Step(text=self._failed.text, line=self._failed.line, lines=tuple(self._failed.lines))

    def take(self, line: str) -> None:
        if match := _VERTEX.match(line):
            self._began(match)
        elif match := _ENDED.match(line):
            vertex = self._vertexes.get(match[1])
            if match[2].startswith("ERROR") and vertex is not None and self._failed is None:
                self._failed = vertex
        elif match := _SAID.match(line):
            self._said(match[1], match[2])
        elif match := _FAILED.match(line):
            self.error = _LAYERS.sub("", match[1])
        elif not self._vertexes:
            self._last.append(line)

    def _began(self, match: re.Match[str]) -> None:
        if match[1] in self._vertexes:
            return
        found = self._instruction(match[3], int(match[4]), match[5]) if match[4] else None
        text = " ".join((found.text if found is not None else match[5] or match[2]).split())
        self._vertexes[match[1]] = _Vertex(text=text, line=found.line if found is not None else None)
        if match[4]:
            self._say(redacted(match[2])[:200])

    def _instruction(self, stage: str | None, vertex: int, text: str) -> Instruction | None:
        """The one that is most like what is shown: a single stage has no name, variables may be filled in."""
        words = text.split()
        alike = [each for each in self._instructions if words and each.word == words[0].upper()]
        return max(
            alike,
            key=lambda each: (each.stage == stage, each.vertex == vertex, each.text.split() == words),
            default=None,
        )

    def _said(self, number: str, text: str) -> None:
        vertex = self._vertexes.get(number)
        for line in tidy(text):
            if vertex is not None:
                vertex.lines.append(line)
            self._say(line)
