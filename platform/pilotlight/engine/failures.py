"""What engines and registries say when they refuse, as the errors that our users get. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from pilotlight.core.errors import InvalidInput, PilotlightError, PushFailed, RevisionFailed, StartFailed, StorageFull

_LIKENESS = 0.8
"""Of two names, from 0 to 1: one of them may be the other misspelt."""
SHOWN = 300
"""Characters of what was said; a proxy's error page is longer."""


class Refused(Exception):
    """The engine answered, with an error: its status and its own sentence."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


NO_SOCKET = "there is no such socket; is it running?"
NOT_ALLOWED = "this user may not use it"
_ENGINE_CURES = {
    NOT_ALLOWED: "Add the server's user to the socket's group (`sudo usermod -aG docker $USER`, then log in again), or"
    " start the server with sudo. Whoever may use the engine is root on its machine.",
    NO_SOCKET: "Start it (`sudo systemctl start docker`), or say where it listens: DOCKER_HOST=unix:///PATH, or --set"
    " docker.url=unix:///PATH (`docker context ls` shows it).",
    "connection refused": "Start it (`sudo systemctl start docker`): its socket is there, and nobody listens.",
}


def unreachable(url: str, why: str) -> StartFailed:
    hint = _ENGINE_CURES.get(why) if url.startswith("unix:") else None
    return StartFailed(f"the Docker engine at {url} cannot be reached: {why}", slug="engine-unreachable", hint=hint)


def image_missing(image: str) -> RevisionFailed:
    """For a pull policy of `never`."""
    return RevisionFailed(
        f"there is no image {image} on the engine, and the server is set to pull none", slug="image-not-found"
    )


def image_gone(image: str) -> RevisionFailed:
    """For one that was never in a registry."""
    return RevisionFailed(
        f"{image} is not on the engine any more, and it came from no registry",
        slug="image-not-found",
        hint="Build it again on the engine's machine, or push it to a registry; then: faasctl up",
    )


def image_unbuilt(image: str) -> RevisionFailed:
    """For one that a build of this server made, and somebody removed."""
    return RevisionFailed(
        f"{image} was built here and is not on the engine any more: somebody removed it", slug="image-gone"
    )


class Kind(Enum):
    """Why a registry did not give or take an image."""

    FULL = "full"
    NAME = "name"
    PLATFORM = "platform"
    LIMIT = "limit"
    TLS = "tls"
    AWAY = "away"
    LOGIN = "login"
    FIXED = "fixed"
    TOO_LARGE = "too large"
    DENIED = "denied"
    NO_TAG = "no tag"
    NO_REPOSITORY = "no repository"
    GONE = "gone"
    BROKEN = "broken"
    FORM = "form"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Why:
    kind: Kind
    sentence: str


_REASONS: tuple[tuple[Kind, str, str], ...] = (
    (Kind.FULL, r"no space left on device|disk quota exceeded", "the disk of the Docker engine is full"),
    (Kind.NAME, r"repository name must be lowercase|must be lower ?case", "a repository's name is in lower case"),
    (
        Kind.NAME,
        r"invalid reference format|invalid repository name|invalid tag format|could not parse reference|name invalid|"
        r"invalid checksum digest|unsupported digest algorithm",
        "this is no name of an image",
    ),
    (
        Kind.PLATFORM,
        r"no matching manifest for|no match for platform|does not match the specified (?:OS )?platform|"
        r"does not provide (?:the specified|any) platform|cannot be used on this platform",
        "it is not there for this engine's platform",
    ),
    (Kind.LIMIT, r"too ?many ?requests|pull rate limit|HTTP 429|rate exceeded", "{host} lets nobody pull so often"),
    (
        Kind.TLS,
        r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake",
        "{host} speaks plain HTTP, and the engine takes that from no registry that it was not told to trust",
    ),
    (Kind.TLS, r"HTTP request to an HTTPS server", "{host} speaks TLS, and the engine was told that it does not"),
    (
        Kind.TLS,
        r"x509: certificate signed by unknown authority|self[- ]signed certificate",
        "the certificate of {host} is signed by nobody that the engine knows",
    ),
    (Kind.TLS, r"certificate has expired|certificate is not yet valid", "the certificate of {host} is out of date"),
    (
        Kind.TLS,
        r"certificate is (?:not )?valid for|not valid for any names|any IP SANs|legacy Common Name",
        "the certificate of {host} is for another name",
    ),
    (Kind.AWAY, r"TLS handshake timeout", "{host} did not answer in time"),
    (Kind.TLS, r"x509:|\btls:", "no secure connection to {host} came about"),
    (Kind.AWAY, r"proxyconnect|proxy authentication required", "the engine's proxy did not lead to {host}"),
    (Kind.AWAY, r"no such host|no address associated", "no machine is called {machine}"),
    (
        Kind.AWAY,
        r"server misbehaving|temporary failure in name resolution|lookup .*(?:i/o timeout|connection refused)",
        "the engine's name service does not answer for {machine}",
    ),
    (Kind.AWAY, r"connection refused", "nothing listens on {host}"),
    (Kind.AWAY, r"no route to host|network is unreachable|host is down", "no way leads to {host}"),
    (
        Kind.AWAY,
        r"timeout|timed out|Client\.Timeout|deadline exceeded",
        "{host} did not answer in time",
    ),
    (
        Kind.LOGIN,
        r"token (?:has |is )?expired|expired ?token|reauthenticate",
        "the login for {host} has expired",
    ),
    (
        Kind.LOGIN,
        r"incorrect (?:username|credential)|invalid (?:username|credential|password)|bad.?credential|"
        r"HTTP Basic: Access denied|authentication failed",
        "{host} refused the login",
    ),
    (
        Kind.FIXED,
        r"immutable|cannot be overwritten",
        "there is such a tag already, and {host} lets nobody move it",
    ),
    (
        Kind.TOO_LARGE,
        r"HTTP 413|entity too large|payload too large|content too large|size limit|blob exceeds",
        "a layer is larger than {host}, or a proxy before it, takes",
    ),
    (
        Kind.DENIED,
        r"\bquota\b|storage (?:limit|resource)|exceed the configured",
        "{host} has no more room for this account",
    ),
    (
        Kind.DENIED,
        r"HTTP 405|method not allowed|operation is unsupported|read[- ]only",
        "{host} takes no images at all; it is read-only, or a mirror",
    ),
    (Kind.LOGIN, r"no basic auth credentials", "{host} wants a login"),
    (
        Kind.DENIED,
        r"insufficient_scope|requested access to the resource|\bdenied\b|HTTP 403|forbidden|not authorized",
        "there is no such repository on {host}, or this login has no right to it",
    ),
    (Kind.LOGIN, r"authentication required|unauthorized|HTTP 401", "{host} {refused}"),
    (Kind.GONE, r"image does not exist locally|no such image", "the engine has it no more"),
    (
        Kind.NO_REPOSITORY,
        r"repository name not known|name unknown|repository .*(?:not found|does not exist)|project .*not found",
        "there is no such repository on {host}",
    ),
    (
        Kind.BROKEN,
        r"upload (?:unknown|invalid)|unknown blob|blob unknown|digest invalid|HTTP 416|range not satisfiable",
        "{host} lost what was uploaded",
    ),
    (Kind.NO_TAG, r"manifest.*(?:unknown|not found)|: not found\b|reference does not exist", "{host} has no {what}"),
    (
        Kind.AWAY,
        r"HTTP 5\d\d|status:? 5\d\d|: 5\d\d |internal server error|bad gateway|service unavailable",
        "{host} is in trouble itself",
    ),
    (Kind.AWAY, r"HTTP 404 response|invalid character '.' (?:looking|after)", "what answers at {host} is no registry"),
    (
        Kind.FORM,
        r"schema ?1|v1 manifest|unsupported (?:manifest|media)|media ?type",
        "it is in a form that this engine, or {host}, does not take",
    ),
    (
        Kind.BROKEN,
        r"verification failed|unexpected commit (?:digest|size)|failed size validation",
        "what came is not what was asked for",
    ),
    (
        Kind.AWAY,
        r"\bEOF\b|connection reset|broken pipe|use of closed network|stream error|connection closed|dial tcp",
        "{host} broke off the connection",
    ),
)  # fmt: skip
"""In order: what is said first counts first. `{host}` is the registry, `{machine}` the same without its port."""
_COMPILED = tuple((kind, re.compile(pattern, re.I | re.S), sentence) for kind, pattern, sentence in _REASONS)


def why(image: str, said: str, *, with_login: bool = False) -> Why:
    """What an engine's sentence about an image means. The image's own name counts for nothing in it."""
    host = registry_of(image)
    text = _without_name(image, said)
    for kind, pattern, sentence in _COMPILED:
        if pattern.search(text):
            words = {
                "host": host,
                "machine": host.rpartition(":")[0] or host,
                "what": "image with this digest" if "@" in image else "such image or tag",
                "refused": "refused the login" if with_login else "wants a login",
            }
            return Why(kind, sentence.format(**words))
    return Why(Kind.OTHER, "")


def pull_failure(image: str, said: str, *, with_login: bool = False) -> PilotlightError:
    """Why an image could not be had from its registry. What could be cured by itself (a network) is the node's fault,
    everything else the revision's. `with_login`: one was sent along."""
    reason = why(image, said, with_login=with_login)
    sentence = f"{image} cannot be pulled: {_told(reason, said)}"
    hint = _HINTS.get(reason.kind, "").format(host=registry_of(image), verb="Pull") or None
    match reason.kind:
        case Kind.FULL:
            return StorageFull(sentence)
        case Kind.NAME:
            return InvalidInput(sentence, slug="image-name", field="image")
        case Kind.PLATFORM:
            return RevisionFailed(sentence, slug="image-platform")
        case Kind.LIMIT:
            return StartFailed(sentence, slug="registry-limit", hint=hint)
        case Kind.TLS:
            return StartFailed(sentence, slug="registry-tls", hint=hint)
        case Kind.AWAY | Kind.BROKEN:
            return StartFailed(sentence, slug="registry-unreachable")
        case Kind.LOGIN:
            return RevisionFailed(sentence, slug="registry-login", hint=hint)
        case Kind.NO_TAG | Kind.NO_REPOSITORY | Kind.GONE:
            return RevisionFailed(sentence, slug="image-not-found")
    return RevisionFailed(sentence, slug="image-refused")


