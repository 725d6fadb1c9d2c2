"""Kubernetes quantities and Go durations, as users of OpenFaaS write them."""

import math
import re
from fractions import Fraction

from pilotlight.core.errors import InvalidSpec

_QUANTITY = re.compile(  # bounded: nobody has so much, and exact numbers of any length take any time
    r"(\d{1,18}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE]([+-]?\d{1,2})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?"
)
_UNITS = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    **{unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_quantity(text: str) -> Fraction | None:
    """ "1.5Gi", "500m", "1e3", "2" as the exact number; None for what is no quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, exponent, unit = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else _UNITS.get(unit, Fraction(1))
    return Fraction(number if number[0] != "." else f"0{number}") * scale


def parse_bytes(text: str, *, field: str = "memory") -> Fraction:
    """ "128Mi", "1G", "1048576", "1e6" as bytes, more than none."""
    amount = parse_quantity(text)
    if amount is None:
        raise InvalidSpec(f'{field}: {text!r} is no amount of memory; write it as "128Mi" or "1Gi"', field=field)
    if amount <= 0:
        raise InvalidSpec(f"{field}: must be more than nothing, not {text!r}", field=field)
    return amount


def parse_memory_mib(text: str, *, field: str = "memory") -> int:
    """The same as whole MiB, rounded up."""
    return math.ceil(parse_bytes(text, field=field) / 2**20)


def parse_cpu_milli(text: str, *, field: str = "cpu") -> int:
    """ "100m", "0.5", "2" as thousandths of a processor, rounded up."""
    amount = parse_quantity(text)
    if amount is None:
        raise InvalidSpec(f'{field}: {text!r} is no share of processors; write it as "100m" or "0.5"', field=field)
    if amount <= 0:
        raise InvalidSpec(f"{field}: must be more than nothing, not {text!r}", field=field)
    return math.ceil(amount * 1000)


def parse_duration_seconds(text: str, *, field: str = "duration") -> float:
    """ "90", "1m30s", "250ms" as seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if _DURATION.fullmatch(text) is None:
        raise InvalidSpec(f'{field}: {text!r} is no duration; write it as "30s", "5m" or "1h30m"', field=field)
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))
