"""Random histories of a whole server under a virtual clock: see world.py for what must hold.

    PILOTLIGHT_HISTORIES=20000    more of them than CI runs
    PILOTLIGHT_SEED=1             other ones; the same number gives the same histories again
    PILOTLIGHT_SHRINK=0           the first failing one as it was, at once, instead of the smallest that fails

A failing history is printed as calls of this machine, which can be pasted into a test.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pilotlight.config import Settings, claim_private_dir
from pilotlight.core.spec import FunctionKey, Scaling
from pilotlight.providers import fake
from pilotlight.router import admission, balancer, levels
from tests.integration.model.world import IDLE_SECONDS, KEYS, LONGEST_CALL_SECONDS, ROUTERS, World

HISTORIES = int(os.environ.get("PILOTLIGHT_HISTORIES", "1000"))
SEED = int(os.environ.get("PILOTLIGHT_SEED", "0"))
STEPS = 20
SHRINK = os.environ.get("PILOTLIGHT_SHRINK", "1") == "1"
PHASES = (Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,)

keys = st.sampled_from(KEYS)
routers = st.sampled_from(ROUTERS)
services = st.sampled_from((0.0, 0.02, 0.5, 5.0, LONGEST_CALL_SECONDS))
scales = st.builds(Scaling, min=st.sampled_from((0, 0, 0, 1, 2)), max=st.just(4), idle_seconds=st.just(IDLE_SECONDS))
pauses = st.sampled_from((0.0005, 0.003, 0.01, 0.05, 0.3, 1.0, 4.0, 15.0, 40.0))


class Machine(RuleBasedStateMachine):
    """What can happen, in any order."""

    folder: Path
    current: "World | None" = None
    """Whose clock the router's modules read."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        structlog.configure(processors=[self._heed], wrapper_class=structlog.make_filtering_bound_logger(40))
        self.world = Machine.current = World(self.folder)

    @initialize(two=st.booleans(), first=scales, second=scales, slots=st.integers(1, 3))
    def start(self, two: bool, first: Scaling, second: Scaling, slots: int) -> None:
        self.world.start_plane()
        self.world.start_router("r1")
        if two:
            self.world.start_router("r2")
        self.world.loop.advance(0.1)
        for key, scale in zip(KEYS, (first, second), strict=False):
            self.world.deploy(key, good=True, scale=scale, slots=slots, queue=50)
        self.world.loop.advance(0.1)

    # Few rules with many kinds, since hypothesis leaves out some rules in each history.

    @rule(
        key=keys,
        good=st.sampled_from((True, True, True, False)),
        scale=scales,
        slots=st.integers(1, 3),
        queue=st.sampled_from((3, 50)),
        pause=pauses,
    )
    def deploy(self, key: FunctionKey, good: bool, scale: Scaling, slots: int, queue: int, pause: float) -> None:
        self.world.deploy(key, good=good, scale=scale, slots=slots, queue=queue)
        self.world.loop.advance(pause)

    @rule(key=keys, what=st.sampled_from(("again", "scale", "scale", "remove")), number=st.integers(0, 4), pause=pauses)
    def change(self, key: FunctionKey, what: str, number: int, pause: float) -> None:
        match what:
            case "again":
                self.world.deploy_again(key)
            case "scale":
                self.world.scale(key, number)
            case "remove":
                self.world.remove(key)
        self.world.loop.advance(pause)

    @rule(key=keys, router=routers, once=st.booleans(), service=services, count=st.integers(1, 9), pause=pauses)
    def call(self, key: FunctionKey, router: str, once: bool, service: float, count: int, pause: float) -> None:
        for _ in range(count):
            self.world.call(key, router, once=once, service=service)
        self.world.loop.advance(pause)

    @rule(once=st.booleans(), service=services, count=st.integers(1, 3), pause=pauses)
    def call_everything(self, once: bool, service: float, count: int, pause: float) -> None:
        for key in KEYS:
            for router in ROUTERS * count:
                self.world.call(key, router, once=once, service=service)
        self.world.loop.advance(pause)

    @rule(pause=pauses)
    def pass_time(self, pause: float) -> None:
        self.world.loop.advance(pause)

    @rule(turns=st.integers(1, 12))
    def turn(self, turns: int) -> None:
        self.world.loop.step(turns)

    @rule(what=st.sampled_from(("crash", "break", "mend", "fail", "load")), key=keys, number=st.integers(0, 3))
    def let_replicas(self, what: str, key: FunctionKey, number: int) -> None:
        match what:
            case "crash":
                self.world.crash(number)
            case "break":
                self.world.break_function(key)
            case "mend":
                self.world.mend_function(key)
            case "fail":
                self.world.set_fail_starts(number)
            case "load":
                self.world.set_ready_delay((0.0, 0.02, 1.0, 8.0)[number])

    @rule(what=st.sampled_from(("kill", "kill", "stop")), down=pauses, wait=st.booleans())
    def restart_the_control_plane(self, what: str, down: float, wait: bool) -> None:
        if what == "kill":
            self.world.kill_plane()
        else:
            self.world.stop_plane()
        self.world.start_plane_in(down)
        if wait:
            self.world.loop.advance(down)

    @rule(what=st.sampled_from(("kill", "start", "start", "cut", "slow")), router=routers, seconds=pauses)
    def let_a_router(self, what: str, router: str, seconds: float) -> None:
        match what:
            case "kill":
                self.world.kill_router(router)
            case "start":
                self.world.start_router(router)
            case "cut":
                self.world.cut_link(router)
            case "slow":
                self.world.stall_link(router, seconds)

    @invariant()
    def all_is_well(self) -> None:
        self.world.check()
        assert not self.errors, self.errors

    def teardown(self) -> None:
        try:
            if not self.world.faults and not self.errors:
                self.world.settle()
            assert not self.errors, self.errors
        finally:
            self.world.close()

    def _heed(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """A logged error is a bug that something survived."""
        self.errors.append(str(event))
        raise structlog.DropEvent


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pl-model-") as name:
        folder = Path(name)
        run_dir = claim_private_dir(Settings(data_dir=folder).run_dir)
        for module in (admission, balancer, levels):
            monkeypatch.setattr(module, "monotonic", _virtual_time)
        monkeypatch.setattr(admission, "SWEEP_SECONDS", 0.5)  # ten times fewer turns of the loop
        monkeypatch.setattr(fake, "LOOK_SECONDS", 0.5)
        Machine.folder = folder
        yield folder
        structlog.reset_defaults()
        for left in run_dir.iterdir():
            left.unlink()
        run_dir.rmdir()


def _virtual_time() -> float:
    assert Machine.current is not None
    return Machine.current.now


def run(half: int) -> None:
    run_state_machine_as_test(
        seed(2 * SEED + half)(Machine),
        settings=settings(
            max_examples=HISTORIES // 2,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )


# Two classes, since a class is what is given to one of several workers.


class TestOneHalf:
    @pytest.mark.timeout(0)
    @pytest.mark.slow
    def test_of_random_histories_ends_well(self) -> None:
        run(0)


class TestOtherHalf:
    @pytest.mark.timeout(0)
    @pytest.mark.slow
    def test_of_random_histories_ends_well(self) -> None:
        run(1)


def test_a_proof_that_dies_before_its_revision_is_live_is_not_routed_to() -> None:
    machine = Machine()
    world = machine.world
    try:
        world.start_plane()
        world.start_router("r1")
        world.loop.advance(0.1)
        world.deploy(KEYS[0], good=True, scale=Scaling(min=1, idle_seconds=IDLE_SECONDS), slots=1, queue=50)
        while not any(replica.running.ready for replica in world.backend.replicas.values()):
            world.loop.advance(0.0005)
        world.crash(0)
        world.loop.advance(1.0)
        world.call(KEYS[0], "r1", once=True, service=0.0)
        world.loop.advance(1.0)
        assert world.calls[0].status in (200, 404, 503)
        world.settle()
    finally:
        world.close()
