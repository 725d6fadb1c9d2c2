"""Images from templates: a template's Dockerfile, a handler's folder over it, and an engine that builds.

The image's name holds the digest of everything that it is made of, so what was built before is found and not built
again. The stage `environment`, where a Dockerfile has one, is built first and under a name of its own: all functions
with the same requirements begin with it, and a changed handler rebuilds only what comes after.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pilotlight.builder.base import Progress, Report, reporter
from pilotlight.builder.image_context import Context, ContextFile, base_images, instructions, read_folder
from pilotlight.builder.image_failures import Step, build_failure, step_of, tidy
from pilotlight.builder.index import IndexSettings, redacted
from pilotlight.builder.template import Template
from pilotlight.core.errors import InvalidInput
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, pull_failure
from pilotlight.engine.images import pull

ENVIRONMENT = "environment"
_KEPT_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """One image to be built."""

    name: str
    template: Template
    template_dir: Path
    handler_dir: Path
    handler_folder: str = "function"
    """Where the handler's files go in the context, as template.yml says."""
    requirements: bytes = b""
    """Those of the template and of the function."""
    constraints: bytes = b""
    handler: str = "handler"
    build_args: Mapping[str, str] | None = None
    packages: tuple[str, ...] = ()
    """Of the build options that were chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    image: str
    """Its name on the engine."""
    id: str
    """The engine's digest of it."""
    environment: str
    """What it shares with others: the digest of the stage that it begins with, or its own."""
    built: bool
    """False: it was there."""


class ImageBuilder:
    def __init__(self, engine: Engine, *, runtime: Path, index: IndexSettings, network: str | None = None) -> None:
        """`runtime`: the layer that goes beside an environment (builder/layer.py). `network`: the engine's network for
        steps that fetch; None for its default."""
        self._engine = engine
        self._runtime = runtime
        self._index = index
        self._network = network

    async def build(self, order: ImageOrder, progress: Callable[[Progress], None]) -> Built:
        """InvalidRequirements, InvalidSource (image-build-failed) or RevisionFailed say what is wrong with the source,
        Unavailable what is wrong around it."""
        report = reporter(progress)
        context = await asyncio.to_thread(self._context, order)
        dockerfile = context.files["Dockerfile"].data.decode("utf-8", "replace")
        context = replace(context, base=await self._bases(dockerfile, context, report))
        image = f"pilotlight/{order.name}:{context.digest[:16]}"
        shared = _shared(order, context) if _has_stage(dockerfile, ENVIRONMENT) else None
        environment = (shared or context).digest
        known = await self._find(image)
        if known is not None:
            report("image", f"{image} is there already: nothing has changed")
            return Built(image=image, id=known, environment=environment, built=False)
        if shared is not None:
            await self._environment(shared, dockerfile, report)
        await self._build(context, dockerfile, image, None, report)
        made = await self._find(image)
        report("image", f"{image} made")
        return Built(image=image, id=made or "", environment=environment, built=True)

    def _context(self, order: ImageOrder) -> Context:
        skip = frozenset({order.handler_folder})
        files = {path: file for path, file in read_folder(order.template_dir).items() if path.split("/")[0] not in skip}
        if "Dockerfile" not in files:
            raise InvalidInput(
                f"template {order.template.name}: it has no Dockerfile, so no image can be made of it",
                field="template",
                hint="Choose a template with a Dockerfile, or deploy to a server that runs processes.",
            )
        files |= read_folder(order.handler_dir, below=order.handler_folder)
        requirements = order.requirements
        if order.constraints:
            requirements = b"--constraint constraints.txt\n" + requirements
            files["pilotlight/environment/constraints.txt"] = ContextFile(data=order.constraints)
        files["pilotlight/environment/requirements.txt"] = ContextFile(data=requirements)
        if self._index.certificate is not None:
            files["pilotlight/environment/ca.crt"] = ContextFile(data=self._index.certificate.read_bytes())
        files |= read_folder(self._runtime, below="pilotlight/runtime", skip=frozenset({"__pycache__"}))
        return Context(files=files, arguments=self._arguments(order))

    def _arguments(self, order: ImageOrder) -> dict[str, str]:
        ours = {
            "PYTHON_VERSION": f"{sys.version_info.major}.{sys.version_info.minor}",
            "PILOTLIGHT_CONTRACT": order.template.contract,
            "PILOTLIGHT_HANDLER": order.handler,
        }
        if order.packages:
            ours["ADDITIONAL_PACKAGE"] = " ".join(order.packages)
        return ours | index_arguments(self._index) | dict(order.build_args or {})

    async def _bases(self, dockerfile: str, context: Context, report: Report) -> str:
        """The engine's ids of the images to begin with, which it pulls where they are not there: a base that was
        changed makes another image."""
        ids = []
        for image in base_images(dockerfile, context.arguments):
            known = await self._find(image)
            if known is None:
                report("base", f"{image}: pulling")
                known = await self._pull(image)
            ids.append(f"{image}={known}")
        return "\n".join(ids)

    async def _pull(self, image: str) -> str:
        said = await pull(self._engine, image)
        known = await self._find(image)
        if said or known is None:
            raise pull_failure(image, said or "the engine has it no more")
        return known

    async def _find(self, image: str) -> str | None:
        try:
            found = await self._engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        except Refused as refused:
            if refused.status in (400, 404):
                return None
            raise pull_failure(image, refused.said) from refused
        return str(found["Id"])

    async def _environment(self, shared: Context, dockerfile: str, report: Report) -> None:
        image = f"pilotlight/{ENVIRONMENT}:{shared.digest[:16]}"
        if await self._find(image) is None:
            await self._build(shared, dockerfile, image, ENVIRONMENT, report)
            report(ENVIRONMENT, f"{image} made")

    async def _build(self, context: Context, dockerfile: str, image: str, target: str | None, report: Report) -> None:
        loop = asyncio.get_running_loop()
        packed = await asyncio.to_thread(context.tar)
        reader = _BuildLog(lambda line: loop.call_soon_threadsafe(report, "build", line))
        try:
            await self._engine.call(
                lambda client: self._stream(client, context, packed, image, target, reader), slow=True
            )
        except Refused as refused:  # a Dockerfile that it cannot read
            raise build_failure(reader.step, refused.said, dockerfile) from refused
        await asyncio.sleep(0)  # what the thread has reported comes first
        if reader.error is not None:
            raise build_failure(reader.step, reader.error, dockerfile)

    def _stream(
        self, client: Any, context: Context, packed: bytes, image: str, target: str | None, log: "_BuildLog"
    ) -> None:
        query = {
            "t": image,
            "rm": "true",
            "forcerm": "true",
            "buildargs": json.dumps(dict(context.arguments)),
        }
        query |= {} if target is None else {"target": target}
        query |= {} if self._network is None else {"networkmode": self._network}
        for step in self._engine.lines("/build", packed, query)(client):
            log.take(step)


