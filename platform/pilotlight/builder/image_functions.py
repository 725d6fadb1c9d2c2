"""Builds for a server whose functions are containers: an uploaded tar becomes an image, and a bundle that names it.

What is unpacked, checked and read of a source is as for processes (builder.py). The environment is a stage of the
image, so nothing is installed on this machine and none of it runs here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

from pilotlight.builder.base import NO_CHOICES, Choices, Progress, Report, reporter
from pilotlight.builder.builder import Builder, Source, counted, sized, with_template
from pilotlight.builder.compiler import Compiler
from pilotlight.builder.docker import Built, ImageBuilder, ImageOrder
from pilotlight.builder.files import FOLDER_MODE, make_staging, read_manifest, remove
from pilotlight.builder.image_pool import FUNCTION_DIR, InContainer, Workbench
from pilotlight.builder.image_shelf import ImageShelf
from pilotlight.builder.imports import Import, candidates
from pilotlight.builder.requirements import Requirement
from pilotlight.builder.shelf import BUNDLES, Shelf
from pilotlight.builder.template import DOCKERFILE
from pilotlight.builder.trial import Trial
from pilotlight.core.errors import InvalidSource, TooLarge
from pilotlight.core.revision import Bundle
from pilotlight.engine import Engine
from pilotlight.engine.image_tags import owner_of
from pilotlight.finishing import surely, to_its_end

_DEPTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What needs the engine to be there."""

    images: ImageBuilder
    bench: Workbench


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """One build on its way to a bundle."""

    source: Source
    imports: Mapping[str, tuple[Import, ...]]
    """By path."""
    built: Built
    folder: Path
    """For what is in the making; gone after the build."""
    report: Report


