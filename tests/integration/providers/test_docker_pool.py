"""Replicas from a pool of containers, on a real engine: what a function can reach, how it ends, what is kept warm."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pilotlight.core.errors import StartFailed
from pilotlight.engine.client import Engine
from pilotlight.providers.base import BecameReady, Ended, Launch, Limits, Pool, Provider
from pilotlight.providers.docker import DockerProvider
from pilotlight.providers.docker.adoption import Adoption
from pilotlight.providers.docker.containers import OWNER, POOL, STANDBY
from pilotlight.providers.docker.zygote import NotLaunched
from tests.engines import TEST_IMAGE, context, environment_image
from tests.provider_support import Installation, Watch, a_launch, call, eventually, inspected

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
Open = Callable[..., Any]
Watching = Callable[[Provider], Watch]


@pytest.fixture
async def provider(opened: Open) -> DockerProvider:
    found: DockerProvider = await opened()
    return found


def pool(**changes: Any) -> Pool:
    return replace(Pool(environment="env", namespace="test", image=environment_image()), **changes)


def launch(replica: str, **changes: Any) -> Launch:
    return a_launch(replica, **{"bundle": "eval", "pool": pool(), "image": None, **changes})


async def ready(provider: DockerProvider, watching: Watch, replica: str = "a", **changes: Any) -> str:
    running = await provider.start(launch(replica, **changes))
    await watching.until(BecameReady, replica, 60)
    return running.address


def container_of(provider: DockerProvider, replica: str = "a") -> str:
    (found,) = [each for each in provider._replicas() if each.id == replica]
    return found.record.container


async def log_of(provider: DockerProvider) -> str:
    return "\n".join([line.text async for line in provider.logs(a_launch("a").function)])


async def ours(provider: DockerProvider, engine: Engine, label: str) -> list[str]:
    filters = {"label": [f"{OWNER}={provider._common.owner}", label]}
    found = await engine.call(lambda client: client.containers(filters=filters))
    return [each["Id"] for each in found]


WRITES = """[path for path in ('/', '/home/app', '/home/app/function', '/run/pilotlight', '/var/openfaas/secrets',
 '/opt/environment', '/opt/pilotlight/runtime', '/etc', '/usr', '/var/tmp', '/dev/shm') if os.access(path, os.W_OK)]"""


async def test_a_function_writes_to_tmp_and_to_nothing_else_that_lasts(
    provider: DockerProvider, watch: Watching
) -> None:
    address = await ready(provider, watch(provider), secrets={"token": b"s3cret"})
    assert await call(address, "open('/tmp/x', 'w').write('1')") == "1"
    # /dev/shm is the container's own, in memory, and goes with it.
    assert await call(address, WRITES.replace("\n", " ")) == "['/dev/shm']"
    assert await call(address, "os.getuid(), os.getgid()") == "(10001, 10001)"
    assert await call(address, "open('/proc/self/status').read().split('CapEff:')[1].split()[0]") == repr("0" * 16)


async def test_a_function_sees_its_own_files_secrets_and_variables_alone(
    provider: DockerProvider, watch: Watching
) -> None:
    watching = watch(provider)
    first = await ready(provider, watching, "a", secrets={"token": b"s3cret"}, variables={"MINE": "a"})
    second = await ready(provider, watching, "b", bundle="eval")
    assert await call(first, "open('/var/openfaas/secrets/token').read(), os.environ['MINE']") == "('s3cret', 'a')"
    assert await call(first, "sorted(os.listdir('/home/app/function'))") == "['handler.py']"
    assert await call(second, "os.listdir('/var/openfaas/secrets'), 'MINE' in os.environ") == "([], False)"
    assert await call(second, "[p for p in os.listdir('/proc') if p.isdigit()].__len__() <= 3") == "True"
    with pytest.raises(AssertionError, match="500"):
        await call(second, "open('/proc/1/environ').read()")


async def test_the_providers_socket_hangs_up_on_whoever_is_not_the_zygote(
    provider: DockerProvider, watch: Watching
) -> None:
    address = await ready(provider, watch(provider))
    assert await call(address, "os.listdir('/run/pilotlight')") == "['zygote.sock']"
    dial = (
        "(lambda s: (s.settimeout(5), s.connect('/run/pilotlight/zygote.sock'), s.recv(10))[2])"
        "(__import__('socket').socket(__import__('socket').AF_UNIX))"
    )
    assert await call(address, dial) == "b''"
    assert await call(address, "1 + 1") == "2"


async def test_where_a_replica_listens_cannot_be_reached_or_replaced_from_inside(
    provider: DockerProvider, watch: Watching
) -> None:
    """A function that could put a link in the place of its socket would choose where the router connects."""
    address = await ready(provider, watch(provider))
    path = address.removeprefix("unix:")
    assert (
        await call(address, f"os.path.exists({path!r}), os.path.exists({os.path.dirname(path)!r})") == "(False, False)"
    )
    with pytest.raises(AssertionError, match="500"):
        await call(address, "os.symlink('/etc/passwd', '/run/pilotlight/zygote.sock')")
    with pytest.raises(AssertionError, match="500"):
        await call(address, "os.unlink('/run/pilotlight/zygote.sock')")


async def test_a_bundle_is_shared_and_cannot_be_changed_by_whom_it_is_shared_with(
    provider: DockerProvider, watch: Watching, installation: Installation
) -> None:
    address = await ready(provider, watch(provider))
    inside = await call(address, "os.stat('/home/app/function/handler.py').st_ino")
    assert int(inside) == (installation.bundle_dir("eval") / "function/handler.py").stat().st_ino
    with pytest.raises(AssertionError, match="500"):
        await call(address, "os.chmod('/home/app/function/handler.py', 0o777)")


async def test_processes_are_bounded_by_the_engine(provider: DockerProvider, watch: Watching) -> None:
    address = await ready(provider, watch(provider))
    found = await call(
        address,
        "[open(p).read().strip() for p in ('/sys/fs/cgroup/pids/pids.max', '/sys/fs/cgroup/pids.max')"
        " if os.path.exists(p)]",
    )
    assert found == f"['{Limits().processes}']"


async def test_the_exact_memory_limit_and_the_processor_follow_when_it_is_ready(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    limits = Limits(memory_mib=100, cpu_milli=500)
    await ready(provider, watch(provider), pool=pool(memory_mib=128), limits=limits)
    async with asyncio.timeout(10):
        while (host := (await inspected(engine, container_of(provider)))["HostConfig"])["CpuQuota"] != 50_000:
            await asyncio.sleep(0.02)
    assert (host["Memory"], host["MemorySwap"]) == (100 * 2**20, 100 * 2**20)


async def test_too_little_memory_for_python_is_raised_with_a_note_in_the_log(
    provider: DockerProvider, watch: Watching
) -> None:
    await ready(provider, watch(provider), pool=pool(memory_mib=64), limits=Limits(memory_mib=10))
    async with asyncio.timeout(10):
        while "limits.memory: 10Mi is less than Python and this runtime need; it has 48Mi" not in await log_of(
            provider
        ):
            await asyncio.sleep(0.05)


EATEN = "bytearray(300 * 2**20).count(1)"
CHILD = (
    "__import__('subprocess').run([__import__('sys').executable, '-c', 'bytearray(300 * 2**20).count(1)'], check=True)"
)


@pytest.mark.parametrize("who", ["itself", "a child"])
async def test_out_of_memory_is_told_with_the_limit(
    provider: DockerProvider, watch: Watching, engine: Engine, who: str
) -> None:
    info = await engine.call(lambda client: client.info())
    if not info.get("MemoryLimit"):
        pytest.skip("this engine cannot limit memory")
    watching = watch(provider)
    address = await ready(provider, watching, pool=pool(memory_mib=128), limits=Limits(memory_mib=128))
    if who == "itself":
        with pytest.raises((AssertionError, OSError)):
            await call(address, EATEN)
    else:
        with pytest.raises(AssertionError, match="500"):
            await call(address, CHILD)
        async with asyncio.timeout(10):
            while "out of memory, limit 128Mi: a process" not in await log_of(provider):
                await asyncio.sleep(0.05)
        await call(address, "__import__('threading').Timer(0.1, os._exit, (1,)).start()")
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.detail) == ("out-of-memory", "out of memory, limit 128Mi")


async def test_spares_come_back_after_a_claim_and_each_is_claimed_once(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    watching = watch(provider)
    await provider.prepare(pool(), 2)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 2, 60)
    before = {each.container for each in node.pools.idle(pool())}
    for name in ("a", "b", "c"):
        await ready(provider, watching, name)
    used = {container_of(provider, name) for name in ("a", "b", "c")}
    assert len(used) == 3
    assert len(before & used) == 2
    await eventually(lambda: len(node.pools.idle(pool())) == 2, 60)
    assert not used & {each.container for each in node.pools.idle(pool())}
    await eventually(lambda: all(each.memory_mib for each in node.pools.idle(pool())), 30)
    warm = await provider.warm(pool())
    assert (warm.kind, warm.ready) == ("container", 2)
    assert warm.memory_mib > 1
    await provider.prepare(pool(), 0)
    async with asyncio.timeout(30):
        while set(await ours(provider, engine, POOL)) != used:
            await asyncio.sleep(0.05)


async def test_a_spare_that_dies_is_replaced(provider: DockerProvider, engine: Engine) -> None:
    await provider.prepare(pool(), 1)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 1, 60)
    (spare,) = node.pools.idle(pool())
    await engine.call(lambda client: client.kill(spare.container))
    await eventually(lambda: [each for each in node.pools.idle(pool()) if each is not spare], 60)


async def test_a_pool_that_needs_more_imports_gets_spares_with_them(provider: DockerProvider, watch: Watching) -> None:
    await provider.prepare(pool(), 1)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 1, 60)
    (first,) = node.pools.idle(pool())
    richer = pool(preimports=("csv",))
    await provider.prepare(richer, 1)
    await eventually(lambda: len(node.pools.idle(richer)) == 1, 60)
    address = await ready(provider, watch(provider), pool=richer)
    assert await call(address, "'csv' in __import__('sys').modules") == "True"
    await eventually(lambda: first not in node.pools.all(), 60)


async def test_spares_of_a_crashed_control_plane_are_taken_over(
    provider: DockerProvider, opened: Open, watch: Watching
) -> None:
    await provider.prepare(pool(), 1)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 1, 60)
    (spare,) = node.pools.idle(pool())
    provider._leave()
    second = await opened()
    await second.prepare(pool(), 1)
    await ready(second, watch(second))
    assert container_of(second) == spare.container


async def test_a_spare_that_was_let_go_in_the_moment_of_a_crash_is_not_listened_to(
    provider: DockerProvider, opened: Open
) -> None:
    """What removes it has not begun then, and does not begin any more."""
    await provider.prepare(pool(), 1)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 1, 60)
    (spare,) = node.pools.idle(pool())
    await provider.prepare(pool(), 0)
    provider._leave()
    with socket.socket(socket.AF_UNIX) as dialling, pytest.raises(ConnectionRefusedError):
        dialling.connect(spare.berth.socket)
    await opened()  # it is still there, and goes with the next one


async def test_where_no_spare_can_be_made_the_functions_own_image_runs(
    provider: DockerProvider, watch: Watching
) -> None:
    broken = pool(image=TEST_IMAGE, environment="other")  # it has no interpreter where ours have one
    with pytest.raises(StartFailed, match="no replica was started"):
        await provider.start(launch("a", pool=broken))
    await provider.prepare(broken, 0)
    address = await ready(provider, watch(provider), "b", pool=broken, image=TEST_IMAGE)
    assert address.startswith("tcp:")


async def test_a_launch_that_a_zygote_did_not_take_goes_to_the_next_one_and_can_be_reached(
    provider: DockerProvider, watch: Watching
) -> None:
    await provider.prepare(pool(), 2)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 2, 60)
    first = node.pools.idle(pool())[0]

    async def refuses(*_: object) -> None:
        raise NotLaunched("it hung up")

    first.launch = refuses  # type: ignore[method-assign, assignment]
    address = await ready(provider, watch(provider))
    await eventually(lambda: not Path(first.berth.socket_dir).exists(), 30)
    assert await call(address, "1 + 1") == "2"


async def test_a_container_that_a_bundle_reached_before_a_crash_becomes_nobody_elses(
    provider: DockerProvider, opened: Open, watch: Watching, installation: Installation
) -> None:
    await provider.prepare(pool(), 1)
    (node,) = provider._nodes.values()
    await eventually(lambda: len(node.pools.idle(pool())) == 1, 60)
    (spare,) = node.pools.idle(pool())
    provider._berths.fill(spare.berth, installation.bundle_dir("hello") / "function", {"token": b"s3cret"})
    provider._leave()
    second = await opened()
    address = await ready(second, watch(second))
    assert container_of(second) != spare.container
    assert await call(address, "os.listdir('/var/openfaas/secrets')") == "[]"
    assert not Path(spare.berth.secrets_dir).exists()


async def test_an_image_cannot_pass_for_a_spare_by_its_labels(
    provider: DockerProvider, opened: Open, watch: Watching, engine: Engine, tmp_path: Path
) -> None:
    """What a spare's id names is removed with it."""
    (tmp_path / "precious").touch()
    labels = f"""LABEL dev.pilotlight.zygote={tmp_path} dev.pilotlight.pool='{{"environment":"x","namespace":"y"}}'"""
    files = {"Dockerfile": f"FROM {TEST_IMAGE}\n{labels}\n".encode()}
    await engine.call(
        lambda client: b"".join(
            client.build(fileobj=context(files), custom_context=True, tag="pilotlight-test-labels:1", rm=True)
        )
    )
    watching = watch(provider)
    await provider.start(foreign("a", image="pilotlight-test-labels:1"))
    await watching.until(BecameReady, "a", 60)
    container = container_of(provider)
    provider._leave()
    await engine.call(lambda client: client.kill(container))
    second = await opened()
    assert (await watch(second).until(Ended, "a")).signal == signal.SIGKILL
    assert (tmp_path / "precious").exists()


