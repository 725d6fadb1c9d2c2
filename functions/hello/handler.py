"""Greet whoever the request's body names: the smallest function that does something."""

from typing import Any, Protocol


class Event(Protocol):
    """What we use of a request; there are also headers, method, query and path."""

    body: bytes


def handle(event: Event, context: object) -> dict[str, Any]:
    """Answer "Hello, NAME!"."""
    name = event.body.decode("utf-8", errors="replace").strip() or "world"
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return {"statusCode": 200, "body": f"Hello, {name}!", "headers": headers}
