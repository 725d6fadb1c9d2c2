"""All routes, in memory: which function an address means, kept in step with what the link says."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey, split_key
from pilotlight.link.messages import Change, Route, Snapshot
from pilotlight.router import problems
from pilotlight.router.admission import Call, Deadline, Deadlines, Function, Watch

LOBBY = 1000
"""Requests that may wait for the first snapshot."""
_NEAR = range(-2, 3)


class Held(Call, Protocol):
    """A call that waits for the table itself."""

    def look_up(self) -> None:
        """There are routes now."""


class Table:
    """Functions by the bytes with which a caller names them; `ready` once a first snapshot came."""

    def __init__(self, *, watch: Watch, hold_seconds: float, buffer_bytes: int, call_depth: int = 16) -> None:
        self.version = 0
        self.call_depth = call_depth
        """How deep functions may call functions."""
        self.ready = False
        self.deadlines = Deadlines()
        self.hold_seconds = hold_seconds
        self._watch = watch
        self._buffer_bytes = buffer_bytes
        self._functions: dict[FunctionKey, Function] = {}
        self._addresses: dict[bytes, Function] = {}
        self._lobby: dict[Held, None] = {}
        self.find: Callable[[bytes], Function | None] = self._addresses.get
        """The function at `name` or `name.namespace`."""
        self._patience: Deadline = self.deadlines.of(hold_seconds)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)

    def get(self, key: FunctionKey) -> Function:
        """A function that a route was given for."""
        return self._functions[key]

    def not_found(self, address: bytes) -> problems.Problem:
        """With names that look like it: of a few candidates only, since this is the answer to every scan for names."""
        candidates = (
            known for known in self._addresses if known[:1] == address[:1] and len(known) - len(address) in _NEAR
        )
        known = [known.decode() for known in islice(candidates, 20)] if len(address) < 64 else []
        return problems.function_not_found(address.decode("ascii", "replace"), known)

    def hold(self, call: Held) -> None:
        """Before the first snapshot nobody knows what exists: wait, and never say 404."""
        if len(self._lobby) >= LOBBY:
            call.refuse(problems.too_many_held(LOBBY))
            return
        self._lobby[call] = None
        self._patience.add(call)

    def leave(self, call: Held) -> None:
        self._lobby.pop(call, None)
        self._patience.remove(call)

    def replace(self, snapshot: Snapshot) -> None:
        """The whole table. Queues, counts and connections of what stays are kept."""
        given = {route.function for route in snapshot.routes}
        for key in [key for key in self._functions if key not in given]:
            self._remove(key)
        for route in snapshot.routes:
            self._put(route)
        self.version = snapshot.version
        self.ready = True
        lobby, self._lobby = self._lobby, {}
        for call in lobby:
            self._patience.remove(call)
            call.look_up()

    def change(self, change: Change) -> None:
        for key in change.removed:
            self._remove(key)
        for route in change.routes:
            self._put(route)
        self.version = change.version

    def _put(self, route: Route) -> None:
        function = self._functions.get(route.function)
        if function is not None:
            function.apply(route, self.deadlines)
            return
        function = Function(route, watch=self._watch, deadlines=self.deadlines, buffer_bytes=self._buffer_bytes)
        self._functions[route.function] = function
        for address in _addresses(route.function):
            self._addresses[address] = function

    def _remove(self, key: FunctionKey) -> None:
        function = self._functions.pop(key, None)
        if function is None:
            return
        for address in _addresses(key):
            del self._addresses[address]
        function.remove(problems.function_not_found(key, ()))


def _addresses(key: FunctionKey) -> list[bytes]:
    name, namespace = split_key(key)
    return [key.encode(), name.encode()] if namespace == DEFAULT_NAMESPACE else [key.encode()]
