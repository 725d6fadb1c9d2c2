"""Users of the two parsers that write down what they were told."""

from collections.abc import Callable

import pytest

from pilotlight_runtime.http1 import RequestHead, RequestParser, ResponseHead, ResponseParser

Event = tuple[object, ...]


class Recorder:
    """Takes requests one after the other, and responses as they come; pieces of a body are joined."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_request(self, head: RequestHead) -> None:
        self.events.append((head.method, head.target, tuple(head.headers), tuple(sorted(head.noted.items()))))
        self.head = head

    def on_interim(self, head: ResponseHead) -> None:
        self.events.append(("interim", head.status))

    def on_response(self, head: ResponseHead) -> None:
        self.events.append((head.status, tuple(head.headers), head.keep_alive, head.has_body))

    def on_body(self, data: bytes) -> None:
        assert data, "an empty piece of a body"
        if self.events[-1][0] == "body":
            self.events[-1] = ("body", self.events[-1][1] + data)  # type: ignore[operator]
        else:
            self.events.append(("body", data))

    def on_end(self) -> None:
        self.events.append(("end",))


class Pipeline(Recorder):
    """Answers at once, so that the next request follows within the same feed."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = RequestParser(self, noted=frozenset({b"x-call-id"}), limit=4096)

    def on_end(self) -> None:
        super().on_end()
        self.parser.next()


@pytest.fixture(scope="session")
def requests() -> Callable[..., list[Event]]:
    """What a server is told when these pieces arrive."""

    def parse(*pieces: bytes) -> list[Event]:
        user = Pipeline()
        for piece in pieces:
            user.parser.feed(piece)
        return user.events

    return parse


@pytest.fixture(scope="session")
def response() -> Callable[..., list[Event]]:
    """What a client is told when these pieces arrive; `end`: then the connection is closed."""

    def parse(*pieces: bytes, to_head: bool = False, end: bool = False) -> list[Event]:
        user = Recorder()
        parser = ResponseParser(limit=4096)
        parser.begin(user, to_head=to_head)
        for piece in pieces:
            parser.feed(piece)
        if end:
            parser.feed_end()
        return user.events

    return parse
