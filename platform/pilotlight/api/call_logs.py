"""What was printed under one call's id: in one function, or in all that the call went through."""

from collections.abc import AsyncIterator
from operator import attrgetter

import msgspec

from pilotlight.control.views import Control
from pilotlight.core.errors import FunctionNotFound
from pilotlight.core.spec import split_key
from pilotlight.providers.base import LogLine

MOST_LINES = 10_000
"""Of one call, held for sorting; a call that prints more is cut there."""


class CallLine(msgspec.Struct, frozen=True, kw_only=True):
    """A log line with the function that printed it."""

    function: str
    namespace: str
    time: float
    """Unix seconds."""
    replica: str
    stream: str
    text: str
    call_id: str | None


def is_call(call_id: str | None, wanted: str) -> bool:
    """Whether it is this id. Of a UUID its first four and last three digits will do (`9c2b-ffe`), as people see it."""
    if call_id is None or call_id == wanted:
        return call_id is not None
    head, dash, tail = wanted.partition("-")
    short = len(head) == 4 and dash == "-" and len(tail) == 3 and len(call_id) == 36
    return short and call_id.startswith(head) and call_id.endswith(tail)


async def call_lines(control: Control, call: str, since: float | None) -> AsyncIterator[CallLine]:
    """Of all functions, in order of time: a call that calls on keeps its id."""
    found: list[CallLine] = []
    for view in control.functions():
        key = view.spec.key
        try:
            async for line in control.logs(key, since=since):
                if is_call(line.call_id, call) and len(found) < MOST_LINES:
                    found.append(_with_function(key, line))
        except FunctionNotFound:  # removed in the meantime
            continue
    for each in sorted(found, key=attrgetter("time")):
        yield each


def _with_function(key: str, line: LogLine) -> CallLine:
    name, namespace = split_key(key)
    return CallLine(
        function=name,
        namespace=namespace,
        time=line.time,
        replica=line.replica,
        stream=line.stream,
        text=line.text,
        call_id=line.call_id,
    )
