"""Names of headers in all spellings, and what becomes of a head that has too many of them."""

from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.http1_fields import SPELLINGS, Fields, Spellings

NOTED = frozenset({b"host", b"x-mine"})


def test_a_name_is_noted_however_it_is_spelled() -> None:
    fields = Fields(Spellings(NOTED))
    for name in (b"HOST", b"X-Other", b"x-MINE", b"X-Mine"):
        fields.on_header(name, b"v \t")
    assert fields.noted == {b"host": b"v", b"x-mine": b"v, v"}
    assert fields.headers == [(b"X-Other", b"v")]


def test_strangers_names_do_not_fill_the_memory() -> None:
    names = Spellings(NOTED)
    for number in range(2 * SPELLINGS):
        assert names[b"X-%d" % number] == b""
    assert len(names) == SPELLINGS
    assert names[b"hOsT"] == b"host"


@given(st.text(alphabet="hostHOST-xX", max_size=6))
def test_a_remembered_name_means_what_it_meant(name: str) -> None:
    names = Spellings(NOTED)
    expected = name.lower().encode() if name.lower().encode() in NOTED else b""
    assert [names[name.encode()] for _ in range(2)] == [expected] * 2
