"""Secrets, namespaces and functions' keys put together, and joined to the functions that they concern."""

from collections.abc import Callable, Collection
from pathlib import Path

from pilotlight.control.clock import Clock
from pilotlight.control.keys import FunctionKeys
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.reconciler import Reconciler
from pilotlight.control.sealing import Seal
from pilotlight.control.secrets import Secrets
from pilotlight.control.state import FunctionState
from pilotlight.core.errors import SecretNotFound, SecretsLocked
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.store.sql import Store

_FOR_WANT_OF_A_SECRET = (SecretNotFound.default_slug, SecretsLocked.default_slug)


class Keeping:
    """`changing` are the functions of which a change is under way, which may not be there yet; `proving` what they
    are to become."""

    def __init__(
        self,
        *,
        store: Store,
        data_dir: Path,
        reconciler: Callable[[], Reconciler],
        changing: Callable[[], Collection[FunctionKey]],
        proving: Callable[[], Collection[FunctionSpec]],
        clock: Clock,
    ) -> None:
        self._reconciler = reconciler
        seal = Seal(data_dir / "auth" / "secrets.key", self._is_in_use)
        self.namespaces = Namespaces(
            store=store,
            functions=lambda: {*reconciler().functions, *changing()},
            removed=lambda name: self.secrets.forget_namespace(name),
            clock=clock,
        )
        self.secrets = Secrets(
            store=store,
            seal=seal,
            namespaces=self.namespaces,
            live=lambda: reconciler().live_revisions(),
            proving=proving,
            changed=self._secret_changed,
            clock=clock,
        )
        self.keys = FunctionKeys(store=store, seal=seal, changed=self._keys_changed, clock=clock)

    async def open(self) -> None:
        """Once the store is there, and before a function is."""
        await self.namespaces.open()
        await self.secrets.open()
        await self.keys.open()

    def close(self) -> None:
        self.keys.close()

    def _is_in_use(self) -> bool:
        return not (self.secrets.is_empty() and self.keys.is_empty())

    def _keys_changed(self, function: FunctionKey) -> None:
        if (state := self._reconciler().functions.get(function)) is not None:
            state.key_digests = self.keys.digests(function)
            self._reconciler().publish(state)

    def _secret_changed(self, namespace: str, name: str) -> None:
        """What could not start for want of it need not wait for the end of its pause."""
        for state in list(self._reconciler().functions.values()):
            if _waits_for(state, namespace, name):
                self._reconciler().reset_failures(state)
                self._reconciler().publish(state)
                self._reconciler().reconcile(state)


def _waits_for(state: FunctionState, namespace: str, name: str) -> bool:
    spec, failure = state.revision.spec, state.failure
    is_its = spec.namespace == namespace and name in spec.secrets
    return is_its and failure is not None and failure.slug in _FOR_WANT_OF_A_SECRET
