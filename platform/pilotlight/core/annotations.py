"""Our keys in annotations: `pilotlight.dev/KEY` with a YAML value means what KEY means in a stack file.

Clients of OpenFaaS know neither our keys nor any way to send them, but they pass annotations on as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pilotlight.core.checks import integer, nearest
from pilotlight.core.errors import InvalidSpec
from pilotlight.core.quantity import parse_bytes, parse_duration_seconds

ANNOTATION_PREFIX = "pilotlight.dev/"
_TEXT_LIMIT = 4096
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Reader = Callable[[object, str], object]
"""Takes a value of texts, lists and mappings, and the name that errors are about."""


def fields_of_annotations(annotations: object) -> dict[str, Any]:
    """The spec's fields that annotations give; InvalidSpec names the annotation."""
    if not isinstance(annotations, Mapping):
        return {}
    fields: dict[str, Any] = {}
    for name, text in annotations.items():
        if isinstance(name, str) and name.startswith(ANNOTATION_PREFIX):
            key = name.removeprefix(ANNOTATION_PREFIX)
            if key in _NOT_YET:
                hint = "Take the annotation out and deploy again."
                raise InvalidSpec(f"{name}: is not there yet in this version", field=name, hint=hint)
            known = _known(key, _KEYS, name)
            fields[known.field] = known.read(_value(text, name), name)
    return fields


@dataclass(frozen=True, slots=True)
class _Key:
    field: str
    read: Reader


def _value(text: object, name: str) -> object:
    """The annotation's YAML as texts, lists and mappings."""
    if not isinstance(text, str) or len(text) > _TEXT_LIMIT:
        raise InvalidSpec(f"{name}: must be a text of at most {_TEXT_LIMIT} characters", field=name)
    try:
        return _yaml()(text)
    except (ValueError, RecursionError):
        raise InvalidSpec(f"{name}: {text[:60]!r} is not YAML", field=name) from None


@cache
def _yaml() -> Callable[[str], object]:
    """A reader that raises ValueError. The router reads specs, too, and starts without waiting for PyYAML."""
    import yaml

    class Loader(yaml.BaseLoader):
        """No aliases, so that a small text cannot stand for a huge one."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not taken here")
            return super().compose_node(parent, index)

    def read(text: str) -> object:
        try:
            return yaml.load(text, Loader)  # noqa: S506 (a BaseLoader makes nothing but texts, lists and mappings)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error

    return read


def _known(key: str, keys: Mapping[str, _Key], name: str) -> _Key:
    if key not in keys:
        raise InvalidSpec(f"{name}: no such key", field=name, hint=nearest(key, keys))
    return keys[key]


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidSpec(f"{name}: must be a single value, not {_kind(value)}", field=name)
    return value


def _integer(value: object, name: str) -> int:
    return integer(_text(value, name), name)


def _number(value: object, name: str) -> float:
    text = _text(value, name)
    try:
        return float(text)
    except ValueError:
        raise InvalidSpec(f"{name}: must be a number, not {text!r}", field=name) from None


def _truth(value: object, name: str) -> bool:
    text = _text(value, name)
    if text.lower() not in _TRUTHS:
        raise InvalidSpec(f"{name}: must be true or false, not {text!r}", field=name)
    return _TRUTHS[text.lower()]


def _duration(value: object, name: str) -> float:
    return parse_duration_seconds(_text(value, name), field=name)


def _whole_seconds(value: object, name: str) -> int:
    return round(_duration(value, name))


def _mebibytes(value: object, name: str) -> float:
    return float(parse_bytes(_text(value, name), field=name) / 2**20)


def _texts(value: object, name: str) -> list[str]:
    """A list, or one text that stands for a list of one."""
    return [_text(item, name) for item in (value if isinstance(value, list) else [value])]


def _section(keys: Mapping[str, _Key]) -> Reader:
    def read(value: object, name: str) -> dict[str, object]:
        if not isinstance(value, Mapping):
            sentence = f"{name}: must be a mapping, as {{{_example(keys)}: ...}}, not {_kind(value)}"
            raise InvalidSpec(sentence, field=name)
        found: dict[str, object] = {}
        for key, inner in value.items():
            known = _known(str(key), keys, f"{name}.{key}")
            found[known.field] = known.read(inner, f"{name}.{key}")
        return found

    return read


def _example(keys: Iterable[str]) -> str:
    return next(iter(keys))


def _kind(value: object) -> str:
    return "a mapping" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "a single value"


_SCALE = {
    "min": _Key("min", _integer),
    "max": _Key("max", _integer),
    "idle": _Key("idle_seconds", _duration),
    "zero": _Key("zero", _truth),
    "type": _Key("type", _text),
    "target": _Key("target", _number),
    "target_proportion": _Key("target_proportion", _number),
    "down_window": _Key("down_window_seconds", _duration),
    "factor": _Key("factor", _integer),
}
_CORS = {
    "origins": _Key("origins", _texts),
    "methods": _Key("methods", _texts),
    "headers": _Key("headers", _texts),
    "expose": _Key("expose", _texts),
    "credentials": _Key("credentials", _truth),
    "max_age": _Key("max_age_seconds", _whole_seconds),
}
_KEYS = {
    "concurrency": _Key("concurrency", _integer),
    "timeout": _Key("timeout_seconds", _duration),
    "queue": _Key("queue", _integer),
    "body_limit": _Key("body_limit_mib", _mebibytes),
    "contract": _Key("contract", _text),
    "scale": _Key("scale", _section(_SCALE)),
    "cors": _Key("cors", _section(_CORS)),
    "auth": _Key("auth", _text),
    "debug": _Key("debug", _truth),
    "readonly_root_filesystem": _Key("readonly_root_filesystem", _truth),
}
_NOT_YET = frozenset({"gpu", "model", "batching", "triggers"})
