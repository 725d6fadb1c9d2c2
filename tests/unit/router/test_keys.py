"""Who is let in to a function with a key, and what the function sees of the key."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.spec import function_key
from pilotlight.router.keys import Keys
from pilotlight_runtime.http1 import RequestHead

F = function_key("f")
KEY = "pk_1234567890"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def asks(*headers: tuple[str, str]) -> RequestHead:
    head = RequestHead()
    head.headers = [(name.encode(), value.encode()) for name, value in headers]
    return head


@pytest.mark.parametrize(
    "header", [("Authorization", f"Bearer {KEY}"), ("authorization", f"bearer  {KEY}"), ("x-Function-Key", KEY)]
)
def test_the_key_opens_and_is_not_passed_on(header: tuple[str, str]) -> None:
    head = asks(header, ("X-Mine", "1"))
    assert Keys(F, [digest("other"), digest(KEY)]).take(head) is None
    assert head.headers == [(b"X-Mine", b"1")]


def test_an_authorization_that_is_not_ours_is_the_functions_own() -> None:
    head = asks(("Authorization", "Bearer their.own.token"), ("X-Function-Key", KEY))
    assert Keys(F, [digest(KEY)]).take(head) is None
    assert head.headers == [(b"Authorization", b"Bearer their.own.token")]


@pytest.mark.parametrize("headers", [(), (("Authorization", "Basic dTpw"),), (("Cookie", KEY),)])
def test_without_a_key_one_is_asked_for(headers: tuple[tuple[str, str], ...]) -> None:
    problem = Keys(F, [digest(KEY)]).take(asks(*headers))
    assert problem is not None
    assert (problem.status, problem.slug, problem.challenge) == (401, "key-required", "Bearer")


def test_another_key_is_refused() -> None:
    problem = Keys(F, [digest(KEY)]).take(asks(("X-Function-Key", "pk_other")))
    assert problem is not None
    assert (problem.status, problem.slug) == (401, "key-refused")


def test_without_keys_nobody_is_let_in() -> None:
    assert Keys(F, []).take(asks(("X-Function-Key", KEY))) is not None


@given(st.text(max_size=80))
def test_nothing_but_the_key_opens(given_key: str) -> None:
    opened = Keys(F, [digest(KEY)]).take(asks(("X-Function-Key", given_key))) is None
    assert opened == (given_key == KEY)


def test_a_key_that_ends_does_so_by_the_routers_own_clock() -> None:
    now = [100.0]
    keys = Keys(F, [digest("old"), digest(KEY)], {digest("old"): 10.0}, clock=lambda: now[0])
    assert keys.take(asks(("X-Function-Key", "old"))) is None
    now[0] += 10.0
    problem = keys.take(asks(("X-Function-Key", "old")))
    assert problem is not None
    assert problem.slug == "key-refused"
    assert keys.take(asks(("X-Function-Key", KEY))) is None
