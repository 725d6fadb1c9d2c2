"""A YAML file as nodes that know their lines: bounded, without tags, every mistake with its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from faasctl.errors import Place, Problem
from faasctl.variables import BadReference, Masked, mask

LIMIT_BYTES = 1 << 20
_DEPTH = 50
_VISITS = 200_000
"""Nodes that may be looked at, one that aliases name counted each time: a small file could stand for a huge one."""
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "value", "merge")
)
_MERGE = "tag:yaml.org,2002:merge"


Entry = tuple[Node, Node, bool]
"""A mapping's key, its value, and whether it came by `<<`."""


class Unreadable(Exception):
    """The file as a whole cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(slots=True)
class Source:
    """One file's text, its root node (None when it is empty), and places in it."""

    file: str
    """As the user would name it."""
    masked: Masked
    lines: list[str]
    original: str = ""
    root: Node | None = None
    _visits: int = 0

    def place(self, node: Node, remark: str = "") -> Place:
        """The whole of a scalar of one line, or the first character of anything else."""
        start, end = node.start_mark, node.end_mark
        one_line = isinstance(node, ScalarNode) and start.line == end.line
        width = end.column - start.column if one_line else 1
        return self.at(start.line, start.column, width=max(1, width), remark=remark)

    def at(self, line: int, column: int, *, width: int = 1, remark: str = "") -> Place:
        """Counted from 0, as YAML's marks are."""
        source = self.lines[line] if line < len(self.lines) else None
        return Place(file=self.file, line=line + 1, column=column + 1, source=source, width=width, remark=remark)

    def at_offset(self, offset: int) -> Place:
        before = _LINE_BREAK.split(self.original[:offset])
        return self.at(len(before) - 1, len(before[-1]))

    def text(self, node: ScalarNode) -> str | None:
        """The scalar with its variables filled in; None for YAML's null. BadReference for a reference that is none."""
        text = self.masked.reveal(node.value)
        return None if node.style is None and text in _NULLS else text

    def entries(self, node: MappingNode) -> Iterator[Entry]:
        """The mapping's own first, then what is merged into it, the earlier before the later. Unreadable for a `<<` of
        something else, and for too much."""
        yield from self._entries(node, merged=False, within=())

    def _entries(self, node: MappingNode, *, merged: bool, within: tuple[int, ...]) -> Iterator[Entry]:
        if id(node) in within:
            raise Unreadable(_syntax("`<<` merges a mapping into itself", self.place(node)))
        merges: list[Node] = []
        for key, value in node.value:
            self._count(key)
            if key.tag != _MERGE:
                yield key, value, merged
            elif isinstance(value, SequenceNode):
                merges += value.value
            else:
                merges.append(value)
        for source in merges:
            if not isinstance(source, MappingNode):
                sentence = f"`<<` takes a mapping or a list of mappings, not {kind_of(source)}"
                raise Unreadable(_syntax(sentence, self.place(source)))
            yield from self._entries(source, merged=True, within=(*within, id(node)))

    def _count(self, node: Node) -> None:
        self._visits += 1
        if self._visits > _VISITS:
            sentence = f"the aliases of {self.file} stand for more than {_VISITS:,} entries"
            raise Unreadable(_syntax(sentence, self.place(node)))


def read_bounded(path: Path) -> bytes:
    """One byte more than is taken, which tells "too large" from "just fits"."""
    with path.open("rb") as file:
        return file.read(LIMIT_BYTES + 1)


def read_yaml(data: bytes, file: str, env: Mapping[str, str], *, substitute: bool = True) -> Source:
    """Parse; Unreadable names the place where YAML itself ends. Without `substitute`, `${NAME}` is only text."""
    if len(data) > LIMIT_BYTES:
        raise Unreadable(_syntax(f"{file} is too large; at most {LIMIT_BYTES:,} bytes are read", Place(file=file)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(_syntax(f"{file} is not UTF-8", Place(file=file, line=line))) from None
    source = Source(file=file, masked=Masked(text, env), lines=_LINE_BREAK.split(text), original=text)
    try:
        source.masked = mask(text, env, substitute=substitute)
        source.root = yaml.compose(source.masked.text, Loader=_Loader)
    except BadReference as error:
        raise Unreadable(_syntax(error.sentence, source.at_offset(error.offset))) from None
    except yaml.reader.ReaderError as error:
        detail = f"{file}: a control character cannot stand in YAML"
        raise Unreadable(_syntax(detail, source.at_offset(int(error.position)))) from None
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_marked(source, error)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets chr() fail on "\UFFFFFFFF"
        raise Unreadable(_syntax(f"{file} is not YAML: {error}", Place(file=file))) from None
    return source


class _Loader(yaml.SafeLoader):
    """Nodes only: an alias is the node that it names. Depth would exhaust the stack."""

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > _DEPTH:
            raise self._refused(f"nested deeper than {_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _PLAIN_TAGS:
            raise _Refused(problem="tags (`!name`) are not understood", problem_mark=node.start_mark)
        return node

    def _refused(self, sentence: str) -> "_Refused":
        return _Refused(problem=sentence, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]


class _Refused(yaml.MarkedYAMLError):
    """YAML that a stack file has no use for."""


_IN_OUR_WORDS = {
    "found character '\\t' that cannot start any token": "is not YAML: a tab indents this line; write spaces",
    "but found another document": "holds several documents; one file is one document, so take the line --- out",
}


def _marked(source: Source, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    sentence = str(error.problem or error.context)
    if not isinstance(error, _Refused):
        sentence = _IN_OUR_WORDS.get(sentence) or f"is not YAML: {sentence}"
        sentence = f"{source.file} {sentence}"
    # PyYAML quotes what it found, and what it found may be a mask.
    sentence = re.sub("[\ue000-\uf8ff]+", "${...}", sentence)
    place = Place(file=source.file) if mark is None else source.at(mark.line, mark.column)
    return _syntax(sentence, place)


def _syntax(detail: str, place: Place) -> Problem:
    return Problem(slug="stack-syntax", detail=detail, place=place)


def kind_of(node: Node) -> str:
    """In words, for "not a list"."""
    if isinstance(node, ScalarNode):
        return "a single value"
    return "a mapping" if isinstance(node, MappingNode) else "a list"
