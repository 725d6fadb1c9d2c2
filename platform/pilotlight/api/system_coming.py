"""Functions that were accepted and are not there yet: OpenFaaS' clients look for them as soon as they hear 202."""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pilotlight.core.errors import Conflict, FunctionNotFound, PilotlightError
from pilotlight.core.spec import FunctionKey, FunctionSpec

_T = TypeVar("_T")
_FAILURES = 100
"""So many are remembered, for whoever asks why there is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneComing:
    spec: FunctionSpec
    since: float
    """Unix seconds."""


class Coming:
    def __init__(self) -> None:
        self._now: dict[FunctionKey, list[OneComing]] = {}
        self._failures: dict[FunctionKey, str] = {}

    async def noted(self, spec: FunctionSpec, deploy: Callable[[], Awaitable[_T]]) -> _T:
        """Deploys of one function wait for each other; what the last one wants is what will be. Nothing has begun
        where this itself does not."""
        one = OneComing(spec=spec, since=time.time())
        self._now.setdefault(spec.key, []).append(one)
        self._failures.pop(spec.key, None)
        try:
            return await deploy()
        except (Conflict, FunctionNotFound):
            raise  # no failure: the client asked for what the other verb does
        except PilotlightError as error:
            self._note_failure(spec.key, error.detail)
            raise
        finally:
            left = self._now[spec.key]
            left.remove(one)
            if not left:
                del self._now[spec.key]

    def found(self, key: FunctionKey) -> OneComing | None:
        return self._now[key][-1] if key in self._now else None

    def besides(self, there: Collection[FunctionKey], namespace: str) -> Sequence[OneComing]:
        """Those of the namespace that are not there yet, by name."""
        last = (ones[-1] for key, ones in self._now.items() if key not in there)
        return sorted((one for one in last if one.spec.namespace == namespace), key=lambda one: one.spec.name)

    def why_not(self, key: FunctionKey) -> str:
        """For a sentence that says that there is no such function."""
        if key in self._now:
            return " yet: it is being deployed"
        return f": its last deploy failed: {self._failures[key]}" if key in self._failures else ""

    def forget(self, key: FunctionKey) -> None:
        """It was there, and was removed."""
        self._failures.pop(key, None)

    def _note_failure(self, key: FunctionKey, detail: str) -> None:
        self._failures[key] = detail
        while len(self._failures) > _FAILURES:
            del self._failures[next(iter(self._failures))]
