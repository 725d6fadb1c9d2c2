"""What goes wrong with a Docker engine and around it, on an engine of the tests' own, with calls going on meanwhile.

Every fault meets both kinds of functions: one that was built from a template, and an image that is not ours. A call may
be lost only if it was inside a replica that the fault has killed; all others are answered, be it later.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pilotlight.core.errors import PilotlightError
from pilotlight.engine import connect
from pilotlight.engine.failures import Refused
from pilotlight.providers.docker.containers import FUNCTION, OWNER
from tests.engines import TEST_IMAGE, build_test_image
from tests.harness import Answer, Ran, Server, free_port, wait_for
from tests.second_engine import SecondEngine, second_engine
from tests.traces import replica_containers

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker-faults"), pytest.mark.timeout(300)]
BUILT, READY_MADE = FUNCTIONS = ("built", "readymade")
LIMIT: dict[str, Any] = {"limits": {"memory": "128Mi"}}
QUICK: dict[str, object] = {"control.drain_seconds": 3, "control.kill_grace_seconds": 3}
CALLERS = 3
"""Of each function, one call after the other."""
PAUSE_SECONDS = 0.02
WAITING = 8
"""Containers that may wait for the two functions at once: spares, standbys, and one of each that is being made."""
HANDLER = """
import os
import subprocess
import sys

EAT = "kept = bytearray({} * 2**20); print(sum(kept[::4096]))"

def handle(event, context):
    what, _, amount = event.path.strip("/").partition("/")
    if what == "eat":
        exec(EAT.format(int(amount)))
    if what == "orphan":
        return str(subprocess.run([sys.executable, "-c", EAT.format(int(amount))]).returncode)
    if what == "child":  # as a library does that cannot go on without its child
        if subprocess.run([sys.executable, "-c", EAT.format(int(amount))]).returncode:
            os._exit(1)
    return "hello"
