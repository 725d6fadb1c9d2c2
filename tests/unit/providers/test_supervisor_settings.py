"""The supervisor reads settings without importing their definition; the two must agree."""

from pathlib import Path

import pytest

from pilotlight import claims, supervisor
from pilotlight.config import Settings


def test_its_defaults_are_those_of_the_settings() -> None:
    settings = Settings(data_dir=Path("/data"))
    assert {name: getattr(settings, name) for name in supervisor.DEFAULTS} == supervisor.DEFAULTS
    control = {name: getattr(settings.control, name) for name in supervisor.CONTROL_DEFAULTS}
    assert control == supervisor.CONTROL_DEFAULTS


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 80, "http://127.0.0.1:80"),
        ("0.0.0.0", 80, "http://127.0.0.1:80"),
        ("::", 80, "http://[::1]:80"),
        ("example.org", 8080, "http://example.org:8080"),
    ],
)
def test_a_url_can_be_reached_from_this_machine(host: str, port: int, url: str) -> None:
    assert claims.url(host, port) == url
