"""One build from beginning to end: a tar becomes an environment, shared, and a bundle, addressed by its digest.

Building what was built before changes nothing and starts no process. What can fail soon comes first: the archive, the
handler's syntax, the requirements as written; then what takes a network and minutes.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from pilotlight.builder.archive import ArchiveLimits, SourceFile, unpack
from pilotlight.builder.base import NO_CHOICES, RUNTIME_FLOOR, Choices, Progress, Report, reporter
from pilotlight.builder.compiler import Compiler
from pilotlight.builder.environments import Environments, Wanted
from pilotlight.builder.files import (
    FOLDER_MODE,
    disk_bytes,
    give,
    make_staging,
    publish,
    read_manifest,
    remove,
    storage_errors,
    write_manifest,
)
from pilotlight.builder.imports import Candidate, candidates
from pilotlight.builder.index import IndexSettings, index_settings
from pilotlight.builder.interpreter import Interpreter, probe
from pilotlight.builder.process import end_marked
from pilotlight.builder.requirements import Requirements, read_requirements
from pilotlight.builder.shelf import BUNDLES, ENVIRONMENTS, LOCKS, TRIALS, UV, Shelf
from pilotlight.builder.tar import shown
from pilotlight.builder.template import DOCKERFILE, Template, load_template, own_dockerfile, uploaded_template
from pilotlight.builder.trial import InProcess, Trial, Trials
from pilotlight.builder.uv import Uv, reachable_uv
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.errors import BundleNotFound, InvalidInput, InvalidSource, RevisionFailed, StartFailed
from pilotlight.core.naming import digest_of
from pilotlight.core.revision import Bundle
from pilotlight.finishing import surely, to_its_end

_FORMAT = b"bundle 1"
_HANDLER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was sent, unpacked and read, before anything of it was run."""

    folder: Path
    """Becomes the bundle's; holds `function/`."""
    files: tuple[SourceFile, ...]
    template: Template
    handler: str
    handler_file: str
    requirements: Requirements
    template_dir: Path | None = None
    """Of a template that came with it."""

    @property
    def contract(self) -> str:
        """How it is called; an image that serves by itself is spoken to in HTTP."""
        return self.template.contract or "http"

    def digest(self, environment: str) -> str:
        files = [f"{file.path}\0{int(file.executable)}\0{file.digest}" for file in self.files]
        facts = [environment, self.template.name, self.template.digest, self.contract, self.handler]
        return digest_of([_FORMAT, *(part.encode() for part in (*facts, *files))])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What needs the functions' user to be asked, once."""

    compiler: Compiler
    environments: Environments


