"""Builds for a server whose functions are containers: an uploaded tar becomes an image, and a bundle that names it.

What is unpacked, checked and read of a source is as for processes (builder.py). The environment is a stage of the
image, so nothing is installed on this machine and none of it runs here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pilotlight.builder.base import Progress, reporter
from pilotlight.builder.builder import Builder
from pilotlight.builder.docker import ImageBuilder, ImageOrder
from pilotlight.builder.files import make_staging, read_manifest, remove
from pilotlight.builder.requirements import Requirement
from pilotlight.builder.shelf import BUNDLES
from pilotlight.core.revision import Bundle

_DEPTH = 5


class ImageFunctions(Builder):
    def __init__(self, *, images: Callable[[], Awaitable[ImageBuilder]], **rest: Any) -> None:
        """`images`: asked until it has one, so that a server can start before its engine does."""
        super().__init__(**rest)
        self._connect = images
        self._images: ImageBuilder | None = None

    async def build(
        self,
        *,
        name: str,
        template: str,
        tar: Path,
        handler: str | None = None,
        progress: Callable[[Progress], None],
    ) -> Bundle:
        report = reporter(progress)
        made = make_staging(self._staging)
        try:
            source = await asyncio.to_thread(self._read, made, template, tar, handler)
            report("source", f"{name}: {len(source.files)} files")
            if self._images is None:
                self._images = await self._connect()
            built = await self._images.build(
                ImageOrder(
                    name=name,
                    template=source.template,
                    template_dir=with_dockerfile(self._templates, template),
                    handler_dir=source.folder / "function",
                    requirements=requirements_text(source.requirements.wanted),
                    constraints=requirements_text(source.requirements.constraints),
                    handler=source.handler,
                ),
                progress,
            )
            bundle = Bundle(
                digest=source.digest(built.image),
                environment=built.environment,
                template=source.template.name,
                contract=source.template.contract,
                handler=source.handler,
                image=built.image,
            )
            if self._find(bundle.digest) is None:
                await asyncio.to_thread(self._publish, source, bundle)
                report("bundle", f"{bundle.digest[:12]} made")
            return self.bundle(bundle.digest)
        finally:
            await asyncio.to_thread(remove, made)

    def _find(self, digest: str) -> Bundle | None:
        """Of ours alone; a bundle of the same directory that was built for processes names no image."""
        manifest = read_manifest(self.bundle_dir(digest)) if digest.isalnum() else None
        if manifest is None or manifest.get("image") is None or not self.shelf.use(f"{BUNDLES}/{digest}"):
            return None
        return msgspec.convert(manifest, Bundle)


def with_dockerfile(templates: Path, name: str) -> Path:
    """The folder of a template's Dockerfile: its own, or that of the template that it is like."""
    folder = templates / name
    for _ in range(_DEPTH):
        if (folder / "Dockerfile").is_file():
            return folder
        file = folder / "template.yml"
        like = (yaml.safe_load(file.read_bytes()) or {}).get("like") if file.is_file() else None
        if not isinstance(like, str):
            break
        folder = templates / Path(like).name
    return templates / name


def requirements_text(requirements: Iterable[Requirement]) -> bytes:
    """As pip reads it, with the hashes that were given."""
    lines = [" ".join((each.text, *(f"--hash={value}" for value in each.hashes))) for each in requirements]
    return "".join(f"{line}\n" for line in lines).encode()
