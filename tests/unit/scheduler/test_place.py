"""Where a replica goes."""

import pytest

from pilotlight.core.errors import Unschedulable
from pilotlight.scheduler.place import Demand, Placement, Room, place, used_by


def test_one_node_takes_what_fits() -> None:
    assert place(Demand(), [Room(node="a", cpu_milli=1000, memory_mib=512)]) == Placement(node="a", reason="only")


def test_the_tightest_node_that_fits_is_taken() -> None:
    rooms = [
        Room(node="a", cpu_milli=8000, memory_mib=8192),
        Room(node="b", cpu_milli=2000, memory_mib=1024),
        Room(node="c", cpu_milli=500, memory_mib=512),
    ]
    assert place(Demand(cpu_milli=1000, memory_mib=600), rooms).node == "b"


def test_what_runs_already_takes_room() -> None:
    full = Room(node="a", cpu_milli=1000, memory_mib=512, used=Demand(memory_mib=500))
    with pytest.raises(Unschedulable, match="a has 1000m and 12Mi free"):
        place(Demand(memory_mib=100), [full])


def test_without_a_node_there_is_a_sentence() -> None:
    with pytest.raises(Unschedulable, match="there is no node"):
        place(Demand(), [])


def test_the_sum_of_a_node_is_that_node_s() -> None:
    demands = {"a": [Demand(cpu_milli=1), Demand(cpu_milli=2, memory_mib=3)], "b": [Demand(cpu_milli=9)]}
    assert used_by(demands, "a") == Demand(cpu_milli=3, memory_mib=3)


def test_a_node_that_is_away_takes_nothing_unless_all_are() -> None:
    away, here = (Room(node=name, cpu_milli=1000, memory_mib=512, away=name == "a") for name in "ab")
    assert place(Demand(), [away, here]).node == "b"
    assert place(Demand(), [away]).node == "a"
    with pytest.raises(Unschedulable, match=r"b has 1000m and 512Mi free; a is away$"):
        place(Demand(memory_mib=600), [away, here])
