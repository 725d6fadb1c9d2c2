"""One error tree; each leaf knows its HTTP status, its slug and whether trying again helps.

PilotlightError
├── InvalidInput (400)         bad-request
│   ├── InvalidSpec            invalid-spec
│   ├── InvalidSource          invalid-source
│   └── InvalidRequirements    invalid-requirements, requirement-not-found, ...
├── Unauthorized (401)         credentials-refused
├── NotFound (404)             not-found
│   ├── FunctionNotFound       function-not-found
│   └── BundleNotFound         bundle-not-found
├── Conflict (409)             conflict
├── TooLarge (413)             too-large
├── RevisionFailed (422)       revision-failed, handler-syntax, handler-missing, import-failed, init-failed, ...
├── Unsupported (501)          not-supported
├── Unavailable (503)          unavailable
│   ├── Unschedulable          unschedulable
│   └── StartFailed            start-failed
└── StorageFull (507)          storage-full

A slug is the `type` of the API's problem+json. Where one class serves a family of causes (a build or a revision
can fail in many ways), the raiser gives the slug; everywhere else the class has it.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """Where in the user's own files something is wrong; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None
    source: str | None = None


class PilotlightError(Exception):
    """The root: a sentence for the user, the field it is about, and what to do next."""

    status: ClassVar[int] = 500
    default_slug: ClassVar[str] = "internal"
    default_hint: ClassVar[str] = "Look at the server's log; if it says nothing that helps, report it."
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
        self.field = field
        self.hint = hint or self.default_hint
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
    status = 400
    default_slug = "bad-request"
    default_hint = "Correct the request and send it again; nothing was changed."


class InvalidSpec(InvalidInput):
    default_slug = "invalid-spec"
    default_hint = "Correct the field named above and deploy again; nothing was changed."


class InvalidSource(InvalidInput):
    default_slug = "invalid-source"
    default_hint = "Upload a tar of regular files and folders with paths relative to the handler's folder."


class InvalidRequirements(InvalidInput):
    default_slug = "invalid-requirements"
    default_hint = "Correct requirements.txt and build again; nothing was changed."


class Unauthorized(PilotlightError):
    status = 401
    default_slug = "credentials-refused"
    default_hint = "Send the user and password that the server printed at its first start (HTTP basic authentication)."


class NotFound(PilotlightError):
    status = 404
    default_slug = "not-found"
    default_hint = "Look at the name; names are case-sensitive."


class FunctionNotFound(NotFound):
    default_slug = "function-not-found"
    default_hint = "`faasctl list` shows the functions that there are."


class BundleNotFound(NotFound):
    default_slug = "bundle-not-found"
    default_hint = "Build the source first (`faasctl build`), then deploy the reference that it prints."


class Conflict(PilotlightError):
    status = 409
    default_slug = "conflict"
    default_hint = "Update it (PUT) instead of creating it again, or choose another name."


class TooLarge(PilotlightError):
    status = 413
    default_slug = "too-large"
    default_hint = "Send less, or raise the limit in the server's settings."


class RevisionFailed(PilotlightError):
    """A revision that was deployed did not come up; the slug says at which step, the detail why."""

    status = 422
    default_slug = "revision-failed"
    default_hint = "Look at `faasctl logs` of the function, correct its code and deploy again."


class Unsupported(PilotlightError):
    status = 501
    default_slug = "not-supported"
    default_hint = "This server cannot do that yet."


class Unavailable(PilotlightError):
    status = 503
    default_slug = "unavailable"
    default_hint = "Try again in a moment."
    retryable = True


class Unschedulable(Unavailable):
    default_slug = "unschedulable"
    default_hint = "Ask for less, or stop something that holds what is asked for."


class StartFailed(Unavailable):
    """A replica could not be started for a reason that lies with the node, not with the function."""

    default_slug = "start-failed"


class StorageFull(PilotlightError):
    status = 507
    default_slug = "storage-full"
    default_hint = "Free space on the disk of the server's data directory, then try again; nothing was changed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a function cannot answer at the moment, as data: what the router says to a caller (see link.messages)."""

    slug: str
    detail: str
    status: int = 503

    @classmethod
    def of(cls, error: PilotlightError) -> "Failure":
        return cls(slug=error.slug, detail=error.detail, status=503)
