"""How many made-up examples each property is tried with, and which tests begin first.

Few in a run of all tests, as many as are asked for otherwise: PILOTLIGHT_EXAMPLES=2000 pytest tests/unit
"""

import os

import pytest
from hypothesis import settings

# No deadline: on a busy machine one example may take as long as a hundred do on a quiet one.
settings.register_profile("here", max_examples=int(os.environ.get("PILOTLIGHT_EXAMPLES", "40")), deadline=None)
settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests begin first: otherwise the last one runs while all other workers have nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
