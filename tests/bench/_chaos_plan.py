"""What a round of chaos does, all of it drawn from the seed and the round's number: any round can be had once more."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

HANDLER = """
import os
import time

def init(context):
    time.sleep(float(os.environ.get("INIT_SECONDS", "0")))

def handle(event, context):
    line = f"{event.headers['X-Id']} {len(event.body)}\\n".encode()
    work = event.headers["X-Work"]
    if work == "stream":
        return pieces(line)
    if work == "die":
        os._exit(3)
    if work == "print":
        print("x" * 2000)
    time.sleep(1.2 if work == "slow" else 0.02)  # longer than the shortest timeout
    return line

def pieces(line):
    yield line
    for _ in range(20):
        time.sleep(0.01)
        yield b"y" * 20_000
"""
STREAMED = b"y" * 400_000
FUNCTIONS: dict[str, dict[str, object]] = {
    "chaos-plain": {},
    "chaos-short": {"timeout_seconds": 1.0, "queue": 8},
    "chaos-many": {"concurrency": 4},
    "chaos-changing": {},
    "chaos-gone": {},
}
"""How their specs differ. One is redeployed, one is removed and deployed again: calls of that one may get 404."""
CHANGING, GONE = "chaos-changing", "chaos-gone"
WORKS = ("answer",) * 4 + ("stream", "slow", "print", "die")
STAYING = ("whole",) * 4 + ("chunked", "slow body", "expect", "half-closed")
LEAVING = ("leaves", "leaves its body unfinished", "leaves the answer")
BODY_BYTES = (0, 1, 3_000, 100_000, 300_000)
"""Up to beyond what the router keeps to send it again, and what it buffers."""
TROUBLES = {
    "process": (
        ("a replica",) * 3
        + ("every replica", "a replica, politely", "a zygote", "the router", "the control plane", "both")
        + ("scale to 0", "scale to 3", "redeploy", "remove and deploy", "nothing")
    ),
    "docker": (
        ("a container",) * 5
        + ("the router", "the control plane", "both")
        + ("scale to 0", "scale to 3", "redeploy", "remove and deploy", "nothing")
    ),
}
SPARING = ("the router", "the control plane", "both")
SPARED_ROUNDS = 10
"""In every second ten of rounds the processes that stay are spared, so that what leaks in them can add up."""
MOST_CALLS = {"process": 16, "docker": 8}
"""Of one function in one wave: containers start slower, and a machine with two cores has to bear it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call."""

    id: str
    function: str
    work: str
    """What the handler does."""
    way: str
    """How its caller goes about it."""
    method: str
    body: bytes
    pause_seconds: float
    """Until a caller that leaves does so; between the pieces of a body that comes in pieces."""

    @property
    def right(self) -> bytes:
        """The answer."""
        line = f"{self.id} {len(self.body)}\n".encode()
        return line + STREAMED if self.work == "stream" else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    after_seconds: float
    """Since the one before it, or the round's beginning."""
    what: str
    pick: float
    """Which of those that there are: from 0 to 1."""
    function: str
    """Of those that can be scaled."""
    init_seconds: float
    away_seconds: float
    """Between a removal and the deploy that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    asks: tuple[Ask, ...]
    rest_seconds: float
    """Until the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    number: int
    waves: tuple[Wave, ...]
    troubles: tuple[Trouble, ...]

    @property
    def named(self) -> str:
        return f"round {self.number} ({', '.join(trouble.what for trouble in self.troubles)})"


def round_of(seed: int, number: int, provider: str) -> Round:
    rng = random.Random(f"{seed}/{number}")
    spared = number // SPARED_ROUNDS % 2 == 1
    whats = [what for what in TROUBLES[provider] if not (spared and what in SPARING)]
    return Round(
        number=number,
        waves=tuple(_wave(rng, f"{number}.{wave}", MOST_CALLS[provider]) for wave in range(rng.choice((1, 2, 3)))),
        troubles=tuple(_trouble(rng, whats) for _ in range(rng.choice((1, 1, 2, 3)))),
    )


def _wave(rng: random.Random, name: str, most: int) -> Wave:
    functions = rng.sample(tuple(FUNCTIONS), rng.randint(1, len(FUNCTIONS)))
    called = [function for function in functions for _ in range(rng.choice((1, most // 4, most // 2, most)))]
    asks = (_ask(rng, f"{name}.{place}", function) for place, function in enumerate(called))
    return Wave(asks=tuple(asks), rest_seconds=rng.uniform(0, 0.4))


def _ask(rng: random.Random, name: str, function: str) -> Ask:
    way = rng.choice((*STAYING, *LEAVING))
    method = rng.choice(("GET", "POST", "POST", "PUT")) if way == "whole" else rng.choice(("POST", "PUT"))
    return Ask(
        id=name,
        function=function,
        work="stream" if way == "leaves the answer" else rng.choice(WORKS),
        way=way,
        method=method,
        body=b"" if method == "GET" else b"b" * rng.choice(BODY_BYTES),
        pause_seconds=rng.uniform(0, 0.3) if way in LEAVING else rng.uniform(0.005, 0.02),
    )


def _trouble(rng: random.Random, whats: Sequence[str]) -> Trouble:
    return Trouble(
        after_seconds=rng.uniform(0.01, 0.4),
        what=rng.choice(whats),
        pick=rng.random(),
        function=rng.choice(tuple(FUNCTIONS)),
        init_seconds=rng.choice((0.0, 0.3)),
        away_seconds=rng.choice((0.0, 0.0, 0.1, 0.5)),
    )
