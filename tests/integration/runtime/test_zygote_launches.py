"""From a launch to a replica, and who may die when without losing one."""

import os
import signal
import socket
from collections.abc import Callable

import pytest

from tests.integration.runtime.zygote_harness import Zygote, alive, until

HELLO = "def handle(event, context):\n    return 'hello'\n"
KNOWS_OF_THE_END = """
import gc

from pilotlight_runtime.channel import Channel

def handle(event, context):
    return str(next(one for one in gc.get_objects() if isinstance(one, Channel)).closed)
"""
"""Whether the replica has noticed that its control plane is gone."""
StartZygote = Callable[..., Zygote]


def test_a_spare_is_claimed_and_another_one_made(start_zygote: StartZygote) -> None:
    zygote = start_zygote(spares=1)
    zygote.wait_for_spares(1)
    replica = zygote.serve(HELLO)
    assert replica.launched["spare"] is True
    assert replica.call().body == b"hello"
    assert [zygote.hear("spares")["ready"] for _ in range(2)] == [0, 1]


def test_without_spares_a_replica_is_forked_on_demand(start_zygote: StartZygote) -> None:
    replica = start_zygote(spares=0).serve(HELLO)
    assert replica.launched["spare"] is False
    assert replica.call().body == b"hello"


def test_the_number_of_spares_can_be_changed(start_zygote: StartZygote) -> None:
    zygote = start_zygote(spares=0)
    zygote.say({"type": "spares", "count": 2})
    zygote.wait_for_spares(2)
    zygote.say({"type": "spares", "count": 0})
    assert until(lambda: zygote.hear("spares")["ready"] == 0)


def test_a_spare_that_dies_is_replaced(start_zygote: StartZygote) -> None:
    zygote = start_zygote(spares=1)
    zygote.wait_for_spares(1)
    (spare,) = _children_of(zygote.process.pid)
    os.kill(spare, signal.SIGKILL)
    assert [zygote.hear("spares")["ready"] for _ in range(2)] == [0, 1]


def test_a_burst_of_launches_is_served_beyond_the_spares(start_zygote: StartZygote) -> None:
    zygote = start_zygote(spares=1)
    bundle = zygote.bundle(HELLO)
    replicas = [zygote.new() for _ in range(6)]
    for replica in replicas:
        zygote.ask(replica, bundle)
    pids = {zygote.hear("launched")["pid"] for _ in replicas}
    assert len(pids) == 6
    for replica in replicas:
        replica.ready()
        assert replica.call().body == b"hello"


def test_launching_twice_launches_once(zygote: Zygote) -> None:
    replica = zygote.serve(HELLO)
    read, write = os.pipe()
    again = {"type": "launch", "id": replica.id, "function": "hello.openfaas-fn", "revision": "7"}
    socket.send_fds(zygote.control, [_frame(again)], [write, write, write, write])
    os.close(write)
    assert zygote.hear("launched") == replica.launched
    assert os.read(read, 1) == b"", "the descriptors that came again are closed"
    os.close(read)


def test_hello_tells_what_was_imported_and_what_failed(start_zygote: StartZygote, folder: str) -> None:
    zygote = start_zygote(preimports=["decimal", "no_such_module"], prime=f"{folder}/no-such-script.py")
    assert zygote.hello["preimported"] == ["decimal"]
    assert zygote.hello["failed"]["no_such_module"] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "FileNotFoundError" in zygote.hello["failed"]["(prime)"]
    assert (zygote.hello["pid"], zygote.hello["environment"]) == (zygote.process.pid, "e1")


def test_a_replica_has_what_its_zygote_imported(start_zygote: StartZygote) -> None:
    source = "import sys\nTHERE = 'wave' in sys.modules\ndef handle(event, context):\n    return str(THERE)\n"
    replica = start_zygote(preimports=["wave"]).serve(source)
    assert replica.call().body == b"True"


