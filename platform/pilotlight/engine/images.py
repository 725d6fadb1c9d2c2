"""Images by name: what a name says, which bytes it stands for at this moment, and how an engine gets them."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pilotlight.core.errors import InvalidInput, PilotlightError, StartFailed
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Kind, Refused, full_name, not_here, pull_failure, registry_of, why
from pilotlight.engine.image_tags import held_names, is_ours, pulling, tag_again
from pilotlight.engine.registry_logins import Login, login_for

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::\d+)?"
)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LATEST = "latest"
_ID = "id:"
"""Before the engine's own digest of an image that no registry knows, where a registry's digest would stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    repository: str
    """As it was written, registry included."""
    tag: str | None = None
    """None: bytes are named, or `latest` is meant."""
    digest: str | None = None
    """The registry's, of exactly these bytes."""
    id: str | None = None
    """The engine's, for an image that is on this engine alone."""

    @property
    def registry(self) -> str:
        return registry_of(self.repository)

    @property
    def is_fixed(self) -> bool:
        """It names bytes, not a tag that may be moved."""
        return self.digest is not None or self.id is not None

    @property
    def tagged(self) -> str:
        return f"{self.repository}:{self.tag or LATEST}"

    @property
    def canonical(self) -> str:
        """The name by digest, as every engine and registry takes it; the tag where there is no digest."""
        return f"{self.repository}@{self.digest}" if self.digest else self.tagged

    def __str__(self) -> str:
        if not self.is_fixed:
            return self.tagged
        named = f"{self.repository}:{self.tag}" if self.tag else self.repository
        return f"{named}@{self.digest}" if self.digest else f"{named}@{_ID}{(self.id or '').partition(':')[2]}"


def parse_image(text: str) -> ImageName:
    """InvalidInput (image-name) says what is wrong with it."""
    name, at, fixed = text.partition("@")
    repository, tag = with_tag(name)
    given = tag if name.endswith(f":{tag}") else None
    if "://" in text:
        raise _bad(text, "an image's name has no https:// before it")
    if not name or any(character.isspace() for character in text):
        raise _bad(text, "it is empty, or has a blank in it")
    host = registry_of(repository)
    path = (
        repository if host == "docker.io" and not repository.startswith("docker.io/") else repository[len(host) + 1 :]
    )
    if path != path.lower() and _is_path(path.lower()):
        raise _bad(text, f"a repository's name is in lower case: {text.replace(path, path.lower())}")
    if not _is_path(path) or not _HOST.fullmatch(host):
        raise _bad(text, "it is written as REGISTRY/PATH/NAME:TAG, of a-z, 0-9 and . _ - between them")
    if len(repository) > 255:
        raise _bad(f"{text[:40]}…", "it is longer than 255 characters")
    if not _TAG.fullmatch(tag):
        raise _bad(text, f"{tag!r} is no tag: letters, digits, _ . and -, at most 128")
    if not at:
        return ImageName(repository=repository, tag=given)
    if fixed.startswith(_ID):
        digest = f"sha256:{fixed.removeprefix(_ID)}"
        if _DIGEST.fullmatch(digest):
            return ImageName(repository=repository, tag=given, id=digest)
    if not _DIGEST.fullmatch(fixed):
        raise _bad(text, "after the @ comes sha256: and 64 digits and letters from a to f")
    return ImageName(repository=repository, tag=given, digest=fixed)


def _is_path(path: str) -> bool:
    return all(_COMPONENT.fullmatch(part) for part in path.split("/"))


def _bad(text: str, sentence: str) -> InvalidInput:
    return InvalidInput(f"{text!r} is no name of an image: {sentence}", slug="image-name", field="image")


def with_tag(image: str) -> tuple[str, str]:
    """Its name, and its tag or digest. Without one an engine would pull all that there are."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, LATEST)


def fixed(name: ImageName, inspected: Mapping[str, Any]) -> ImageName:
    """The name with the digest of what the engine has under it: the registry's where it came from there, else the
    engine's own, which no other machine can find."""
    for each in inspected.get("RepoDigests") or ():
        repository, _, digest = str(each).partition("@")
        if full_name(repository) == full_name(name.repository):
            return replace(name, digest=digest)
    return replace(name, id=str(inspected["Id"]))


