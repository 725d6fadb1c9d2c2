"""POST /api/v1/builds: source in, progress out line by line, and at the end a reference that can be deployed."""

import base64
import binascii
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from pilotlight.api.endpoints import Endpoint, Stream, Upload
from pilotlight.api.feed import FailedEvent, Places, ProgressEvent, answer_with_progress
from pilotlight.api.reading import parse_query
from pilotlight.api.uploads import receive, staging
from pilotlight.api.work import Work
from pilotlight.builder.base import ARGUMENT_NAME, Choices
from pilotlight.builder.reference import reference
from pilotlight.control.views import Control
from pilotlight.core.checks import told
from pilotlight.core.errors import InvalidInput, InvalidSource, StorageFull
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import A_NAME, DEFAULT_NAMESPACE, is_name

AT_ONCE = 16
"""Uploads and builds together; the builder runs fewer at once, the others wait there with their file on the disk."""
_TEMPLATE = re.compile(r"[a-z0-9][-._a-z0-9]{0,62}")
SECRET_HEADER = "X-Build-Secret"  # noqa: S105 (its name)
"""`ID=BASE64`, one for each secret of a build: in the archive it would lie on the disk."""
_SECRETS, _SECRET_BYTES = 16, 5000
"""A header has 8 KiB."""
_SECRET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class BuildQuery(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, A_NAME]
    template: Annotated[str, told(pattern=f"^{_TEMPLATE.pattern}$")]
    namespace: Annotated[str, A_NAME] = DEFAULT_NAMESPACE
    layout: Literal["function", "template"] = "function"
    """`template`: the tar has the template's folder as template/, and the function's as handler/."""
    options: str = ""
    """Build options of the template, with commas between them."""
    build_args: str = ""
    """NAME=VALUE, and again for each."""


class BuiltEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="built"):
    reference: str
    environment: str
    seconds: float


class Builds:
    def __init__(self, control: Control, work: Work, *, staging_dir: Path, upload_limit_mib: int) -> None:
        self._control = control
        self._work = work
        self._staging_dir = staging_dir
        self._limit_bytes = upload_limit_mib * 2**20
        self._places = Places(AT_ONCE, "builds")

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="POST",
                path="/api/v1/builds",
                handler=self.create_build,
                summary="Build a source. The last line is `built`, with the reference to deploy, or `failed`.",
                query=BuildQuery,
                request=Upload(
                    media_type="application/x-tar",
                    about="A tar of the handler's folder, or as `layout` says; gzip is taken. A build secret is a "
                    f"header `{SECRET_HEADER}: ID=BASE64`, one for each.",
                ),
                answers={200: Stream(of=ProgressEvent | BuiltEvent | FailedEvent)},
                errors=(InvalidSource, StorageFull),
            )
        ]

    async def create_build(self, request: web.Request) -> web.StreamResponse:
        query = _checked(parse_query(request, BuildQuery, repeated=frozenset({"build_args"})))
        choices = choices_of(query, request.query.getall("build_args", []), request.headers.getall(SECRET_HEADER, []))
        with self._places.one():
            async with staging(self._staging_dir) as tar:
                async with self._work.until_stopping():
                    await receive(request, tar, limit=self._limit_bytes)
                build = partial(self._control.build, name=query.name, template=query.template, tar=tar, choices=choices)
                return await answer_with_progress(
                    request, self._work, lambda report: build(progress=report), partial(_built, query.name)
                )


def _built(name: str, bundle: Bundle, seconds: float) -> BuiltEvent:
    return BuiltEvent(reference=reference(name, bundle.digest), environment=bundle.environment, seconds=seconds)


def choices_of(query: BuildQuery, arguments: Sequence[str], secrets: Sequence[str]) -> Choices:
    """InvalidInput names the one that is wrong, and never a secret's value."""
    return Choices(
        uploaded_template=query.layout == "template",
        options=tuple(dict.fromkeys(option for option in query.options.split(",") if option)),
        arguments=dict(map(_argument, arguments)),
        secrets=_secrets(secrets),
    )


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or ARGUMENT_NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"build_args: {text[:80]!r} must be NAME=VALUE, with a NAME of letters, digits and _", field="build_args"
        )
    return name, value


def _secrets(headers: Sequence[str]) -> dict[str, bytes]:
    if len(headers) > _SECRETS:
        raise InvalidInput(f"build_secrets: at most {_SECRETS}, not {len(headers)}", field="build_secrets")
    found: dict[str, bytes] = {}
    for header in headers:
        name, _, text = header.partition("=")
        if _SECRET_ID.fullmatch(name) is None or name in found:
            raise InvalidInput(
                f"build_secrets: {name[:64]!r} must be one name of letters, digits, ., _ and -", field="build_secrets"
            )
        try:
            found[name] = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise InvalidInput(f"build_secrets: {name} is not base64", field="build_secrets") from None
        if not 0 < len(found[name]) <= _SECRET_BYTES:
            raise InvalidInput(
                f"build_secrets: {name} has {len(found[name])} bytes; 1 to {_SECRET_BYTES} are taken",
                field="build_secrets",
            )
    return found


def _checked(query: BuildQuery) -> BuildQuery:
    for field in ("name", "namespace"):
        value = getattr(query, field)
        if not is_name(value):
            raise InvalidInput(
                f"{field}: {value!r} must be a DNS label: a-z, 0-9 and -, at most 63 characters", field=field
            )
    if _TEMPLATE.fullmatch(query.template) is None:
        raise InvalidInput(f"template: {query.template!r} is no template's name", field="template")
    return query
