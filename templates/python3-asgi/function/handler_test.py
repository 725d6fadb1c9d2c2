import asyncio
import json

from handler import app


def get(query: bytes = b"") -> tuple[int, bytes]:
    """Call the app as a server does; with a framework, its own test client does the same."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_greets_whom_the_query_names():
    status, body = get(b"name=ada")
    assert (status, json.loads(body)) == (200, {"message": "Hello, ada!"})


def test_greets_the_world_without_a_name():
    assert json.loads(get()[1]) == {"message": "Hello, world!"}
