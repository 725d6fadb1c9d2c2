"""Kubernetes quantities and Go durations, as users of OpenFaaS write them."""

import math
import re

from pilotlight.core.errors import InvalidSpec

_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,12})?)([A-Za-z]{0,2})")  # bounded: more digits overflow a float
_MEMORY_UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_memory_mib(text: str, *, field: str = "memory") -> int:
    """ "128Mi", "1G", "1048576" as whole MiB, rounded up."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _MEMORY_UNITS:
        raise InvalidSpec(f'{field}: {text!r} is no amount of memory; write it as "128Mi" or "1Gi"', field=field)
    mib = math.ceil(float(match[1]) * _MEMORY_UNITS[match[2]] / 2**20)
    if mib < 1:
        raise InvalidSpec(f"{field}: must be more than nothing, not {text!r}", field=field)
    return mib


def parse_cpu_milli(text: str, *, field: str = "cpu") -> int:
    """ "100m", "0.5", "2" as thousandths of a processor, rounded up."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in ("", "m"):
        raise InvalidSpec(f'{field}: {text!r} is no share of processors; write it as "100m" or "0.5"', field=field)
    milli = math.ceil(float(match[1]) * (1 if match[2] == "m" else 1000))
    if milli < 1:
        raise InvalidSpec(f"{field}: must be more than nothing, not {text!r}", field=field)
    return milli


def parse_duration_seconds(text: str, *, field: str = "duration") -> float:
    """ "90", "1m30s", "250ms" as seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if _DURATION.fullmatch(text) is None:
        raise InvalidSpec(f'{field}: {text!r} is no duration; write it as "30s", "5m" or "1h30m"', field=field)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))