def not_here(image: str, failure: PilotlightError, tags: Iterable[str]) -> PilotlightError:
    """That the engine itself has no such image comes first: a name without a registry was as likely meant for it. So is
    the nearest of its own `tags`."""
    near = _nearest(image, tags)
    if failure.slug in ("registry-unreachable", "registry-tls"):
        if registry_of(image) != image.partition("/")[0]:
            why_not = failure.detail.removeprefix(f"{image} cannot be pulled: ")
            sentence = f"the engine has no image {image}, and {registry_of(image)} could not be asked for it: {why_not}"
            failure = StartFailed(sentence, slug="image-not-here")
        else:
            failure.detail = f"the engine has no image {image}, and {failure.detail}"
    if near is not None and failure.slug in ("image-not-here", "image-not-found", "image-refused"):
        failure.hint = f"Did you mean {near}, which the engine has? {failure.hint or ''}".rstrip()
    return failure


def _nearest(image: str, tags: Iterable[str]) -> str | None:
    """By the name first: another tag of the same is near, however it is written."""
    by_name: dict[str, list[str]] = {}
    for tag in sorted(tags):
        by_name.setdefault(_without_tag(tag), []).append(tag)
    found = get_close_matches(_without_tag(image), by_name, n=1, cutoff=_LIKENESS)
    return get_close_matches(image, by_name[found[0]], n=1, cutoff=0.0)[0] if found else None


