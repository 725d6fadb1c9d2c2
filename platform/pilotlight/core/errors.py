"""One error tree; each leaf knows its HTTP status, its slug and whether trying again helps.

PilotlightError
├── InvalidInput (400)         bad-request
│   ├── InvalidSpec            invalid-spec
│   ├── InvalidSource          invalid-source
│   ├── InvalidSetting         invalid-setting (status 0: only the server's own terminal says it)
│   └── InvalidRequirements    invalid-requirements, requirement-not-found, ...
├── Unauthorized (401)         credentials-refused
├── NotFound (404)             not-found
│   ├── FunctionNotFound       function-not-found
│   ├── BundleNotFound         bundle-not-found
│   ├── SecretNotFound         secret-not-found
│   ├── NamespaceNotFound      namespace-not-found
│   └── KeyNotFound            function-key-not-found
├── Conflict (409)             conflict, secret-exists, secret-in-use, namespace-exists, namespace-in-use
├── TooLarge (413)             too-large
├── RevisionFailed (422)       revision-failed, handler-syntax, handler-missing, import-failed, init-failed, ...
├── PushFailed (502)           push-failed, push-refused, registry-login, ...
├── Unsupported (501)          not-supported
├── Unavailable (503)          unavailable
│   ├── Unschedulable          unschedulable
│   └── StartFailed            start-failed
├── SecretsLocked (503)        secrets-locked
└── StorageFull (507)          storage-full

A slug is the `type` of the API's problem+json, and names a row of the table of all errors (pilotlight_problems), which
has the status and what to do. Where one class serves a family of causes (a build or a revision can fail in many ways),
the raiser gives the slug; everywhere else the class has it.
"""

from dataclasses import dataclass
from typing import ClassVar

from pilotlight_problems import find


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """Where in the user's own files something is wrong; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None
    source: str | None = None


class PilotlightError(Exception):
    """The root: a sentence for the user, the field it is about, and what to do next.

    Status and default hint are those of the slug's row in the table (pilotlight_problems)."""

    default_slug: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        slug: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        location: SourceLocation | None = None,
        state: str | None = None,
        last_lines: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.slug = slug or self.default_slug
        row = find(self.slug)
        self.status = row.status
        self.field = field
        self.hint = hint or row.cure
        self.location = location
        self.state = state
        self.last_lines = last_lines
        """What a function printed last, where it is about one that ended."""

    def problem(self) -> dict[str, object]:
        """The error as an `application/problem+json` object (RFC 9457); absent members are left out."""
        members: dict[str, object] = {
            "type": self.slug,
            "title": self.slug.replace("-", " "),
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "field": self.field,
            "state": self.state,
            "last_lines": self.last_lines or None,
        }
        if self.location is not None:
            members |= {name: getattr(self.location, name) for name in ("file", "line", "column", "source")}
        return {name: value for name, value in members.items() if value is not None}


class InvalidInput(PilotlightError):
    default_slug = "bad-request"


class InvalidSpec(InvalidInput):
    default_slug = "invalid-spec"


class InvalidSetting(InvalidInput):
    """Of the server itself, by whoever starts it."""

    default_slug = "invalid-setting"


class InvalidSource(InvalidInput):
    default_slug = "invalid-source"


class InvalidRequirements(InvalidInput):
    default_slug = "invalid-requirements"


class Unauthorized(PilotlightError):
    default_slug = "credentials-refused"


class NotFound(PilotlightError):
    default_slug = "not-found"


class FunctionNotFound(NotFound):
    default_slug = "function-not-found"


class BundleNotFound(NotFound):
    default_slug = "bundle-not-found"


class SecretNotFound(NotFound):
    default_slug = "secret-not-found"


class NamespaceNotFound(NotFound):
    default_slug = "namespace-not-found"


class KeyNotFound(NotFound):
    """A function that takes calls without a key has none."""

    default_slug = "function-key-not-found"


class Conflict(PilotlightError):
    default_slug = "conflict"


class TooLarge(PilotlightError):
    default_slug = "too-large"


class RevisionFailed(PilotlightError):
    """A revision that was deployed did not come up; the slug says at which step, the detail why."""

    default_slug = "revision-failed"


class PushFailed(PilotlightError):
    """A registry did not take an image; the slug says whose turn it is."""

    default_slug = "push-failed"


class Unsupported(PilotlightError):
    default_slug = "not-supported"


class Unavailable(PilotlightError):
    default_slug = "unavailable"
    retryable = True


class Unschedulable(Unavailable):
    default_slug = "unschedulable"


class StartFailed(Unavailable):
    """A replica could not be started for a reason that lies with the node, not with the function."""

    default_slug = "start-failed"


class SecretsLocked(PilotlightError):
    """What is stored cannot be opened with the key file that is there."""

    default_slug = "secrets-locked"


class StorageFull(PilotlightError):
    default_slug = "storage-full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a function cannot answer at the moment, as data: what the router says to a caller (see link.messages)."""

    slug: str
    detail: str
    status: int = 503

    @classmethod
    def of(cls, error: PilotlightError) -> "Failure":
        return cls(slug=error.slug, detail=error.detail, status=503)
