"""What becomes of an exchange whose connection is never made."""

import asyncio
from pathlib import Path

import pytest

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
