"""What may stand in a stack file: OpenFaaS' keys and ours, each with what it expects in words.

A shape is a Scalar, a ListOf, a MapOf or a Section. The walk over a file is in `stack`; here is only what is allowed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

from faasctl.quantities import parse_quantity
from faasctl.words import parse_duration

Shape = Union["Scalar", "ListOf", "MapOf", "Section"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, which is no list and no mapping; `read` raises ValueError for text that is none."""

    expects: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class ListOf:
    item: "Shape"
    expects: str
    or_one: Scalar | None = None
    """Where a single value stands for a list of one."""


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
    extensions: bool = False
    """Whether keys that begin with `x-` may hold anything: a place for what aliases name."""


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

    return Scalar(f"a number from {_plain(least)} to {_plain(most)}", read)


def _plain(number: float) -> str:
    return f"{number:f}".rstrip("0").rstrip(".")


def _duration(most: float, words: str) -> Scalar:
    def read(text: str) -> float:
        seconds = parse_duration(text)
        if not 0 < seconds <= most:
            raise ValueError(text)
        return seconds

    return Scalar(f'a duration up to {words}, as "30s" or "5m"', read)


def _mebibytes(text: str) -> float:
    mib = parse_quantity(text) / 2**20
    if not 0 < mib <= 4096:
        raise ValueError(text)
    return float(mib)


def _quantity(text: str) -> str:
    """As it was written: OpenFaaS' clients find it again letter for letter."""
    if parse_quantity(text) <= 0:
        raise ValueError(text)
    return text


def _count(text: str) -> str:
    if parse_quantity(text).denominator != 1:
        raise ValueError(text)
    return text


def _seconds(most: float) -> Callable[[str], int]:
    def read(text: str) -> int:
        seconds = parse_duration(text)
        if not 0 <= seconds <= most:
            raise ValueError(text)
        return round(seconds)

    return read


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
_DEVICES = Scalar("a whole number of devices", _count)
_RESOURCES = Section(
    {
        "memory": Scalar('an amount of memory, as "128Mi" or "1.5Gi"', _quantity),
        "cpu": Scalar('a share of processors, as "100m" or "0.5"', _quantity),
        "nvidia.com/gpu": _DEVICES,
        "amd.com/gpu": _DEVICES,
        "intel.com/gpu": _DEVICES,
    }
)
_ORIGIN = Scalar('an origin, as "https://app.example.org", or "*"', _matching(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+"))
_HEADER = Scalar("a header's name", _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"))
_METHOD = Scalar("an HTTP method", _matching(r"[A-Z]{1,20}"))
_HEADERS = ListOf(_HEADER, "a list of headers' names", or_one=_HEADER)

_SECRET = Scalar(
    "a build secret's name: letters, digits, `.`, `_` and `-`", _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
)

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
        "build_args": MapOf(TEXT, "a mapping of build arguments to values", name=VARIABLE),
        "build_secrets": MapOf(FILLED, "a mapping of names to files", name=_SECRET),
        "platforms": FILLED,
        # Pilotlight's
        "concurrency": _whole(1, 1000),
        "timeout": _duration(86_400, "1 day"),
        "queue": _whole(0, 100_000),
        "body_limit": Scalar('a size up to 4Gi, as "16Mi"', _mebibytes),
        "contract": _one_of("http", "lambda", "asgi"),
        "scale": Section(
            {
                "min": _whole(0, 1000),
                "max": _whole(1, 1000),
                "idle": _duration(30 * 86_400, "30 days"),
                "zero": YES_OR_NO,
                "type": _one_of("concurrency", "rps", "capacity", "cpu", "queue"),
                "target": _fraction(0.000001, 1_000_000),
                "target_proportion": _fraction(0.01, 1),
                "down_window": _duration(300, "5 minutes"),
                "factor": _whole(0, 100),
            }
        ),
        "cors": Section(
            {
                "origins": ListOf(_ORIGIN, 'a list of origins, as ["https://app.example.org"]', or_one=_ORIGIN),
                "methods": ListOf(_METHOD, "a list of HTTP methods", or_one=_METHOD),
                "headers": _HEADERS,
                "expose": _HEADERS,
                "credentials": YES_OR_NO,
                "max_age": Scalar('a duration up to 1 day, as "10m"', _seconds(86_400)),
            }
        ),
        "auth": _one_of("none", "key"),
        "debug": YES_OR_NO,
    }
)

NOT_YET = {
    "gpu": "functions get no GPU in this version; `limits: nvidia.com/gpu` is kept, and counts later",
    "model": "this version serves no models by itself; load it in `init` of the handler",
    "batching": "each call is a call of the handler in this version",
    "triggers": "functions are called over HTTP in this version",
}
"""Keys that are planned, each with what there is instead."""

STACK = Section(
    {
        "version": Scalar("1.0", _matching(r"1(\.0)?")),
        "provider": Section({"name": _one_of("openfaas", "pilotlight"), "gateway": FILLED}),
        "functions": MapOf(FUNCTION, "a mapping of names to functions", name=NAME),
        "configuration": Section(
            {
                "templates": ListOf(Section({"name": FILLED, "source": FILLED}), "a list of templates", or_one=FILLED),
                "copy": ListOf(FILLED, "a list of paths"),
            }
        ),
    },
    extensions=True,
)

ENVIRONMENT_FILE = Section({"environment": VARIABLES})

WITHOUT_EFFECT = {
    "platforms": "it is for container images",
}
"""OpenFaaS' keys that are taken and do nothing here; each is said once."""
