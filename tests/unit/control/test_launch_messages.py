"""What a replica is told of where it runs, beside what its user wants."""

from pathlib import Path

import pytest

from pilotlight.config import Settings
from pilotlight.control.launcher import launch_of
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionSpec, Resources
from pilotlight.providers.base import Pool

BUNDLE = Bundle(digest="d", environment="e", template="python3-http", contract="http")
POOL = Pool(environment="e", namespace="openfaas-fn")


def variables_of(spec: FunctionSpec, gateway: str = "http://127.0.0.1:8080") -> dict[str, str]:
    revision = Revision(id="r", number=1, spec=spec, bundle=BUNDLE, created_at=0)
    return dict(launch_of(revision, "a", POOL, "local", 60, gateway).variables)


def test_a_function_is_told_where_functions_are_called_and_its_memory() -> None:
    spec = FunctionSpec(name="f", image="i", environment={"A": "1"}, limits=Resources(memory="256Mi"))
    assert variables_of(spec) == {
        "A": "1",
        "PILOTLIGHT_GATEWAY": "http://127.0.0.1:8080",
        "PILOTLIGHT_MEMORY_MIB": "256",
    }


def test_what_is_not_known_is_not_said() -> None:
    assert variables_of(FunctionSpec(name="f", image="i"), gateway="") == {}


@pytest.mark.parametrize(
    ("host", "gateway"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("10.1.2.3", "http://10.1.2.3:8123"),
    ],
)
def test_functions_reach_a_server_on_all_addresses_at_the_loopback(host: str, gateway: str) -> None:
    assert Settings(data_dir=Path("/data"), host=host, port=8123).gateway == gateway
