"""How a replica ends: asked to, out of time, out of memory, or alone."""

import fcntl
import http.client
import os
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotlight_runtime.replica import EXIT_OUT_OF_MEMORY, EXIT_STUCK
from tests.integration.runtime.zygote_harness import Replica, Zygote, alive, until

StartZygote = Callable[..., Zygote]
SLEEPING = """
import atexit, time, asyncio
atexit.register(print, "atexit ran")
def handle(event, context):
    print("began", flush=True)
    time.sleep(float(event.body))
    return "slept"
"""


def test_sigterm_lets_a_long_request_finish_and_refuses_new_ones(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING)
    sock = _begin(replica, b"0.5")
    os.kill(replica.pid, signal.SIGTERM)
    until(lambda: replica.call("/_/ready").status == 503)
    refused = replica.call(body=b"0")
    assert (refused.headers["X-Pilotlight-Busy"], refused.headers["Connection"]) == ("1", "close")
    assert sock.recv(1000).endswith(b"slept")
    assert zygote.status_of(replica) == 0
    assert replica.lines()[-1] == "atexit ran"
    sock.close()


def test_sigterm_of_an_idle_replica_ends_it_at_once(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING)
    begin = time.monotonic()
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0
    assert time.monotonic() - begin < 2


def test_a_large_answer_is_written_out_before_the_end(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    print('began')\n    return b'x' * 5_000_000\n")
    sock = _begin(replica, b"")
    until(lambda: sock.recv(1, socket.MSG_PEEK))
    os.kill(replica.pid, signal.SIGTERM)
    received = 0
    while part := sock.recv(65536):
        received += len(part)
    assert received > 5_000_000
    assert zygote.status_of(replica) == 0
    sock.close()


def test_an_atexit_function_that_hangs_is_not_waited_for_long(zygote: Zygote) -> None:
    source = "import atexit, time\natexit.register(time.sleep, 60)\ndef handle(event, context): pass\n"
    replica = zygote.serve(source)
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0


def test_sigterm_in_init_ends_it(zygote: Zygote) -> None:
    source = "import time\ndef init():\n    print('in init')\n    time.sleep(60)\ndef handle(e, c): pass\n"
    replica = zygote.launch(source)
    until(lambda: "in init" in replica.lines())
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0


def test_a_kept_replica_in_a_long_init_outlives_its_zygote(start_zygote: StartZygote, folder: Path) -> None:
    zygote = start_zygote()
    source = f"""
import pathlib, time
def init():
    while not pathlib.Path({str(folder / "init-gate")!r}).exists():
        time.sleep(0.005)
def handle(event, context): pass
"""
    replica = zygote.launch(source)
    until(lambda: _was_read(replica.channel))
    zygote.process.kill()
    zygote.process.wait()
    (folder / "init-gate").touch()
    replica.ready()
    assert replica.call().status == 200


def test_a_kept_replica_in_a_long_import_outlives_its_zygote(start_zygote: StartZygote, folder: Path) -> None:
    zygote = start_zygote()
    source = f"""
import pathlib, time
while not pathlib.Path({str(folder / "import-gate")!r}).exists():
    time.sleep(0.005)
def handle(event, context): pass
"""
    replica = zygote.launch(source)
    until(lambda: _was_read(replica.channel))
    time.sleep(0.05)
    zygote.process.kill()
    zygote.process.wait()
    (folder / "import-gate").touch()
    replica.ready()
    assert replica.call().status == 200


def test_a_replica_that_was_not_kept_dies_with_its_zygote(start_zygote: StartZygote) -> None:
    zygote = start_zygote()
    replica = zygote.launch("def handle(event, context): pass\n", keep=False)
    replica.ready()
    zygote.process.kill()
    zygote.process.wait()
    until(lambda: not alive(replica.pid))


def test_a_stream_that_lasts_too_long_is_cut_and_its_slot_is_free(zygote: Zygote) -> None:
    source = "import time\ndef handle(e, c):\n    while e.body:\n        yield 'x'\n        time.sleep(0.02)\n"
    replica = zygote.serve(source, max_stream_seconds=0.3, concurrency=1)
    with pytest.raises(http.client.IncompleteRead):
        replica.call(body=b"1", headers={"X-Call-Id": "c9"})
    assert until(lambda: replica.call(body=b"").status == 200)
    (record,) = replica.records()
    assert (record.stream, record.call_id) == ("s", "c9")
    assert record.text == "stream-ended: it lasted 0.3 s, which is the most that is allowed"


def test_a_stream_that_ignores_its_end_ends_its_replica(zygote: Zygote) -> None:
    source = "import time\ndef handle(e, c):\n    yield 'x'\n    time.sleep(60)\n"
    replica = zygote.serve(source, max_stream_seconds=0.1, timeout_seconds=0.2)
    with pytest.raises(http.client.IncompleteRead):
        replica.call()
    assert replica.hear()["reason"] == "stuck"
    assert zygote.status_of(replica) == EXIT_STUCK


def test_a_sync_handler_over_its_time_is_answered_504_and_keeps_its_slot(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING, timeout_seconds=0.2, concurrency=1)
    reply = replica.call(body=b"0.6", headers={"X-Call-Id": "c7"})
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (504, "handler-timeout")
    assert reply.json() == {"error": "The function did not answer within 0.2 s.", "call_id": "c7"}
    assert replica.call(body=b"0").status == 503
    assert until(lambda: replica.call(body=b"0").status == 200)


def test_an_async_handler_over_its_time_is_cancelled(zygote: Zygote) -> None:
    source = "import asyncio\nasync def handle(event, context):\n    await asyncio.sleep(float(event.body))\n"
    replica = zygote.serve(source, timeout_seconds=0.2, concurrency=1)
    assert replica.call(body=b"60").status == 504
    assert until(lambda: replica.call(body=b"0").status == 200)


def test_a_stream_may_last_longer_than_the_timeout_while_it_gets_on(zygote: Zygote) -> None:
    source = "import time\ndef handle(e, c):\n    for x in 'abcd':\n        time.sleep(0.15)\n        yield x\n"
    assert zygote.serve(source, timeout_seconds=0.4).call().body == b"abcd"


def test_a_request_that_does_not_come_whole_in_time_is_let_go(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING, timeout_seconds=0.2, concurrency=1)
    with replica.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 10\r\n\r\nhalf")
        assert sock.recv(1000) == b""
    assert replica.call(body=b"0").status == 200


def test_a_stuck_thread_ends_its_replica_after_the_others_have_finished(zygote: Zygote) -> None:
    source = """
import asyncio, time
async def handle(event, context):
    print("began")
    seconds = float(event.body)
    while seconds > 60:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            print("I do not care")
    await asyncio.sleep(seconds)
    return "slept"
"""
    replica = zygote.serve(source, timeout_seconds=1.5)
    assert replica.call(body=b"100").status == 504
    time.sleep(4)
    sock = _begin(replica, b"1.2")
    assert replica.hear()["reason"] == "stuck"
    assert replica.call(body=b"0").headers["X-Pilotlight-Busy"] == "1"
    assert sock.recv(1000).endswith(b"slept")
    assert zygote.status_of(replica) == EXIT_STUCK
    assert "stuck: call -: the handler still runs after 6.5 s; this replica ends" in replica.lines()
    sock.close()


def test_over_its_memory_limit_a_replica_says_so_and_ends(zygote: Zygote) -> None:
    source = """
kept = []
def handle(event, context):
    kept.append(bytearray(b"x") * 150_000_000)
    import time
    time.sleep(30)
"""
    replica = zygote.serve(source, memory_mib=100)
    sock = _begin(replica, b"", "")
    ending = replica.hear()
    assert (ending["type"], ending["reason"]) == ("ending", "out-of-memory")
    assert ending["detail"].endswith("the limit is 100 MiB")
    assert zygote.status_of(replica) == EXIT_OUT_OF_MEMORY
    assert replica.records()[-1].stream == "s"
    sock.close()


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.Popen([sys.executable, '-c', GROW])",
        "subprocess.Popen(['sh', '-c', f'{sys.executable} -c {shlex.quote(GROW)} &']).wait()",
        "os.fork() or exec(GROW)",
    ],
    ids=["program", "orphan", "forked"],
)
def test_what_its_children_use_counts_too(zygote: Zygote, start: str) -> None:
    source = f"""
import os, shlex, subprocess, sys
GROW = "import time; held = bytearray(b'x') * 200_000_000; time.sleep(30)"
def handle(event, context):
    {start}
    import time
    time.sleep(30)
"""
    replica = zygote.serve(source, memory_mib=120)
    sock = _begin(replica, b"", "")
    ending = replica.hear()
    assert (ending["type"], ending["reason"]) == ("ending", "out-of-memory")
    os.killpg(replica.pid, signal.SIGKILL)  # as its provider does
    sock.close()


