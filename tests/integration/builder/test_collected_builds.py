"""Builds beside a collector that has room for nothing: what a build returns is there, and what went is made again."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.builder.builder import Builder
from pilotlight.config import DiskSettings
from pilotlight.control.collector import Collector
from pilotlight.core.errors import BundleNotFound
from pilotlight.providers.fake import FakeProvider
from pilotlight.store.sql import Store
from tests.integration.builder.conftest import HANDLER, Workshop

FILES = {"handler.py": HANDLER, "requirements.txt": "greet\n"}


@pytest.fixture
async def collector(workshop: Workshop) -> AsyncIterator[Collector]:
    """Nothing fits; what was used in the last seconds stays."""
    store = await Store.open(workshop.data_dir / "store.db")
    settings = DiskSettings(budget_mib=0, free_mib=0, min_age_seconds=5)
    yield Collector(store=store, provider=FakeProvider(), shelves=[workshop.builder.shelf], settings=settings)
    await store.close()


def grow_old(builder: Builder, data_dir: Path) -> None:
    an_hour_ago = (time.time() - 3600,) * 2
    for each in builder.shelf.everything():
        for path in (data_dir / each.name, data_dir / each.name / "manifest.json"):
            if path.exists():
                os.utime(path, an_hour_ago)


async def test_what_was_built_stays_for_the_minimum_age(workshop: Workshop, collector: Collector) -> None:
    bundle = await workshop.build(FILES)
    assert await collector.collect() == []
    assert workshop.builder.bundle(bundle.digest) == bundle


async def test_what_was_collected_is_not_found_and_is_the_same_when_it_is_built_again(
    workshop: Workshop, collector: Collector
) -> None:
    bundle = await workshop.build(FILES)
    grow_old(workshop.builder, workshop.data_dir)
    removed = await collector.collect()
    assert {name.rpartition("/")[0] for name in removed} >= {"bundles", "environments", "cache/locks"}
    with pytest.raises(BundleNotFound):
        workshop.builder.bundle(bundle.digest)
    assert await workshop.build(FILES) == bundle


async def test_asking_for_a_bundle_keeps_it_and_its_environment(workshop: Workshop, collector: Collector) -> None:
    bundle = await workshop.build(FILES)
    grow_old(workshop.builder, workshop.data_dir)
    workshop.builder.bundle(bundle.digest)
    await collector.collect()
    assert workshop.builder.bundle(bundle.digest) == bundle


async def test_a_build_at_the_same_moment_has_what_it_returns(workshop: Workshop, collector: Collector) -> None:
    bundle = await workshop.build(FILES)
    for pause in range(8):
        grow_old(workshop.builder, workshop.data_dir)

        async def collect(after: float = pause / 400) -> None:
            await asyncio.sleep(after)
            await collector.collect()

        built, _ = await asyncio.gather(workshop.build(FILES), collect())
        assert built == bundle
        assert workshop.builder.bundle(bundle.digest) == bundle
        assert (workshop.builder.environment_dir(bundle.environment) / "venv/bin/python").exists()
    assert workshop.leftovers() == []


async def test_sizes_are_measured_when_things_are_made(workshop: Workshop) -> None:
    bundle = await workshop.build({**FILES, "model.bin": "x" * 3_000_000})
    sizes = {each.name: each.bytes for each in workshop.builder.shelf.everything()}
    assert 3_000_000 < sizes[f"bundles/{bundle.digest}"] < 3_100_000
    assert sizes[f"environments/{bundle.environment}"] > 0
