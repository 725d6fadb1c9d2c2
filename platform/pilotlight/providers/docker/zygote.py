"""One container of a pool as the provider sees it: the socket at which its zygote dials, and what is said there.

The zygote runs users' imports, and once it was claimed a function runs beside it, so nothing it says is trusted beyond
its own container: whoever is not the container's first process is hung up on, and there is one conversation at a time.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence

from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import Pool
from pilotlight.providers.docker.berths import Berth
from pilotlight.providers.process.messages import ChildEnded, Hello, Launched, Refused, from_zygote
from pilotlight.providers.process.records import listen
from pilotlight.providers.process.wire import Wire
from pilotlight_runtime.launch import Message

LAUNCH_SECONDS = 10.0
"""A claim takes milliseconds; a zygote that needs this long is stuck."""
REJECTED_SECONDS = 0.1


class NotLaunched(Exception):
    """It could not be known whether the launch was taken, or it was refused; its container is to be removed."""


class ContainerZygote:
    """`greeted(zygote)` tells that it is ready for a launch, `ended(zygote, end)` how its replica ended."""

    def __init__(
        self,
        berth: Berth,
        pool: Pool,
        *,
        greeted: Callable[["ContainerZygote"], None],
        ended: Callable[["ContainerZygote", ChildEnded], None],
    ) -> None:
        self.berth = berth
        self.pool = pool
        self.container = ""
        """The engine's id of it, once it was made."""
        self.first_pid = 0
        """Of its first process, on this machine; 0: not known."""
        self.replica: str | None = None
        """For whom it was claimed."""
        self.hello: Hello | None = None
        self._tell_greeted = greeted
        self._tell_ended = ended
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        """When its container was started, or was found running; by the loop's clock."""
        self._wire: Wire | None = None
        self._answer: asyncio.Future[Launched] | None = None
        self._closed = False
        self.memory_mib = 0.0
        """While it waits; 0: not known."""
        self.silent_since: float | None = None
        """Since when it has hung up, by the loop's clock."""
        self._listener = listen(berth.socket)
        os.chmod(berth.socket, 0o666)  # noqa: S103 (whoever the image's user is; the folders above it are for us alone)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    @property
    def id(self) -> str:
        return self.berth.id

    @property
    def is_idle(self) -> bool:
        return self.hello is not None and self._wire is not None and self.replica is None

    def covers(self, pool: Pool) -> bool:
        return set(pool.preimports) <= set(self.pool.preimports)

    async def launch(self, function: FunctionKey, revision: str, fds: Sequence[int]) -> Launched:
        """For `replica`; NotLaunched otherwise."""
        if self._wire is None or self.replica is None:
            raise NotLaunched("its zygote has hung up")
        self._answer = self._loop.create_future()
        self._wire.send({"type": "launch", "id": self.replica, "function": function, "revision": revision}, fds)
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                return await self._answer
        except TimeoutError:
            raise NotLaunched(f"its zygote did not answer within {LAUNCH_SECONDS:g} s") from None
        finally:
            self._answer = None

    def signal(self, number: int) -> bool:
        """For its replica. False: nobody hears it, the engine has to do it."""
        if self._wire is None:
            return False
        self._wire.send({"type": "signal", "number": number})
        return self._wire is not None

    def drain(self) -> None:
        """Take in its last words."""
        if self._wire is not None:
            self._wire.drain()

    def close(self) -> None:
        """Let go of it, once or again; what the engine tells of it afterwards is another matter."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        self._fail("it has ended")

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if self._wire is not None or not self._is_first_process(sock):
            sock.close()
            self._loop.remove_reader(self._listener)  # whoever dials without a pause is not heard all the time
            self._loop.call_later(REJECTED_SECONDS, self._listen)
            return
        self.silent_since = None
        self._wire = Wire(sock, self._message, self._silent)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _is_first_process(self, sock: socket.socket) -> bool:
        """As far as can be known: a server that is in a container itself does not see other containers' pids."""
        pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return not pid or not self.first_pid or pid == self.first_pid

    def _message(self, message: Message) -> None:
        match from_zygote(message):
            case Hello() as hello:
                self.hello = hello
                self._tell_greeted(self)
            case Launched(id=replica) as launched if replica == self.replica:
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(launched)
            case Refused(id=replica, why=why) if replica == self.replica:
                self._fail(why)
            case ChildEnded(id=replica) as end if replica == self.replica:
                self._tell_ended(self, end)

    def _silent(self) -> None:
        """It dials again, if it lives."""
        self._wire = None
        self.silent_since = self._loop.time()
        self._fail("its zygote hung up")

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotLaunched(why))
