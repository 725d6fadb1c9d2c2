"""Which replica is picked."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.link.messages import Endpoint
from pilotlight.router.balancer import Backend, pick

NOW = 1000.0


@pytest.fixture(scope="session")
def backend() -> Callable[..., Backend]:
    def make(
        name: str = "a",
        *,
        slots: int = 4,
        in_flight: int = 0,
        used_at: float = 0.0,
        resting_until: float = 0.0,
        draining: bool = False,
    ) -> Backend:
        endpoint = Endpoint(replica=name, address="unix:/none", slots=slots, draining=draining)
        made = Backend(endpoint, on_release=lambda _, now: None, buffer_bytes=1)
        made.in_flight, made.used_at, made.resting_until = in_flight, used_at, resting_until
        return made

    return make


Make = Callable[..., Backend]


def test_nobody_is_picked_where_nobody_has_a_slot(backend: Make) -> None:
    assert pick([], NOW) is None
    assert pick([backend(slots=2, in_flight=2), backend(draining=True), backend(resting_until=NOW + 1)], NOW) is None


def test_the_smallest_share_of_taken_slots_wins(backend: Make) -> None:
    half, third = backend(slots=2, in_flight=1, used_at=9), backend(slots=6, in_flight=2)
    assert pick([half, third], NOW) is third


def test_the_one_used_last_wins_among_equals(backend: Make) -> None:
    cold, warm = backend(used_at=1), backend(used_at=2)
    assert pick([cold, warm], NOW) is warm
    assert pick([warm, cold], NOW) is warm


def test_a_rest_ends(backend: Make) -> None:
    rested = backend(resting_until=NOW - 0.001)
    assert pick([rested], NOW) is rested


def test_rests_grow_with_failures_and_have_a_bound(backend: Make) -> None:
    failing = backend()
    pauses = []
    for _ in range(20):
        before = failing.resting_until
        failing.refused()
        pauses.append(failing.resting_until - before)
    assert failing.resting_until > before
    assert failing.failures == 20
    failing.connected()
    assert failing.failures == 0


def test_a_drain_takes_the_slots_and_its_end_gives_them_back(backend: Make) -> None:
    one = backend(slots=3)
    one.update(Endpoint(replica="a", address="unix:/none", slots=3, draining=True))
    assert one.slots == 0
    one.update(Endpoint(replica="a", address="unix:/none", slots=3))
    assert one.slots == 3


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), max_size=6), st.integers(0, 40))
def test_slots_are_never_oversubscribed(backend: Make, sizes: list[tuple[int, int]], calls: int) -> None:
    backends = [backend(str(n), slots=slots, in_flight=min(busy, slots)) for n, (slots, busy) in enumerate(sizes)]
    free = sum(one.slots - one.in_flight for one in backends)
    picked = [one for one in (_take(backends) for _ in range(calls)) if one is not None]
    assert len(picked) == min(free, calls)
    assert all(one.in_flight <= one.slots for one in backends)


def _take(backends: list[Backend]) -> Backend | None:
    one = pick(backends, NOW)
    if one is not None:
        one.in_flight += 1
    return one
