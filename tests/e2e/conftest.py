"""One real server for a module's tests, and a fresh one for those that break things."""

from collections.abc import Iterator

import pytest

from tests.harness import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    with Server() as server:
        yield server
