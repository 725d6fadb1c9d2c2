"""`${NAME}` and `${NAME:-default}` in a stack file, as OpenFaaS substitutes them, without moving a line or column.

OpenFaaS replaces text before it reads YAML, so a value with `: ` or `#` in it changes the file's meaning. Here each
reference is first *masked* by as many characters from Unicode's private use area, YAML is read, and the values are put
into the scalars afterwards: a variable can only ever be a part of one value, and positions stay the user's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_REFERENCE = re.compile(r"\$\$(?=\{)|\$\{([^{}\n]*)\}")
_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)(.*))?", re.DOTALL)
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_FIRST, _LAST, _FILLER = 0xE100, 0xF8FF, "\ue000"
_MASK = re.compile("([\ue100-\uf8ff])\ue000*")


class BadReference(ValueError):
    """Text that cannot be masked; `offset` says where."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(sentence)
        self.sentence, self.offset = sentence, offset


@dataclass(slots=True)
class Masked:
    """A text with its references hidden, and what they stand for."""

    text: str
    env: Mapping[str, str]
    unset: list[str] = field(default_factory=list)
    """Names that were used without a value and without a default; they count as empty, as in OpenFaaS."""
    _references: list[str | None] = field(default_factory=list)

    def reveal(self, scalar: str) -> str:
        """A scalar of the masked text with the values in it; ValueError says what is wrong with a reference."""
        return _MASK.sub(lambda match: self._value(self._references[ord(match[1]) - _FIRST]), scalar)

    def _value(self, reference: str | None) -> str:
        if reference is None:
            return "$"
        body = _BODY.fullmatch(reference)
        if body is None:
            raise ValueError("only ${NAME}, ${NAME:-default} and ${NAME-default} are understood")
        name, operator, default = body.groups()
        value = self.env.get(name)
        if value is None and operator is None:
            self.unset.append(name)
        if value is None or (operator == ":-" and not value):
            return str(default or "")
        return value


def mask(text: str, env: Mapping[str, str]) -> Masked:
    """Hide each reference behind characters that mean nothing in YAML."""
    private = _PRIVATE.search(text)
    if private is not None:
        raise BadReference("a character of Unicode's private use area cannot stand here", private.start())
    masked = Masked(text, env)
    masked.text = _REFERENCE.sub(lambda match: _hide(match, masked), text)
    return masked


def _hide(match: re.Match[str], masked: Masked) -> str:
    if len(masked._references) > _LAST - _FIRST:
        raise BadReference("too many variables in one file", match.start())
    # `$${` is a literal `${`: the two dollars become one, the brace stays where it is.
    masked._references.append(match[1])
    return chr(_FIRST + len(masked._references) - 1) + _FILLER * (len(match[0]) - 1)
