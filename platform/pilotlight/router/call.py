"""A call of a function: from its arrival over the queue to a replica, and its answer back."""

import posixpath
import re
from time import monotonic, time_ns
from urllib.parse import unquote_to_bytes

from pilotlight.router import problems
from pilotlight.router.admission import Deadline, Function
from pilotlight.router.balancer import Backend
from pilotlight.router.headers import CallIds, depth_of, forwarded
from pilotlight.router.problems import Problem
from pilotlight.router.relay import ABANDON_SECONDS, Caller, Relay
from pilotlight.router.table import Table
from pilotlight.router.upstream import Connection
from pilotlight_runtime.http1 import STATUS_LINES, RequestHead, ResponseHead

METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"})
_METHOD_NAMES = tuple(method.decode() for method in METHODS)
ATTEMPTS = 2
"""The first, and one repetition where that is safe."""
CONNECT_RETRIES = 5
"""Failed connects that one call outlives: with the rests between them 3 s, in which a control plane that died together
with the replica is back and has found another one."""
_PHASE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPEN_INTERNAL = (b"/_/health", b"/_/ready")


class FunctionCall(Relay):
    """Knows its function, its deadline and its id; holds a slot while it has a connection."""

    __slots__ = (
        "_address", "_attempts", "_backend", "_call_id", "_dispatched", "_function", "_own", "_path", "_table",
        "_unreached", "arrived", "deadline",
    )  # fmt: skip
    deadline: Deadline | None
    """None until it is admitted."""

    def __init__(
        self, caller: Caller, head: RequestHead, table: Table, ids: CallIds, address: bytes, path: bytes
    ) -> None:
        Relay.__init__(self, caller, head)  # super() takes as long as all of it, once per call
        self.arrived = monotonic()
        self.deadline = None
        self._function: Function | None = None
        self._backend: Backend | None = None
        self._dispatched = 0.0
        self._attempts = 0
        self._unreached = 0
        self._table = table
        self._address = address
        self._path = path
        self._call_id = ids.of(head.noted.get(b"x-call-id"))
        self._own = b"X-Call-Id: %b\r\nX-Start-Time: %d\r\n" % (self._call_id, time_ns())

    def start(self) -> None:
        """Refuse it, have it wait for routes, or hand it to its function."""
        head, path = self._head, self._path
        function = self._function = self._table.find(self._address)
        if (
            function is None
            or function.guarded
            or head.has_body
            or head.method not in METHODS
            or b"x-pilotlight-depth" in head.noted
            or b"_" in path
            or b"%" in path
        ):
            self._start_carefully()
        else:
            function.arrive(self, self.arrived)

    def _start_carefully(self) -> None:
        """The same for calls that may have something wrong with them."""
        if (problem := self._impossible()) is not None:
            self.refuse(self._stranger() or problem)
        elif not self._table.ready:
            self._table.hold(self)
        else:
            self.look_up()
        if self._head.expect_continue and not self.over:
            self.say_continue()

    def _impossible(self) -> Problem | None:
        """What no function would be asked."""
        if self._head.method not in METHODS:
            return problems.method_not_allowed(self._head.method.decode(), _METHOD_NAMES)
        if _is_internal(self._path):
            return problems.path_not_found(self._path.decode("ascii", "replace"))
        if depth_of(self._head) > self._table.call_depth:
            return problems.call_too_deep(self._table.call_depth)
        return None

    def _stranger(self) -> Problem | None:
        """Why its caller may not call the function, where that takes a key and none of its keys came along."""
        keys = None if self._function is None else self._function.keys
        return None if keys is None else keys.take(self._head)

    def look_up(self) -> None:
        function = self._function = self._table.find(self._address)
        if function is None:
            self.refuse(self._table.not_found(self._address))
        elif function.guarded and self._stops_at_the_gate(function):
            pass
        elif self._head.has_body and (problem := self._over_limit()) is not None:
            self.refuse(problem)
        else:
            function.arrive(self, self.arrived)

    def _stops_at_the_gate(self, function: Function) -> bool:
        """Whether it is answered here: a browser that asks first needs no key, and wakes nothing."""
        if function.sharing is not None:
            connection, keep = self._after_own_answer()
            if (preflight := function.sharing.preflight(self._head, connection)) is not None:
                self._function = None
                self._finish_with(204, preflight, keep=keep)
                return True
        if (problem := self._stranger()) is not None:
            self.refuse(problem)
            return True
        return False

    # From admission.

    def dispatch(self, backend: Backend, now: float) -> None:
        self._backend = backend
        self._dispatched = now
        self._attempts += 1
        backend.send(self, now)

    def expire(self) -> None:
        function = self._function
        if function is None:
            self.refuse(problems.no_routes(self._table.hold_seconds))
        else:
            seconds = function.route.timeout_seconds
            self.refuse(problems.timed_out(seconds, waiting=self._connection is None))

    # From the connection.

    def attach(self, connection: Connection) -> None:
        if self._head.has_body:
            Relay.attach(self, connection)
            return
        self._connection = connection
        connection.request_whole = True
        connection.write(forwarded(self._head, self._path, self.caller.address, self._own))

    def connect_failed(self, error: OSError) -> None:
        if self.over:
            return
        sentence = f"{type(error).__name__}: {error.strerror or error}."
        function, backend = self._function, self._backend
        self._attempts -= 1  # nothing of it was sent
        self._unreached += 1
        if function is None or backend is None or self._unreached > CONNECT_RETRIES:
            self.refuse(problems.replica_unreachable(sentence))
        else:
            function.rests(backend)
            function.again(self)

    def on_lost(self, sentence: str) -> None:
        if not self._responding and self._function is not None and self._backend is not None:
            self._function.busy(self._backend)  # it is dying, or has just closed this connection: others first
        Relay.on_lost(self, sentence)

    # For Relay.

    def _is_refusal(self, head: ResponseHead) -> bool:
        if b"x-pilotlight-busy" not in head.noted:
            return False
        if self._function is not None and self._backend is not None:
            self._function.busy(self._backend)
        return True

    def _refused(self) -> None:
        """The replica had no room; nothing of the call was given to the handler."""
        self._attempts -= 1
        if not self._body_kept or self._function is None:
            self.refuse(problems.replica_busy())
        else:
            self._function.again(self)

    def _request_head(self) -> bytes:
        return forwarded(self._head, self._path, self.caller.address, self._own)

    def _response_head(self, head: ResponseHead, theirs: bytes, framing: bytes) -> bytes:
        now = monotonic()
        noted = head.noted
        backend, function = self._backend, self._function
        if function is not None and function.sharing is not None:
            theirs = function.sharing.rewritten(self._head, head)
        if backend is not None and backend.added_at > self.arrived:
            theirs += self._server_timing(backend, now, noted.get(b"server-timing"))
        elif b"server-timing" in noted:
            theirs += b"Server-Timing: %b\r\n" % noted[b"server-timing"]
        kind = noted.get(b"content-type")
        if kind is not None:
            theirs += b"Content-Type: %b\r\n" % kind
        elif head.has_body or self.to_head:
            theirs += b"Content-Type: %b\r\n" % self._head.noted.get(b"content-type", b"text/plain")
        return b"%b%b%bX-Duration-Seconds: %f\r\n%b" % (
            STATUS_LINES[head.status],
            theirs,
            self._own,
            now - self.arrived,
            framing,
        )

    def _server_timing(self, backend: Backend, now: float, given: bytes | None) -> bytes:
        """A cold start as a sum that anyone can read, in milliseconds."""
        parts = [f"wait;dur={(self._dispatched - self.arrived) * 1e3:.2f}"]
        # A replica names its phases: what is no word could be a header, or a whole answer.
        phases = [phase for phase in backend.endpoint.phases.items() if _PHASE.fullmatch(phase[0])]
        parts += [f"{name};dur={duration:.2f}" for name, duration in phases]
        parts.append(f"handler;dur={(now - self._dispatched) * 1e3:.2f}")
        text = ", ".join(parts).encode()
        return b"Server-Timing: %b\r\n" % (text if given is None else given + b", " + text)

    def _over_limit(self) -> Problem | None:
        if self._function is None:
            return None
        limit = self._function.route.body_limit_bytes
        if self._body_bytes > limit or (self._head.content_length or 0) > limit:
            return problems.body_too_large(limit)
        return None

    def _lost(self, sentence: str) -> Problem:
        return problems.replica_died(sentence)

    def _give_up(self, sentence: str) -> None:
        function, backend = self._function, self._backend
        if function is None or backend is None:
            self.refuse(self._lost(sentence))
        else:
            function.explain(self, backend.endpoint.replica, self._lost(sentence))

    def _again(self) -> bool:
        if self._attempts >= ATTEMPTS or not self._body_kept or self._function is None:
            return False
        self._function.again(self)
        return True

    def _abandon_seconds(self) -> float:
        if self._function is None:
            return ABANDON_SECONDS
        left = self.arrived + self._function.route.timeout_seconds - monotonic()
        return max(0.0, left) + ABANDON_SECONDS

    def _problem_lines(self) -> tuple[bytes, bytes]:
        lines = b"%bX-Duration-Seconds: %f\r\n" % (self._own, monotonic() - self.arrived)
        if self._function is not None and self._function.sharing is not None:
            lines += self._function.sharing.lines(self._head)
        return self._call_id, lines

    def _switched(self) -> None:
        if self.deadline is not None:
            self.deadline.remove(self)

    def _close(self, now: float) -> None:
        function = self._function
        if function is None:
            self._table.leave(self)
        elif self.deadline is None:
            function.turned_away(self.status, now - self.arrived)
        else:
            function.finish(self, self.status, now)


def _is_internal(path: bytes) -> bool:
    """Whether it leads to what a replica keeps for us (/_/...), also for somebody who decodes and normalizes it, and
    is not one of the two that are open to all."""
    path = path.partition(b"?")[0]
    if b"_" not in path and b"%" not in path:
        return False
    plain = posixpath.normpath(b"/" + unquote_to_bytes(path).lstrip(b"/"))
    return (plain == b"/_" or plain.startswith(b"/_/")) and path not in _OPEN_INTERNAL
