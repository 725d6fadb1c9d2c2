"""Which node takes this replica? The tightest fit among those that have room for what it requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilotlight.core.errors import Unschedulable


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a replica requests; 0 for what it does not name."""

    cpu_milli: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A node with its capacity and what the replicas on it requested."""

    node: str
    cpu_milli: int
    memory_mib: int
    used: Demand = Demand()
    away: bool = False
    """Nothing starts there now."""

    def fits(self, demand: Demand) -> bool:
        return (
            self.used.cpu_milli + demand.cpu_milli <= self.cpu_milli
            and self.used.memory_mib + demand.memory_mib <= self.memory_mib
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    node: str
    reason: str
    """One word: only, tightest."""


def place(demand: Demand, rooms: Sequence[Room]) -> Placement:
    """The node for one replica; ties go to the first name. Unschedulable says what is missing where. When all nodes are
    away, one of them is chosen: who starts there is told why nothing does."""
    away = [room for room in rooms if room.away]
    rooms = [room for room in rooms if not room.away] or rooms
    fitting = [room for room in rooms if room.fits(demand)]
    if not fitting:
        raise Unschedulable("; ".join([_shortage(demand, rooms), *(f"{room.node} is away" for room in away)]))
    best = min(fitting, key=lambda room: (_left(room, demand), room.node))
    return Placement(node=best.node, reason="only" if len(rooms) == 1 else "tightest")


def used_by(demands: Mapping[str, Sequence[Demand]], node: str) -> Demand:
    """The sum of what the replicas on a node requested."""
    there = demands.get(node, ())
    return Demand(cpu_milli=sum(d.cpu_milli for d in there), memory_mib=sum(d.memory_mib for d in there))


def _left(room: Room, demand: Demand) -> float:
    """Share of the node that stays free in the scarcer of the two resources."""
    cpu = 1 - (room.used.cpu_milli + demand.cpu_milli) / max(1, room.cpu_milli)
    memory = 1 - (room.used.memory_mib + demand.memory_mib) / max(1, room.memory_mib)
    return min(cpu, memory)


def _shortage(demand: Demand, rooms: Sequence[Room]) -> str:
    if not rooms:
        return "there is no node to run it on"
    free = "; ".join(
        f"{room.node} has {max(0, room.cpu_milli - room.used.cpu_milli)}m and "
        f"{max(0, room.memory_mib - room.used.memory_mib)}Mi free"
        for room in rooms
    )
    return f"no node has room for requests of cpu {demand.cpu_milli}m and memory {demand.memory_mib}Mi: {free}"
