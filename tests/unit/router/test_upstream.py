"""What becomes of an exchange whose connection is never made."""

import asyncio
import select
import socket
import threading
from pathlib import Path

import pytest
import uvloop

from pilotlight.router import upstream
from pilotlight.router.upstream import Connection, Pool
from pilotlight_runtime.http1 import ResponseHead


class Exchange:
    """Writes down what it hears (upstream.Exchange)."""

    down: list[bytes]
    to_head = once = over = False

    def __init__(self) -> None:
        self.error: asyncio.Future[OSError] = asyncio.get_running_loop().create_future()

    def attach(self, connection: Connection) -> None: ...

    def connect_failed(self, error: OSError) -> None:
        self.error.set_result(error)

    def on_response(self, head: ResponseHead) -> None: ...
    def on_interim(self, head: ResponseHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def flush_down(self) -> None: ...
    def on_lost(self, sentence: str) -> None: ...
    def pause_up(self) -> None: ...
    def resume_up(self) -> None: ...


async def _error_of(address: str, *, closed: bool = False, opened_again: bool = False) -> OSError:
    """And the slot is given back, once."""
    released: list[Pool] = []
    pool = Pool(address, reuse_idle_seconds=1, buffer_bytes=1, on_release=lambda pool, now: released.append(pool))
    exchange = Exchange()
    pool.send(exchange, 0.0)
    if closed:
        pool.close()
        pool.closed = not opened_again
    async with asyncio.timeout(2):
        error = await exchange.error
    assert released == [pool]
    return error


@pytest.mark.parametrize("opened_again", [False, True])
async def test_a_connection_given_up_before_its_first_step_tells_its_exchange(
    tmp_path: Path, opened_again: bool
) -> None:
    error = await _error_of(f"unix:{tmp_path}/r.sock", closed=True, opened_again=opened_again)
    assert isinstance(error, ConnectionAbortedError)


@pytest.mark.parametrize("address", ["unix:/nowhere/r.sock", "tcp:127.0.0.1:99999", "tcp:nothing", "pigeon:1"])
async def test_an_address_that_leads_nowhere_tells_its_exchange(address: str) -> None:
    assert (await _error_of(address)).strerror


def _hang_up_on_the_first(listener: socket.socket, hung_up: threading.Event) -> None:
    listener.accept()[0].close()
    hung_up.set()


async def _error_of_one_that_hangs_up(listener: socket.socket, address: str) -> OSError:
    hung_up = threading.Event()
    threading.Thread(target=_hang_up_on_the_first, args=(listener, hung_up), daemon=True).start()
    released: list[Pool] = []
    pool = Pool(address, reuse_idle_seconds=1, buffer_bytes=1, on_release=lambda pool, now: released.append(pool))
    exchange = Exchange()
    pool.send(exchange, 0.0)
    await asyncio.sleep(0)
    assert hung_up.wait(2)  # the loop stands still: the connection is made and lost before anybody here hears of it
    async with asyncio.timeout(2):
        error = await exchange.error
    assert released == [pool]
    return error


def test_a_connection_that_was_lost_before_anybody_took_it_tells_its_exchange(tmp_path: Path) -> None:
    """A replica that is killed within the breath in which it was reached. On the router's own loop, whose order of
    things it hangs on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/r.sock")
        listener.listen()
        error = uvloop.run(_error_of_one_that_hangs_up(listener, f"unix:{tmp_path}/r.sock"))
    assert isinstance(error, ConnectionResetError)


class Upload(Exchange):
    """More than a socket takes, of which the end never comes."""

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        connection.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + bytes(8_000_000))

    def on_end(self) -> None:
        self.connection.done(0.0)


async def test_a_replica_that_answers_and_reads_no_more_keeps_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "LINGER_SECONDS", 0.05)
    released: list[Pool] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/r.sock")
        listener.listen()
        pool = Pool(
            f"unix:{tmp_path}/r.sock",
            reuse_idle_seconds=1,
            buffer_bytes=65_536,
            on_release=lambda pool, now: released.append(pool),
        )
        pool.send(Upload(), 0.0)
        async with asyncio.timeout(5):
            replica = await asyncio.to_thread(lambda: listener.accept()[0])
            with replica:
                replica.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
                poll = select.poll()
                poll.register(replica, 0)
                while not poll.poll(0):  # until the other end is gone
                    await asyncio.sleep(0.01)
    assert released == [pool]
