"""`faasctl explain`: what an error's name means, without a server."""

import json

import pytest

from pilotlight_problems import rows
from tests.integration.faasctl.scripted import Cli


@pytest.mark.parametrize("name", ["handler-syntax", "error[handler-syntax]:", "Handler-Syntax"])
def test_an_error_is_explained_by_its_name_as_it_was_seen(cli: Cli, name: str) -> None:
    done = cli("explain", name)
    row = rows()["handler-syntax"]
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "handler-syntax   HTTP status 422, exit code 1"
    assert " ".join(done.out.split()).endswith(f"Cause: {row.cause} Cure: {row.cure}")


def test_a_misspelt_name_is_answered_with_the_nearest(cli: Cli) -> None:
    done = cli("explain", "stack-unknwon-key")
    assert (done.code, done.out) == (2, "")
    assert "did you mean `stack-unknown-key`?" in done.err


def test_without_a_name_all_errors_are_listed(cli: Cli) -> None:
    listed = json.loads(cli("explain", "--json").out)["errors"]
    assert [row["slug"] for row in listed] == list(rows())
    assert all(f"  {slug} " in cli("explain").out for slug in ("usage", "queue-full"))
