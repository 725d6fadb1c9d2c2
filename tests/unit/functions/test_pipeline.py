"""The pipeline's three functions, each by itself."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FUNCTIONS = Path(__file__).parents[3] / "functions"
SEVEN = b"""
#######
     ##
    ##
   ##
  ##
  ##
  ##
"""


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"pipeline_{name}", FUNCTIONS / "pipeline" / name / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GATEWAY, PROCESSING, PREDICTION = load("gateway"), load("processing"), load("prediction")


@pytest.fixture(autouse=True, scope="module")
def _model() -> None:
    PREDICTION.init()


class Replies:
    """A context whose calls are recorded and answered."""

    def __init__(self, status: int, body: Any) -> None:
        self.called: list[tuple[str, Any]] = []
        self._reply = SimpleNamespace(ok=status == 200, status=status, text=str(body), json=lambda: body)

    async def call(self, name: str, body: Any) -> Any:
        self.called.append((name, body))
        return self._reply


def an_event(body: bytes, content_type: str = "text/plain") -> SimpleNamespace:
    return SimpleNamespace(body=body, headers={"Content-Type": content_type})


async def test_the_gateway_passes_a_drawing_on() -> None:
    context = Replies(200, {"digit": 7})
    assert await GATEWAY.handle(an_event(b"##\n.#"), context) == {"digit": 7}
    assert context.called == [("processing", {"rows": [[1.0, 1.0], [0.0, 1.0]]})]


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "text/plain", "from 2 to 128"),
        (b"#", "text/plain", "this has 1 and 1"),
        (b"..\n..", "text/plain", "empty"),
        (b"\xff\xff", "text/plain", "neither text nor JSON"),
        (b"{}", "application/json", "must be"),
        (b'{"rows": [[2, 0], [0, 0]]}', "application/json", "from 0 to 1"),
        (b"#" * 200 + b"\n##", "text/plain", "this has 2 and 200"),
    ],
)
async def test_the_gateway_refuses_what_is_no_drawing(body: bytes, content_type: str, words: str) -> None:
    context = Replies(200, {})
    answer, status = await GATEWAY.handle(an_event(body, content_type), context)
    assert (status, context.called) == (400, [])
    assert words in answer["error"]


async def test_the_gateway_says_that_the_rest_failed() -> None:
    answer, status = await GATEWAY.handle(an_event(b"##\n##"), Replies(500, "oops"))
    assert (status, "oops" in answer["error"]) == (502, False)


def test_a_drawing_fills_the_cells_whatever_its_size_and_place() -> None:
    small = PROCESSING.cells_of([[1.0, 0.0], [0.0, 1.0]])
    large = PROCESSING.cells_of(
        [[0.0] * 9, *([[0.0] + [1.0] * 4 + [0.0] * 4] * 4), *([[0.0] * 5 + [1.0] * 4] * 4), [0.0] * 9]
    )
    assert small == large
    assert small[:8] == [16.0] * 4 + [0.0] * 4


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_cells_are_64_and_hold_no_more_than_full_ink(height: int, width: int, data: st.DataObject) -> None:
    ink = st.floats(0, 1, allow_subnormal=False)
    rows = data.draw(st.lists(st.lists(ink, min_size=width, max_size=width), min_size=height, max_size=height))
    if any(any(row) for row in rows):
        cells = PROCESSING.cells_of(rows)
        assert len(cells) == 64
        assert all(0 <= cell <= 16 for cell in cells)


def test_the_model_reads_seven_of_eight_held_out_scans() -> None:
    held_out = np.load(FUNCTIONS / "digits/heldout.npz")
    right = 0
    for scan, label in zip(held_out["scans"], held_out["labels"], strict=True):
        scores = PREDICTION.scores_of(PROCESSING.cells_of((scan / PROCESSING.FULL).tolist()))
        right += scores.index(max(scores)) == label
    assert right == 315


def test_it_reads_a_drawn_seven() -> None:
    cells = PROCESSING.cells_of(GATEWAY.rows_of(SEVEN, "text/plain"))
    answer = PREDICTION.handle(SimpleNamespace(body=json.dumps({"cells": cells}).encode()), None)
    assert answer["digit"] == 7


def test_beliefs_add_up_to_one() -> None:
    assert sum(PREDICTION.scores_of([0.0] * 64)) == pytest.approx(1)
