"""What went wrong in a user's code, and where: in the user's own files, without our frames.

The slugs are those of runtime/README.md: handler-syntax, handler-missing, import-failed, init-failed, load-failed.
"""

import importlib
import linecache
import os
import traceback
from typing import Any

_RUNTIME_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep

# Modules that are installed under another name than they are imported by.
_DISTRIBUTIONS = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "yaml": "pyyaml", "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "dotenv": "python-dotenv",
}  # fmt: skip

MESSAGE_CHARACTERS = 2000
"""What is larger than a frame of the channel would not be told at all."""


class LoadFailed(Exception):
    """A function cannot be served: which error it is, a sentence, and where in the function's folder."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.file = file
        self.line = line
        self.column = column
        self.source = source

    def message(self) -> dict[str, Any]:
        """As it is said on the channel."""
        names = ("slug", "detail", "file", "line", "column", "source")
        return {"type": "failed"} | {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        where = f" ({self.file}, line {self.line})" if self.line else ""
        return f"{self.slug}: {self.detail}{where}"


def import_failure(error: BaseException, folder: str) -> LoadFailed:
    """Why the handler's module, or one that it imports, cannot be imported."""
    if isinstance(error, SyntaxError) and _is_in(error.filename, folder):
        return _syntax_failure(error, folder)
    if isinstance(error, ModuleNotFoundError):
        return LoadFailed("import-failed", _missing_module(error), **_place(error, folder))
    if isinstance(error, (ImportError, SyntaxError)):
        return LoadFailed("import-failed", describe(error), **_place(error, folder))
    return LoadFailed("load-failed", describe(error), **_place(error, folder))


def init_failure(error: BaseException, folder: str) -> LoadFailed:
    return LoadFailed("init-failed", describe(error), **_place(error, folder))


def describe(error: BaseException) -> str:
    """The exception's type and message, in one line; of a long message the beginning."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # a user's __str__ may do anything
        message = ""
    if len(message) > MESSAGE_CHARACTERS:
        message = f"{message[:MESSAGE_CHARACTERS]}..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def user_traceback(error: BaseException) -> str:
    """The traceback as its author wants to see it: from the first frame that is not ours."""
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    _drop_our_frames(told)
    return "".join(told.format())


def _syntax_failure(error: SyntaxError, folder: str) -> LoadFailed:
    return LoadFailed(
        "handler-syntax",
        error.msg,
        file=os.path.relpath(str(error.filename), folder),
        line=error.lineno or None,
        column=error.offset or None,
        source=error.text.rstrip("\r\n") if error.text else None,
    )


def _missing_module(error: ModuleNotFoundError) -> str:
    name = error.name or "?"
    top, _, rest = name.partition(".")
    if top == "function":
        return f"there is no {rest.replace('.', '/') or 'handler'}.py in the function's folder"
    if not error.msg.startswith("No module named"):
        return error.msg
    return f"no module named {name}: add {_DISTRIBUTIONS.get(top, 'it')} to requirements.txt"


def _place(error: BaseException, folder: str) -> dict[str, Any]:
    """The deepest line in the function's own files."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_in(frame.f_code.co_filename, folder):
            found = (frame.f_code.co_filename, line)
    if found is None:
        return {}
    file, line = found
    source = linecache.getline(file, line).rstrip("\r\n")
    return {"file": os.path.relpath(file, folder), "line": line, "source": source or None}


def _is_in(file: str | None, folder: str) -> bool:
    return file is not None and file.startswith(folder + os.sep)


def _drop_our_frames(told: traceback.TracebackException, seen: frozenset[int] = frozenset()) -> None:
    if id(told) in seen:
        return
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if not _is_ours(frame.filename)])
    others = [told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())]
    for other in others:
        if other is not None:
            _drop_our_frames(other, seen | {id(told)})


def _is_ours(file: str) -> bool:
    return file.startswith((_RUNTIME_FOLDER, "<frozen importlib")) or file == importlib.__file__
