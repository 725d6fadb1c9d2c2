"""Which digit is in the posted PNG or JPEG? A small neural network answers, on the CPU."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from preprocess import CELLS, BadImage, Floats, scan_from_image

MODEL = Path(__file__).with_name("digits.onnx")


class Event(Protocol):
    """What we use of a request."""

    body: bytes


def init(context: object) -> None:
    """Called once per replica before it serves: load the model, and run it once so that no request is the first."""
    scores_of(np.zeros((CELLS, CELLS), np.float32))


def handle(event: Event, context: object) -> dict[str, Any]:
    """Answer one picture; a picture we cannot read is the caller's to mend, and the sentence says how."""
    try:
        scan = scan_from_image(event.body)
    except BadImage as exc:
        return _reply(exc.status, {"error": str(exc)})
    return _reply(200, _answer(scores_of(scan)))


def scores_of(scan: Floats) -> Floats:
    """Ten probabilities for one scan of 8x8 cells, ink from 0 to 16."""
    (scores,) = _session().run(["scores"], {"scans": scan[None]})
    return np.asarray(scores[0], np.float32)


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # requests run side by side; a model this small gains nothing from threads
    return ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def _answer(scores: Floats) -> dict[str, Any]:
    rounded = [round(float(score), 4) for score in scores]
    digit = int(scores.argmax())
    return {"digit": digit, "confidence": rounded[digit], "scores": rounded}


def _reply(status: int, document: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "body": json.dumps(document), "headers": headers}
