"""Which pools are kept while a revision is proven, and when that comes to nothing."""

from contextlib import suppress

from pilotlight.control.pools import Pools
from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Pool
from pilotlight.providers.fake import FakeBackend, FakeProvider

POOL = Pool(environment="e", namespace="n")


async def test_a_pool_is_kept_while_its_revision_is_proven_and_let_go_if_that_fails() -> None:
    backend = FakeBackend()
    pools = Pools(FakeProvider(backend), spares=2)
    with suppress(StartFailed):
        async with pools.proving(POOL):
            assert backend.pools == {POOL: 2}
            await pools.sync([])  # another deploy's
            assert backend.pools == {POOL: 2}
            raise StartFailed("it did not start")
    await pools.sync([])
    assert backend.pools == {}


async def test_two_proofs_share_a_pool() -> None:
    backend = FakeBackend()
    pools = Pools(FakeProvider(backend), spares=1)
    async with pools.proving(POOL):
        async with pools.proving(POOL):
            pass
        await pools.sync([])
        assert backend.pools == {POOL: 1}
