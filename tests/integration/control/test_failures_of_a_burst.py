"""Many starts at once that fail for one reason are one failure."""

from pilotlight.providers.base import Ended
from tests.integration.control.scene import HELLO, Scene, hello

BROKEN = Ended(id="", reason="load-failed", detail="init raised KeyError", slug="init-failed")


async def test_a_burst_of_starts_that_fail_together_makes_one_pause(scene: Scene) -> None:
    async with scene.plane() as (plane, router, fake):
        await plane.deploy(hello(concurrency=1))
        await plane.scale(HELLO, 0)
        await router.until(lambda: not router.endpoints())
        fake.load_failure = BROKEN
        router.report(waiting=15)
        await router.until(lambda: router.routes[HELLO].failure is not None)
        failure = router.routes[HELLO].failure
        assert failure is not None
        assert "(failed 2 times; next try in 1 s)" in failure.detail
        fake.load_failure = None
        await router.until(router.endpoints)
        assert router.routes[HELLO].failure is None
