"""Types for handlers, one import for every contract; `if TYPE_CHECKING:` keeps a handler free of it at run time.

from pilotlight_runtime.typing import Context, Event, Result      # python3-http
from pilotlight_runtime.typing import LambdaContext               # python3-lambda
from pilotlight_runtime.typing import Receive, Scope, Send        # python3-asgi
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from pilotlight_runtime.contracts.asgi import App, Message, Receive, Scope, Send
from pilotlight_runtime.contracts.http import Context, Event
from pilotlight_runtime.contracts.lambda_ import LambdaContext
from pilotlight_runtime.outgoing import CallFailed, Reply

__all__ = [
    "App", "CallFailed", "Context", "Event", "LambdaContext", "Message", "Receive", "Reply", "Result", "Scope", "Send",
]  # fmt: skip

_Body = str | bytes | dict[str, Any] | list[Any] | Iterator[str | bytes] | AsyncIterator[str | bytes] | None
_Headers = Mapping[str, Any] | list[tuple[str, Any]] | None
Result = _Body | tuple[_Body, int] | tuple[_Body, int, _Headers]
"""What a handler of the contract `http` may return; a dict with `statusCode` is a whole response."""
