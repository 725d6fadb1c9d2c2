"""What a service manager passes to a server, and what it is told."""

import os
import socket
from pathlib import Path

import pytest

from pilotlight import claims


def test_passed_sockets_are_taken_and_not_given_to_children(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _pass(monkeypatch, os.dup(listener.fileno()))
        [taken] = claims.inherited()
        with taken:
            assert taken.getsockname() == listener.getsockname()
            assert not taken.get_inheritable()
    assert "LISTEN_FDS" not in os.environ


def test_sockets_that_were_passed_to_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert claims.inherited() == []


def test_a_socket_that_does_not_listen_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as quiet:
        _pass(monkeypatch, os.dup(quiet.fileno()))
        with pytest.raises(claims.CannotServe, match="no listening TCP sockets"):
            claims.inherited()


def test_a_file_instead_of_a_socket_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        _pass(monkeypatch, file.fileno())
        with pytest.raises(claims.CannotServe, match="there are none"):
            claims.inherited()


def test_the_service_manager_is_told_where_it_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        claims.notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "@pilotlight-nobody"])
def test_a_service_manager_that_is_not_there_changes_nothing(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    claims.notify("READY=1")


def _pass(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    monkeypatch.setattr(claims, "FIRST_PASSED_FD", fd)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
