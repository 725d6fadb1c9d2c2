"""Control groups, on folders that look like their tree: where they may be made, and what they tell."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotlight.providers.process import cgroups
from pilotlight.providers.process.cgroups import Groups, Overuse, base_of

MIB = 2**20
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A hierarchy with `service`, in which `server` runs."""
    monkeypatch.setattr(cgroups, "_says_delegated", lambda _path: True)

    def plant(*, controllers: str = "cpu memory pids", inside: str = "") -> Path:
        service = tmp_path / "service"
        (service / "server").mkdir(parents=True)
        (service / "cgroup.controllers").write_text(controllers)
        (service / "cgroup.procs").write_text(inside)
        (service / "cgroup.subtree_control").write_text("")
        return service

    return plant


def mounts(tmp_path: Path, kind: str = "cgroup2", root: str = "/") -> str:
    return f"22 1 0:2 / /proc rw - proc proc rw\n30 24 0:27 {root} {tmp_path} rw,nosuid shared:4 - {kind} {kind} rw\n"


def test_the_group_above_ours_is_taken_when_it_was_given_to_us(tree: Tree, tmp_path: Path) -> None:
    assert base_of("4:memory:/x\n0::/service/server\n", mounts(tmp_path)) is None
    service = tree()
    assert base_of("4:memory:/x\n0::/service/server\n", mounts(tmp_path)) == service


@pytest.mark.parametrize("membership", ["", "0::/\n", "0::/../service/server\n", "4:memory:/service/server\n"])
def test_without_a_group_of_our_own_nothing_is_taken(tree: Tree, tmp_path: Path, membership: str) -> None:
    tree()
    assert base_of(membership, mounts(tmp_path)) is None


@pytest.mark.parametrize("what", [{"controllers": "cpu pids"}, {"inside": "1\n"}], ids=["no memory", "has processes"])
def test_a_group_that_cannot_be_divided_is_left_alone(tree: Tree, tmp_path: Path, what: dict[str, str]) -> None:
    tree(**what)
    assert base_of("0::/service/server\n", mounts(tmp_path)) is None


def test_a_tree_of_the_first_version_or_a_part_of_one_is_left_alone(tree: Tree, tmp_path: Path) -> None:
    tree()
    assert base_of("0::/service/server\n", mounts(tmp_path, kind="cgroup")) is None
    assert base_of("0::/service/server\n", mounts(tmp_path, root="/somewhere")) is None
    assert base_of("0::/service/server\n", "") is None


def test_roots_power_alone_is_no_delegation(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tree()
    monkeypatch.setattr(cgroups, "_says_delegated", lambda _path: False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert base_of("0::/service/server\n", mounts(tmp_path)) is None
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert base_of("0::/service/server\n", mounts(tmp_path)) == service


def test_a_group_has_its_limit_and_ends_as_one(tree: Tree) -> None:
    service = tree()
    group = Groups(service).make("a", 64)
    assert (group.path / "memory.max").read_text() == str(64 * MIB)
    assert (group.path / "memory.oom.group").read_text() == "1"
    group.add(123)
    assert (group.path / "cgroup.procs").read_text() == "123"
    assert Groups(service).of("a") == group
    assert Groups(service).of("b") is None


def test_an_end_by_the_limit_is_known_with_limit_and_use(tree: Tree) -> None:
    group = Groups(tree()).make("a", 64)
    assert group.overuse() is None
    (group.path / "memory.events").write_text("low 0\nmax 12\noom 0\noom_kill 0\n")
    assert group.overuse() is None
    (group.path / "memory.events").write_text("low 0\nmax 14\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert group.overuse() == Overuse(64, 64)  # an older kernel does not tell the peak
    (group.path / "memory.peak").write_text(str(63 * MIB + 1))
    assert group.overuse() == Overuse(64, 64)


def test_groups_of_others_are_swept(tree: Tree) -> None:
    service = tree()
    for name in ("replica-a", "replica-b"):
        (service / name).mkdir()
    Groups(service).sweep({"a"})
    assert sorted(path.name for path in service.iterdir() if path.is_dir()) == ["replica-a", "server"]
