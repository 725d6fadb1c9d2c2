"""`${NAME}` and its forms in a stack file, as OpenFaaS substitutes them, without moving a line or column.

OpenFaaS replaces text before it reads YAML, so a value with `: ` or `#` in it changes the file's meaning. Here each
reference is first *masked* by as many characters from Unicode's private use area, YAML is read, and the values are put
into the scalars afterwards: a variable can only ever be a part of one value, and positions stay the user's.
"""

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

FORMS: tuple[tuple[str, str], ...] = (
    ("${NAME}", "the variable's value; nothing when it is not set"),
    ("${NAME:-text}  ${NAME:=text}", "text when it is not set or empty; without the colon: when it is not set"),
    ("${NAME:+text}  ${NAME+text}", "text when it is set (and not empty), else nothing"),
    ("${NAME:?text}  ${NAME?text}", "an error that says text when it is not set (or empty)"),
    ("${#NAME}", "how many characters it has"),
    ("${NAME^}  ${NAME^^}  ${NAME,}  ${NAME,,}", "first or all letters in upper or lower case"),
    ("${NAME:n}  ${NAME:n:length}", "from the n-th character; `: -n` counts from the end"),
    ("${NAME#glob}  ${NAME##glob}", "without the shortest or longest match at its start"),
    ("${NAME%glob}  ${NAME%%glob}", "without the shortest or longest match at its end"),
    ("${NAME/a/b}  ${NAME//a/b}", "the first or every a replaced by b"),
    ("${NAME/#a/b}  ${NAME/%a/b}", "a at its start or end replaced by b"),
    ("$$", "one $, as in $${NAME} for the text ${NAME}"),
)
"""For `faasctl help stack-file`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":[-=+?]|[-=+?]|\^\^?|,,?|##?|%%?|/[/#%]?|:")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_FIRST, _LAST, _FILLER = 0xE100, 0xF8FF, "\ue000"
_MASK = re.compile("([\ue100-\uf8ff])\ue000*")
_DEPTH = 20
_VALUE_LETTERS = 1 << 20
"""Of all values put into one file: references that repeat themselves must not fill the memory."""


class BadReference(ValueError):
    """A reference that cannot be filled in; `offset` says where it begins in the text."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(sentence)
        self.sentence, self.offset = sentence, offset


@dataclass(frozen=True, slots=True)
class _Reference:
    offset: int
    name: str
    operator: str
    """"" for the value itself, `length` for ${#NAME}."""
    arguments: tuple["_Text", ...] = ()


_Text = tuple["str | _Reference", ...]
"""What stands in a reference's arguments, which may hold references again."""


@dataclass(slots=True)
class Masked:
    """A text with its references hidden, and what they stand for."""

    text: str
    env: Mapping[str, str]
    unset: list[str] = field(default_factory=list)
    """Names that were used without a value and without a default; they count as empty, as in OpenFaaS."""
    _hidden: list[_Text | BadReference] = field(default_factory=list)
    _letters: int = 0

    def reveal(self, scalar: str) -> str:
        """A scalar of the masked text with the values in it; BadReference for a form that is none."""
        return _MASK.sub(lambda match: self._shown(self._hidden[ord(match[1]) - _FIRST]), scalar)

    def hide(self, what: _Text | BadReference, length: int) -> str:
        """Characters that stand for it in the masked text."""
        self._hidden.append(what)
        return chr(_FIRST + len(self._hidden) - 1) + _FILLER * (length - 1)

    @property
    def full(self) -> bool:
        return len(self._hidden) > _LAST - _FIRST

    def _shown(self, what: _Text | BadReference) -> str:
        if isinstance(what, BadReference):
            raise what
        return self._filled(what)

    def _filled(self, text: _Text) -> str:
        return "".join(part if isinstance(part, str) else self._value(part) for part in text)

    def _value(self, reference: _Reference) -> str:
        value = self._chosen(reference)
        self._letters += len(value)
        if self._letters > _VALUE_LETTERS:
            raise BadReference("the variables of this file have too much text together", reference.offset)
        return value

    def _chosen(self, reference: _Reference) -> str:
        value, operator = self.env.get(reference.name), reference.operator
        first = reference.arguments[0] if reference.arguments else ()
        absent = value is None or (operator.startswith(":") and not value)
        match operator.removeprefix(":"):
            case "-" | "=":
                return self._filled(first) if absent else str(value)
            case "+":
                return "" if absent else self._filled(first)
            case "?" if absent:
                why = self._filled(first) or "it is not set"
                raise BadReference(f"${{{reference.name}}}: {why}", reference.offset)
            case _:
                if value is None:
                    self.unset.append(reference.name)
                return self._transformed(value or "", reference)

    def _transformed(self, value: str, reference: _Reference) -> str:
        arguments = [self._filled(argument) for argument in reference.arguments]
        if reference.operator == ":":
            return _cut(value, arguments, reference)
        change = _CHANGES.get(reference.operator)
        return value if change is None else change(value, *arguments)


def mask(text: str, env: Mapping[str, str], *, substitute: bool = True) -> Masked:
    """Hide each reference behind characters that mean nothing in YAML; without `substitute` all text is only text."""
    private = _PRIVATE.search(text)
    if private is not None:
        raise BadReference("a character of Unicode's private use area cannot stand here", private.start())
    masked = Masked(text, env)
    if substitute:
        masked.text = "".join(_masked_parts(text, masked))
    return masked


def _masked_parts(text: str, masked: Masked) -> Iterator[str]:
    done = 0
    while (start := text.find("$", done)) >= 0:
        yield text[done:start]
        if masked.full:
            raise BadReference("too many variables in one file", start)
        if text.startswith("$$", start):
            done = start + 2
            yield masked.hide(("$",), 2)
        elif text.startswith("${", start):
            found, done = _parsed(text, start)
            yield masked.hide(found, done - start)
        else:
            done = start + 1
            yield "$"
    yield text[done:]


