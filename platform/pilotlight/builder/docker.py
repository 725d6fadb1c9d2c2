"""Images from templates: a template's Dockerfile, a handler's folder over it, and an engine that builds.

The image's name holds the digest of everything that it is made of, so what was built before is found and not built
again. The stage `environment`, where one of our templates has it, is built first and under a name of its own: all
functions with the same requirements begin with it, and a changed handler rebuilds only what comes after.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pilotlight.builder.archive import IGNORED, SourceFile
from pilotlight.builder.base import ARGUMENT_NAME, Progress, Report, reporter
from pilotlight.builder.image_buildx import BuildxMaker, find_buildx
from pilotlight.builder.image_context import BYTE_CODE, Context, ContextFile, held, read_folder, without_ignored
from pilotlight.builder.image_dockerfile import (
    base_images,
    declared,
    has_stage,
    needs_buildkit,
    on_image,
    secrets_wanted,
    takes_only,
    with_secrets,
)
from pilotlight.builder.image_engine import EngineMaker, Job, Maker
from pilotlight.builder.image_failures import base_failure, too_slow
from pilotlight.builder.image_index import PIP_SECRET, index_arguments, index_secret
from pilotlight.builder.image_pool import ENVIRONMENT, PRIME, unpoolable
from pilotlight.builder.index import IndexSettings, redacted
from pilotlight.builder.template import Template
from pilotlight.core.errors import InvalidInput, InvalidSetting, PilotlightError, Unsupported
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, pull_failure
from pilotlight.engine.images import fetch, inspected

_NOT_COPIED = frozenset({"build", "template"})
"""Folders at the top of a handler's, in which OpenFaaS' client keeps what is not the function's."""
_OURS = "pilotlight/"
_ADDITIONAL = "ADDITIONAL_PACKAGE"

Keep = Callable[[Iterable[str]], Awaitable[None]]
"""Takes names of images that another server on the engine could remove meanwhile."""


async def _kept_anyway(_images: Iterable[str]) -> None:
    """Where nobody removes images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """One image to be built."""

    name: str
    template: Template
    template_dir: Path | None
    """None: the handler's folder is the whole context."""
    starting_files: bool = False
    """Those of the template's own function lie beneath the handler's, as OpenFaaS' client has it."""
    handler_dir: Path
    """With byte code, where there is some."""
    handler_files: Sequence[SourceFile] = ()
    """What is known of its files."""
    requirements: bytes = b""
    """Those of the template and of the function."""
    constraints: bytes = b""
    handler: str = "handler"
    build_args: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    """Of the build options that were chosen."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    image: str
    """Its name on the engine."""
    id: str
    """The engine's digest of it."""
    environment: str
    """What it shares with others: the digest of the stage that it begins with, or its own."""
    environment_image: str | None
    """In which a container could run the function."""
    unpoolable: str | None
    """Why there is no such image."""
    built: bool
    """False: it was there."""


