"""A fixed 12-byte reply, as fast as Python can give it: what stands behind every proxy that is compared.

python _stub_backend.py UNIX_SOCKET      prints the TCP port that it listens on as well
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n"


class Stub(asyncio.Protocol):
    """Answers every request alike and looks at nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(REPLY)


async def main(path: str) -> None:
    loop = asyncio.get_running_loop()
    tcp = await loop.create_server(Stub, "127.0.0.1", 0)
    unix = await loop.create_unix_server(Stub, path)
    async with tcp, unix:
        print(tcp.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
