"""One program for all requests, which is an HTTP server itself: started with the watchdog, asked over loopback.

When it ends, the watchdog does: nobody is served by half a container, and whoever runs it starts another one.
"""

import asyncio
import os
import select
import signal
import time
from contextlib import suppress
from typing import cast

from pilotlight_runtime import http1
from pilotlight_runtime.watchdog_answer import PIECE_BYTES, Answer, Body, Header, Log, TooSlow
from pilotlight_runtime.watchdog_config import Config
from pilotlight_runtime.watchdog_program import INTERNAL, TEXT, end_group

KEPT = 64
"""Idle connections to the program."""
LOOK_SECONDS = 0.02
"""Between two looks at whether it listens already."""
END_SECONDS = 5.0
"""That it may take to end after its own SIGTERM."""
LAST_WORDS_SECONDS = 1.0
_PASSED_ON = ((b"x-call-id", b"X-Call-Id"), (b"x-timeout", b"X-Timeout"))


class Server:
    leaves_with_client = True

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log
        self._kept: list[_Line] = []
        self._listens = asyncio.Event()

    @property
    def words(self) -> str:
        return f"for all requests: {' '.join(self._config.command)}, at http://{self._config.upstream.authority}"

    async def run(self) -> str:
        command = self._config.command
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=PIECE_BYTES,
            )
        except OSError as error:
            return f"{command[0]} cannot be run: {error.strerror}"
        streams = ((process.stdout, "stdout: "), (process.stderr, "stderr: "))
        readers = [
            asyncio.create_task(self._log.say_lines(cast(asyncio.StreamReader, stream), prefix))
            for stream, prefix in streams
        ]
        looking = asyncio.create_task(self._look())
        try:
            code = await process.wait()
        finally:
            looking.cancel()
            await _end(process)
            await asyncio.wait(readers, timeout=LAST_WORDS_SECONDS)
            for reader in readers:
                reader.cancel()
        return f"{command[0]} has ended with {f'exit status {code}' if code >= 0 else f'signal {-code}'}"

    async def is_ready(self) -> bool:
        return self._listens.is_set()

    async def _look(self) -> None:
        """Until it takes a connection, which is kept for the first request."""
        while not self._listens.is_set():
            with suppress(OSError):
                self._keep(await self._dial())
                self._listens.set()
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def respond(self, head: http1.RequestHead, body: Body, answer: Answer, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout or None):
                await self._listens.wait()
                await self._exchange(head, body, answer)
        except TimeoutError:
            self._fail(answer, 504, f"The function did not answer within {timeout:g} s.")
        except TooSlow as error:
            self._fail(answer, 408, str(error))
        except http1.ProtocolError as error:
            self._fail(answer, 500, f"The function's answer is no HTTP: {error.sentence}")
        except OSError as error:
            self._fail(answer, 500, f"The connection to the function failed: {error.strerror or error}")

    def _fail(self, answer: Answer, status: int, why: str) -> None:
        self._log.say(why)
        if answer.begun:
            answer.cut()
        else:
            answer.say(status, f"{why}\n".encode(), TEXT, INTERNAL)

    async def _exchange(self, head: http1.RequestHead, body: Body, answer: Answer) -> None:
        began = time.perf_counter()
        buffered = await body.whole() if self._config.buffer_requests and head.has_body else None
        line = self._idle() or await self._dial()
        sending = asyncio.create_task(self._send(line, head, body, buffered))
        usable = False
        try:
            await line.answer(answer, to_head=head.method == b"HEAD", began=began, sending=sending)
            usable = line.reusable and sending.done() and sending.exception() is None
        finally:
            sending.cancel()
            if usable:
                self._keep(line)
            else:
                line.close()
            with suppress(asyncio.CancelledError, OSError, TooSlow):
                await sending

    async def _send(self, line: "_Line", head: http1.RequestHead, body: Body, buffered: bytes | None) -> None:
        """The request. That its receiver wants no more of it is not a mistake: its answer says why."""
        length = head.content_length if buffered is None else len(buffered)
        with suppress(BrokenPipeError, ConnectionResetError):
            await line.write(self._head(head, length))
            while data := (await body.take() if buffered is None else buffered):
                await line.write(http1.chunk(data) if length is None else data)
                buffered = None if buffered is None else b""
            if length is None:
                await line.write(http1.LAST_CHUNK)

    def _head(self, head: http1.RequestHead, length: int | None) -> bytes:
        target = self._config.upstream.prefix.encode() + head.target
        headers: list[Header] = [(b"Host", head.noted.get(b"host", self._config.upstream.authority.encode()))]
        headers += head.headers
        headers += [(name, head.noted[noted]) for noted, name in _PASSED_ON if noted in head.noted]
        if length is None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        elif length or head.has_body or b"content-length" in head.noted:
            headers.append((b"Content-Length", b"%d" % length))
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, target, http1.header_lines(headers))

    async def _dial(self) -> "_Line":
        reader, writer = await asyncio.open_connection(
            self._config.upstream.host, self._config.upstream.port, limit=PIECE_BYTES
        )
        return _Line(reader, writer)

    def _idle(self) -> "_Line | None":
        while self._kept:
            line = self._kept.pop()
            if line.is_quiet():
                return line
            line.close()
        return None

    def _keep(self, line: "_Line") -> None:
        if len(self._kept) < KEPT:
            self._kept.append(line)
        else:
            line.close()