@dataclass(slots=True)
class _Access:
    """The login for one question to a registry. Docker itself asks without one where its file cannot be read, so that
    everybody's images can be had; what is wrong with the file counts once the registry refuses."""

    login: Login | None = None
    trouble: StartFailed | None = None

    def sent(self, engine: Engine, registry: str, secrets: Mapping[str, bytes] | None) -> dict[str, str]:
        """Blocks, as `login_for`. RevisionFailed for a secret that is no configuration."""
        try:
            self.login = login_for(registry, secrets or {}, engine.config)
        except StartFailed as trouble:
            self.trouble = trouble
        return self.login.sent() if self.login else {}

    def failure(self, image: str, said: str) -> PilotlightError:
        if self.trouble is not None and why(image, said).kind in (Kind.LOGIN, Kind.DENIED):
            return self.trouble
        return pull_failure(image, said, with_login=self.login is not None)


async def fetch(engine: Engine, image: str, secrets: Mapping[str, bytes] | None = None) -> None:
    """Pulls an image that the engine has not; `secrets` may hold logins. Raises what `pull_failure` and `not_here`
    give."""
    access = _Access()
    if said := await _pulled(engine, image, secrets, access):
        failure = access.failure(image, said)
        raise failure if "@" in image else not_here(image, failure, await _tags(engine))


async def _tags(engine: Engine) -> set[str]:
    """What people call the images that the engine has; none where it does not say."""
    with suppress(PilotlightError, Refused):
        listed = await engine.call(lambda client: client.images())
        tags = {str(tag) for each in listed for tag in each.get("RepoTags") or ()}
        return {tag for tag in tags if not is_ours(tag) and not tag.startswith("<none>")}
    return set()


async def _pulled(engine: Engine, image: str, secrets: Mapping[str, bytes] | None, access: _Access) -> str:
    def verb(client: Any) -> str:
        name, tag = with_tag(image)
        repository = with_tag(name)[0]
        whole = f"{repository}@{tag}" if "@" in image else f"{repository}:{tag}"
        login = access.sent(engine, registry_of(image), secrets)
        with pulling(engine.owner, repository, whole, client):
            for step in client.pull(name, tag=tag, stream=True, decode=True, auth_config=login):
                if "error" in step:
                    return str(step["error"])
        return ""

    try:
        return await engine.call(verb, slow=True)
    except Refused as refused:
        return refused.said


async def inspected(engine: Engine, image: str) -> Mapping[str, Any] | None:
    """What the engine says of the image that it has under this name; None where it has none. Refused else."""
    try:
        found: Mapping[str, Any] = await engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    return found


async def mark_used(engine: Engine, name: ImageName) -> None:
    """Before it is relied on: an image that a server has built or pulled gets the owner's tags again, so that no
    collector takes it that has looked already. One that is not there is fine."""

    def verb(client: Any) -> None:
        found = client.inspect_image(name.id or name.canonical)
        tag_again(engine.owner, held_names(found.get("RepoTags") or ()), str(found["Id"]), client)

    if engine.owner:
        with suppress(PilotlightError, Refused):  # whoever needs it will be told
            await engine.call(verb)


async def digest_now(engine: Engine, name: ImageName, secrets: Mapping[str, bytes] | None = None) -> str:
    """What the registry has under the tag at this moment; asked by the engine, whose network and certificates count.
    Raises as `pull_failure` says."""
    access = _Access()

    def verb(client: Any) -> str:
        login = access.sent(engine, name.registry, secrets)
        return str(client.inspect_distribution(name.tagged, auth_config=login)["Descriptor"]["digest"])

    try:
        return await engine.call(verb, slow=True)
    except Refused as refused:
        raise access.failure(name.tagged, refused.said) from refused
