"""Routers to test: one with a control plane, one that never had any."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.config import ControlSettings, RouterSettings, Settings
from tests.integration.router.rig import ROUTER, Rig, until


@contextlib.asynccontextmanager
async def _rig(router: RouterSettings = ROUTER, *, with_link: bool = True) -> AsyncIterator[Rig]:
    folder = Path(tempfile.mkdtemp(prefix="pl-router-"))
    settings = Settings(data_dir=folder, router=router, control=ControlSettings(drain_seconds=2.0))
    settings.run_dir.mkdir(mode=0o700)
    rig = Rig(folder, settings)
    try:
        if with_link:
            await rig.link.start()
        await rig.start()
        if with_link:
            await until(lambda: rig.link.version)
            await rig.link.applied()
        yield rig
    finally:
        await rig.stop()
        shutil.rmtree(settings.run_dir)
        shutil.rmtree(folder)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A router that is connected to a control plane without functions."""
    async with _rig() as rig:
        yield rig


@pytest.fixture
async def lonely() -> AsyncIterator[Rig]:
    """A router whose control plane never was there."""
    async with _rig(with_link=False) as rig:
        yield rig