class ImageBuilder:
    def __init__(
        self,
        engine: Engine,
        *,
        runtime: Path,
        index: IndexSettings,
        network: str | None = None,
        arguments: Mapping[str, str] | None = None,
        timeout_seconds: float = 900.0,
        buildkit: bool = True,
        owner: str = "",
    ) -> None:
        """`runtime`: the layer that goes beside an environment (builder/layer.py). `network`: the engine's network for
        steps that fetch; None for its default. `arguments`: for each Dockerfile that declares them. `buildkit`: through
        buildx where it is there. `owner`: of what it leaves when it is killed."""
        self.engine = engine
        self._runtime = runtime
        self._index = index
        self._network = network
        self._own_arguments = arguments or {}
        self._timeout = timeout_seconds
        self._buildkit = buildkit
        self._owner = owner
        self._plain = EngineMaker(engine, network=network)
        self._buildx: BuildxMaker | None = None
        self._looking = asyncio.Lock()
        self._runtime_files: dict[str, ContextFile] | None = None
        self._turns: dict[str, asyncio.Lock] = {}

    async def build(self, order: ImageOrder, progress: Callable[[Progress], None], keep: Keep = _kept_anyway) -> Built:
        """`keep` is told which images the build is about to rely on.

        InvalidRequirements, InvalidSource (image-build-failed, base-image) or RevisionFailed say what is wrong with the
        source, Unavailable what is wrong around it, Unsupported what this machine lacks for it."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._make(order, reporter(progress), keep)
        except TimeoutError:
            raise too_slow(self._timeout) from None

    async def _make(self, order: ImageOrder, report: Report, keep: Keep) -> Built:
        await self._look()
        context, secrets = await asyncio.to_thread(self._context, order)
        dockerfile = _text(context.files["Dockerfile"])
        bases = await self._bases(dockerfile, context, report)
        await keep(bases)
        context = replace(context, base="\n".join(f"{name}={id_}" for name, id_ in bases.items()))
        image = f"pilotlight/{order.name}:{context.digest[:16]}"
        ours = order.template_dir is not None and not order.starting_files
        shared = None
        if ours and has_stage(dockerfile, ENVIRONMENT):
            shared = _shared(context, order.template.handler_folder)
        job = Job(context=context, dockerfile=dockerfile, image=image, secrets=secrets)
        why_not = unpoolable(dockerfile) if order.template.contract else "it is no function in Python of Pilotlight's"
        known = await self._find(image)
        environment = None
        if shared is not None and (known is None or why_not is None):
            environment = await self._environment(replace(job, context=shared), report)
            await keep([environment])
        if known is None:
            last = job if environment is None else _after(job, environment, order.template.handler_folder)
            await self._maker(last, ours=ours).make(last, partial(report, "build"))
            report("image", f"{image} made")
        else:
            report("image", f"{image} is there already: nothing has changed")
        return Built(
            image=image,
            id=known or await self._find(image) or "",
            environment=(shared or context).digest,
            environment_image=environment if why_not is None else None,
            unpoolable=why_not,
            built=known is None,
        )

    async def _look(self) -> None:
        """Once: what this machine can build with."""
        async with self._looking:
            if self._buildx is None and self._buildkit:
                found = await find_buildx(self.engine.url, network=self._network, owner=self._owner)
                if found is not None:
                    found.sweep()
                self._buildx, self._buildkit = found, found is not None

    def _maker(self, job: Job, *, ours: bool) -> Maker:
        """BuildKit knows more; the engine's own builder is up to a second quicker with a small change, and what our
        templates say it knows as well."""
        wanted = job.secrets or not ours or needs_buildkit(job.dockerfile)
        return self._buildx if self._buildx is not None and wanted else self._plain

    def _context(self, order: ImageOrder) -> tuple[Context, Mapping[str, bytes]]:
        """With what of the secrets its Dockerfile can use."""
        files = _laid_out(order)
        text = _text(files["Dockerfile"])
        if _OURS in text:
            files |= self._beside(order)
        secrets = dict(order.secrets) | self._index_secret(order, text)
        if secrets and self._buildx is None:
            raise _without_buildkit(secrets)
        used = frozenset(secrets) & secrets_wanted(text)
        if used:
            files["Dockerfile"] = held(with_secrets(text, used).encode())
        context = Context(
            files=files,
            arguments=self._arguments(order, text),
            sources=redacted(secrets.get(PIP_SECRET, b"").decode("utf-8", "replace")),
            secrets=frozenset(secrets),
        )
        return context, secrets

    def _index_secret(self, order: ImageOrder, dockerfile: str) -> dict[str, bytes]:
        """Nothing for a function that fetches nothing."""
        conf = index_secret(self._index)
        if conf is None or PIP_SECRET in order.secrets:
            return {}
        if PIP_SECRET in secrets_wanted(dockerfile):
            return {PIP_SECRET: conf} if order.requirements else {}
        if "PIP_INDEX_URL" in declared(dockerfile):
            raise InvalidInput(
                "the address of the server's package index has a password, and this Dockerfile takes it as a build "
                "argument, which the image's history would keep",
                field="template",
                hint=f"Write `# with-secret: {PIP_SECRET}` above the RUN that installs, which then finds "
                f"/run/secrets/{PIP_SECRET}.",
            )
        return {}

    def _beside(self, order: ImageOrder) -> dict[str, ContextFile]:
        """What the platform adds: the requirements, and the runtime."""
        folder = f"{_OURS}environment/"
        files: dict[str, ContextFile] = {}
        requirements = order.requirements
        if order.constraints:
            requirements = b"--constraint constraints.txt\n" + requirements
            files[f"{folder}constraints.txt"] = held(order.constraints)
        files[f"{folder}requirements.txt"] = held(requirements)
        if order.template.prime is not None:
            files[PRIME] = held(order.template.prime)
        if self._index.certificate is not None:
            files[f"{folder}ca.crt"] = held(self._index.certificate.read_bytes())
        if self._runtime_files is None:  # it never changes
            self._runtime_files = read_folder(self._runtime, below=f"{_OURS}runtime", skip=frozenset({BYTE_CODE}))
        return files | self._runtime_files

    def _arguments(self, order: ImageOrder, dockerfile: str) -> dict[str, str]:
        """What is not asked for is not given: a template of others may have another meaning for the same name."""
        given = dict(order.build_args)
        packages = dict.fromkeys([*order.packages, *given.pop(_ADDITIONAL, "").split()])
        ours = index_arguments(self._index) | dict(self._own_arguments)
        if packages:
            ours[_ADDITIONAL] = " ".join(packages)
        if _OURS in dockerfile:
            ours["PYTHON_VERSION"] = python = f"{sys.version_info.major}.{sys.version_info.minor}"
            if given.get("PYTHON_VERSION", python) != python:
                raise InvalidInput(
                    f"build_args: PYTHON_VERSION must be {python}, the server's own, which the runtime is compiled for",
                    field="build_args",
                )
            ours["PILOTLIGHT_CONTRACT"] = order.template.contract or "http"
            ours["PILOTLIGHT_HANDLER"] = order.handler
        known = declared(dockerfile)
        return {name: value for name, value in ours.items() if name in known or name.endswith("_proxy")} | given

    async def _bases(self, dockerfile: str, context: Context, report: Report) -> Mapping[str, str]:
        """The engine's ids of the images to begin with, by name, which it pulls where they are not there: a base that
        was changed makes another image."""
        ids = {}
        for base in base_images(dockerfile, context.arguments):
            known = await self._find(base.name)
            if known is None:
                report("base", f"{base.name}: pulling")
                try:
                    known = await self._pull(base.name)
                except PilotlightError as error:
                    raise base_failure(base.line, error) from error
            ids[base.name] = known
        return ids

    async def _pull(self, image: str) -> str:
        await fetch(self.engine, image)
        known = await self._find(image)
        if known is None:
            raise pull_failure(image, "the engine has it no more")
        return known

    async def _find(self, image: str) -> str | None:
        try:
            found = await inspected(self.engine, image)
        except Refused as refused:
            if refused.status == 400:  # no name at all: who pulls it is told so
                return None
            raise pull_failure(image, refused.said) from refused
        return None if found is None else str(found["Id"])

    async def _environment(self, job: Job, report: Report) -> str:
        """One at a time for each: two functions deployed at once would install the same packages twice."""
        image = f"pilotlight/{ENVIRONMENT}:{job.context.digest[:16]}"
        async with self._turns.setdefault(image, asyncio.Lock()):
            if await self._find(image) is None:
                job = replace(job, image=image, target=ENVIRONMENT)
                await self._maker(job, ours=True).make(job, partial(report, "build"))
                report(ENVIRONMENT, f"{image} made")
        return image


def _laid_out(order: ImageOrder) -> dict[str, ContextFile]:
    """The template's files with the handler's over them, as OpenFaaS' client lays them out."""
    if order.template_dir is None:
        files = without_ignored(read_folder(order.handler_dir, skip_top=_NOT_COPIED, known=order.handler_files))
        missing, what = "dockerfile-missing", f"{order.name}: its folder has no Dockerfile"
    else:
        below = order.template.handler_folder
        own = read_folder(order.template_dir)
        if not order.starting_files:
            own = {path: file for path, file in own.items() if not path.startswith(f"{below}/")}
        skip = IGNORED - {BYTE_CODE} if order.template.contract else IGNORED
        files = without_ignored(
            own
            | read_folder(order.handler_dir, below=below, skip=skip, skip_top=_NOT_COPIED, known=order.handler_files)
        )
        missing, what = "template-without-dockerfile", f"template {order.template.name}: it has no Dockerfile"
    if "Dockerfile" not in files:
        raise InvalidInput(f"{what}, so that no image can be made of it", slug=missing, field="template")
    return files