def push_failure(image: str, said: str, *, with_login: bool = False) -> PilotlightError:
    """Why a registry did not take an image."""
    reason = why(image, said, with_login=with_login)
    host = registry_of(image)
    sentence = f"{image} cannot be pushed: {_told(reason, said)}"
    match reason.kind:
        case Kind.FULL:
            return PushFailed(
                f"{image} cannot be pushed: the engine's disk is full, or that of {host} ({_short(said)})"
            )
        case Kind.NAME:
            return InvalidInput(sentence, slug="image-name", field="image")
        case Kind.LIMIT:
            return PushFailed(sentence, slug="registry-limit")
        case Kind.TLS:
            return PushFailed(sentence, slug="registry-tls", hint=_HINTS[Kind.TLS].format(host=host, verb="Push"))
        case Kind.AWAY:
            return PushFailed(
                sentence,
                slug="registry-unreachable",
                hint=f"See whether {host} runs and the engine can reach it, or correct `image:`; then push again.",
            )
        case Kind.LOGIN:
            return PushFailed(sentence, slug="registry-login", hint=f"Log in where you type this: docker login {host}")
        case Kind.GONE:
            return PushFailed(sentence, slug="image-not-found", hint="Build it again, then push: faasctl build")
        case Kind.TOO_LARGE:
            return PushFailed(sentence, slug="push-too-large")
        case Kind.DENIED | Kind.FIXED | Kind.NO_REPOSITORY:
            return PushFailed(sentence, slug="push-refused")
    return PushFailed(sentence)


