"""The supervisor keeps its children running, its sockets open, and leaves nothing behind."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Start = Callable[..., Any]


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_it_says_where_it_is_ready_and_answers_there(start: Start) -> None:
    server = start().until_ready()
    assert f"ready on http://127.0.0.1:{server.address()[1]} (user admin" in server.said()
    assert server.ask().startswith(b"HTTP/1.1 200")


def test_a_stop_ends_both_children_and_leaves_nothing(start: Start) -> None:
    server = start().until_ready()
    assert server.stop() == 0
    assert server.log("router") == ["started", "asked"]
    assert server.log("control") == ["started", "asked"]
    assert not (server.data / "server.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_that_interrupts_or_closes_stops_it_too(start: Start, number: int) -> None:
    server = start().until_ready()
    assert server.stop(number) == 0
    assert server.log("control") == ["started", "asked"]


def test_a_child_that_dies_is_started_again_and_its_end_is_told(start: Start) -> None:
    server = start().until_ready()
    first = server.pid("control")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: server.pid("control") not in (0, first))
    assert "the control plane ended: killed by signal 9 (SIGKILL); it is started again\n" in server.said()


def test_pauses_between_crashes_grow(start: Start) -> None:
    server = start().until_ready()
    (server.folder / "control.crash").touch()
    os.kill(server.pid("control"), signal.SIGKILL)
    eventually(lambda: "started again in 0.4 s" in server.said())
    assert "exited with code 3; it is started again in 0.1 s" in server.said()
    assert "started again in 0.2 s" in server.said()


def test_connections_made_while_the_router_is_down_are_answered(start: Start) -> None:
    server = start().until_ready()
    router = psutil.Process(server.pid("router"))
    router.kill()
    router.wait(5)  # what it had accepted went with it
    assert all(server.ask().startswith(b"HTTP/1.1 200") for _ in range(20))


def test_what_a_killed_router_left_on_the_shelf_is_there_for_the_next(start: Start, tmp_path: Path) -> None:
    (tmp_path / "router.shelves").touch()
    server = start().until_ready()
    os.kill(server.pid("router"), signal.SIGKILL)
    eventually(lambda: server.log("router") == ["found 0", "started", "found 1", "started"])


def test_killing_it_ends_the_lifelines_and_the_next_start_takes_over(start: Start) -> None:
    server = start().until_ready()
    port = server.address()[1]
    server.process.kill()
    eventually(lambda: server.log("router")[-1] == server.log("control")[-1] == "lifeline ended")
    server.output.unlink()
    assert start(port=port).until_ready().ask().startswith(b"HTTP/1.1 200")


def test_keeping_ends_the_lifelines_instead_of_asking(start: Start) -> None:
    server = start(keep=True).until_ready()
    assert server.stop() == 0
    assert server.log("router")[-1] == server.log("control")[-1] == "lifeline ended"


def test_what_a_killed_control_plane_left_is_stopped(start: Start) -> None:
    server = start(control={"kill_grace_seconds": -29.5}).until_ready()  # of the 30 s that it has beyond, half a one
    (server.folder / "control.stubborn").touch()
    os.kill(server.pid("control"), signal.SIGKILL)
    eventually(lambda: server.log("control").count("started") == 2)
    assert server.stop() == 0
    assert server.log("control")[-1] == "stop-all"


def test_a_second_interrupt_does_not_wait(start: Start) -> None:
    server = start().until_ready()
    (server.folder / "router.stubborn").touch()
    os.kill(server.pid("router"), signal.SIGKILL)
    eventually(lambda: server.log("router").count("started") == 2)
    server.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in server.said())
    assert server.stop(signal.SIGINT) == 0
    assert "the router did not end in time and is killed" in server.said()


def test_a_port_in_use_is_a_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(port=port)
        assert server.process.wait(20) == 1
    assert f"error[port-in-use]: port {port} of 127.0.0.1 is in use by another program\n" in server.said()
    assert "= help: Stop that one, or choose another port: --port N (0 takes a free one)." in server.said()


def test_the_metrics_port_in_use_says_what_the_port_is_for(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(metrics_port=port)
        assert server.process.wait(20) == 1
    assert f"port {port} of 127.0.0.1, for metrics, is in use by another program\n" in server.said()
    assert "--metrics-port N" in server.said()


def test_a_data_directory_has_one_server(start: Start) -> None:
    first = start().until_ready()
    second = start()
    assert second.process.wait(20) == 1
    sentence = f"error[data-dir-in-use]: another server (process {first.process.pid}) uses {first.data}\n"
    assert sentence in second.said()
    assert first.ask().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("child", ["control", "router"])
def test_a_child_that_cannot_run_stops_the_server_and_has_the_last_word(
    start: Start, tmp_path: Path, child: str
) -> None:
    (tmp_path / f"{child}.refuse").touch()
    server = start()
    assert server.process.wait(20) == 1
    assert server.said().count("cannot run with these settings") == 1
    assert server.said().splitlines()[-1] == "cannot run with these settings"
    assert not (server.folder / "cli" / "credentials.json").exists()


def test_the_password_is_made_once_and_told_to_the_cli(start: Start) -> None:
    server = start().until_ready()
    path = server.data / "auth" / "basic-auth-password"
    password = path.read_text()
    url = json.loads((server.data / "server.json").read_text())["url"]
    known = json.loads((server.folder / "cli" / "credentials.json").read_text())
    assert known[url] == {"user": "admin", "password": password}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.stop()
    start().until_ready()
    assert path.read_text() == password


def test_without_authentication_no_password_is_made(start: Start) -> None:
    server = start(auth=False).until_ready()
    assert not (server.data / "auth").exists()
    assert "password" not in server.said()


def test_an_address_for_others_is_warned_about(start: Start) -> None:
    server = start(host="0.0.0.0").until_ready()
    assert "can be reached from other machines" in server.said()


def test_credentials_of_other_servers_stay(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "credentials.json").write_text('{"http://elsewhere:1": {"user": "u", "password": "p"}}')
    start().until_ready()
    assert len(json.loads((tmp_path / "cli" / "credentials.json").read_text())) == 2


def test_a_credentials_file_that_is_no_json_is_left_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "credentials.json").write_text("mine")
    assert "was not changed" in start().until_ready().said()
    assert (tmp_path / "cli" / "credentials.json").read_text() == "mine"
