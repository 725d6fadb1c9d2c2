"""Pools of containers without an engine: what is asked for, which nodes there are, how an end is told, whose files."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.config import DockerSettings
from pilotlight.core.errors import InvalidSetting
from pilotlight.providers.base import Pool, memory_class
from pilotlight.providers.docker.berths import Berth, Berths, Claim, link_tree
from pilotlight.providers.docker.containers import NO_LABELS, creation
from pilotlight.providers.docker.ends import Death, how_a_pooled_one_ended, last_word
from pilotlight.providers.docker.engines import engines_of
from pilotlight.providers.docker.pool_containers import spare_creation, spare_of
from pilotlight.providers.process.messages import ChildEnded, Ending
from pilotlight_runtime.contained import LAST_WORDS
from tests.provider_support import a_launch
from tests.unit.providers.test_docker_containers import IMAGE, PLACE, created

BERTH = Berth("0123abcd", "/run/d/z/z1", "/data/containers/z1", "/run/s/z1")
POOL = Pool(
    environment="e", namespace="n", image="env:1", variables=(("TZ", "UTC"),), memory_mib=256, devices=("GPU-1",)
)


def spare(**changes: Any) -> dict[str, Any]:
    options = DockerSettings(**changes)
    return spare_creation(
        POOL, BERTH, IMAGE, owner="o", node="local", network="net", idle_end_seconds=900, options=options
    )


def test_a_spare_is_bound_like_every_container_and_has_what_a_claim_cannot_change() -> None:
    body = spare()
    host = body["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["ReadonlyRootfs"]) == (["ALL"], ["no-new-privileges:true"], True)
    assert (host["NetworkMode"], host["Memory"], host["MemorySwap"]) == ("net", 256 * 2**20, 256 * 2**20)
    assert host["DeviceRequests"] == [{"Driver": "nvidia", "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]]}]
    assert body["Env"] == ["TZ=UTC"]
    assert "PortBindings" not in host
    assert "NanoCpus" not in host


def test_a_spare_sees_three_folders_and_can_write_to_none() -> None:
    mounts = spare()["HostConfig"]["Mounts"]
    assert {(each["Source"], each["Target"]) for each in mounts} == {
        ("/run/d/z/z1", "/run/pilotlight"),
        ("/data/containers/z1", "/home/app/function"),
        ("/run/s/z1", "/var/openfaas/secrets"),
    }
    assert all(each["ReadOnly"] for each in mounts)


def test_a_spares_labels_tell_the_next_control_plane_its_pool() -> None:
    assert spare_of({"Config": {"Labels": spare()["Labels"]}}) == ("0123abcd", POOL)


@pytest.mark.parametrize(
    "labels",
    [None, {}, {"dev.pilotlight.zygote": "z1"}, {"dev.pilotlight.zygote": "0123abcd", "dev.pilotlight.pool": "{"}],
)
def test_what_is_no_spare_is_none(labels: dict[str, str] | None) -> None:
    assert spare_of({"Config": {"Labels": labels}}) is None


@pytest.mark.parametrize("zygote", ["/etc", "../../etc", "", "z1", "0123ABCD", "0123abcd/"])
def test_no_label_of_an_image_becomes_a_path(zygote: str, tmp_path: Path) -> None:
    labels = {**spare()["Labels"], "dev.pilotlight.zygote": zygote}
    assert spare_of({"Config": {"Labels": labels}}) is None
    with pytest.raises(ValueError, match="no zygote's id"):
        Berths(tmp_path, tmp_path, tmp_path).of(zygote)


def test_every_container_says_of_all_our_labels_what_they_are() -> None:
    """It inherits its image's, which may be anything."""
    assert set(spare()["Labels"]) == set(created()["Labels"]) == set(NO_LABELS)


