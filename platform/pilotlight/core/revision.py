"""What was deployed: a spec, an environment and a bundle under one number, never changed afterwards."""

import msgspec

from pilotlight.core.spec import FunctionKey, FunctionSpec


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One function's own files, addressed by the digest of all that decides how they run.

    The digest covers the files, the environment and the template, so that a reference alone is enough to deploy."""

    digest: str
    environment: str
    """Digest of the environment; the builder knows where it lies."""
    template: str
    contract: str
    handler: str = "handler"
    preimports: tuple[str, ...] = ()
    """Modules that the zygote may import for it: each passed a trial."""
    image: str | None = None
    """The container image that it runs as, where functions are containers."""
    environment_image: str | None = None
    """The image of its environment alone, in which zygotes wait for it. None: nothing but `image` can run it. With one,
    the builder's folder of the bundle has what `image` has in /home/app/function, as `function/`."""


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A function's number N, ready to be started."""

    id: str
    number: int
    spec: FunctionSpec
    bundle: Bundle
    created_at: float
    """Unix seconds."""
    slots: int | None = None
    """Slots that its replicas have; known once one of them was ready."""
    secrets: dict[str, str] = {}
    """Versions of the secrets that it was deployed with, by name: a deploy after a change is another revision."""

    @property
    def function(self) -> FunctionKey:
        return self.spec.key

    def with_slots(self, slots: int) -> "Revision":
        return msgspec.structs.replace(self, slots=slots)


class RevisionState:
    """Where a revision stands; `live` is the one that is served. Strings, as they are stored."""

    PROVING = "proving"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"