def test_children_that_share_their_parents_memory_do_not_count_it_again(zygote: Zygote) -> None:
    source = """
import os, time
held = bytearray(b"x") * 100_000_000
def handle(event, context):
    for _ in range(4):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
    time.sleep(2.5)
    return "alive"
"""
    assert zygote.serve(source, memory_mib=200).call().body == b"alive"


def test_a_replica_within_its_memory_limit_lives(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    return str(len(b'x' * 20_000_000))\n", memory_mib=200)
    assert replica.call().body == b"20000000"


def test_alone_and_without_requests_it_ends(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING, idle_end_seconds=1)
    replica.channel.close()
    assert zygote.status_of(replica) == 0
    assert any(line.startswith("idle: ") for line in replica.lines())


def test_what_ends_alone_leaves_no_secrets_behind(zygote: Zygote, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("token", "key"):
        (secrets / name).write_text("hunter2")
    replica = zygote.serve(SLEEPING, idle_end_seconds=1, secrets_dir=str(secrets))
    replica.channel.close()
    assert zygote.status_of(replica) == 0
    assert not secrets.exists()


def test_what_is_told_to_end_leaves_them_to_the_control_plane(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2")
    replica = zygote.serve(SLEEPING, secrets_dir=str(tmp_path))
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0
    assert (tmp_path / "token").exists()


def test_with_a_control_plane_it_never_ends_for_idleness(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING, idle_end_seconds=0.1)
    time.sleep(1.5)
    assert alive(replica.pid)


def test_a_question_whether_it_is_ready_counts_as_word_of_life(zygote: Zygote) -> None:
    replica = zygote.serve(SLEEPING, idle_end_seconds=2)
    replica.channel.close()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert replica.call("/_/ready").status == 200
        time.sleep(0.5)
    assert alive(replica.pid)


def test_a_crash_leaves_a_stack_in_the_log(zygote: Zygote) -> None:
    source = "import ctypes\ndef handle(event, context):\n    ctypes.string_at(0)\n"
    replica = zygote.serve(source)
    with pytest.raises(ConnectionError):
        replica.call()
    assert zygote.status_of(replica) == -signal.SIGSEGV
    assert any('handler.py", line 3 in handle' in line for line in replica.lines())


def _begin(replica: Replica, body: bytes, printed: str = "began") -> socket.socket:
    begun = replica.lines().count(printed)
    sock = replica.connect()
    sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    if printed:
        until(lambda: replica.lines().count(printed) > begun)
    return sock


def _was_read(sock: socket.socket) -> bool:
    """Whether the other end has taken all that was sent to it."""
    waiting = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    return bool(waiting == 0)
