from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from pilotlight_runtime.typing import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Any ASGI application will do, too: name FastAPI in requirements.txt, and write `app = FastAPI()`."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    query = parse_qs(scope["query_string"].decode())
    name = query.get("name", ["world"])[0]
    body = json.dumps({"message": f"Hello, {name}!"}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
