"""Queries, moments and addresses, as values."""

import math
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.api.reading import convert_query, key_of, name_and_namespace, parse_moment
from pilotlight.core.errors import FunctionNotFound, InvalidInput


class Query(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tail: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    follow: bool = False


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9000, 1, 1)))
def test_a_moment_survives_rfc3339(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert parse_moment(aware.isoformat()) == pytest.approx(aware.timestamp(), abs=1e-5)


@given(st.text())
def test_a_moment_is_a_finite_number_or_an_error(text: str) -> None:
    try:
        assert math.isfinite(parse_moment(text))
    except InvalidInput as error:
        assert error.field == "since"


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "2026-01-01T00:00:00", "", "1h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="RFC 3339"):
        parse_moment(text)


@given(st.dictionaries(st.sampled_from(["name", "tail", "follow"]), st.text()))
def test_a_query_is_typed_or_names_the_parameter(given_: dict[str, str]) -> None:
    try:
        query = convert_query(given_, Query)
    except InvalidInput as error:
        assert error.field in ("name", "tail", "follow")
    else:
        assert query.name == given_["name"]


def test_a_wrong_value_is_told_with_what_was_expected() -> None:
    with pytest.raises(InvalidInput) as told:
        convert_query({"name": "hello", "tail": "many"}, Query)
    assert (told.value.detail, told.value.field) == ("tail: expected `int`, not 'many'", "tail")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(InvalidInput) as told:
        convert_query({}, Query)
    assert told.value.detail == "name: is required"


@pytest.mark.parametrize(
    ("address", "namespace", "key"),
    [
        ("hello", None, "hello.openfaas-fn"),
        ("hello", "dev", "hello.dev"),
        ("hello.dev", None, "hello.dev"),
        ("hello.dev", "dev", "hello.dev"),
    ],
)
def test_an_address_is_a_key(address: str, namespace: str | None, key: str) -> None:
    assert key_of(address, namespace) == key


def test_an_address_and_a_namespace_may_not_disagree() -> None:
    with pytest.raises(InvalidInput, match="contradicts"):
        name_and_namespace("hello.dev", "prod")


@pytest.mark.parametrize("address", ["", ".", "a.b.c", "Hello", "hello.", "he/llo", "h\0"])
def test_what_can_be_no_function_is_not_found(address: str) -> None:
    with pytest.raises(FunctionNotFound):
        key_of(address, None)
