"""Two settings name one engine, however its socket's path is written."""

from pathlib import Path

import pytest

from pilotlight.engine import address_of


def test_all_ways_to_a_socket_are_one_address(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "run")
    plain = f"unix://{tmp_path.resolve()}/run/docker.sock"
    written = (
        f"unix://{tmp_path}/var/docker.sock",
        f"unix:{tmp_path}/run/docker.sock",
        f"unix:/{tmp_path}/run/docker.sock",
    )
    assert {address_of(each) for each in (plain, *written)} == {plain}
    assert address_of(f"unix://{tmp_path}/run/other.sock") != plain


def test_without_an_address_it_is_the_environments_or_dockers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    assert address_of(None) == "tcp://192.0.2.1:2376"
    monkeypatch.delenv("DOCKER_HOST")
    assert address_of(None) == address_of("unix:///var/run/docker.sock")