class Builder:
    """Builds into one data directory. Several builds may run at once, in several processes too."""

    def __init__(
        self,
        *,
        settings: BuildSettings,
        data_dir: Path,
        templates_dir: Path,
        python: Path,
        sandbox: Sandbox,
        runtime_floor: Mapping[str, str] = RUNTIME_FLOOR,
        index: IndexSettings | None = None,
        layer: Path | None = None,
    ) -> None:
        self._settings = settings
        self._data = data_dir
        self._templates = templates_dir
        self._python = python
        self._sandbox = sandbox
        self._floor = runtime_floor
        self._index = index_settings(os.environ) if index is None else index
        self._limits = ArchiveLimits(unpacked_bytes=settings.unpacked_limit_mib * 2**20, files=settings.files_limit)
        self._staging = data_dir / "staging"
        self.shelf = Shelf(data_dir, layer=layer, make_cache=self._make_cache)
        """What was built, for whoever keeps it within a budget."""
        self._make_folders()
        self._trials = Trials(data_dir / "cache/trials", settings, self.shelf)
        self._tools: _Tools | None = None
        self._first = asyncio.Lock()
        self._compiling = asyncio.Semaphore(settings.concurrency)

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
        """The bundle of a function's source, with everything that it needs in place. The tar stays its sender's.
        `handler` is the module that holds the handler; None leaves it to the template."""
        report = reporter(progress)
        if choices.for_images:
            report("source", f"{', '.join(choices.for_images)}: for container images, not used by this server")
        tools = await self._ready()
        made = make_staging(self._staging)
        try:
            source = await to_its_end(asyncio.to_thread(self._read, made, template, tar, handler, choices))
            _check_is_no_image(source.template)
            report("source", f"{name}: {counted(len(source.files), 'file')}, {sized(source.files)}")
            wanted = Wanted(template=source.template, requirements=source.requirements)
            known = tools.environments.known(wanted)
            bundle = None if known is None else self._find(source.digest(known))
            if bundle is not None:
                report("bundle", f"{bundle.digest[:12]} is there already: nothing has changed")
                return bundle
            return await self._make(source, wanted, tools, report)
        finally:
            await surely(asyncio.to_thread(remove, made))

    def bundle(self, digest: str) -> Bundle:
        """What was built under this digest; BundleNotFound when it was not, or is gone. It was used now: until a
        revision that refers to it is stored, the minimum age keeps it."""
        found = self._find(digest)
        if found is None:
            raise BundleNotFound(f"there is no bundle sha256:{digest[:64]}")
        return found

    def environment_dir(self, digest: str) -> Path:
        return self._data / "environments" / digest

    def bundle_dir(self, digest: str) -> Path:
        return self._data / "bundles" / digest

    @property
    def shelves(self) -> Sequence[Any]:
        """Whatever is kept within a budget; see control.collector.Shelf."""
        return (self.shelf,)

    async def sweep(self) -> None:
        """At start, before any build: end and remove what a server that was killed left behind."""
        await asyncio.to_thread(self._sweep)

    async def _make(self, source: Source, wanted: Wanted, tools: _Tools, report: Report) -> Bundle:
        async with self._compiling:
            compiled = await tools.compiler.compile(source.folder / "function", source.files, source.handler_file)
        environment = await tools.environments.ensure(wanted, report)
        digest = source.digest(environment)
        files = frozenset(file.path for file in source.files)
        preimports = await self._trials.run(
            Trial(
                environment=environment,
                candidates=with_template(candidates(source.handler, files, compiled.imports), source.template),
                handler=source.handler,
                child=InProcess(self.environment_dir(environment), source.folder, self._staging, self._sandbox),
            ),
            report,
        )
        bundle = Bundle(
            digest=digest,
            environment=environment,
            template=source.template.name,
            contract=source.contract,
            handler=source.handler,
            preimports=preimports,
        )
        await asyncio.to_thread(self._publish, source.folder, bundle)
        report("bundle", f"{digest[:12]} made")
        return self.bundle(digest)

    def _read(
        self, made: Path, template_name: str, tar: Path, handler: str | None, choices: Choices = NO_CHOICES
    ) -> Source:
        if handler is not None and _HANDLER.fullmatch(handler) is None:
            raise InvalidInput(f"handler: {handler[:80]!r} is no module's name", field="handler")
        given = None if choices.uploaded_template else self._template(template_name, None)
        folder = made / "bundle"
        function = folder / "function"
        with storage_errors():
            for path in (folder, function):
                path.mkdir()
                path.chmod(FOLDER_MODE)
        files = unpack(tar, folder if choices.uploaded_template else function, self._limits)
        template_dir = None
        if choices.uploaded_template:
            files, template_dir = _apart(folder, made, files)
        template = given or self._template(template_name, template_dir)
        source = Source(
            folder=folder,
            files=files,
            template=template,
            handler=handler or "handler",
            handler_file="",
            requirements=Requirements(wanted=(), constraints=()),
            template_dir=template_dir,
        )
        if template.contract is None:
            return source
        handler, handler_file = _find_handler(template.handlers if handler is None else (handler,), files)
        requirements = self._requirements(function, files, template)
        return replace(source, handler=handler, handler_file=handler_file, requirements=requirements)

    def _template(self, name: str, uploaded: Path | None) -> Template:
        if name == DOCKERFILE:
            return own_dockerfile()
        if uploaded is not None:
            return uploaded_template(uploaded, name, self._templates)
        return load_template(self._templates, name)

    def _requirements(self, function: Path, files: tuple[SourceFile, ...], template: Template) -> Requirements:
        """The template's, then the function's own."""
        known = {file.path for file in files}
        own = read_requirements(lambda path: (function / path).read_bytes() if path in known else None, self._floor)
        if not template.requirements:
            return own
        text = "\n".join(template.requirements).encode()
        base = read_requirements(
            lambda path: text if path == "template.yml" else None, self._floor, file="template.yml"
        )
        return Requirements(wanted=base.wanted + own.wanted, constraints=base.constraints + own.constraints)

    def _publish(self, folder: Path, bundle: Bundle) -> None:
        facts = {"created_at": time.time(), "bytes": disk_bytes(folder)}
        manifest = msgspec.to_builtins(bundle) | facts
        write_manifest(folder, manifest)
        publish(folder, self.bundle_dir(bundle.digest))

    def _find(self, digest: str) -> Bundle | None:
        if _DIGEST.fullmatch(digest) is None:
            return None
        manifest = read_manifest(self.bundle_dir(digest))
        if manifest is None or not self.shelf.use(f"{BUNDLES}/{digest}"):
            return None
        if not self.shelf.use(f"{ENVIRONMENTS}/{manifest['environment']}"):
            return None
        return msgspec.convert(manifest, Bundle)

    async def _ready(self) -> _Tools:
        async with self._first:
            if self._tools is None:
                self._tools = await self._open_tools()
            return self._tools

    async def _open_tools(self) -> _Tools:
        interpreter = await self._interpreter()
        uv = Uv(
            binary=await reachable_uv(self._data / "cache/tools", self._sandbox),
            cache=self._data / "cache/uv",
            sandbox=self._sandbox,
            index=self._index,
            interpreter=interpreter,
            timeout_seconds=self._settings.timeout_seconds,
        )
        environments = Environments(self._data, uv, self._sandbox, self._floor, self._settings.concurrency, self.shelf)
        return _Tools(compiler=Compiler(interpreter, self._sandbox, self._staging), environments=environments)

    async def _interpreter(self) -> Interpreter:
        found = await probe(self._python, self._sandbox)
        if found is None:
            raise StartFailed(f"the interpreter for environments, {self._python}, cannot be run")
        return found

    def _make_folders(self) -> None:
        """The functions' user may walk through them to what it knows the name of, and list none."""
        with storage_errors():
            for name in ("bundles", "environments", "staging", "cache", "cache/tools"):
                folder = self._data / name
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o711)
            for name in (LOCKS, TRIALS):
                (self._data / name).mkdir(mode=0o700, exist_ok=True)
            self._make_cache()

    def _make_cache(self) -> None:
        """uv's, for the user that it runs as alone; what another user could write to is not trusted."""
        folder = self._data / UV
        if self._sandbox.uid is not None and folder.exists() and folder.stat().st_uid != self._sandbox.uid:
            away = make_staging(self._staging, 0o700)  # where that user can hold on to nothing of it
            folder.rename(away / "removed")
            remove(away)
        folder.mkdir(mode=0o700, exist_ok=True)
        give(folder, self._sandbox)

    def _sweep(self) -> None:
        end_marked(self._staging, self._python, self._sandbox)
        for path in self._staging.iterdir():
            remove(path)
        for folder in (LOCKS, TRIALS, "cache/tools"):
            for path in (self._data / folder).glob(".*"):
                remove(path)


