"""Who may call a function with `auth: key`: whoever brings one of its keys, of which only digests are known here."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from time import monotonic

from pilotlight.core.spec import FunctionKey
from pilotlight.router import problems
from pilotlight.router.problems import Problem
from pilotlight_runtime.http1 import RequestHead

_OWN = b"x-function-key"
_SHARED = b"authorization"


class Keys:
    """The keys of one function, by their SHA-256; `seconds` says for how much longer those are valid that end. It is
    counted here, so that they end also while no control plane is there to say so."""

    __slots__ = ("_clock", "_digests", "_function")

    def __init__(
        self,
        function: FunctionKey,
        digests: Iterable[str],
        seconds: Mapping[str, float] | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._function = function
        self._clock = clock
        now, ends = clock(), seconds or {}
        self._digests = tuple((digest.lower().encode(), now + ends.get(digest, inf)) for digest in digests)

    def take(self, head: RequestHead) -> Problem | None:
        """Why it is not let in, or None. The key is taken out of the head: the function has no use for it, but an
        Authorization that is not ours is its own."""
        given = list(_given(head))
        good = [header for header, key in given if self._opens(key)]
        head.headers = [header for header in head.headers if header[0].lower() != _OWN and header not in good]
        if good:
            return None
        return problems.key_refused(self._function) if given else problems.key_required(self._function)

    def _opens(self, key: bytes) -> bool:
        """Every digest is compared, each in the same time."""
        digest = hashlib.sha256(key).hexdigest().encode()
        now = self._clock()
        return sum([hmac.compare_digest(digest, known) and now < until for known, until in self._digests]) > 0


def _given(head: RequestHead) -> Iterator[tuple[tuple[bytes, bytes], bytes]]:
    """Each header that may hold a key, with the key."""
    for header in head.headers:
        name = header[0].lower()
        if name == _OWN:
            yield header, header[1]
        elif name == _SHARED:
            scheme, _, key = header[1].partition(b" ")
            if scheme.lower() == b"bearer":
                yield header, key.strip()