def test_devices_of_a_launch_are_asked_for_by_their_ids() -> None:
    host = creation(a_launch("a", devices=("GPU-1", "GPU-2")), IMAGE, PLACE, DockerSettings())["HostConfig"]
    assert host["DeviceRequests"] == [{"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}]
    assert "DeviceRequests" not in creation(a_launch("a"), IMAGE, PLACE, DockerSettings())["HostConfig"]


@given(st.integers(min_value=1, max_value=2**22))
def test_a_memory_class_holds_its_limit_and_wastes_less_than_half(limit: int) -> None:
    found = memory_class(limit)
    assert found is not None
    assert found >= limit
    assert found & (found - 1) == 0
    assert found == 64 or found < 2 * limit


def test_without_a_limit_there_is_no_class() -> None:
    assert memory_class(None) is None


@pytest.mark.parametrize(
    ("engines", "found"),
    [
        ((), [("local", None)]),
        (("unix:///a",), [("local", "unix:///a")]),
        (("unix:///a", "gpu=tcp://10.0.0.2:2376"), [("local", "unix:///a"), ("gpu", "tcp://10.0.0.2:2376")]),
        (("unix:///a", "ssh://box"), [("local", "unix:///a"), ("node-2", "ssh://box")]),
    ],
)
def test_each_engine_is_a_node_with_a_name(engines: tuple[str, ...], found: list[tuple[str, str | None]]) -> None:
    assert engines_of(DockerSettings(engines=engines)) == found


@pytest.mark.parametrize("engines", [("nonsense",), ("a=tcp://x", "a=tcp://y"), ("A B=tcp://x",), ("",)])
def test_what_is_no_engine_is_told_with_its_setting(engines: tuple[str, ...]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        engines_of(DockerSettings(engines=engines))
    assert caught.value.field == "docker.engines"


def word(status: int, **changes: Any) -> ChildEnded:
    return ChildEnded(id="a", pid=7, status=status, **changes)


@pytest.mark.parametrize(
    ("told", "reason", "detail"),
    [
        ({"word": word(0x0300)}, "exit", "exited with code 3"),
        ({"word": word(9, oom=True), "memory_mib": 128}, "out-of-memory", "out of memory, limit 128Mi"),
        ({"word": word(0x0100, oom=True), "oom_lately": True}, "out-of-memory", "out of memory"),
        ({"word": word(0x0100, oom=True)}, "exit", "exited with code 1"),
        ({"word": word(0, oom=True)}, "exit", "exited with code 0"),
        ({"word": word(15), "stopping": True}, "stopped", "stopped: killed by signal 15 (SIGTERM)"),
        ({"word": word(9, oom=True), "stopping": True}, "stopped", "stopped: killed by signal 9 (SIGKILL)"),
        ({"cause": Ending(reason="stuck", detail="it hangs"), "death": Death(exit_code=70)}, "stuck", "it hangs"),
        ({"death": Death(exit_code=137)}, "signal", "killed by signal 9 (SIGKILL)"),
        ({"death": Death()}, "lost", "its container is gone, so nobody could say how it ended"),
    ],
)
def test_a_pooled_end_is_told_by_its_zygote_by_itself_or_by_the_engine(
    told: dict[str, Any], reason: str, detail: str
) -> None:
    known = {"word": None, "cause": None, "death": None, "stopping": False, **told}
    ended = how_a_pooled_one_ended("a", **known)
    assert (ended.reason, ended.detail) == (reason, detail)


def test_a_zygotes_last_word_is_found_among_what_it_printed() -> None:
    line = LAST_WORDS + msgspec.json.encode(word(9, oom=True)).decode()
    assert last_word(["something", line], "a") == word(9, oom=True)
    assert last_word([line], "b") is None
    assert last_word([LAST_WORDS + "{", "", LAST_WORDS], "a") is None


def test_a_tree_is_linked_whole_and_nothing_but_files_and_folders(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep/er").mkdir(parents=True)
    (source / "handler.py").write_text("1")
    (source / "deep/er/model").write_bytes(b"x")
    (source / "out").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    target.mkdir()
    link_tree(source, target)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["deep", "deep/er", "deep/er/model", "handler.py"]
    assert (target / "handler.py").stat().st_ino == (source / "handler.py").stat().st_ino


def test_a_berth_that_a_claim_has_reached_is_no_spares_any_more(tmp_path: Path) -> None:
    """A crash between the files and the launch: the next function must not find them."""
    for folder in ("run/docker", "data", "secrets", "bundle"):
        (tmp_path / folder).mkdir(parents=True)
    berths = Berths(tmp_path / "run", tmp_path / "data", tmp_path / "secrets")
    berths.claim_folders()
    (tmp_path / "bundle/handler.py").touch()
    for id_, bundle, values in (("00000001", "bundle", {}), ("00000002", "secrets", {"token": b"x"})):
        berth = berths.make(id_)
        assert berths.is_fresh(id_)
        berths.fill(berth, tmp_path / bundle if bundle == "bundle" else tmp_path / "run/docker/r", values)
        assert not berths.is_fresh(id_)


def test_berths_are_swept_with_everything_but_those_that_are_known(tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    for folder in (run / "docker", data, tmp_path / "secrets"):
        folder.mkdir(parents=True)
    berths = Berths(run, data, tmp_path / "secrets")
    berths.claim_folders()
    kept, gone = "0123abcd", "s0123456789ab"
    for name in (kept, gone):
        berths.make(name)
        berths.write(_claim(name))
        Path(berths.replica_socket(f"replica-{name}")).touch()
    berths.sweep({kept})
    assert [claim.zygote for claim in berths.claims()] == [kept]
    assert berths.is_fresh(kept)
    assert not Path(berths.of(gone).socket_dir).exists()
    assert Path(berths.replica_socket(f"replica-{kept}")).exists()
    assert not Path(berths.replica_socket(f"replica-{gone}")).exists()


def _claim(zygote: str) -> Claim:
    return Claim(
        replica=f"replica-{zygote}",
        zygote=zygote,
        container="c",
        function=a_launch("a").function,
        revision="1",
        concurrency=1,
    )