def _apart(folder: Path, made: Path, files: tuple[SourceFile, ...]) -> tuple[tuple[SourceFile, ...], Path]:
    """An upload of two folders: the function's takes the place of `function/`, the template's goes beside."""
    strange = next((file.path for file in files if file.path.split("/")[0] not in ("handler", "template")), None)
    if strange is not None:
        raise InvalidSource(f"{shown(strange)}: beside handler/ and template/ there is nothing in such an archive")
    own = tuple(
        replace(file, path=file.path.removeprefix("handler/")) for file in files if file.path.startswith("handler/")
    )
    if not own:
        raise InvalidSource("the archive has no file in handler/, which holds the function's folder")
    (folder / "function").rmdir()
    (folder / "handler").rename(folder / "function")
    template_dir = made / "template"
    if (folder / "template").is_dir():
        (folder / "template").rename(template_dir)
    return own, template_dir


def _check_is_no_image(template: Template) -> None:
    if template.contract is None:
        raise InvalidInput(
            f"template {template.name} makes a container image, and this server runs functions as processes",
            slug="template-needs-images",
            field="template",
        )


def _find_handler(handlers: tuple[str, ...], files: tuple[SourceFile, ...]) -> tuple[str, str]:
    """The module that holds the handler, and its file."""
    names = [file.path for file in files]
    for handler in handlers:
        stem = handler.replace(".", "/")
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in names:
                return handler, path
    *others, last = [f"{handler.replace('.', '/')}.py" for handler in handlers]
    wanted = f"{', '.join(others)} or {last}" if others else last
    shown = ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if names[_NAMES_SHOWN:] else "")
    raise RevisionFailed(
        f"there is no {wanted} in the folder; there are: {shown}",
        slug="handler-missing",
        hint=f"Put the handler into {wanted} at the top of the folder that is deployed.",
    )


def with_template(found: tuple[Candidate, ...], template: Template) -> tuple[Candidate, ...]:
    named = {candidate.module: candidate for candidate in (*map(Candidate, template.preimport), *found)}
    return tuple(named[module] for module in sorted(named))


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def sized(files: tuple[SourceFile, ...]) -> str:
    size = float(sum(file.size for file in files))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
