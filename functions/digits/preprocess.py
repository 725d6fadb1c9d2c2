"""Turn any posted picture of one digit into the 8x8 scan that the network was trained on.

A scan of scikit-learn's digits holds ink from 0 to 16 per cell; its digit fills the height and sits in the middle of
the width. train.py prepares its training images with this same code, so the network never meets another geometry.
"""

import struct
import threading
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Floats = NDArray[np.float32]

CELLS = 8
FULL = 16.0  # the ink of a cell that is all ink
MAX_PIXELS = 25_000_000  # above today's 24-megapixel phone photographs
MIN_CONTRAST = 16.0  # grey levels of 255 between paper and ink; less is noise on a blank sheet
INK_EDGE = 0.25  # share of the strongest ink from which a pixel belongs to the digit
SMOOTH_SIDE = 64  # from this size on the digit's box is sought in a smoothed copy, so that specks do not widen it
WORK_SIDE = 256  # larger pictures are averaged down to one to two times this, which also averages noise away

# Pillow would load its decoders in the first request of each replica; here the warm parent process can.
Image.preinit()

# A picture is refused by its header, before a pixel is decoded, so Pillow's own warning would come too early.
Image.MAX_IMAGE_PIXELS = None

# 25 megapixels take 200 MB while they are decoded: one at a time, whatever the function's concurrency.
_decoding = threading.Lock()

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)


class BadImage(Exception):
    """The picture cannot be read as a digit; the message is a sentence for the caller."""

    status = 400


class ImageTooLarge(BadImage):
    """Refused by the size in its header."""

    status = 413


def scan_from_image(body: bytes) -> Floats:
    """The 8x8 scan in a PNG or JPEG file's bytes."""
    for grey in decode(body):
        ink = _ink(grey)
        if ink is not None:
            return _scan(ink)
    raise BadImage("The image is blank: no ink stands out from its background.")


def decode(body: bytes) -> list[Floats]:
    """The picture in grey levels from 0 to 255; a transparent one as seen on white, then as seen on black."""
    if not body:
        raise BadImage("The request body is empty: post the bytes of a PNG or JPEG file.")
    with _decoding:
        try:
            image = _open(body)
        except UnidentifiedImageError:
            raise BadImage("The request body is not a PNG or JPEG file.") from None
        except _DECODER_ERRORS as exc:
            raise BadImage("The image is truncated or damaged.") from exc
        return _grey(image)


def _open(body: bytes) -> Image.Image:
    image: Image.Image = Image.open(BytesIO(body), formats=("PNG", "JPEG"))
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageTooLarge(
            f"The image has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million are accepted."
        )
    image.draft("L", (WORK_SIDE, WORK_SIDE))  # a JPEG is decoded at a fraction of its size
    image.load()
    return ImageOps.exif_transpose(_smaller(image))


def _smaller(image: Image.Image) -> Image.Image:
    """Averaged down to the working size, in a mode that can be averaged."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode[0] not in "IF":  # those hold 16 or 32 bits per pixel
        image = image.convert("L")
    factor = max(image.size) // WORK_SIDE
    if factor < 2:
        return image
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    return image.reduce((min(factor, image.width), min(factor, image.height)))


def _grey(image: Image.Image) -> list[Floats]:
    if image.mode == "RGBA":
        papers = [Image.new("RGBA", image.size, colour) for colour in ("white", "black")]
        return [np.asarray(Image.alpha_composite(paper, image).convert("L"), np.float32) for paper in papers]
    deepest = 255 if image.mode == "L" else 65535
    return [np.asarray(image, np.float32) * np.float32(255 / deepest)]


def _ink(grey: Floats) -> Floats | None:
    """How far each pixel is from the paper towards the ink, whichever is the darker; None when nothing stands out."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    change = grey - _median(border)
    lighter, darker = np.maximum(change, 0), np.maximum(-change, 0)
    ink: Floats = lighter if np.square(lighter).sum() > np.square(darker).sum() else darker
    return ink if ink.max() >= MIN_CONTRAST else None


def _median(levels: Floats) -> np.float32:
    """As numpy's own, which imports another 10 ms of numpy at its first call."""
    middle = np.sort(levels)[(levels.size - 1) // 2 : levels.size // 2 + 1]
    return np.float32(middle.mean())


def _scan(ink: Floats) -> Floats:
    """The digit's box, as a square with the digit in its middle, averaged over 8x8 cells."""
    smooth = _smooth(ink) if min(ink.shape) >= SMOOTH_SIDE else ink
    marked = smooth >= INK_EDGE * smooth.max()
    top, height = _extent(marked.any(axis=1))
    left, width = _extent(marked.any(axis=0))
    side = max(height, width)
    rows = _shares(top - (side - height) / 2, side, ink.shape[0])
    columns = _shares(left - (side - width) / 2, side, ink.shape[1])
    scan = rows @ ink @ columns.T
    return np.asarray(scan * (FULL / scan.max()), np.float32)


def _smooth(ink: Floats) -> Floats:
    """Each pixel averaged with its eight neighbours."""
    padded = np.pad(ink, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, np.float32)


def _extent(marked: NDArray[np.bool_]) -> tuple[int, int]:
    """Where the marked stretch starts, and its length."""
    places = np.flatnonzero(marked)
    return int(places[0]), int(places[-1] - places[0] + 1)


def _shares(start: float, length: float, pixels: int) -> Floats:
    """How much of each cell (a row) each pixel (a column) covers; what lies outside the picture is blank paper."""
    cells = start + length / CELLS * np.arange(CELLS)[:, None]
    edges = np.arange(pixels)
    overlap = np.minimum(cells + length / CELLS, edges + 1) - np.maximum(cells, edges)
    return np.asarray(np.clip(overlap, 0, None) * (CELLS / length), np.float32)
