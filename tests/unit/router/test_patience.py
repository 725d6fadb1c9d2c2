"""How long the router waits for the control plane, by what was asked."""

import pytest

from pilotlight.router.control_plane import Patience, patience


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/system/functions", Patience.READ),
        (b"HEAD", b"/api/v1/info", Patience.READ),
        (b"GET", b"/system/logs?name=f&tail=10", Patience.READ),
        (b"GET", b"/system/logs?name=f&follow=true", Patience.ENDLESS),
        (b"GET", b"/api/v1/functions/f/logs?follow=1", Patience.ENDLESS),
        (b"GET", b"/api/v1/events", Patience.ENDLESS),
        (b"POST", b"/api/v1/builds?name=f", Patience.ENDLESS),
        (b"PUT", b"/api/v1/functions/f", Patience.CHANGE),
        (b"DELETE", b"/system/functions", Patience.CHANGE),
    ],
)
def test_each_request_has_its_patience(method: bytes, target: bytes, expected: Patience) -> None:
    assert patience(method, target) is expected
