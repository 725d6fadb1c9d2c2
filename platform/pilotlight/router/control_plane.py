"""What is no function goes to the control plane: its socket, the pass-through, and what is said when it is dead or
does not answer."""

from enum import Enum
from pathlib import Path
from time import monotonic

from pilotlight.router import problems
from pilotlight.router.admission import Deadline, Deadlines
from pilotlight.router.headers import forwarded
from pilotlight.router.problems import Problem
from pilotlight.router.relay import Caller, Relay
from pilotlight.router.upstream import Pool
from pilotlight_runtime.http1 import STATUS_LINES, RequestHead, ResponseHead, header_lines

REUSE_IDLE_SECONDS = 15.0
"""Well under the time after which the API's server closes an idle connection."""


class ControlPlane:
    """Its API's socket, with the connections that are kept to it.

    `read_seconds` and `change_seconds` are how long a request may wait for the answer to begin (see patience)."""

    def __init__(
        self, socket: Path, *, deadlines: Deadlines, read_seconds: float, change_seconds: float, buffer_bytes: int
    ) -> None:
        self._deadlines = deadlines
        self._read_seconds = read_seconds
        self._change_seconds = change_seconds
        self._pool = Pool(f"unix:{socket}", reuse_idle_seconds=REUSE_IDLE_SECONDS, buffer_bytes=buffer_bytes)

    def pass_on(self, caller: Caller, head: RequestHead) -> "PassThrough":
        """Returned before it is sent: the caller must know it first."""
        deadline = None
        if (kind := patience(head.method, head.target)) is not Patience.ENDLESS:
            seconds = self._read_seconds if kind is Patience.READ else self._change_seconds
            deadline = self._deadlines.of(seconds)
        return PassThrough(caller, head, self._pool, deadline)


class Patience(Enum):
    READ = "read"
    CHANGE = "change"
    """Deploys and removals wait for replicas."""
    ENDLESS = "endless"
    """Builds show their progress; a followed log or stream of events is silent while nothing happens."""


def patience(method: bytes, target: bytes) -> Patience:
    """How long the answer may take."""
    path, _, query = target.partition(b"?")
    if path.startswith(b"/api/v1/builds") or path.endswith(b"/events") or b"follow" in query:
        return Patience.ENDLESS
    return Patience.READ if method in (b"GET", b"HEAD") else Patience.CHANGE


class PassThrough(Relay):
    """A request that the control plane answers. No queue; a deadline for the answer's beginning."""

    __slots__ = ("_attempts", "_deadline", "_pool", "arrived")

    def __init__(self, caller: Caller, head: RequestHead, pool: Pool, deadline: Deadline | None) -> None:
        super().__init__(caller, head)
        self.arrived = monotonic()
        self._pool = pool
        self._deadline = deadline
        self._attempts = 0

    def start(self) -> None:
        if self._deadline is not None:
            self._deadline.add(self)
        self._attempts += 1
        self._pool.send(self, monotonic())
        if self._head.expect_continue and not self.over:
            self.say_continue()

    def expire(self) -> None:
        if self._deadline is not None:
            changes = patience(self._head.method, self._head.target) is Patience.CHANGE
            self.refuse(problems.control_plane_slow(self._deadline.seconds, changes=changes))

    def connect_failed(self, error: OSError) -> None:
        self.refuse(problems.control_plane_down(f"{error.strerror or error}."))

    def _request_head(self) -> bytes:
        call_id = self._head.noted.get(b"x-call-id")
        own = b"" if call_id is None else b"X-Call-Id: %b\r\n" % call_id
        return forwarded(self._head, self._head.target, self.caller.address, own)

    def _response_head(self, head: ResponseHead, theirs: bytes, framing: bytes) -> bytes:
        if self._deadline is not None:
            self._deadline.remove(self)
        more = header_lines(item for item in head.noted.items() if item[0] in _OWN)
        return STATUS_LINES[head.status] + theirs + more + framing

    def _over_limit(self) -> Problem | None:
        return None

    def _is_refusal(self, head: ResponseHead) -> bool:
        return False

    def _refused(self) -> None:
        """Never: the control plane refuses nothing on our account."""

    def _lost(self, sentence: str) -> Problem:
        return problems.control_plane_down(sentence)

    def _again(self) -> bool:
        """A kept connection may have been closed just then, by a control plane that was restarted."""
        if self._attempts > 1:
            return False
        self._attempts += 1
        self._pool.send(self, monotonic())
        return True

    def _problem_lines(self) -> tuple[None, bytes]:
        return None, b""

    def _speaks_openfaas(self) -> bool:
        return self._head.target.startswith(b"/system")

    def _close(self, now: float) -> None:
        if self._deadline is not None:
            self._deadline.remove(self)


_OWN = frozenset({b"content-type", b"x-call-id", b"x-start-time", b"x-duration-seconds", b"server-timing"})