_HINTS = {
    Kind.LIMIT: "Wait, or log the server's user in (docker login {host}): accounts may pull more often.",
    Kind.TLS: "Give the engine the certificate (/etc/docker/certs.d/{host}/ca.crt on its machine), or, for a registry "
    "of a laboratory, name it under insecure-registries in its daemon.json.",
    Kind.LOGIN: "Log the server's user in on its machine (docker login {host}), or give the function a secret "
    "`dockerconfigjson` that holds a Docker config.json with that login.",
}


def _told(reason: Why, said: str) -> str:
    """Our sentence, and theirs for whoever wants to look it up."""
    return f"{reason.sentence} ({_short(said)})" if reason.sentence else _short(said)


_PASSWORD = re.compile(r"(?<=://)[^/@\s\"]+@")


def _short(said: str) -> str:
    text = _PASSWORD.sub("", " ".join(said.split()))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def registry_of(image: str) -> str:
    """The registry that an image's name stands for, as a person would call it."""
    head, slash, _ = image.partition("/")
    return head if slash and ("." in head or ":" in head or head == "localhost") else "docker.io"


def full_name(image: str) -> str:
    """The one name for all that mean the same: Docker Hub's images have short names, too."""
    if registry_of(image) != "docker.io":
        return image
    path = image.removeprefix("docker.io/")
    return f"docker.io/{path if '/' in path else f'library/{path}'}"


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _without_name(image: str, said: str) -> str:
    """A repository may be called anything, `denied` too. One word alone is left: it may be a word of the sentence."""
    name = _without_tag(image)
    path = name.partition("/")[2] if registry_of(image) != "docker.io" else name
    for part in (image, name, path):
        if "/" in part or ":" in part:
            said = re.sub(rf"(?<![\w.-]){re.escape(part)}(?![\w.-])", "IMAGE", said)
    return said


_COMMAND = re.compile(r"(?:executable file not found|no such file or directory|permission denied)")
_RUNC = re.compile(r"^.*(?:starting container process caused|unable to start container process): ", re.S)


def start_failure(image: str, refused: Refused) -> PilotlightError:
    """Why a container could not be made or started."""
    said = refused.said.strip()
    if "exec format error" in said:
        sentence = f"{image} cannot be run: its program is for another processor ({_RUNC.sub('', said)})"
        return RevisionFailed(sentence, slug="image-platform")
    if "OCI runtime" in said and _COMMAND.search(said):
        return RevisionFailed(f"{image} cannot be run: {_RUNC.sub('', said)}", slug="image-not-runnable")
    if "no command specified" in said.lower():
        return RevisionFailed(f"{image} cannot be run: it names no command", slug="image-not-runnable")
    if refused.status == 400:  # a reference that is none, a limit that no machine takes
        return RevisionFailed(f"{image} cannot be run: {said}", slug="image-not-runnable")
    return StartFailed(f"the Docker engine did not start a container of {image}: {said}")
