"""In which call the code that asks runs: how deep it is, and until when it may take. Its id is with the logs."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Surroundings:
    depth: int = 0
    """0 when somebody outside called."""
    deadline: float | None = None
    """On the monotonic clock; None outside of calls. It moves on with each piece of a streamed answer."""


surroundings: ContextVar[Surroundings] = ContextVar("pilotlight_surroundings", default=Surroundings())  # noqa: B039 (nobody's call, which nobody changes)


def depth_of(header: bytes) -> int:
    """As `X-Pilotlight-Depth` says it; what is no number is nothing that we sent."""
    return min(int(header), 10**6) if header.isdigit() and len(header) < 10 else 0
