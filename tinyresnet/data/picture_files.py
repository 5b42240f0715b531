"""One picture file becomes uint8 [H, W, C]: turned upright, on white, without more memory than it is worth. Needs Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..backend import Array
from ..extras import require
from ..ops.checks import positive_int

T = TypeVar("T")
# Formats that hold pixels. Pillow knows more, some of which start other programs (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MAX_PIXELS = 64_000_000  # of one picture; a camera's 8000 x 8000
# Pictures as well; to leave them out in silence would change the data.
NOT_READ = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF: turned by a quarter


class Looks(NamedTuple):
    """What a file says of its picture before it is decoded."""

    height: int  # upright
    width: int
    grey: bool


def read_picture(path: str | Path, *, height: int, width: int, channels: int) -> Array:
    """uint8 [height, width, channels] of one file, as the reader of folders makes it; channels 1 (grey) or 3 (red, green, blue).

    Enlarged or reduced (averaging over what falls together) so that it just covers the size, and cut equally on both sides.
    EXIF's orientation is followed, what is transparent becomes white, of an animation the first picture is taken, 16 bits become 8.
    Raises ValueError for no picture, a damaged one, one of more than 64 million pixels; OSError; MissingExtra without Pillow.
    """
    height, width = positive_int("height", height), positive_int("width", width)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels!r}")
    return _with_picture(Path(path), lambda image: fitted(_converted(image, channels), height, width))


def looks_of(path: Path) -> Looks:
    """From the header alone. Raises as `read_picture` does."""

    def look(image: Any) -> Looks:
        width, height = image.size
        if image.getexif().get(ORIENTATION) in SIDEWAYS:
            width, height = height, width
        return Looks(height, width, image.mode in GREY_MODES)

    return _with_picture(path, look)


def resized(images: Array, side: int) -> Array:
    """uint8 [N, H, W, C] -> [N, side, side, C], as `read_picture` fits a file. Needs Pillow if anything changes."""
    if images.shape[1:3] == (side, side):
        return images
    from_array = require("PIL.Image", "train").fromarray
    out: Array = np.empty((len(images), side, side, images.shape[-1]), np.uint8)
    for i, image in enumerate(images):
        out[i] = fitted(from_array(image[..., 0] if image.shape[-1] == 1 else image), side, side)
    return out


def fitted(image: Any, height: int, width: int) -> Array:
    """A Pillow image of mode L or RGB -> uint8 [height, width, 1 or 3]: the largest part of that shape in the middle, resized."""
    if image.size != (width, height):
        image = require("PIL.ImageOps", "train").fit(
            image, (width, height), require("PIL.Image", "train").Resampling.BILINEAR
        )
    return np.array(image, np.uint8).reshape(height, width, -1)


def _with_picture(path: Path, use: Callable[[Any], T]) -> T:
    """use(the opened image), with whatever goes wrong inside as a ValueError that names the file."""
    image_module = require("PIL.Image", "train")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a picture file")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of oddities that it can live with
        warnings.simplefilter("error", image_module.DecompressionBombWarning)
        try:
            with image_module.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
                return use(image)
        except image_module.UnidentifiedImageError as error:
            raise ValueError(f"{path} cannot be read as a picture: it is none of {', '.join(FORMATS)}") from error
        # Of damaged files Pillow raises nearly anything: SyntaxError, struct.error, KeyError, ...
        except Exception as error:
            raise ValueError(f"{path} cannot be read as a picture: {str(error) or type(error).__name__}") from error


def _converted(image: Any, channels: int) -> Any:
    """Upright, without transparency, of mode L or RGB."""
    image_module, ops = require("PIL.Image", "train"), require("PIL.ImageOps", "train")
    image.load()
    image = ops.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, of which nobody says what is white")
    if image.mode.startswith("I"):  # 16 bits of grey
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values go from {values.min()} to {values.max()}, which 16 bits of grey do not")
        image = image_module.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 = 255 * 257
    elif image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        image = image_module.alpha_composite(image_module.new("RGBA", above.size, "white"), above).convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")
