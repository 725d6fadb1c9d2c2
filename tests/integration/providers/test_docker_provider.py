"""The Docker provider on a real engine: what a container may do, how it ends, what is told, what is left of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pilotlight.builder.image_context import read_folder
from pilotlight.builder.layer import ensure_layer
from pilotlight.config import DockerSettings, Settings
from pilotlight.core.errors import PilotlightError, RevisionFailed, StartFailed
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.base import BecameReady, Ended, Limits, Provider
from pilotlight.providers.docker import DockerProvider
from pilotlight.providers.docker.containers import OWNER, name_of
from pilotlight.providers.docker.logs import ContainerLogs
from tests.engines import BASE_IMAGE, TEST_IMAGE, context
from tests.provider_support import HELLO, Watch, a_launch, call, inspected

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
Open = Callable[..., Any]
Watching = Callable[[Provider], Watch]


@pytest.fixture
async def provider(opened: Open) -> DockerProvider:
    found: DockerProvider = await opened()
    return found


async def ready(provider: DockerProvider, watching: Watch, replica: str = "a", **changes: Any) -> str:
    running = await provider.start(a_launch(replica, **changes))
    await watching.until(BecameReady, replica)
    return running.address


async def ask(address: str, expression: str) -> str:
    return await call(address, expression, "/eval")


async def test_a_container_is_bound_in_what_it_may_do(
    provider: DockerProvider, watch: Watching, engine: Engine, data_dir: Path
) -> None:
    watching = watch(provider)
    limits = Limits(memory_mib=64, cpu_milli=500, processes=50, open_files=256)
    address = await ready(provider, watching, limits=limits, secrets={"token": b"s3cret"}, variables={"A": "1"})
    assert await ask(address, "os.getuid(), os.getgid()") == "(10001, 10001)"
    assert await ask(address, "open('/proc/self/status').read().split('CapBnd:')[1].split()[0]") == repr("0" * 16)
    assert await ask(address, "open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0]") == "'1'"
    assert await ask(address, "open('/tmp/x', 'w').write('1')") == "1"
    assert await ask(address, "os.access('/var', os.W_OK), os.access('/', os.W_OK)") == "(False, False)"
    assert await ask(address, "__import__('resource').getrlimit(7)") == "(256, 256)"
    assert await ask(address, "open('/var/openfaas/secrets/token').read()") == "'s3cret'"
    assert await ask(address, "os.access('/var/openfaas/secrets/token', os.W_OK)") == "False"
    assert await ask(address, "os.environ['A'], os.environ['OPENFAAS_NAME']") == "('1', 'hello')"
    assert await ask(address, "os.path.exists('/var/run/docker.sock')") == "False"
    name = name_of(owner_of(data_dir), "a")
    async with asyncio.timeout(10):  # it follows once the replica is ready
        while (host := (await inspected(engine, name))["HostConfig"])["CpuQuota"] != 50_000:
            await asyncio.sleep(0.02)
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 * 2**20, 64 * 2**20, 50)


FORKS = """
import os, time
pids = []
try:
    while len(pids) < 200:
        if (pid := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        pids.append(pid)
except BlockingIOError:
    pass
print(len(pids))
for pid in pids:
    os.kill(pid, 9)
"""


async def test_a_function_cannot_fork_past_its_limit(provider: DockerProvider, watch: Watching) -> None:
    address = await ready(provider, watch(provider), limits=Limits(processes=40))
    run = f"__import__('subprocess').run([sys.executable, '-c', {FORKS!r}], capture_output=True, check=True).stdout"
    forked = int(await ask(address, f"int({run})"))
    assert 0 < forked < 40
    assert await ask(address, "1 + 1") == "2"


async def test_a_secret_is_nowhere_but_in_memory_and_goes_with_its_replica(
    provider: DockerProvider, watch: Watching, engine: Engine, data_dir: Path
) -> None:
    watching = watch(provider)
    await ready(provider, watching, secrets={"token": b"s3cret"})
    (mount,) = (await inspected(engine, name_of(owner_of(data_dir), "a")))["Mounts"]
    folder = Path(mount["Source"])
    assert (folder / "token").read_bytes() == b"s3cret"
    assert folder.parent.stat().st_mode & 0o077 == 0
    await provider.stop("a", grace_seconds=5)
    await provider._settle(HELLO)
    assert not folder.exists()


async def test_functions_do_not_reach_each_other_but_through_the_router(
    provider: DockerProvider, watch: Watching
) -> None:
    watching = watch(provider)
    first = await ready(provider, watching, "a")
    second = await ready(provider, watching, "b")
    _, host, port = first.split(":")
    probe = f"(lambda s: (s.settimeout(1), s.connect_ex(('{host}', {port}))))(__import__('socket').socket())[1]"
    assert await ask(second, probe) == "11"  # it never answers
    assert await ask(first, "1 + 1") == "2"


async def test_a_function_cannot_make_more_processes_than_it_may(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    address = await ready(provider, watching, limits=Limits(processes=20))
    with pytest.raises(AssertionError, match="Resource temporarily unavailable"):
        await ask(address, "[__import__('subprocess').Popen(['sleep', '5']) for _ in range(30)]")


async def test_one_that_eats_too_much_ended_out_of_memory(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    address = await ready(provider, watching, limits=Limits(memory_mib=48))
    with suppress(OSError, AssertionError):
        await call(address, path="/eat/200")
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.detail) == ("out-of-memory", "out of memory, limit 48Mi")


async def test_an_exit_is_told_with_its_code_and_last_words(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    address = await ready(provider, watching)
    await call(address, "the last words")
    with suppress(OSError, AssertionError):
        await call(address, path="/exit/3")
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.exit_code, ended.last_lines) == ("exit", 3, ("the last words",))


async def test_one_that_ends_at_once_is_told_with_why(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(a_launch("a", variables={"DIE": "on purpose"}))
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.exit_code, ended.last_lines) == ("exit", 1, ("no: on purpose",))
    assert watching.count(BecameReady, "a") == 0


async def test_an_end_is_told_also_when_nobody_can_say_why(
    provider: DockerProvider, watch: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watch(provider)
    await ready(provider, watching)

    def fails(*_: object) -> None:
        raise ValueError("no log that anybody could read")

    monkeypatch.setattr(ContainerLogs, "tail", fails)
    await provider.stop("a", grace_seconds=5)
    assert (await watching.until(Ended, "a")).reason == "lost"


async def test_who_reads_logs_waits_for_an_end_of_the_same_moment(provider: DockerProvider, watch: Watching) -> None:
    await ready(provider, watch(provider))
    (node,) = provider._nodes.values()
    node.died(node.replicas["a"])
    await provider._settle(HELLO)
    assert not node.ending


async def test_a_stubborn_one_is_killed_after_its_grace(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    await ready(provider, watching, variables={"STUBBORN": "1"})
    await provider.stop("a", grace_seconds=0.2)
    assert (await watching.until(Ended, "a")).reason == "killed"


async def test_a_container_that_somebody_removed_is_told(
    provider: DockerProvider, watch: Watching, engine: Engine, data_dir: Path
) -> None:
    watching = watch(provider)
    await ready(provider, watching)
    await engine.call(lambda client: client.remove_container(name_of(owner_of(data_dir), "a"), force=True))
    assert (await watching.until(Ended, "a")).signal == 9
    assert await provider.list() == []


async def test_an_end_while_the_engine_said_nothing_is_told_once_it_speaks_again(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    watching = watch(provider)
    for name in ("a", "b"):
        await ready(provider, watching, name)
    (node,) = provider._nodes.values()
    stream = node._watcher._stream
    assert stream is not None
    heard = node._watcher._happened
    node._watcher._happened = lambda _event: None  # lost on the way
    await engine.call(lambda client: client.kill(name_of(provider._common.owner, "a")))
    stream.wake()
    node._watcher._happened = heard
    assert (await watching.until(Ended, "a")).signal == 9
    assert [each.id for each in await provider.list()] == ["b"]
    assert watching.count(Ended, "a") == 1


async def test_logs_of_both_streams_and_of_what_has_ended_are_kept(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    address = await ready(provider, watching)
    long = "x" * 40_000
    await call(address, "out")
    await call(address, "oh no", "/err")
    await call(address, long)
    await provider.stop("a", grace_seconds=5)
    found = [line async for line in provider.logs(HELLO)]
    # Each stream in its order; between two streams the engine gives the times, as it comes to read them.
    assert [line.text for line in found if line.stream == "stdout"] == ["out", long]
    assert [line.text for line in found if line.stream == "stderr"] == ["oh no"]


async def test_a_follower_hears_replicas_that_start_later(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    await call(await ready(provider, watching, "a"), "before")
    async with asyncio.timeout(10):  # the engine comes to write it
        while not [line async for line in provider.logs(HELLO)]:
            await asyncio.sleep(0.01)
    following = provider.logs(HELLO, tail=0, follow=True)
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.3)
    await call(await ready(provider, watching, "b"), "from another")
    async with asyncio.timeout(10):
        line = await waiting
    assert (line.replica, line.text) == ("b", "from another")
    await following.aclose()  # type: ignore[attr-defined]


async def test_a_note_on_a_raised_limit_is_the_first_line_of_its_log(opened: Open, watch: Watching) -> None:
    provider = await opened()
    await provider.start(a_launch("a", limits=Limits(cpu_milli=1)))
    (line,) = [line async for line in provider.logs(HELLO)]
    assert (line.stream, line.text) == ("system", "limits.cpu: 1m is less than a container can have; it has 10m")


async def test_a_published_port_serves_where_addresses_do_not(opened: Open, watch: Watching) -> None:
    provider = await opened(reach="published")
    watching = watch(provider)
    address = await ready(provider, watching, variables={"SLOW": "0.3"})
    assert address.startswith("tcp:127.0.0.1:")
    assert await ask(address, "1 + 1") == "2"


async def test_any_program_is_a_function_in_an_image_with_our_watchdog(
    provider: DockerProvider, engine: Engine, watch: Watching, tmp_path: Path
) -> None:
    layer = read_folder(await ensure_layer(tmp_path), below="runtime", skip=frozenset({"__pycache__"}))
    files = {path: b"".join(file.pieces()) for path, file in layer.items()}
    files["Dockerfile"] = (
        f"FROM {BASE_IMAGE}\nCOPY runtime /opt/runtime\nENV PYTHONPATH=/opt/runtime fprocess=cat\n"
        'CMD ["python3", "-m", "pilotlight_runtime.watchdog"]\n'
    ).encode()
    tag = "pilotlight-test-watchdog:1"
    await engine.call(
        lambda client: b"".join(client.build(fileobj=context(files), custom_context=True, tag=tag, rm=True))
    )
    watching = watch(provider)
    counting = await ready(provider, watching, "a", image=tag, variables={"fprocess": "wc -c"})
    assert await call(counting, "12345") == "5\n"
    assert await call(await ready(provider, watching, "b", image=tag), "as it came") == "as it came"
    await provider.stop("a", grace_seconds=10)
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.exit_code) == ("stopped", 0)
    assert any("POST / - 200 OK" in line.text for line in [each async for each in provider.logs(HELLO)])


async def test_an_image_that_is_not_there_is_the_revisions_fault(provider: DockerProvider, data_dir: Path) -> None:
    with pytest.raises(RevisionFailed) as error:
        await provider.start(a_launch("a", image="pilotlight-no-such-image:1"))
    assert error.value.slug == "image-not-found"
    assert await provider.list() == []


async def test_an_image_that_cannot_be_pulled_says_what_the_engine_said(opened: Open) -> None:
    provider = await opened(pull="missing")
    with pytest.raises(PilotlightError) as error:
        await provider.start(a_launch("a", image="127.0.0.1:9/nothing:1"))
    assert error.value.slug == "registry-unreachable"
    assert "127.0.0.1:9/nothing:1 cannot be pulled: " in error.value.detail


async def test_an_image_without_its_command_is_not_runnable(
    provider: DockerProvider, engine: Engine, watch: Watching
) -> None:
    tag = "pilotlight-test-no-command:1"
    files = {"Dockerfile": f'FROM {TEST_IMAGE}\nCMD ["/nope"]\n'.encode()}
    await engine.call(
        lambda client: b"".join(client.build(fileobj=context(files), custom_context=True, tag=tag, rm=True))
    )
    watching = watch(provider)
    try:
        await provider.start(a_launch("a", image=tag))
    except RevisionFailed as error:  # of an engine without an init
        slug, detail = error.slug, error.detail
    else:
        ended = await watching.until(Ended, "a")
        slug, detail = ended.slug, ended.detail
    assert slug == "image-not-runnable"
    assert "/nope" in detail


async def test_without_an_engine_it_says_so(data_dir: Path) -> None:
    docker = DockerSettings(url="unix:///tmp/no-such-engine.sock")
    provider = DockerProvider(settings=Settings(data_dir=data_dir, docker=docker))
    with pytest.raises(StartFailed, match="cannot be reached: there is no such socket") as error:
        await provider.open()
    assert error.value.slug == "engine-unreachable"


async def test_what_was_made_and_never_started_is_removed_by_the_next(
    opened: Open, engine: Engine, data_dir: Path, watch: Watching
) -> None:
    provider = await opened()
    await ready(provider, watch(provider))
    label = {OWNER: owner_of(data_dir)}
    await engine.call(lambda client: client.create_container(TEST_IMAGE, name="pilotlight-test-left", labels=label))
    provider._leave()
    second = await opened()
    assert [each.id for each in await second.list()] == ["a"]
    with pytest.raises(Refused):
        await inspected(engine, "pilotlight-test-left")


async def test_containers_of_others_are_left_alone(opened: Open, engine: Engine) -> None:
    others = await engine.call(lambda client: client.create_container(TEST_IMAGE))
    try:
        provider = await opened()
        await provider.close(keep=False)
        assert (await inspected(engine, others["Id"]))["Id"] == others["Id"]
    finally:
        await engine.call(lambda client: client.remove_container(others["Id"], force=True))


async def test_usage_is_what_the_container_uses(provider: DockerProvider, watch: Watching) -> None:
    watching = watch(provider)
    address = await ready(provider, watching)
    await ask(address, "globals().__setitem__('kept', bytearray(b'x') * 60_000_000) or sum(kept[::64])")
    usage = await provider.usage("a")
    assert usage is not None
    assert usage.memory_mib > 57
    assert usage.cpu_seconds > 0


async def test_a_pruned_network_is_made_again(provider: DockerProvider, watch: Watching, engine: Engine) -> None:
    watching = watch(provider)
    await ready(provider, watching)
    await provider.stop("a", grace_seconds=5)
    await provider._settle(HELLO)
    await engine.call(lambda client: client.remove_network(f"pilotlight-{provider._common.owner}-test"))
    await ready(provider, watching, "b")


async def test_a_forgotten_function_leaves_no_network(
    provider: DockerProvider, watch: Watching, engine: Engine
) -> None:
    watching = watch(provider)
    await ready(provider, watching)
    await provider.stop("a", grace_seconds=5)
    await provider.forget(HELLO)
    label = {"label": f"{OWNER}={provider._common.owner}"}
    assert await engine.call(lambda client: client.networks(filters=label)) == []
