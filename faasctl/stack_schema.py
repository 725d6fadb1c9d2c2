"""What may stand in a stack file: OpenFaaS' keys and ours, each with what it expects in words.

A shape is a Scalar, a ListOf, a MapOf or a Section. The walk over a file is in `stack`; here is only what is allowed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

from faasctl.words import parse_duration, parse_memory

Shape = Union["Scalar", "ListOf", "MapOf", "Section"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, which is no list and no mapping; `read` raises ValueError for text that is none."""

    expects: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Scalar
    expects: str


@dataclass(frozen=True, slots=True)
class MapOf:
    """Names of the user's own choice."""

    value: Shape
    expects: str
    name: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Names of ours."""

    keys: Mapping[str, Shape]
    expects: str = "a mapping"


def _text(text: str) -> str:
    text.encode()  # half a surrogate pair, from an environment that is not UTF-8, is a ValueError
    if "\0" in text:
        raise ValueError(text)
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return _text(text)


def _boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _matching(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return read


def _whole(least: int, most: int) -> Scalar:
    def read(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", text) is None or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return Scalar(f"a whole number from {least} to {most}", read)


def _fraction(least: float, most: float) -> Scalar:
    def read(text: str) -> float:
        if re.fullmatch(r"[0-9]{0,9}(\.[0-9]{1,9})?", text) is None or not text or not least <= float(text) <= most:
            raise ValueError(text)
        return float(text)

    return Scalar(f"a number from {least:g} to {most:g}", read)


def _duration(most: float, words: str) -> Scalar:
    def read(text: str) -> float:
        seconds = parse_duration(text)
        if not 0 < seconds <= most:
            raise ValueError(text)
        return seconds

    return Scalar(f'a duration up to {words}, as "30s" or "5m"', read)


def _mebibytes(text: str) -> float:
    mib = parse_memory(text) / 2**20
    if not 0 < mib <= 4096:
        raise ValueError(text)
    return mib


def _memory(text: str) -> str:
    if parse_memory(text) <= 0:
        raise ValueError(text)
    return text


def _one_of(*words: str) -> Scalar:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Scalar(f"one of {', '.join(words)}", read)


NAME = Scalar("a DNS label: a-z, 0-9 and -, at most 63 characters", _matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"))
TEXT = Scalar("a text", _text)
FILLED = Scalar("a text", _filled)
YES_OR_NO = Scalar("true or false", _boolean)
VARIABLE = Scalar("a variable's name: letters, digits and _, no digit first", _matching(r"[A-Za-z_][A-Za-z0-9_]*"))
TEXTS = ListOf(FILLED, "a list of texts")
VARIABLES = MapOf(TEXT, "a mapping of variables to values", name=VARIABLE)
TEXT_BY_NAME = MapOf(TEXT, "a mapping of names to texts", name=FILLED)
_CPU = Scalar('a share of processors, as "100m" or "0.5"', _matching(r"[0-9]{1,9}(\.[0-9]{1,9})?m?"))
_RESOURCES = Section({"memory": Scalar('an amount of memory, as "128Mi" or "1Gi"', _memory), "cpu": _CPU})

FUNCTION = Section(
    {
        # OpenFaaS'
        "lang": FILLED,
        "handler": FILLED,
        "image": FILLED,
        "fprocess": FILLED,
        "environment": VARIABLES,
        "environment_file": TEXTS,
        "secrets": ListOf(FILLED, "a list of secrets' names"),
        "skip_build": YES_OR_NO,
        "constraints": TEXTS,
        "labels": TEXT_BY_NAME,
        "annotations": TEXT_BY_NAME,
        "limits": _RESOURCES,
        "requests": _RESOURCES,
        "readonly_root_filesystem": YES_OR_NO,
        "namespace": NAME,
        "build_options": TEXTS,
        "build_args": TEXT_BY_NAME,
        "build_secrets": TEXT_BY_NAME,
        "platforms": FILLED,
        # Pilotlight's
        "concurrency": _whole(1, 1000),
        "timeout": _duration(86_400, "1 day"),
        "queue": _whole(0, 100_000),
        "body_limit": Scalar('a size up to 4Gi, as "16Mi"', _mebibytes),
        "contract": _one_of("http", "lambda", "cloudevent", "asgi", "model"),
        "scale": Section(
            {
                "min": _whole(0, 1000),
                "max": _whole(1, 1000),
                "idle": _duration(30 * 86_400, "30 days"),
                "target": _fraction(0.05, 1),
            }
        ),
        "debug": YES_OR_NO,
    }
)

STACK = Section(
    {
        "version": Scalar("1.0", _matching(r"1(\.0)?")),
        "provider": Section({"name": _one_of("openfaas", "pilotlight"), "gateway": FILLED}),
        "functions": MapOf(FUNCTION, "a mapping of names to functions", name=NAME),
        "configuration": Section(
            {"templates": ListOf(FILLED, "a list of templates"), "copy": ListOf(FILLED, "a list of paths")}
        ),
    }
)

ENVIRONMENT_FILE = Section({"environment": VARIABLES})

WITHOUT_EFFECT = {
    "build_options": "it chooses packages of a container image",
    "build_args": "it is for container images",
    "build_secrets": "it is for container images",
    "platforms": "it is for container images",
}
"""OpenFaaS' keys that are taken and do nothing here; each is said once."""
