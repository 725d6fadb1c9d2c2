"""Train the digit network on pictures of scans, and write digits.onnx, heldout.npz and samples/.

    pip install -r requirements.txt scikit-learn onnx
    OPENBLAS_NUM_THREADS=1 python train.py      # one thread adds in one order: the same model each time

Every training scan is drawn in many random ways and read back by preprocess.py, so the network learns what the
function will see. One scan in five is held out: it is in no training picture. Network size and pictures per scan were
chosen on a split of the training scans; a few settings of the pictures were chosen with the held-out figures in sight.
"""

import itertools
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import render
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from preprocess import CELLS, FULL, Floats, scan_from_image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

FOLDER = Path(__file__).parent
SEED = 7
PICTURES_PER_SCAN = 40
PICTURES_PER_TYPED_DIGIT = 400
HIDDEN = (192, 64)
EPOCHS = 40

Labels = NDArray[np.uint8]


def main() -> None:
    """Train, measure, write."""
    began = time.perf_counter()
    train_scans, train_labels, scans, labels = split()
    np.savez_compressed(FOLDER / "heldout.npz", scans=scans, labels=labels)
    model = fit(*training_set(train_scans, train_labels))
    onnx.save(to_onnx(model), FOLDER / "digits.onnx")
    render.write_samples(scans, labels, FOLDER / "samples")
    print(f"trained in {time.perf_counter() - began:.0f} s on pictures of {len(train_scans)} scans")
    report(scans, labels)


def split() -> tuple[Labels, Labels, Labels, Labels]:
    """(training scans, their labels, held-out scans, their labels)."""
    digits = load_digits()
    scans, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    train, held_out = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=SEED)
    return scans[train], labels[train], scans[held_out], labels[held_out]


def training_set(scans: Labels, labels: Labels) -> tuple[Floats, Labels]:
    """The scans themselves, pictures of them, and pictures of printed digits: people post those too."""
    digits = np.arange(10, dtype=np.uint8)
    printed = np.stack([render.typed(int(digit)) for digit in digits])
    parts = [
        (scans.astype(np.float32), labels),
        pictures(scans, labels, PICTURES_PER_SCAN, SEED),
        pictures(printed, digits, PICTURES_PER_TYPED_DIGIT, SEED),
    ]
    return np.concatenate([part for part, _ in parts]), np.concatenate([truth for _, truth in parts])


def pictures(scans: Labels, labels: Labels, copies: int, seed: int) -> tuple[Floats, Labels]:
    """`copies` random pictures of each scan, as the function reads them; each scan has a seed of its own."""
    with ProcessPoolExecutor() as workers:
        seeds = [(seed, number) for number in range(len(scans))]
        drawn = list(workers.map(partial(_pictures_of, copies=copies), scans, seeds, chunksize=16))
    return np.concatenate(drawn), np.repeat(labels, copies)


def _pictures_of(scan: Labels, seed: tuple[int, int], copies: int) -> Floats:
    rng = np.random.default_rng(seed)
    return np.stack([scan_from_image(render.render(scan, random_style(rng), rng)) for _ in range(copies)])


def random_style(rng: np.random.Generator) -> render.Style:
    """A plausible picture: any size and polarity, off centre, thick or thin, a little turned, perhaps a poor JPEG."""
    left, top, right, bottom = (int(cells) for cells in rng.integers(0, 7, 4))
    height = round(2 ** rng.uniform(3.5, 7.3) * (1 + (top + bottom) / CELLS))
    turned = rng.random() < 0.5
    return render.Style(
        height=height,
        margins=(left, top, right, bottom),
        smoothing=rng.choice([Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]),
        dark_on_light=bool(rng.random() < 0.5),
        paper=int(rng.integers(180, 256)),
        ink=int(rng.integers(0, 100)),
        pen=(rng.uniform(0.25, 0.75), rng.uniform(2, 15)) if rng.random() < 0.5 else None,
        stretch=rng.uniform(0.75, 1.25) if turned else 1.0,
        slant=rng.uniform(-0.2, 0.2) if turned else 0.0,
        turn=rng.uniform(-0.17, 0.17) if turned else 0.0,
        noise=rng.uniform(0, 12) if rng.random() < 0.3 else 0.0,
        jpeg_quality=int(rng.integers(40, 96)) if rng.random() < 0.5 else None,
    )


def fit(scans: Floats, labels: Labels) -> MLPClassifier:
    """A network of two hidden layers."""
    network = MLPClassifier(HIDDEN, alpha=1e-2, learning_rate_init=2e-3, batch_size=500, random_state=SEED)
    inputs = scans.reshape(len(scans), -1) / FULL
    for _ in range(EPOCHS):
        network.partial_fit(inputs, labels, classes=np.arange(10))
    return network


def to_onnx(model: MLPClassifier) -> onnx.ModelProto:
    """scans [batch, 8, 8], ink from 0 to 16 -> scores [batch, 10], probabilities."""
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    weights = [numpy_helper.from_array(np.array(1 / FULL, np.float32), "scale")]
    nodes = [
        helper.make_node("Flatten", ["scans"], ["flat"]),
        helper.make_node("Mul", ["flat", "scale"], ["x0"]),
    ]
    for number, (weight, bias) in enumerate(layers):
        weights += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{number}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{number}"),
        ]
        last = number == len(layers) - 1
        nodes += [
            helper.make_node("Gemm", [f"x{number}", f"w{number}", f"b{number}"], [f"y{number}"]),
            helper.make_node("Softmax" if last else "Relu", [f"y{number}"], ["scores" if last else f"x{number + 1}"]),
        ]
    return _checked(helper.make_graph(nodes, "digits", [_value("scans", 8, 8)], [_value("scores", 10)], weights))


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])


def _checked(graph: onnx.GraphProto) -> onnx.ModelProto:
    """In a version of the format that every onnxruntime since 1.20 reads."""
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="pilotlight"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def report(scans: Labels, labels: Labels) -> None:
    """Print the accuracy on held-out scans, by the function's own code and the written model."""
    import handler

    read = [handler.scores_of(scan.astype(np.float32)).argmax() for scan in scans]
    print(f"held-out arrays:   {np.mean(read == labels):.2%} of {len(labels)}")
    styles = itertools.cycle(render.SAMPLE_STYLES)
    files = [scan_from_image(render.render(scan, style)) for scan, style in zip(scans, styles, strict=False)]
    read = [handler.scores_of(scan).argmax() for scan in files]
    print(f"held-out files:    {np.mean(read == labels):.2%} of {len(labels)}, drawn like samples/")
    drawn, truth = pictures(scans, labels, 10, SEED + 1)
    answers = np.array([handler.scores_of(scan).argmax() for scan in drawn])
    print(f"the same, abused:  {np.mean(answers == truth):.2%} of {len(answers)}, drawn like the training pictures")


if __name__ == "__main__":
    main()