def _parsed(text: str, start: int) -> tuple[_Text | BadReference, int]:
    """A mistake is kept and told when its value is used: a comment may say what it likes."""
    try:
        reference, end = _Parser(text).reference(start, _DEPTH)
    except BadReference as error:
        return error, start + 2
    return (reference,), end


class _Parser:
    """Recursive descent over one line's references."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reference(self, start: int, depth: int) -> tuple[_Reference, int]:
        """The one that begins at `start`, and where it ends."""
        text, position = self._text, start + 2
        if depth == 0:
            raise BadReference("variables within variables, deeper than 20 levels", start)
        length = text.startswith("#", position)
        name = _NAME.match(text, position + length)
        if name is None:
            self._not_understood(start)
        position = name.end()
        if text.startswith("}", position):
            return _Reference(start, name[0], "length" if length else ""), position + 1
        operator = None if length else _OPERATOR.match(text, position)
        if operator is None:
            self._not_understood(start)
        arguments, position = self._arguments(operator[0], operator.end(), start, depth)
        if operator[0] in ("^", "^^", ",", ",,") and arguments != ((),):
            self._not_understood(start)
        return _Reference(start, name[0], operator[0], () if arguments == ((),) else arguments), position

    def _arguments(self, operator: str, position: int, start: int, depth: int) -> tuple[tuple[_Text, ...], int]:
        """One, or two where the operator has a separator; and the position after the brace."""
        separator = {"/": "/", ":": ":"}.get(operator[0] if operator[0] == "/" else operator, "")
        first, position = self._argument(position, start, depth, separator)
        if separator and self._text.startswith(separator, position):
            second, position = self._argument(position + 1, start, depth, "")
            return (first, second), position + 1
        return (first,), position + 1

    def _argument(self, position: int, start: int, depth: int, separator: str) -> tuple[_Text, int]:
        """Up to the brace or the separator, which stays."""
        text, literal = self._text, ""
        parts: list[str | _Reference] = []
        while True:
            letter = text[position : position + 1]
            if letter in ("", "\n", "\r"):
                raise BadReference("`${` is not closed on its line; `$${` stands for the text `${`", start)
            if letter in ("}", separator):
                parts += [literal] if literal else []
                return tuple(parts), position
            pair = text[position : position + 2]
            if pair == "${":
                inner, position = self.reference(position, depth - 1)
                parts += [literal, inner] if literal else [inner]
                literal = ""
                continue
            if pair == "$$" or (separator == "/" and pair in ("\\/", "\\\\")):
                position += 1
            literal += text[position]
            position += 1

    def _not_understood(self, start: int) -> NoReturn:
        line = re.split(r"[\r\n]", self._text[start : start + 60], maxsplit=1)[0]
        closed = line.find("}")
        if closed < 0:
            raise BadReference("`${` is not closed on its line; `$${` stands for the text `${`", start)
        shown = line[: closed + 1]
        raise BadReference(f"`{shown}` is no form of a variable; the forms: faasctl help stack-file", start)


def _cut(value: str, arguments: list[str], reference: _Reference) -> str:
    """`${NAME:n}` and `${NAME:n:length}`; numbers below zero count from the end, as bash has them."""
    try:
        position, *length = (int(argument) for argument in arguments)
    except ValueError:
        sentence = f"${{{reference.name}:...}} needs whole numbers for position and length"
        raise BadReference(sentence, reference.offset) from None
    begin = position if position >= 0 else max(0, len(value) + position)
    if not length:
        return value[begin:]
    end = begin + length[0] if length[0] >= 0 else len(value) + length[0]
    return value[begin : max(begin, end)]


def _without(value: str, lengths: Callable[[int], range], *, at_end: bool) -> Callable[[str], str]:
    def cut(pattern: str) -> str:
        matches = re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
        for length in lengths(len(value)):
            part = value[len(value) - length :] if at_end else value[:length]
            if matches(part):
                return value[: len(value) - length] if at_end else value[length:]
        return value

    return cut


def _shortest(size: int) -> range:
    return range(size + 1)


def _longest(size: int) -> range:
    return range(size, -1, -1)


def _replaced(value: str, old: str, new: str, *, where: str) -> str:
    """Plain text for text, as OpenFaaS has it; nothing is found in place of nothing."""
    if not old:
        return value
    match where:
        case "start":
            return new + value.removeprefix(old) if value.startswith(old) else value
        case "end":
            return value.removesuffix(old) + new if value.endswith(old) else value
        case _:
            return value.replace(old, new, 1 if where == "first" else -1)


_CHANGES: dict[str, Callable[..., str]] = {
    "length": lambda value: str(len(value)),
    "^": lambda value: value[:1].upper() + value[1:],
    "^^": str.upper,
    ",": lambda value: value[:1].lower() + value[1:],
    ",,": str.lower,
    "#": lambda value, glob="": _without(value, _shortest, at_end=False)(glob),
    "##": lambda value, glob="": _without(value, _longest, at_end=False)(glob),
    "%": lambda value, glob="": _without(value, _shortest, at_end=True)(glob),
    "%%": lambda value, glob="": _without(value, _longest, at_end=True)(glob),
    "/": lambda value, old="", new="": _replaced(value, old, new, where="first"),
    "//": lambda value, old="", new="": _replaced(value, old, new, where="all"),
    "/#": lambda value, old="", new="": _replaced(value, old, new, where="start"),
    "/%": lambda value, old="", new="": _replaced(value, old, new, where="end"),
}
