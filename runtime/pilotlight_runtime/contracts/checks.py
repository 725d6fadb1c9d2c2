"""What several contracts look at: a module's names, a function's arguments, an answer's status and headers."""

import difflib
import inspect
import operator
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from pilotlight_runtime import http1
from pilotlight_runtime.contracts import BadAnswer, RawHeaders


def file_of(module: ModuleType) -> str:
    """As its author names it."""
    return module.__name__.rpartition(".")[2] + ".py"


def nearest(module: ModuleType, wanted: str) -> str:
    """A clause that names the module's own function that its author may have meant; empty when it has none."""
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and name != "init"
    ]
    near = difflib.get_close_matches(wanted, own, n=1, cutoff=0.5) or own[:1]
    return f"; the nearest is `{near[0]}`" if near else ""


def line_of(function: object) -> int | None:
    """Where it is defined, for one that is written in Python."""
    return function.__code__.co_firstlineno if isinstance(function, FunctionType) else None


def accepts(function: Callable[..., Any], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin that does not say
    return True


def is_asynchronous(function: Callable[..., Any]) -> bool:
    """Whether it is to be called on the event loop. Asynchronous generators count: calling one runs nothing of it, its
    body is awaited on the loop."""
    call = function if inspect.isroutine(function) else type(function).__call__
    return any(
        check(f) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction) for f in (function, call)
    )


def checked_status(status: Any) -> int:
    """BadAnswer when it is none that an answer may have."""
    try:
        number = operator.index(status)
    except TypeError:
        raise BadAnswer(f"the status {status!r}; it must be a number from 200 to 599") from None
    if isinstance(status, bool) or not 200 <= number <= 599:
        raise BadAnswer(f"the status {status!r}; it must be a number from 200 to 599")
    return number


def checked_headers(headers: Any) -> RawHeaders:
    """Those that frame an answer are left out: they follow from the body."""
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked: RawHeaders = []
    try:
        for name, values in pairs:
            for value in values if isinstance(values, list) else [values]:
                checked.append(checked_header(name, value))
    except (TypeError, ValueError) as error:
        raise BadAnswer(f"headers of type {type(headers).__name__}; they must be a mapping of names to str") from error
    return [header for header in checked if header[0].lower() not in FRAMING]


FRAMING = http1.HOP_BY_HOP | {b"content-length"}


def checked_header(name: Any, value: Any) -> tuple[bytes, bytes]:
    if not isinstance(name, str) or not isinstance(value, str | int | float):
        raise BadAnswer(f"the header {name!r} with a value of type {type(value).__name__}; it must be str")
    try:
        header = (name.encode("ascii"), str(value).encode("latin-1"))
    except UnicodeEncodeError:
        raise BadAnswer(f"the header {name!r} with characters outside of latin-1; encode them") from None
    if not http1.is_header(*header):
        raise BadAnswer(f"the header {name!r} with characters that may not stand in a header")
    return header
