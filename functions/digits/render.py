"""Draw 8x8 scans as the pictures people post: to train on, to test with, and to write samples/.

`python render.py` writes samples/ from heldout.npz: the first nine held-out scans of each digit, whatever the
network makes of them. The same scans give the same files.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).parent
FULL = 16.0
CELLS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a scan becomes a picture."""

    height: int
    """Of the whole picture, in pixels."""
    margins: tuple[int, int, int, int] = (1, 1, 1, 1)
    """Blank cells left, above, right and below the scan's own eight."""
    smoothing: Image.Resampling = Image.Resampling.BICUBIC
    dark_on_light: bool = True
    paper: int = 255
    """Grey level of the background, when it is light; its inverse otherwise."""
    ink: int = 0
    """Grey level of the digit, when it is dark; its inverse otherwise."""
    pen: tuple[float, float] | None = None
    """(threshold, sharpness) of a pen with hard edges: a low threshold draws thick. None keeps the scan's greys."""
    stretch: float = 1.0
    """Width over height."""
    slant: float = 0.0
    turn: float = 0.0
    """In radians."""
    noise: float = 0.0
    """Standard deviation in grey levels."""
    jpeg_quality: int | None = None
    """None writes a PNG."""


def render(scan: NDArray[np.generic], style: Style, rng: np.random.Generator | None = None) -> bytes:
    """The picture's file; only noise needs `rng`."""
    ink = _enlarged(scan, style)
    if style.pen is not None:
        threshold, sharpness = style.pen
        ink = np.clip((ink - threshold) * sharpness + 0.5, 0, 1)
    levels = style.paper + (style.ink - style.paper) * ink
    if style.noise and rng is not None:
        levels = levels + rng.normal(0, style.noise, levels.shape)
    if not style.dark_on_light:
        levels = 255 - levels
    return _encoded(levels, style.jpeg_quality)


def _enlarged(scan: NDArray[np.generic], style: Style) -> NDArray[np.float64]:
    """Ink from 0 to 1 in the picture's own pixels."""
    left, top, right, bottom = style.margins
    padded = np.pad(scan.astype(np.float32) / FULL, ((top, bottom), (left, right)))
    small = Image.fromarray(padded)
    width = max(1, round(style.height * small.width / small.height * style.stretch))
    image = small.resize((width, style.height), style.smoothing)
    if style.slant or style.turn:
        image = _turned(image, style)
    return np.clip(np.asarray(image, np.float64), 0, 1)


def _turned(image: Image.Image, style: Style) -> Image.Image:
    """Slanted and turned about its middle."""
    cos, sin = np.cos(style.turn), np.sin(style.turn)
    matrix = np.array([[cos, sin], [-sin, cos]]) @ np.array([[1, style.slant], [0, 1]])
    middle = np.array([image.width, image.height]) / 2
    shift = middle - matrix @ middle
    data = (*matrix[0], shift[0], *matrix[1], shift[1])
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def _encoded(levels: NDArray[np.float64], jpeg_quality: int | None) -> bytes:
    image = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    file = BytesIO()
    if jpeg_quality is None:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=jpeg_quality)
    return file.getvalue()


def typed(digit: int, side: int = 24) -> NDArray[np.uint8]:
    """A printed digit as a fine scan, in the typeface that Pillow carries."""
    page = Image.new("L", (8 * side, 8 * side))
    font = ImageFont.load_default(6 * side)
    ImageDraw.Draw(page).text((4 * side, 4 * side), str(digit), fill=255, font=font, anchor="mm")
    left, top, right, bottom = page.getbbox() or (0, 0, *page.size)
    height = bottom - top
    middle = (left + right) // 2
    box = (middle - height // 2, top, middle - height // 2 + height, bottom)
    glyph = page.crop(box).resize((side, side), Image.Resampling.BOX)
    scan: NDArray[np.uint8] = np.rint(np.asarray(glyph, np.float32) * (FULL / 255)).astype(np.uint8)
    return scan


SAMPLE_STYLES = (
    Style(height=16, margins=(2, 1, 2, 1), paper=240, ink=30),
    Style(height=32),
    Style(height=32, dark_on_light=False),
    Style(height=48, margins=(3, 3, 3, 3), smoothing=Image.Resampling.NEAREST),
    Style(height=64, dark_on_light=False, jpeg_quality=80),
    Style(height=100, margins=(4, 2, 6, 2), smoothing=Image.Resampling.BILINEAR),
    Style(height=160, margins=(1, 5, 1, 2), paper=225, ink=60, jpeg_quality=70),
    Style(height=240, margins=(2, 2, 2, 2), dark_on_light=False),
    Style(height=320, margins=(6, 4, 3, 3), paper=250, ink=40, jpeg_quality=75),
)
"""Nine: each digit is drawn once in every style."""


def write_samples(scans: NDArray[np.uint8], labels: NDArray[np.uint8], folder: Path) -> int:
    """Write a picture of each digit in every style, named after what they are; return how many."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    chosen = [place for digit in range(10) for place in np.flatnonzero(labels == digit)[: len(SAMPLE_STYLES)]]
    for number, place in enumerate(chosen):
        style = SAMPLE_STYLES[number % len(SAMPLE_STYLES)]
        (folder / _sample_name(int(labels[place]), style)).write_bytes(render(scans[place], style))
    return len(chosen)


def _sample_name(label: int, style: Style) -> str:
    polarity = "dark-on-light" if style.dark_on_light else "light-on-dark"
    suffix = "png" if style.jpeg_quality is None else "jpg"
    return f"{label}-{style.height:03d}px-{polarity}.{suffix}"


if __name__ == "__main__":
    with np.load(FOLDER / "heldout.npz") as heldout:
        print(write_samples(heldout["scans"], heldout["labels"], FOLDER / "samples"), "samples")
