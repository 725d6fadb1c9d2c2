"""What goes when the disk's budget is exceeded: never what is needed, and of the rest the longest unused first."""

from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.base import Kept
from pilotlight.control.retention import Verdict, Wants, judge

NOW, HOUR = 1_000_000.0, 3600.0


def bundle(name: str, *, idle: float = 2 * HOUR, size: int = 10, needs: str | None = None) -> Kept:
    return Kept(name=name, bytes=size, used_at=NOW - idle, needs=needs)


def judged(things: list[Kept], wants: Wants = Wants(), *, budget: int = 0) -> list[Verdict]:  # noqa: B008
    return judge(things, wants, budget_bytes=budget, min_age_seconds=HOUR, now=NOW)


def removed(verdicts: list[Verdict]) -> list[str]:
    return [verdict.kept.name for verdict in verdicts if verdict.remove]


def test_within_the_budget_everything_stays() -> None:
    verdicts = judged([bundle("a"), bundle("b")], budget=20)
    assert [verdict.reason for verdict in verdicts] == ["fits", "fits"]


def test_the_longest_unused_goes_first_and_no_more_than_needed() -> None:
    things = [bundle("newer", idle=2 * HOUR), bundle("oldest", idle=9 * HOUR), bundle("older", idle=5 * HOUR)]
    assert removed(judged(things, budget=20)) == ["oldest"]


def test_what_is_referenced_stays_whatever_the_budget_is() -> None:
    [verdict] = judged([bundle("live", size=10**12)], Wants(referenced=frozenset({"live"})))
    assert (verdict.remove, verdict.reason) == (False, "referenced")


def test_what_was_just_built_stays() -> None:
    [verdict] = judged([bundle("new", idle=HOUR / 2)])
    assert (verdict.remove, verdict.reason) == (False, "young")


def test_a_referenced_bundle_keeps_its_environment() -> None:
    things = [bundle("b", needs="e"), bundle("e", size=1000)]
    assert removed(judged(things, Wants(referenced=frozenset({"b"})))) == []


def test_a_young_bundle_keeps_its_old_environment() -> None:
    things = [bundle("b", idle=1, needs="e"), bundle("e", idle=99 * HOUR)]
    assert removed(judged(things)) == []


def test_an_environment_goes_after_all_of_its_bundles() -> None:
    things = [bundle("e", idle=9 * HOUR), bundle("b", idle=3 * HOUR, needs="e"), bundle("c", idle=4 * HOUR, needs="e")]
    assert removed(judged(things)) == ["c", "b", "e"]


def test_what_a_roll_back_would_need_goes_last() -> None:
    things = [bundle("earlier", idle=9 * HOUR, needs="e"), bundle("e", idle=9 * HOUR), bundle("other")]
    wants = Wants(preferred=frozenset({"earlier"}))
    assert removed(judged(things, wants, budget=20)) == ["other"]
    assert removed(judged(things, wants)) == ["other", "earlier", "e"]


def image(name: str, *, idle: float = 2 * HOUR, size: int = 10, needs: str | None = None) -> Kept:
    return Kept(name=name, bytes=size, used_at=NOW - idle, needs=needs, disk="engine")


def test_an_image_keeps_what_it_begins_with_and_is_kept_by_its_bundle() -> None:
    things = [bundle("b", idle=1, needs="i"), image("i", idle=9 * HOUR, needs="e"), image("e", idle=9 * HOUR)]
    assert removed(judged(things)) == []
    assert removed(judged([bundle("b", idle=3 * HOUR, needs="i"), *things[1:]])) == ["b", "i", "e"]


def test_a_disk_that_is_short_gets_room_though_the_budget_would_do() -> None:
    things = [bundle("here", idle=9 * HOUR), image("there", idle=3 * HOUR), image("newer")]
    short = {"engine": 5, "": -5}
    verdicts = judge(things, Wants(), budget_bytes=1000, short_bytes=short, min_age_seconds=HOUR, now=NOW)
    assert removed(verdicts) == ["there"]


def test_a_bundle_goes_with_its_image_though_there_is_room_for_it() -> None:
    things = [bundle("b", needs="i"), image("i"), bundle("other")]
    verdicts = judge(things, Wants(), budget_bytes=1000, short_bytes={"engine": 1}, min_age_seconds=HOUR, now=NOW)
    assert [(each.kept.name, each.reason) for each in verdicts if each.remove] == [
        ("b", "useless"),
        ("i", "over-budget"),
    ]


