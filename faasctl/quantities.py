"""Kubernetes quantities, as `limits` and `requests` of a stack file give them: "128Mi", "0.5", "1e3", "500m"."""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(\d{1,18}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE]([+-]?\d{1,2})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?"
)
_UNITS = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    **{unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip


def parse_quantity(text: str) -> Fraction:
    """The exact number that it stands for, in bytes, processors or devices; ValueError for what is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    number, exponent, unit = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else _UNITS.get(unit, Fraction(1))
    return Fraction(number if number[0] != "." else f"0{number}") * scale
