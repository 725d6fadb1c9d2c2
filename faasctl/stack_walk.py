"""A file's nodes against the shapes that `stack_schema` allows: every mistake with its place, none stops the walk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from faasctl.errors import Place, Problem
from faasctl.stack_schema import NOT_YET, ListOf, MapOf, Scalar, Section, Shape
from faasctl.variables import BadReference
from faasctl.words import did_you_mean, nearest
from faasctl.yaml_source import Source, kind_of


@dataclass(slots=True)
class Walk:
    """Nodes against shapes. Values come out as plain dicts and lists; what is wrong goes to `problems`."""

    problems: list[Problem]
    nodes: dict[tuple[str, ...], Node] = field(default_factory=dict)
    """The value's node of each path, for checks that come later; keys' nodes are under path + ("<key>",)."""

    def read(self, source: Source, node: Node, shape: Shape, path: tuple[str, ...]) -> Any:
        """The value, or None for null and for what is wrong."""
        self.nodes[path] = node
        if isinstance(node, ScalarNode) and not isinstance(shape, Scalar) and self._is_null(source, node):
            return None
        if isinstance(shape, Scalar) and isinstance(node, ScalarNode):
            return self._scalar(source, node, shape, path)
        if isinstance(shape, ListOf) and shape.or_one and isinstance(node, ScalarNode):
            one = self._scalar(source, node, shape.or_one, path)
            return None if one is None else [one]
        if isinstance(shape, ListOf) and isinstance(node, SequenceNode):
            items = (self._required(source, item, shape.item, (*path, str(i))) for i, item in enumerate(node.value))
            return [item for item in items if item is not None]
        if isinstance(shape, MapOf) and isinstance(node, MappingNode):
            return self._map(source, node, shape, path)
        if isinstance(shape, Section) and isinstance(node, MappingNode):
            return self._section(source, node, shape, path)
        self._wrong(source, node, f"{_subject(path)} must be {shape.expects}, not {kind_of(node)}")
        return None

    def problem(self, slug: str, detail: str, place: Place | None, *help_lines: str) -> None:
        self.problems.append(Problem(slug=slug, detail=detail, place=place, help=help_lines))

    def _scalar(self, source: Source, node: ScalarNode, shape: Scalar, path: tuple[str, ...]) -> Any:
        try:
            text = source.text(node)
        except BadReference as error:
            self.problem("stack-variable", f"{_subject(path)}: {error}", source.at_offset(error.offset))
            return None
        if text is None:
            return None
        try:
            return shape.read(text)
        except ValueError:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            self._wrong(source, node, f'{_subject(path)} must be {shape.expects}, not "{shown}"')
            return None

    def _required(self, source: Source, node: Node, shape: Shape, path: tuple[str, ...]) -> Any:
        """An item of a list: null is no value there."""
        before = len(self.problems)
        value = self.read(source, node, shape, path)
        if value is None and len(self.problems) == before:
            self._wrong(source, node, f"{_subject(path)} must be {shape.expects}, not nothing")
        return value

    def _map(self, source: Source, node: MappingNode, shape: MapOf, path: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, key, value in self._entries(source, node, path):
            if shape.name is not None and not _reads(shape.name, name):
                self._wrong(source, key, f"{_subject((*path, name))}: the name must be {shape.name.expects}")
                continue
            self.nodes[(*path, name, "<key>")] = key
            read = self.read(source, value, shape.value, (*path, name))
            values[name] = "" if read is None and isinstance(shape.value, Scalar) else read
        return values

    def _section(self, source: Source, node: MappingNode, shape: Section, path: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, key, value in self._entries(source, node, path):
            if name not in shape.keys:
                if not (shape.extensions and name.startswith("x-")):
                    self._unknown(source, key, name, shape, path)
                continue
            self.nodes[(*path, name, "<key>")] = key
            before = len(self.problems)
            read = self.read(source, value, shape.keys[name], (*path, name))
            if read is not None:
                values[name] = read
            elif len(self.problems) == before:  # null: as if the key was not there
                del self.nodes[(*path, name)]
        return values

    def _entries(
        self, source: Source, node: MappingNode, path: tuple[str, ...]
    ) -> Iterator[tuple[str, ScalarNode, Node]]:
        """Name, its node, value; a name's second appearance is told and skipped. What is merged in gives way."""
        first: dict[str, int] = {}
        for key, value, merged in source.entries(node):
            name = self._key(source, key, path)
            if name is None or not isinstance(key, ScalarNode) or (merged and name in first):
                continue
            if name in first:
                place = source.place(key, remark=f"first on line {first[name]}")
                self.problem("stack-duplicate-key", f"{_subject((*path, name))} is defined twice", place)
            else:
                first[name] = key.start_mark.line + 1
                yield name, key, value

    def _key(self, source: Source, key: Node, path: tuple[str, ...]) -> str | None:
        """None for what is no name, which is told."""
        try:
            name = source.text(key) if isinstance(key, ScalarNode) else None
        except BadReference as error:
            self.problem("stack-variable", f"{_subject(path)}: {error}", source.at_offset(error.offset))
            return None
        if name is None:
            self._wrong(source, key, f"{_subject(path)}: a key must be a text")
        return name

    def _unknown(self, source: Source, key: Node, name: str, shape: Section, path: tuple[str, ...]) -> None:
        if name in NOT_YET and len(path) == 2:
            detail = f"{_owner(path)}: `{name}` is not there yet: {NOT_YET[name]}"
            self.problem(
                "stack-not-yet", detail, source.place(key), "Take the key out; all keys: faasctl help stack-file"
            )
            return
        for meant in nearest(name, shape.keys, most=1):  # told once: the key is not told to be missing as well
            self.nodes.setdefault((*path, meant), key)
        near = did_you_mean(name, shape.keys)
        help_lines = () if near or len(shape.keys) > 12 else (f"Known here: {', '.join(shape.keys)}",)
        owner = f"{_owner(path)}: " if path else ""
        place = source.place(key, remark=near or "")
        self.problem("stack-unknown-key", f"{owner}unknown key `{name[:60]}`", place, *help_lines)

    def _wrong(self, source: Source, node: Node, detail: str) -> None:
        self.problem("stack-type", detail, source.place(node))

    def _is_null(self, source: Source, node: ScalarNode) -> bool:
        try:
            return source.text(node) is None
        except BadReference:
            return False


def _subject(path: tuple[str, ...]) -> str:
    """`hello: `concurrency`` for ("functions", "hello", "concurrency")."""
    if not path:
        return "the file"
    owner, inner = _split(path)
    # The position in a list means little to a reader; the caret shows it.
    named = ".".join(part for part in inner if not part.isdigit())[:80]
    if not owner:
        return f"`{named}`"
    return f"{owner}: `{named}`" if named else f"`{owner}`"


def _owner(path: tuple[str, ...]) -> str:
    owner, inner = _split(path)
    return ": ".join([part for part in (owner, f"`{'.'.join(inner)}`" if inner else "") if part])


def _split(path: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if path[0] in ("functions", "<file>") and len(path) > 1:
        return ("" if path[0] == "<file>" else path[1]), path[2:]
    return "", path


def _reads(shape: Scalar, text: str) -> bool:
    try:
        shape.read(text)
    except ValueError:
        return False
    return True