async def test_a_replica_that_dies_while_it_is_adopted_is_told(
    provider: DockerProvider, opened: Open, watch: Watching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watch(provider)
    await ready(provider, watching)
    container = container_of(provider)
    provider._leave()
    learn = Adoption._learn

    async def dies(self: Adoption, replica: Any) -> None:
        await learn(self, replica)
        await self._node.engine.call(lambda client: client.kill(container))
        await eventually(lambda: container in self._node._early, 10)

    monkeypatch.setattr(Adoption, "_learn", dies)
    second = await opened()
    assert (await watch(second).until(Ended, "a")).signal == signal.SIGKILL
    assert await second.list() == []


async def test_a_replica_that_was_killed_from_outside_is_told_by_its_signal(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    watching = watch(provider)
    await ready(provider, watching)
    await engine.call(lambda client: client.kill(container_of(provider), signal="SIGKILL"))
    assert (await watching.until(Ended, "a")).signal == signal.SIGKILL


# Paused standbys, of images that are not ours


def foreign(replica: str, **changes: Any) -> Launch:
    own = Pool(environment="", namespace="test", revision="1")
    return a_launch(replica, **{"image": TEST_IMAGE, "pool": own, **changes})


async def standing_by(provider: DockerProvider, watching: Watch) -> str:
    """Of a function that was started once; the standby's container."""
    await provider.prepare(foreign("a").pool, 1)
    await provider.start(foreign("a"))
    await watching.until(BecameReady, "a", 60)
    await provider.stop("a", grace_seconds=5)
    (node,) = provider._nodes.values()
    await eventually(lambda: node.standbys.of("1"), 60)
    standby = node.standbys.of("1")
    assert standby is not None
    return standby.record.container


async def test_a_function_that_ran_once_is_started_from_a_paused_standby(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    watching = watch(provider)
    container = await standing_by(provider, watching)
    assert (await inspected(engine, container))["State"]["Paused"]
    warm = await provider.warm(foreign("b").pool)
    assert (warm.kind, warm.ready) == ("paused", 1)
    running = await provider.start(foreign("b"))
    phases = (await watching.until(BecameReady, "b")).phases
    assert list(phases) == ["unpause", "listen"]
    assert container_of(provider, "b") == container
    assert await call(running.address, "os.environ['OPENFAAS_NAME']", "/eval") == "'hello'"
    lines = [line.text async for line in provider.logs(foreign("b").function)]
    assert lines == []
    await provider.stop("b", grace_seconds=5)
    assert (await watching.until(Ended, "b")).reason == "stopped"


async def test_a_standby_with_yesterdays_secret_is_not_used(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    container = await standing_by(provider, watching)
    running = await provider.start(foreign("b", secrets={"token": b"new"}))
    await watching.until(BecameReady, "b", 60)
    assert container_of(provider, "b") != container
    assert await call(running.address, "open('/var/openfaas/secrets/token').read()", "/eval") == "'new'"


async def test_a_standby_nobody_wants_any_more_goes(provider: DockerProvider, watch: Watching, engine: Engine) -> None:
    await standing_by(provider, watch(provider))
    await provider.prepare(foreign("a").pool, 0)
    async with asyncio.timeout(30):
        while await ours(provider, engine, STANDBY):
            await asyncio.sleep(0.05)


async def test_a_standby_and_what_became_of_one_outlive_a_crash(
    provider: DockerProvider, opened: Open, watch: Watching
) -> None:
    watching = watch(provider)
    container = await standing_by(provider, watching)
    provider._leave()
    second = await opened()
    watching = watch(second)
    await second.prepare(foreign("a").pool, 1)
    await second.start(foreign("b"))
    await watching.until(BecameReady, "b")
    assert container_of(second, "b") == container
    second._leave()
    third = await opened()
    (running,) = await third.list()
    assert (running.id, running.ready) == ("b", True)
    await third.stop("b", grace_seconds=5)


async def test_a_gpu_that_the_engine_has_not_is_told(provider: DockerProvider, engine: Engine) -> None:
    info = await engine.call(lambda client: client.info())
    if "nvidia" in (info.get("Runtimes") or {}):
        pytest.skip("this engine has GPUs")
    with pytest.raises(StartFailed, match="device driver"):
        await provider.start(foreign("a", devices=("GPU-1",)))