class ImageFunctions(Builder):
    def __init__(
        self,
        *,
        images: Callable[[], Awaitable[ImageBuilder]],
        further: Mapping[str, Callable[[], Awaitable[Engine]]] = MappingProxyType({}),
        **rest: Any,
    ) -> None:
        """`images`: asked until it has one, so that a server can start before its engine does. `further`: the other
        nodes' engines, by name, which build nothing and have images of their own; asked likewise."""
        super().__init__(**rest)
        self._connect = images
        self._shop: _Shop | None = None
        self._connecting = asyncio.Lock()
        self._compiler: Compiler | None = None
        owner = owner_of(self._data)
        self.image_shelf = ImageShelf(self._engine, owner=owner, data_dir=self._data)
        self._further = tuple(
            ImageShelf(connect, owner=owner, data_dir=self._data, budget=node) for node, connect in further.items()
        )

    @property
    def shelves(self) -> tuple[Shelf | ImageShelf, ...]:
        return self.shelf, self.image_shelf, *self._further

    async def build(
        self,
        *,
        name: str,
        template: str,
        tar: Path,
        handler: str | None = None,
        choices: Choices = NO_CHOICES,
        progress: Callable[[Progress], None],
    ) -> Bundle:
        report = reporter(progress)
        made = make_staging(self._staging)
        try:
            source = await to_its_end(asyncio.to_thread(self._read, made, template, tar, handler, choices))
            report("source", f"{name}: {counted(len(source.files), 'file')}, {sized(source.files)}")
            order = self._order(name, source, choices)
            imports = await self._compile(source) if source.template.contract is not None else {}
            shop = await self._connected()
            async with self.image_shelf.building():
                built = await shop.images.build(order, progress, self.image_shelf.keep)
                await self.image_shelf.keep(filter(None, (built.image, built.environment_image)))
                found = self._find(source.digest(built.image))
                if found is not None:
                    return found
                return await self._to_bundle(
                    _Made(source=source, imports=imports, built=built, folder=made, report=report), shop.bench
                )
        finally:
            await surely(asyncio.to_thread(remove, made))

    def _order(self, name: str, source: Source, choices: Choices) -> ImageOrder:
        return ImageOrder(
            name=name,
            template=source.template,
            template_dir=self._with_dockerfile(source),
            # Not of our own templates: with a misspelt file, the sample would be served without a word.
            starting_files=source.template_dir is not None and source.template.contract is None,
            handler_dir=source.folder / "function",
            handler_files=source.files,
            requirements=requirements_text(source.requirements.wanted),
            constraints=requirements_text(source.requirements.constraints),
            handler=source.handler,
            build_args=choices.arguments,
            packages=source.template.packages(choices.options),
            secrets=choices.secrets,
        )

    async def _to_bundle(self, made: _Made, bench: Workbench) -> Bundle:
        """The folder that becomes the bundle's has the image's files where a pool could run them, else those sent."""
        source, built = made.source, made.built
        bundle = Bundle(
            digest=source.digest(built.image),
            environment=built.environment,
            template=source.template.name,
            contract=source.contract,
            handler=source.handler,
            image=built.image,
        )
        folder = await self._copied(made, bench)
        if folder is not None:
            preimports = await self._preimports(made, bench)
            bundle = replace(bundle, environment_image=built.environment_image, preimports=preimports)
        await asyncio.to_thread(self._publish, folder or source.folder, bundle)
        made.report("bundle", f"{bundle.digest[:12]} made")
        return self.bundle(bundle.digest)

    async def _copied(self, made: _Made, bench: Workbench) -> Path | None:
        """The image's own files of the function; None where a pool can have no use of them, which is said."""
        why_not = made.built.unpoolable
        if why_not is None:
            folder = made.folder / "image"
            folder.mkdir()
            folder.chmod(FOLDER_MODE)
            try:
                await bench.copy_function(made.built.image, folder, self._limits)
            except (InvalidSource, TooLarge) as error:
                why_not = f"{FUNCTION_DIR} of the image cannot be copied: {error.detail}"
            else:
                return folder
        if made.source.template.contract is not None:
            made.report("pool", f"starts from its image, not from a warm pool: {why_not}")
        return None

    def _with_dockerfile(self, source: Source) -> Path | None:
        if source.template.name == DOCKERFILE:
            return None
        if source.template_dir is not None and (source.template_dir / "Dockerfile").is_file():
            return source.template_dir
        return with_dockerfile(self._templates, source.template_dir or self._templates / source.template.name)

    async def _preimports(self, made: _Made, bench: Workbench) -> tuple[str, ...]:
        source = made.source
        files = frozenset(file.path for file in source.files)
        trial = Trial(
            environment=made.built.environment,
            candidates=with_template(candidates(source.handler, files, made.imports), source.template),
            handler=source.handler,
            child=InContainer(bench, made.built.image, primed=source.template.prime is not None),
        )
        return await self._trials.run(trial, made.report)

    async def _compile(self, source: Source) -> Mapping[str, tuple[Import, ...]]:
        """Its imports; a mistake in its syntax is found before anything is built."""
        async with self._first:
            if self._compiler is None:
                interpreter = await self._interpreter()
                self._compiler = Compiler(interpreter, self._sandbox, self._staging)
        async with self._compiling:
            compiled = await self._compiler.compile(source.folder / "function", source.files, source.handler_file)
        return compiled.imports

    async def _connected(self) -> _Shop:
        async with self._connecting:  # a second sweep would take away what the first user works with
            if self._shop is None:
                images = await self._connect()
                shop = _Shop(images=images, bench=Workbench(images.engine, owner_of(self._data)))
                await shop.bench.sweep()
                self._shop = shop
            return self._shop

    async def _engine(self) -> Engine:
        return (await self._connected()).images.engine

    def _find(self, digest: str) -> Bundle | None:
        """Of ours alone; a bundle of the same directory that was built for processes names no image."""
        manifest = read_manifest(self.bundle_dir(digest)) if digest.isalnum() else None
        if manifest is None or manifest.get("image") is None or not self.shelf.use(f"{BUNDLES}/{digest}"):
            return None
        return msgspec.convert(manifest, Bundle)


def with_dockerfile(templates: Path, template: Path) -> Path:
    """The folder of a template's Dockerfile: its own, or that of the template that it is like."""
    folder = template
    for _ in range(_DEPTH):
        if (folder / "Dockerfile").is_file():
            return folder
        file = folder / "template.yml"
        like = (yaml.safe_load(file.read_bytes()) or {}).get("like") if file.is_file() else None
        if not isinstance(like, str):
            break
        folder = templates / Path(like).name
    return template


def requirements_text(requirements: Iterable[Requirement]) -> bytes:
    """As pip reads it, with the hashes that were given."""
    lines = [" ".join((each.text, *(f"--hash={value}" for value in each.hashes))) for each in requirements]
    return "".join(f"{line}\n" for line in lines).encode()