class _BuildLog:
    """The engine's stream of one build, in its thread."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say = say
        self._number, self._text = 0, ""
        self._lines: list[str] = []
        self.error: str | None = None

    @property
    def step(self) -> Step:
        return Step(number=self._number, text=self._text, lines=tuple(self._lines))

    def take(self, message: Mapping[str, Any]) -> None:
        if "error" in message:
            self.error = str((message.get("errorDetail") or {}).get("message") or message["error"])
        text = str(message.get("stream") or "")
        began = step_of(text)
        if began is not None:
            self._number, self._text = began
            self._lines.clear()
            self._say(redacted(text.strip())[:200])
            return
        for line in tidy(text):
            self._lines = [*self._lines, line][-_KEPT_LINES:]
            self._say(line)


def index_arguments(index: IndexSettings) -> dict[str, str]:
    """The server's package index as pip knows it in a build. InvalidInput where that would put a password into a
    layer: arguments are written into an image's history."""
    variables = index.variables
    found = {
        "PIP_INDEX_URL": variables.get("UV_DEFAULT_INDEX", ""),
        "PIP_EXTRA_INDEX_URL": variables.get("UV_INDEX", ""),
        "PIP_TRUSTED_HOST": variables.get("UV_INSECURE_HOST", ""),
        "http_proxy": variables.get("HTTP_PROXY", ""),
        "https_proxy": variables.get("HTTPS_PROXY", ""),
        "no_proxy": variables.get("NO_PROXY", ""),
    }
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        remote = [url for url in found[name].split() if not url.startswith("file:")]  # no container sees our disk
        if any(url != redacted(url) for url in remote):
            raise InvalidInput(
                f"{name}: the index's address has a password, which the image's history would keep",
                field="build",
                hint="Give the engine a mirror that needs none; build secrets need BuildKit, which is not used yet.",
            )
        found[name] = " ".join(remote)
    return {name: value for name, value in found.items() if value}


def _shared(order: ImageOrder, context: Context) -> Context:
    """Without the function's own files and arguments: the same for all that share the environment."""
    folder = f"{order.handler_folder}/"
    files = {path: file for path, file in context.files.items() if not path.startswith(folder)}
    own = ("PILOTLIGHT_CONTRACT", "PILOTLIGHT_HANDLER")
    arguments = {name: value for name, value in context.arguments.items() if name not in own}
    return replace(context, files=files, arguments=arguments)


def _has_stage(dockerfile: str, name: str) -> bool:
    for text, _ in instructions(dockerfile):
        words = text.split()
        if words[0].upper() == "FROM" and len(words) >= 4 and words[-2].upper() == "AS" and words[-1] == name:
            return True
    return False