NAMES = st.sampled_from([f"b{number}" for number in range(8)])
ENVIRONMENTS = st.sampled_from([f"e{number}" for number in range(4)])
AGES = st.floats(0, 10 * HOUR)
SIZES = st.integers(0, 100)
BUNDLES = st.builds(lambda n, age, size, e: bundle(n, idle=age, size=size, needs=e), NAMES, AGES, SIZES, ENVIRONMENTS)
PLACES = st.builds(lambda name, age, size: bundle(name, idle=age, size=size), ENVIRONMENTS, AGES, SIZES)
THINGS = st.lists(BUNDLES | PLACES, max_size=14, unique_by=lambda each: each.name)
IMAGES = st.builds(
    lambda n, age, size, e: image(f"i{n}", idle=age, size=size, needs=e), st.integers(0, 5), AGES, SIZES, ENVIRONMENTS
)
OF_IMAGES = st.builds(lambda n, age, i: bundle(n, idle=age, size=1, needs=f"i{i}"), NAMES, AGES, st.integers(0, 5))
ON_TWO_DISKS = st.lists(OF_IMAGES | IMAGES | PLACES, max_size=14, unique_by=lambda each: each.name)
SHORT = st.dictionaries(st.sampled_from(["", "engine"]), st.integers(-100, 200))
WANTS = st.builds(
    lambda referenced, preferred: Wants(referenced=referenced, preferred=preferred),
    st.frozensets(NAMES | ENVIRONMENTS),
    st.frozensets(NAMES | ENVIRONMENTS),
)


@given(THINGS, WANTS, st.integers(0, 500))
def test_nothing_that_stays_lacks_what_it_needs_and_nothing_needed_goes(
    things: list[Kept], wants: Wants, budget: int
) -> None:
    gone = set(removed(judged(things, wants, budget=budget)))
    assert gone.isdisjoint(wants.referenced)
    assert gone.isdisjoint(each.needs for each in things if each.name not in gone)
    assert all(each.used_at <= NOW - HOUR for each in things if each.name in gone)


@given(THINGS, WANTS, st.integers(0, 500))
def test_the_rest_is_within_the_budget_unless_all_of_it_must_stay(
    things: list[Kept], wants: Wants, budget: int
) -> None:
    verdicts = judged(things, wants, budget=budget)
    left = sum(verdict.kept.bytes for verdict in verdicts if not verdict.remove)
    assert left <= budget or all(v.reason in ("referenced", "young") for v in verdicts if not v.remove)


@given(THINGS, WANTS, st.integers(0, 500))
def test_nothing_goes_that_need_not(things: list[Kept], wants: Wants, budget: int) -> None:
    """Before the last one went the budget was exceeded."""
    gone = [verdict.kept.bytes for verdict in judged(things, wants, budget=budget) if verdict.remove]
    assert not gone or sum(each.bytes for each in things) - sum(gone[:-1]) > budget


@given(THINGS, WANTS, st.integers(0, 500))
def test_everything_gets_one_verdict_and_looking_twice_changes_nothing(
    things: list[Kept], wants: Wants, budget: int
) -> None:
    verdicts = judged(things, wants, budget=budget)
    assert sorted(verdict.kept.name for verdict in verdicts) == sorted(each.name for each in things)
    stayed = [verdict.kept for verdict in verdicts if not verdict.remove]
    assert removed(judged(stayed, wants, budget=budget)) == []


@given(ON_TWO_DISKS, WANTS, st.integers(0, 300), SHORT)
def test_on_two_disks_no_image_goes_that_is_needed_and_none_before_its_bundles(
    things: list[Kept], wants: Wants, budget: int, short: dict[str, int]
) -> None:
    """Needed: referenced, used a moment ago, or what such a thing cannot be without."""
    verdicts = judge(things, wants, budget_bytes=budget, short_bytes=short, min_age_seconds=HOUR, now=NOW)
    gone = removed(verdicts)
    needs = {each.name: each.needs for each in things if each.needs is not None}
    young = {each.name for each in things if each.used_at > NOW - HOUR}
    must_stay = wants.referenced | young
    must_stay |= {needs[name] for name in must_stay & needs.keys()}
    must_stay |= {needs[name] for name in must_stay & needs.keys()}
    assert must_stay.isdisjoint(gone)
    assert all(each.needs not in gone or each.name in gone for each in things)
    order = {name: place for place, name in enumerate(gone)}
    assert all(order[name] < order[needs[name]] for name in gone if needs.get(name) in order)


@given(ON_TWO_DISKS, WANTS, st.integers(0, 300), SHORT)
def test_on_two_disks_what_may_go_makes_room_on_the_disk_that_is_short(
    things: list[Kept], wants: Wants, budget: int, short: dict[str, int]
) -> None:
    verdicts = judge(things, wants, budget_bytes=budget, short_bytes=short, min_age_seconds=HOUR, now=NOW)
    for disk, missing in short.items():
        freed = sum(each.kept.bytes for each in verdicts if each.remove and each.kept.disk == disk)
        left = [each for each in verdicts if not each.remove and each.kept.disk == disk]
        assert freed >= missing or all(each.reason in ("referenced", "young") for each in left)
