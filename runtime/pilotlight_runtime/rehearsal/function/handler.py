"""Does what most handlers do, so that the spare has done it before."""

from typing import Any


def handle(event: Any, context: Any) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"X-Function": context.function}, "body": event.body or event.path}