"""


@dataclass
class Told:
    """What the callers of one function got."""

    statuses: Counter[int] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, answer: Answer, seconds: float) -> None:
        self.statuses[answer.status] += 1
        self.longest_seconds = max(self.longest_seconds, seconds)
        if answer.status != 200:
            self.failures.append(f"{answer.status} after {seconds:.1f} s: {answer.body[:400]!r}")


@dataclass
class Field:
    engine: SecondEngine
    server: Server

    @contextmanager
    def callers(self) -> Iterator[dict[str, Told]]:
        """Who call without a break, until the end of the block and a call after it."""
        told = {name: Told() for name in FUNCTIONS}
        over = threading.Event()
        threads = [
            threading.Thread(target=self._call_on, args=(name, told[name], over))
            for name in FUNCTIONS
            for _ in range(CALLERS)
        ]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: all(each.statuses[200] > CALLERS for each in told.values()), what="first answers")
            yield told
        finally:
            over.set()
            for thread in threads:
                thread.join()
            for name, each in told.items():
                print(f"{name}: {dict(each.statuses)}, the longest wait {each.longest_seconds:.2f} s")

    def _call_on(self, name: str, told: Told, over: threading.Event) -> None:
        last = False
        while not last:
            last = over.wait(PAUSE_SECONDS)
            began = time.monotonic()
            told.add(self.call(name), time.monotonic() - began)

    def call(self, name: str, path: str = "") -> Answer:
        return self.server.call(f"/function/{name}{path}", b"x")

    def both_answer(self) -> None:
        for name in FUNCTIONS:
            wait_for(lambda name=name: self.call(name).status == 200, seconds=60, what=f"an answer of {name}")  # type: ignore[misc]

    def to_zero(self) -> None:
        for name in FUNCTIONS:
            self.server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0})
            wait_for(lambda name=name: not self.server.function(name)["replicas_detail"], what="scale to zero")  # type: ignore[misc]

    def kill_containers(self) -> None:
        for container in self.engine.containers(status="running") + self.engine.containers(status="paused"):
            with _gone_is_fine():
                self.engine.engine.do(lambda client, each=container: client.remove_container(each["Id"], force=True))  # type: ignore[misc]

    def kill_replica(self, replica: str) -> None:
        """Its container, as anybody can who may use the engine."""
        containers = [each for each, id_ in self.replicas().items() if id_ == replica]
        assert containers, (replica, self.replicas())
        for container in containers:
            self.engine.engine.do(lambda client, each=container: client.kill(each))  # type: ignore[misc]

    def replicas(self) -> dict[str, str]:
        """Which container is which replica; without spares and standbys."""
        return replica_containers(self.server, self.engine.containers(label=OWNER))

    def known(self) -> set[str]:
        """Replicas of which the control plane knows."""
        return {each["id"] for name in FUNCTIONS for each in self.server.function(name)["replicas_detail"]}

    def kill_control_plane(self) -> int:
        (pid,) = self.server.processes()["app"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def control_plane_is_back(self, before: int) -> None:
        wait_for(lambda: self.server.processes()["app"] not in ([], [before]), what="another control plane")
        wait_for(lambda: self.server.api("GET", "/api/v1/functions").status == 200, seconds=60, what="its API")

    def deploy(self) -> None:
        self.server.deploy(BUILT, HANDLER, **LIMIT)
        self.deploy_ready_made()

    def deploy_ready_made(self) -> None:
        order = {"service": READY_MADE, "image": TEST_IMAGE, **LIMIT}
        answer = self.server.api("PUT", "/system/functions", order)
        if answer.status == 404:
            answer = self.server.api("POST", "/system/functions", order)
        assert answer.status == 202, answer
        there = f"/api/v1/functions/{READY_MADE}"
        wait_for(lambda: self.server.api("GET", there).status == 200, what="the function that was accepted")


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        assert refused.status in (404, 409), refused


@pytest.fixture(scope="module")
def engine() -> Iterator[SecondEngine]:
    with second_engine() as made:
        yield made


@pytest.fixture(scope="module")
def served(engine: SecondEngine) -> Iterator[Field]:
    with Server("--provider=docker", settings={"docker.url": engine.url, **QUICK}) as server:
        made = Field(engine, server)
        made.deploy()
        yield made
    assert engine.containers() == []
    assert engine.engine.do(lambda client: client.networks(filters={"type": "custom"})) == []


@pytest.fixture
def served_warm(served: Field) -> Field:
    served.both_answer()
    return served


def all_were_answered(told: dict[str, Told]) -> None:
    for name, each in told.items():
        assert each.statuses.keys() == {200}, (name, each.failures[:3])


def only_calls_inside_were_lost(told: dict[str, Told], *, replicas: int = 1) -> None:
    """A caller has one call at a time, so a replica that died had at most one of each of them."""
    for name, each in told.items():
        assert each.statuses.keys() <= {200, 502}, (name, each.failures[:3])
        assert each.statuses[502] <= CALLERS * replicas, (name, each.failures)


def nothing_is_astray(field: Field) -> None:
    """Each replica in the engine is one that the control plane knows; besides there are a few that wait."""
    wait_for(lambda: set(field.replicas().values()) == field.known(), what="one truth of the replicas")
    waiting = len(field.engine.containers(label=OWNER)) - len(field.replicas())
    assert waiting <= WAITING, field.engine.containers()


def _in_background(act: Callable[[], Any]) -> tuple[threading.Event, list[Any]]:
    done, results = threading.Event(), []

    def run() -> None:
        try:
            results.append(act())
        finally:
            done.set()

    threading.Thread(target=run).start()
    return done, results


def _problem(answer: Answer, slug: str) -> str:
    """Its sentence, if the answer is this problem."""
    if answer.status == 200:
        return ""
    problem = answer.json()
    return f"{problem['detail']} {problem.get('hint')}" if problem["type"] == slug else ""


def _remove_images(engine: SecondEngine, *parts: str) -> None:
    for tag in _tags(engine):
        if any(part in tag for part in parts):
            with _gone_is_fine():
                engine.engine.do(lambda client, tag=tag: client.remove_image(tag, force=True))  # type: ignore[misc]


def _tags(engine: SecondEngine) -> set[str]:
    return {tag for each in engine.engine.do(lambda client: client.images()) for tag in each["RepoTags"] or ()}


def _named(engine: SecondEngine, name: str) -> set[str]:
    return {tag for tag in _tags(engine) if f"/{name}:" in tag}


def _name_layers(engine: SecondEngine, name: str) -> None:
    for number, tag in enumerate(sorted(_named(engine, "environment"))):
        engine.engine.do(lambda client, at=(tag, name, str(number)): client.tag(*at))  # type: ignore[misc]


def _builds(engine: SecondEngine) -> bool:
    """A step of a build runs."""
    return any(not each["Labels"].get(OWNER) for each in engine.containers())


def _networks_removed(field: Field) -> bool:
    """Somebody removed the containers, and then the networks that nothing was attached to any more."""
    field.kill_containers()
    networks = field.engine.engine.do(lambda client: client.networks(filters={"type": "custom"}))
    for network in networks:
        try:
            field.engine.engine.do(lambda client, each=network: client.remove_network(each["Id"]))  # type: ignore[misc]
        except Refused:
            return False
    return bool(networks)


# The engine


def test_an_engine_that_restarts_with_live_restore_costs_no_call(served_warm: Field) -> None:
    with served_warm.callers() as told:
        served_warm.engine.end()
        served_warm.engine.start()
    all_were_answered(told)


def test_an_engine_that_is_killed_costs_no_call_either(served_warm: Field) -> None:
    with served_warm.callers() as told:
        served_warm.engine.end(signal.SIGKILL)
        served_warm.engine.start()
    all_were_answered(told)


def test_without_live_restore_replicas_are_replaced_and_calls_wait(served_warm: Field) -> None:
    engine = served_warm.engine
    engine.end()
    engine.start(live_restore=False)
    served_warm.both_answer()
    with served_warm.callers() as told:
        engine.end()
        time.sleep(2)  # calls meet an engine that is not there
        engine.start(live_restore=False)
        served_warm.both_answer()
    only_calls_inside_were_lost(told, replicas=2)
    engine.end()
    engine.start()
    served_warm.both_answer()


def test_cold_calls_wait_for_an_engine_that_is_away(served_warm: Field) -> None:
    engine = served_warm.engine
    engine.end()
    engine.start(live_restore=False)
    served_warm.both_answer()
    served_warm.to_zero()
    engine.end()  # and with it whatever was kept warm
    answers = [_in_background(lambda name=name: served_warm.call(name)) for name in FUNCTIONS]  # type: ignore[misc]
    time.sleep(4)
    assert not any(done.is_set() for done, _ in answers)
    engine.start()
    for done, answer in answers:
        assert done.wait(60)
        assert answer[0].status == 200, answer


def test_an_engine_that_says_nothing_costs_no_warm_call_and_the_server_goes_on(served_warm: Field) -> None:
    with served_warm.callers() as told:
        served_warm.engine.freeze()
        try:
            assert served_warm.server.faasctl("list").code == 0
            described = served_warm.server.faasctl("describe", BUILT)
            assert (described.code, "ready" in described.out) == (0, True), described
            assert served_warm.server.faasctl("nodes").code == 0
            logs = served_warm.server.faasctl("logs", READY_MADE)
            assert "its lines are missing here: the Docker engine at" in logs.out
        finally:
            served_warm.engine.freeze(False)
    all_were_answered(told)


def test_each_question_to_an_engine_that_says_nothing_has_a_deadline(engine: SecondEngine) -> None:
    asking = connect(engine.url, call_seconds=1)
    questions: list[Callable[[], Any]] = [
        lambda: asking.do(lambda client: client.info()),
        lambda: asking.watch({"type": ["container"]}),
        lambda: asking.frames("any", follow="1"),
        lambda: asking.frames("any", follow="0"),
    ]
    engine.freeze()
    try:
        for question in questions:
            with pytest.raises(PilotlightError, match="did not answer within 1 s"):
                question()
    finally:
        engine.freeze(False)
        asking.close()


def test_a_server_does_not_start_without_its_engine_and_says_so(engine: SecondEngine) -> None:
    server = Server("--provider=docker", settings={"docker.url": f"{engine.url}.none"})
    try:
        ran = server.faasctl("serve", f"--data-dir={server.data_dir}", f"--port={free_port()}", "--provider=docker",
                             f"--set=docker.url={engine.url}.none", "--metrics-port=0")  # fmt: skip
    finally:
        server.folder.rmdir() if not any(server.folder.iterdir()) else None
    assert ran.code != 0
    assert "error[engine-unreachable]" in ran.err
    assert "there is no such socket" in ran.err


def test_a_control_plane_that_dies_while_the_engine_is_away_comes_back_with_it(served_warm: Field) -> None:
    with served_warm.callers() as told:
        served_warm.engine.end()
        pid = served_warm.kill_control_plane()
        time.sleep(1.5)  # it was started again, in vain
        served_warm.engine.start()
        served_warm.control_plane_is_back(pid)
    all_were_answered(told)


# Containers


def test_calls_outlive_a_container_that_is_killed(served_warm: Field) -> None:
    with served_warm.callers() as told:
        for name in FUNCTIONS:
            (replica, *_) = served_warm.server.function(name)["replicas_detail"]
            served_warm.kill_replica(replica["id"])
        served_warm.both_answer()
    only_calls_inside_were_lost(told)


@pytest.mark.parametrize(("name", "path"), [(BUILT, "/eat/300"), (BUILT, "/child/300"), (READY_MADE, "/eat/300")])
def test_out_of_memory_is_said_with_its_limit(served_warm: Field, name: str, path: str) -> None:
    answer = served_warm.call(name, path)
    assert answer.status == 502
    assert "out of memory, limit 128Mi" in answer.json()["detail"]
    assert "out of memory, limit 128Mi" in served_warm.server.faasctl("describe", name).out
    wait_for(lambda: "out of memory, limit 128Mi" in served_warm.server.faasctl("logs", name).out, what="its log")
    served_warm.both_answer()


def test_out_of_memory_of_what_a_function_started_is_in_its_log(served_warm: Field) -> None:
    (before,) = served_warm.server.function(BUILT)["replicas_detail"]
    answer = served_warm.call(BUILT, "/orphan/300")
    assert (answer.status, answer.body) == (200, b"-9")
    said = "out of memory, limit 128Mi: a process that the function started was killed"
    wait_for(lambda: said in served_warm.server.faasctl("logs", BUILT).out, what="its log")
    assert [each["id"] for each in served_warm.server.function(BUILT)["replicas_detail"]] == [before["id"]]


# Images, networks, the disk


def test_an_image_that_was_removed_is_told_and_built_again(served_warm: Field) -> None:
    served_warm.to_zero()
    served_warm.kill_containers()
    _name_layers(served_warm.engine, "kept")  # for the second build, which would take a minute
    _remove_images(served_warm.engine, "/built:", TEST_IMAGE, "/environment:")
    served_warm.kill_containers()
    for name, slug in ((BUILT, "image-gone"), (READY_MADE, "image-not-found")):
        wait_for(lambda name=name: served_warm.call(name).status != 200, what="no spare that is left")  # type: ignore[misc]
        told = wait_for(lambda at=(name, slug): _problem(served_warm.call(at[0]), at[1]), what="the sentence")  # type: ignore[misc]
        assert "not on the engine any more" in told
    served_warm.engine.engine.do(build_test_image)
    served_warm.server.deploy(BUILT, HANDLER, **LIMIT)
    served_warm.deploy_ready_made()
    served_warm.both_answer()
    _remove_images(served_warm.engine, "kept:")


def test_images_of_a_removed_function_go_and_those_that_another_server_has_stay(served_warm: Field) -> None:
    limits: dict[str, object] = {
        "disk.budget_mib": 0,
        "disk.free_mib": 0,
        "disk.min_age_seconds": 10,
        "disk.interval_seconds": 1,
    }
    served_warm.to_zero()  # an image stays while there is a container of it, whoever's
    before = _named(served_warm.engine, BUILT)
    with Server("--provider=docker", settings={"docker.url": served_warm.engine.url, **QUICK, **limits}) as another:
        another.deploy(BUILT, HANDLER, **LIMIT)  # the same image
        for name in ("own", "stays"):
            another.deploy(name, f"{HANDLER}\n{name} = True\n", **LIMIT)
        another.api("POST", "/api/v1/functions/stays/scale", {"replicas": 0})
        for name in (BUILT, "own"):
            assert another.faasctl("remove", name).code == 0
        own = [tag for tag in _tags(served_warm.engine) if "/own:" in tag]
        assert len(own) == 2
        wait_for(lambda: not _tags(served_warm.engine).intersection(own), seconds=60, what="the end of its image")
        wait_for(lambda: _named(served_warm.engine, BUILT) == before, seconds=60, what="the other server's image alone")
        assert len(_named(served_warm.engine, "stays")) == 2
        assert another.call("/function/stays").status == 200
    served_warm.both_answer()
    _remove_images(served_warm.engine, "/stays:")


def test_a_network_that_was_removed_is_made_again(served_warm: Field) -> None:
    served_warm.to_zero()
    wait_for(lambda: _networks_removed(served_warm), what="a moment without containers")
    served_warm.both_answer()


def test_a_build_on_a_full_disk_is_told_and_leaves_nothing_half_done(served_warm: Field) -> None:
    engine, server = served_warm.engine, served_warm.server
    images = _tags(engine)
    filler = engine.fill()
    stack = server.write_function("late", HANDLER + "\nLATE = True\n")
    ran = server.faasctl("up", "-f", str(stack))
    assert ran.code == 1
    assert "error[storage-full]" in ran.err
    assert _tags(engine) == images
    assert not [each for each in engine.containers() if "pilotlight" not in each["Names"][0]]
    filler.unlink()
    ran = server.faasctl("up", "-f", str(stack))
    assert ran.code == 0, ran
    assert server.call("/function/late").status == 200
    server.faasctl("remove", "late")


def test_a_full_disk_at_a_start_is_told_and_over_when_there_is_room(served_warm: Field) -> None:
    served_warm.to_zero()
    filler = served_warm.engine.fill()
    served_warm.kill_containers()
    answers = [served_warm.call(name) for name in FUNCTIONS]
    filler.unlink()
    for answer in answers:
        assert answer.status == 200 or "no space left on device" in answer.json()["detail"], answer
    served_warm.both_answer()


# The control plane


@pytest.mark.parametrize("after_seconds", [0.0, 0.1, 0.4])
def test_a_control_plane_that_is_killed_in_starts_loses_no_call_and_leaves_nothing(
    served_warm: Field, after_seconds: float
) -> None:
    served_warm.to_zero()
    served_warm.kill_containers()
    answers = [_in_background(lambda name=name: served_warm.call(name)) for name in FUNCTIONS]  # type: ignore[misc]
    time.sleep(after_seconds)
    pid = served_warm.kill_control_plane()
    for done, answer in answers:
        assert done.wait(70)
        assert answer[0].status == 200, answer
    served_warm.control_plane_is_back(pid)
    nothing_is_astray(served_warm)


def test_one_that_is_killed_in_stops_leaves_nothing(served_warm: Field) -> None:
    for name in FUNCTIONS:
        served_warm.server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0})
    served_warm.control_plane_is_back(served_warm.kill_control_plane())
    wait_for(
        lambda: not any(served_warm.server.function(name)["replicas_detail"] for name in FUNCTIONS), what="their ends"
    )
    nothing_is_astray(served_warm)


def test_one_that_is_killed_in_a_build_leaves_nothing_and_the_next_build_works(served_warm: Field) -> None:
    stack = served_warm.server.write_function("late", HANDLER + "\nLATER = True\n", **LIMIT)
    done, ran = _in_background(lambda: served_warm.server.faasctl("up", "-f", str(stack)))
    wait_for(lambda: _builds(served_warm.engine) or done.is_set(), what="a build")
    pid = served_warm.kill_control_plane()
    assert done.wait(120)
    assert isinstance(ran[0], Ran)
    assert "Traceback" not in ran[0].err
    served_warm.control_plane_is_back(pid)
    again = served_warm.server.faasctl("up", "-f", str(stack))
    assert again.code == 0, again
    assert served_warm.server.call("/function/late").status == 200
    served_warm.server.faasctl("remove", "late")
    nothing_is_astray(served_warm)


def test_a_removed_function_leaves_nothing(served_warm: Field) -> None:
    """The network too, when it was the namespace's last; images go by the collector."""
    server = served_warm.server
    server.api("POST", "/system/namespace/", {"name": "other", "annotations": {"openfaas": "1"}})
    server.api("POST", "/system/secrets", {"name": "word", "value": "x", "namespace": "other"})
    order = {"service": "gone", "image": TEST_IMAGE, "namespace": "other", "secrets": ["word"]}
    assert server.api("POST", "/system/functions", order).status == 202
    wait_for(lambda: server.call("/function/gone.other", b"x").status == 200, what="its answer")
    assert server.api("DELETE", "/system/functions", {"functionName": "gone", "namespace": "other"}).status == 202
    label = f"{FUNCTION}=gone.other"
    wait_for(lambda: not served_warm.engine.containers(label=label), seconds=60, what="the end of its containers")
    networks = served_warm.engine.engine.do
    wait_for(
        lambda: not [each for each in networks(lambda client: client.networks()) if each["Name"].endswith("-other")],
        seconds=90,
        what="the end of its network",
    )
