"""The digits example reads held-out digits in pictures of many kinds, and refuses the rest with a sentence."""

import itertools
import json
import random
import struct
import zlib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parents[3] / "functions" / "digits"
SAMPLES = sorted((FOLDER / "samples").iterdir())


def _load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"digits_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits() -> Iterator[ModuleType]:
    """The handler, with its folder on the path as in a replica."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield _load("handler")


@pytest.fixture(scope="module")
def heldout() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with np.load(FOLDER / "heldout.npz") as file:
        return file["scans"], file["labels"]


def _post(digits: ModuleType, body: bytes) -> tuple[int, dict[str, Any]]:
    reply = digits.handle(SimpleNamespace(body=body), SimpleNamespace(hostname="test"))
    assert reply["headers"] == {"Content-Type": "application/json"}
    return reply["statusCode"], json.loads(reply["body"])


def _digit(digits: ModuleType, body: bytes) -> int:
    status, answer = _post(digits, body)
    assert status == 200, answer
    return int(answer["digit"])


def _file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _picture(scan: NDArray[np.uint8], *, side: int = 64, dark_on_light: bool = True) -> Image.Image:
    """The scan in the middle of a sheet, without help of the function's own code."""
    ink = np.pad(np.minimum(scan.astype(np.uint16) * 16, 255).astype(np.uint8), 2)
    levels = 255 - ink if dark_on_light else ink
    return Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def seven(heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> Image.Image:
    scans, labels = heldout
    return _picture(scans[labels == 7][0])


# Accuracy


def test_it_reads_held_out_arrays(digits: ModuleType, heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    scans, labels = heldout
    read = [digits.scores_of(scan.astype(np.float32)).argmax() for scan in scans]
    assert len(labels) == 360
    assert np.mean(read == labels) >= 0.97


@pytest.mark.parametrize("side", [12, 28, 64, 300])
@pytest.mark.parametrize("dark_on_light", [True, False])
def test_it_reads_held_out_scans_as_png(
    digits: ModuleType,
    heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    side: int,
    dark_on_light: bool,
) -> None:
    scans, labels = heldout
    read = [_digit(digits, _file(_picture(scan, side=side, dark_on_light=dark_on_light))) for scan in scans]
    assert np.mean(read == labels) >= 0.97


def test_it_reads_held_out_scans_as_poor_jpeg(
    digits: ModuleType, heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    scans, labels = heldout
    read = [_digit(digits, _file(_picture(scan), "JPEG", quality=30)) for scan in scans]
    assert np.mean(read == labels) >= 0.97


def test_it_reads_held_out_scans_drawn_like_the_samples(
    digits: ModuleType, heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    scans, labels = heldout
    render = _load("render")
    styles = itertools.cycle(render.SAMPLE_STYLES)
    read = [_digit(digits, render.render(scan, style)) for scan, style in zip(scans, styles, strict=False)]
    assert np.mean(read == labels) >= 0.97


def test_it_reads_the_sample_files(digits: ModuleType) -> None:
    """86 of 90: the rule that chose them happens to have caught all four held-out arrays that are read wrong."""
    right = [_digit(digits, path.read_bytes()) == int(path.name[0]) for path in SAMPLES]
    assert len(SAMPLES) == 90
    assert sum(right) >= 85


def test_samples_come_from_the_held_out_scans(
    heldout: tuple[NDArray[np.uint8], NDArray[np.uint8]], tmp_path: Path
) -> None:
    written = _load("render").write_samples(*heldout, tmp_path)
    assert written == len(SAMPLES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in SAMPLES]


# The answer


def test_the_answer_holds_ten_scores_that_sum_to_one(digits: ModuleType, seven: Image.Image) -> None:
    status, answer = _post(digits, _file(seven))
    assert status == 200
    assert answer["digit"] == 7
    assert answer["confidence"] == max(answer["scores"])
    assert len(answer["scores"]) == 10
    assert sum(answer["scores"]) == pytest.approx(1, abs=1e-3)


def test_init_loads_the_model_once(digits: ModuleType) -> None:
    digits.init(None)
    assert digits._session() is digits._session()
    assert digits._session().get_session_options().intra_op_num_threads == 1


# Kinds of picture


def _transparent(image: Image.Image, ink: str) -> Image.Image:
    drawn = Image.new("RGBA", image.size, ink)
    drawn.putalpha(image.point(lambda level: 255 - level))
    return drawn


def _sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image, np.uint16) * 257)


KINDS = {
    "RGB": lambda image: _file(image.convert("RGB")),
    "RGBA, opaque": lambda image: _file(image.convert("RGBA")),
    "grey and alpha": lambda image: _file(image.convert("LA")),
    "black on transparent": lambda image: _file(_transparent(image, "black")),
    "white on transparent": lambda image: _file(_transparent(image, "white")),
    "palette": lambda image: _file(image.convert("P")),
    "palette with a transparent colour": lambda image: _file(image.convert("P"), transparency=255),
    "one bit": lambda image: _file(image.convert("1", dither=Image.Dither.NONE)),
    "16 bit": lambda image: _file(_sixteen_bit(image)),
    "16 bit, large": lambda image: _file(_sixteen_bit(image.resize((1500, 1500)))),
    "CMYK JPEG": lambda image: _file(image.convert("CMYK"), "JPEG"),
    "progressive JPEG": lambda image: _file(image, "JPEG", progressive=True),
    "12 megapixels": lambda image: _file(image.resize((4000, 3000)), "JPEG"),
    "tall": lambda image: _file(_on_sheet(image, 64, 2000)),
    "wide": lambda image: _file(_on_sheet(image, 900, 64)),
    "low contrast": lambda image: _file(image.point(lambda level: 100 + level // 8)),
}


def _on_sheet(image: Image.Image, width: int, height: int) -> Image.Image:
    sheet = Image.new("L", (width, height), 255)
    sheet.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return sheet


@pytest.mark.parametrize("kind", KINDS)
def test_it_reads_every_kind_of_picture(digits: ModuleType, seven: Image.Image, kind: str) -> None:
    assert _digit(digits, KINDS[kind](seven)) == 7


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_it_turns_a_picture_as_its_exif_says(digits: ModuleType, seven: Image.Image, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    lying = seven.transpose(Image.Transpose.ROTATE_90)
    assert _digit(digits, _file(lying, kind, exif=exif)) == 7


# What is refused


def _huge_png(width: int, height: int) -> bytes:
    """A header that promises more pixels than memory holds, and hardly any data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


PAPER = Image.new("L", (64, 64), 255)

REFUSED = {
    "empty": (b"", 400, "is empty"),
    "text": (b"seven", 400, "not a PNG or JPEG"),
    "another format": (_file(PAPER, "GIF"), 400, "not a PNG or JPEG"),
    "a PNG's signature alone": (_file(PAPER)[:8], 400, "not a PNG or JPEG"),
    "truncated JPEG": (_file(PAPER, "JPEG")[:-200], 400, "truncated or damaged"),
    "blank": (_file(PAPER), 400, "is blank"),
    "blank JPEG": (_file(Image.new("RGB", (300, 200), "navy"), "JPEG"), 400, "is blank"),
    "fully transparent": (_file(Image.new("RGBA", (64, 64), (0, 0, 0, 0))), 400, "is blank"),
    "one pixel": (_file(Image.new("L", (1, 1))), 400, "is blank"),
    "100 megapixels": (_huge_png(10_000, 10_000), 413, "at most 25 million"),
    "decompression bomb": (_huge_png(2**31 - 1, 2**31 - 1), 413, "at most 25 million"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_picture_is_refused_with_a_sentence(digits: ModuleType, case: str) -> None:
    body, status, words = REFUSED[case]
    got, answer = _post(digits, body)
    assert got == status
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert answer["error"].endswith(".")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_in_half_is_refused(digits: ModuleType, seven: Image.Image, kind: str) -> None:
    whole = _file(seven, kind)
    status, answer = _post(digits, whole[: len(whole) // 2])
    assert status == 400
    assert "truncated or damaged" in answer["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_bytes_never_raise(digits: ModuleType, seven: Image.Image, kind: str) -> None:
    dice = random.Random(7)
    whole = _file(seven, kind)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        assert _post(digits, bytes(damaged))[0] in {200, 400, 413}
