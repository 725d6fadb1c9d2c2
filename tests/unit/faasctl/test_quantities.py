"""Kubernetes quantities in a stack file."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("16Mi", 16 * 2**20),
        ("1.5G", 1_500_000_000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("500m", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
    ],
)
def test_a_quantity_is_an_exact_number(text: str, number: Fraction) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "Mi", "1ki", "1 Gi", "-1", "1e", "1e3Mi", "1e999", "1" * 40, "one"])
def test_what_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$"):
        parse_quantity(text)


@given(text=st.text(alphabet="0123456789.eE+-kKMGiTmun", max_size=12))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_quantity(text) >= 0
