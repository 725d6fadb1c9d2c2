"""Write prediction/means.json: the mean of each digit's training scans, brought to cells as `processing` does.

pip install scikit-learn && python train.py
"""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).parent
SEED = 7
"""The split of functions/digits: what is held out there is held out here."""


def main() -> None:
    processing, prediction = _module("processing"), _module("prediction")
    digits = load_digits()
    train, held_out = train_test_split(
        np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=SEED
    )
    cells = np.array([processing.cells_of((scan / processing.FULL).tolist()) for scan in digits.images])
    means = [cells[train][digits.target[train] == digit].mean(axis=0).round(2).tolist() for digit in range(10)]
    (FOLDER / "prediction/means.json").write_text(json.dumps(means) + "\n")
    prediction.init()
    read = [int(np.argmax(prediction.scores_of(scan.tolist()))) for scan in cells[held_out]]
    right = int(np.sum(np.array(read) == digits.target[held_out]))
    print(f"{right} of {len(held_out)} held-out scans read right")


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / name / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
