"""Where containers of a network reach this machine, from what an engine says of the network."""

import pytest

from pilotlight.link.messages import Door
from pilotlight.providers.docker.surroundings import door_of

OWN = {"127.0.0.1", "172.18.0.1", "fd00::1"}


@pytest.mark.parametrize(
    ("config", "door"),
    [
        ([{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}], Door(address="172.18.0.1", network="172.18.0.0/16")),
        (
            [{"Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1"}, {"Subnet": "fd00::/64", "Gateway": "fd00::1"}],
            Door(address="fd00::1", network="fd00::/64"),
        ),
        ([{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}], None),
        ([{"Subnet": "172.18.0.0/16"}], None),
        ([{"Gateway": "172.18.0.1"}], None),
        ([{"Subnet": "172.18.0.0/16", "Gateway": "here"}], None),
        ([], None),
        (None, None),
    ],
)
def test_a_door_is_the_gateway_that_this_machine_is(config: object, door: Door | None) -> None:
    assert door_of({"IPAM": {"Config": config}}, OWN) == door


def test_an_engine_that_says_nothing_of_addresses_has_no_door() -> None:
    assert door_of({}, OWN) is None