def build_arguments(given: Iterable[str]) -> dict[str, str]:
    """The server's own, as its settings write them. InvalidSetting for what is no NAME=VALUE."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or ARGUMENT_NAME.fullmatch(name) is None:
            raise InvalidSetting(
                f"build.arguments: {text[:80]!r} must be NAME=VALUE, such as NPM_CONFIG_REGISTRY=https://npm.example",
                field="build.arguments",
            )
        found[name] = value
    return found


def _text(file: ContextFile) -> str:
    return b"".join(file.pieces()).decode("utf-8", "replace")


def _shared(context: Context, handler_folder: str) -> Context:
    """Without the function's own files and arguments: the same for all that share the environment."""
    files = {path: file for path, file in context.files.items() if not path.startswith(f"{handler_folder}/")}
    own = ("PILOTLIGHT_CONTRACT", "PILOTLIGHT_HANDLER")
    arguments = {name: value for name, value in context.arguments.items() if name not in own}
    return replace(context, files=files, arguments=arguments)


def _after(job: Job, environment: str, handler_folder: str) -> Job:
    """What is left of it when its environment is there: seldom a secret, and mostly the function's folder alone, so
    that the runtime does not go to the engine for each change of a handler."""
    text = on_image(job.dockerfile, ENVIRONMENT, environment)
    known = declared(text)
    arguments = {k: v for k, v in job.context.arguments.items() if k in known or k.endswith("_proxy")}
    files = {**job.context.files, "Dockerfile": held(text.encode())}
    if takes_only(text, handler_folder):
        kept = (f"{handler_folder}/", "Dockerfile", ".dockerignore")
        files = {path: file for path, file in files.items() if path.startswith(kept)}
    context = replace(job.context, files=files, arguments=arguments)
    return replace(job, dockerfile=text, context=context, secrets=job.secrets if "--mount=" in text else {})


def _without_buildkit(secrets: Iterable[str]) -> Unsupported:
    return Unsupported(
        f"this build has secrets ({', '.join(sorted(secrets))}), and the server has no BuildKit to keep them out of "
        "the image's layers",
        slug="buildkit-missing",
    )
