"""The control plane's program, and the one place where a store, a builder, a provider and the API meet.

    python -m pilotlight.app --settings-json JSON [--lifeline-fd N]
    python -m pilotlight.app --settings-json JSON --stop-all

SIGTERM ends the replicas too (unless `keep` is set); the end of the lifeline, which means that the supervisor is gone,
leaves them to the next start. `--stop-all` ends what a control plane that died left running.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
import uvloop

from pilotlight import __version__
from pilotlight.api.auth import Credentials
from pilotlight.api.server import make_app, serving
from pilotlight.builder.builder import Builder
from pilotlight.builder.docker import ImageBuilder, build_arguments
from pilotlight.builder.image_functions import ImageFunctions
from pilotlight.builder.image_push import BundlePushes
from pilotlight.builder.index import index_settings
from pilotlight.builder.interpreter import choose_interpreter, ensure_reachable
from pilotlight.builder.layer import ensure_layer
from pilotlight.config import Sandbox, Settings, build_sandbox, claim_private_dir, sandbox_user
from pilotlight.control.plane import ControlPlane
from pilotlight.core.errors import InvalidSetting, PilotlightError
from pilotlight.engine import Engine, address_of, connect
from pilotlight.engine.image_tags import owner_of
from pilotlight.log_lines import log_to_stderr
from pilotlight.providers.base import Provider
from pilotlight.providers.docker import DockerProvider
from pilotlight.providers.docker.engines import engines_of
from pilotlight.providers.process import cgroups
from pilotlight.providers.process.provider import ProcessProvider
from pilotlight.store.counts import CountTable
from pilotlight.store.sql import Store
from pilotlight_problems import told
from pilotlight_runtime.process import set_not_dumpable

log = structlog.get_logger(__name__)


def main() -> int:
    arguments = _parse_arguments()
    log_to_stderr()
    set_not_dumpable()
    try:
        settings = Settings.from_json(arguments.settings_json)
        return uvloop.run(_stop_all(settings) if arguments.stop_all else _serve(settings, arguments.lifeline_fd))
    except PilotlightError as error:
        print(
            told(error.slug, error.detail, error.hint), file=sys.stderr, flush=True
        )  # no log line: it is for who typed it
        return 2


async def _serve(settings: Settings, lifeline: int | None) -> int:
    stop = asyncio.Event()
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    if lifeline is not None:
        asyncio.get_running_loop().add_reader(lifeline, leave.set)
    async with _parts(settings) as (store, builder, provider):
        plane = ControlPlane(
            settings=settings,
            store=store,
            provider=provider,
            builder=builder,
            shelves=builder.shelves,
            counts=CountTable(store),
        )
        crashed = False
        try:
            async with plane.running(), _api(settings, plane, provider, builder):
                log.info("control plane ready", version=__version__)
                crashed = await _first_of(stop, leave, plane.crashed) is plane.crashed
        finally:
            await provider.close(keep=settings.keep or crashed or not stop.is_set())
    return 1 if crashed else 0


async def _stop_all(settings: Settings) -> int:
    """Also what the one that died listened on: the run directory goes with its last file."""
    async with _parts(settings) as (_, _, provider):
        await provider.open()
        for path in (settings.api_socket, settings.link_socket):
            path.unlink(missing_ok=True)
        await provider.close(keep=False)
    return 0


@asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[Store, Builder, Provider]]:
    if settings.provider not in ("process", "docker"):
        raise InvalidSetting(
            f"provider: there is no provider {settings.provider!r}; known: process, docker", field="provider"
        )
    sandbox = sandbox_user(settings)
    claim_private_dir(settings.data_dir, 0o711 if sandbox.uid is not None else 0o700)
    await ensure_reachable(settings.data_dir, sandbox)
    python = await choose_interpreter(settings.python, sandbox)
    layer = await ensure_layer(settings.data_dir)
    of_images = settings.provider == "docker"
    chosen = (
        partial(ImageFunctions, images=partial(_images, settings, layer), further=_further(settings))
        if of_images
        else Builder
    )
    builder = chosen(
        settings=settings.build,
        data_dir=settings.data_dir,
        templates_dir=_templates_dir(settings),
        python=python.path,
        sandbox=build_sandbox(settings),
        layer=layer,
    )
    provider = (
        DockerProvider(settings=settings, bundle_dir=builder.bundle_dir)
        if of_images
        else _processes(settings, sandbox, layer, builder)
    )
    store = await Store.open(settings.data_dir / "store.db")
    try:
        yield store, builder, provider
    finally:
        await store.close()


def _processes(settings: Settings, sandbox: Sandbox, layer: Path, builder: Builder) -> Provider:
    return ProcessProvider(
        settings=settings,
        sandbox=sandbox,
        layer=layer,
        environment_dir=builder.environment_dir,
        bundle_dir=builder.bundle_dir,
        groups=cgroups.delegated(),
        prime=lambda environment: _existing(builder.environment_dir(environment) / "prime.py"),
    )


async def _engine(settings: Settings, url: str | None) -> Engine:
    """At the first build or push: what talks to an engine connects again by itself later on."""
    docker, owner = settings.docker, owner_of(settings.data_dir)
    return await asyncio.to_thread(connect, url, call_seconds=docker.call_seconds, config=docker.config, owner=owner)


def _further(settings: Settings) -> Mapping[str, Callable[[], Awaitable[Engine]]]:
    """The engines that are nodes and build nothing."""
    builds = address_of(settings.docker.url)
    return {
        node: partial(_engine, settings, url) for node, url in engines_of(settings.docker) if address_of(url) != builds
    }


async def _images(settings: Settings, layer: Path) -> ImageBuilder:
    return ImageBuilder(
        await _engine(settings, settings.docker.url),
        runtime=layer,
        index=index_settings(os.environ),
        network=settings.docker.build_network,
        arguments=build_arguments(settings.build.arguments),
        timeout_seconds=settings.build.timeout_seconds,
        buildkit=settings.build.buildkit == "auto",
        owner=owner_of(settings.data_dir),
    )


@asynccontextmanager
async def _api(settings: Settings, plane: ControlPlane, provider: Provider, builder: Builder) -> AsyncIterator[None]:
    of_images = isinstance(builder, ImageFunctions)
    app = make_app(
        plane,
        credentials=Credentials.load(settings.data_dir) if settings.auth else None,
        version=__version__,
        provider=provider.name,
        staging_dir=settings.data_dir / "staging",
        upload_limit_mib=settings.build.upload_limit_mib,
        public_url=settings.gateway,
        pusher=BundlePushes(partial(_engine, settings, settings.docker.url), builder.bundle) if of_images else None,
    )
    async with serving(app, settings.api_socket):
        yield


def _templates_dir(settings: Settings) -> Path:
    """The packaged templates, or the repository's in a source checkout."""
    packaged = Path(__file__).parent / "_templates"
    return settings.templates_dir or _existing(packaged) or Path(__file__).parents[2] / "templates"


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


async def _first_of(*events: asyncio.Event) -> asyncio.Event:
    tasks = {asyncio.ensure_future(event.wait()): event for event in events}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[done.pop()]
    finally:
        for task in tasks:
            task.cancel()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pilotlight.app")
    parser.add_argument("--settings-json", required=True)
    parser.add_argument("--lifeline-fd", type=int)
    parser.add_argument("--stop-all", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