class _Line:
    """One connection to the program."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = http1.ResponseParser()
        self._head: http1.ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._whole = self._spoilt = False

    @property
    def reusable(self) -> bool:
        return self._whole and not self._spoilt and self._parser.keeps_alive and not self._parser.overrun

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, answer: Answer, *, to_head: bool, began: float, sending: "asyncio.Task[None]") -> None:
        """Read the response and pass it on; what fails in sending counts as soon as it does."""
        self._head, self._whole = None, False
        self._parser.begin(self, to_head=to_head)
        while not self._whole:
            if sending.done():
                sending.result()
            data = await self._read(sending)
            if data is None:
                continue
            self._feed(data)
            if self._head is not None and not answer.begun:
                answer.begin(self._head.status, _headers(self._head, began), _length(self._head, to_head=to_head))
            pieces, self._pieces = self._pieces, []
            if pieces:
                await answer.piece(b"".join(pieces))
        answer.finish()

    def _feed(self, data: bytes) -> None:
        try:
            if data:
                self._parser.feed(data)
            else:
                self._parser.feed_end()
        except http1.ProtocolError:
            if not self._whole:
                raise
            self._spoilt = True  # more came than the answer: of no more use, and nothing to its client

    async def _read(self, sending: "asyncio.Task[None]") -> bytes | None:
        """None when the sending ended first."""
        if sending.done():
            return await self._reader.read(PIECE_BYTES)
        reading = asyncio.ensure_future(self._reader.read(PIECE_BYTES))
        try:
            await asyncio.wait((reading, sending), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is not None:
                return None
            return await reading
        finally:
            reading.cancel()

    def is_quiet(self) -> bool:
        """Whatever can be read from an idle connection is the other's end."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._writer.is_closing() and not poll.poll(0)

    def close(self) -> None:
        self._parser.close()
        self._writer.close()

    # What the parser says

    def on_interim(self, head: http1.ResponseHead) -> None:
        pass

    def on_response(self, head: http1.ResponseHead) -> None:
        self._head = head

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_end(self) -> None:
        self._whole = True


def _headers(head: http1.ResponseHead, began: float) -> list[Header]:
    return [*head.headers, (b"X-Duration-Seconds", b"%f" % (time.perf_counter() - began))]


def _length(head: http1.ResponseHead, *, to_head: bool) -> int | None:
    return head.content_length if to_head or head.has_body else 0


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asked first, then killed with what it has started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
                return
    with suppress(ProcessLookupError):
        await end_group(process)