def test_a_replica_that_was_not_kept_dies_with_its_zygote(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.launch(HELLO, keep=False)
    replica.ready()
    zygote.process.kill()
    assert until(lambda: not alive(replica.pid))


def test_nor_does_it_live_on_when_its_control_plane_went_first(start_zygote: StartZygote) -> None:
    """Nobody would find it: there is no record of it before `keep`."""
    zygote = start_zygote()
    replica = zygote.launch(KNOWS_OF_THE_END, keep=False)
    replica.ready()
    replica.channel.close()
    until(lambda: replica.call().body == b"True")
    zygote.process.kill()
    assert until(lambda: not alive(replica.pid))


def test_a_kept_replica_outlives_its_zygote(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.serve(HELLO)
    until(lambda: replica.call().status == 200)  # so `keep`, which was sent before, was read
    zygote.process.kill()
    zygote.process.wait()
    assert replica.call().body == b"hello"


def test_a_replica_outlives_the_control_plane(zygote: Zygote) -> None:
    replica = zygote.serve(HELLO)
    replica.channel.close()
    assert replica.call().body == b"hello"


def test_a_new_connection_hears_of_children_and_of_ends_until_they_are_forgotten(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    running, ended = zygote.serve(HELLO), zygote.serve(HELLO)
    zygote.control.close()
    os.kill(ended.pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{ended.pid}"))
    hello = zygote.connect()
    child = {"function": "hello.openfaas-fn", "revision": "7", "id": running.id, "pid": running.pid}
    assert hello["children"] == [child | {"started": running.launched["started"]}]
    (end,) = hello["ended"]
    assert (end["id"], os.waitstatus_to_exitcode(end["status"])) == (ended.id, -signal.SIGKILL)
    assert end["max_rss_kib"] > 1000
    zygote.say({"type": "forget", "ids": [ended.id, "never-heard-of"]})
    assert zygote.connect()["ended"] == []


def test_a_launch_that_has_ended_is_told_again_and_not_started_again(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.serve(HELLO)
    os.kill(replica.pid, signal.SIGKILL)
    zygote.status_of(replica)
    again = {"type": "launch", "id": replica.id, "function": "hello.openfaas-fn", "revision": "7"}
    with open(os.devnull) as nothing:
        socket.send_fds(zygote.control, [_frame(again)], [nothing.fileno()] * 4)
    assert zygote.hear("launched")["pid"] == replica.pid


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\0\0\0\x05nojso", b"\0\0\0\x02[]"],
    ids=["http", "huge", "no-json", "no-object"],
)
def test_garbage_costs_the_connection_and_nothing_else(zygote: Zygote, garbage: bytes) -> None:
    zygote.control.sendall(garbage)
    with pytest.raises(ConnectionError):
        zygote.hear("never")
    assert zygote.connect()["pid"] == zygote.process.pid


def test_a_connection_that_stops_in_the_middle_of_a_message_blocks_nobody(zygote: Zygote) -> None:
    stuck = zygote.control
    stuck.sendall(b"\0\0\0\x20half")
    zygote.connect()
    assert zygote.serve(HELLO).call().body == b"hello"
    stuck.close()


def test_a_launch_without_its_descriptors_costs_the_connection(zygote: Zygote) -> None:
    zygote.say({"type": "launch", "id": "x", "function": "f.n", "revision": "1"})
    with pytest.raises(ConnectionError):
        zygote.hear("never")
    zygote.connect()


def test_sigterm_ends_a_zygote_and_its_spares_but_no_replica(start_zygote: StartZygote) -> None:
    zygote = start_zygote(spares=1)
    replica = zygote.serve(HELLO)
    zygote.wait_for_spares(1)
    spares = [pid for pid in _children_of(zygote.process.pid) if pid != replica.pid]
    replica.call()
    zygote.process.terminate()
    assert zygote.process.wait() == 0
    assert replica.call().body == b"hello"
    assert spares
    until(lambda: not any(alive(pid) for pid in spares))


def test_a_retired_zygote_refuses_launches_and_ends_with_its_last_child(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.serve(HELLO)
    zygote.say({"type": "retire"})
    zygote.ask(zygote.new(), zygote.bundle(HELLO))
    assert zygote.hear("refused")["why"] == "this zygote is retired"
    assert replica.call().status == 200
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.process.wait(10) == 0


def test_a_zygote_that_nobody_talks_to_ends(start_zygote: StartZygote) -> None:
    zygote = start_zygote(idle_end_seconds=0.2)
    zygote.control.close()
    assert zygote.process.wait(10) == 0


def test_a_child_whose_provider_vanished_before_its_launch_message_ends(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.new()
    replica.channel.close()
    message = {"type": "launch", "id": replica.id, "function": "f.n", "revision": "1"}
    descriptors = replica.descriptors()
    socket.send_fds(zygote.control, [_frame(message)], descriptors)
    for fd in descriptors:
        os.close(fd)
    assert zygote.status_of(replica) == 0


def _frame(message: dict[str, str]) -> bytes:
    from pilotlight_runtime.launch import encode

    return encode(message)


def _children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
