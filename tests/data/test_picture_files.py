"""One picture file: every mode becomes grey or RGB of 8 bits, upright, on white; bombs are refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sources import pictures
from tinyresnet.data import read_picture
from tinyresnet.data.picture_files import looks_of

Image = pytest.importorskip("PIL.Image")
RGB = pictures(1, 6, 3)[0]
GREY = pictures(1, 6, 1)[0]
RED = np.array([255, 0, 0], np.uint8)


def read(path: Path, channels: int = 3, height: int = 6, width: int = 6) -> Any:
    return read_picture(path, height=height, width=width, channels=channels)


def test_lossless_formats_come_back(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tiff", "ppm", "webp"):
        Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", lossless=True)
        np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), RGB)
        assert not looks_of(tmp_path / f"a.{suffix}").grey
    for suffix in ("png", "bmp", "tiff", "pgm", "gif"):
        Image.fromarray(GREY[..., 0]).save(tmp_path / f"g.{suffix}")
        np.testing.assert_array_equal(read(tmp_path / f"g.{suffix}", 1), GREY)
        np.testing.assert_array_equal(read(tmp_path / f"g.{suffix}"), np.repeat(GREY, 3, -1))
    assert looks_of(tmp_path / "g.png") == (6, 6, True)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (6, 6), (100, 100, 100, 255))
    image.paste((0, 0, 0, 0), (0, 0, 3, 6))  # black, but not to be seen
    if mode == "P":
        image = image.quantize(4)
    image.convert(mode).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[0].tolist() == [[255] * 3] * 3 + [[100] * 3] * 3
    assert read(tmp_path / "a.png", 1)[0, :, 0].tolist() == [255] * 3 + [100] * 3


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (6, 6), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert np.unique(read(tmp_path / "a.png")).tolist() == [127]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1])]
    + [(5, lambda a: a.swapaxes(0, 1)), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a))],
)
def test_exif_turns_the_picture(orientation: int, upright: Any, tmp_path: Path) -> None:
    stored = pictures(1, 6, 3)[0][:4]  # 4 x 6
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    wanted = upright(stored)
    looks = looks_of(tmp_path / "a.png")
    assert (looks.height, looks.width) == wanted.shape[:2]
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3, *wanted.shape[:2]), wanted)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 32768], [65535, 128, 129]], np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(values).save(tmp_path / f"a.{suffix}")
        assert read(tmp_path / f"a.{suffix}", 1, 2, 3)[..., 0].tolist() == [[0, 4, 128], [255, 0, 1]]
        assert looks_of(tmp_path / f"a.{suffix}").grey
    Image.fromarray(np.zeros((6, 6), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match=r"f\.tiff cannot be read as a picture: its pixels are floats"):
        read(tmp_path / "f.tiff")


def test_other_modes(tmp_path: Path) -> None:
    Image.new("CMYK", (6, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(read(tmp_path / "cmyk.jpg").astype(int) - RED).max() <= 3
    Image.new("1", (6, 6), 1).save(tmp_path / "one.png")
    assert np.unique(read(tmp_path / "one.png", 1)).tolist() == [255]
    assert looks_of(tmp_path / "one.png").grey
    palette = Image.new("RGB", (6, 6), "red").quantize(2)
    palette.save(tmp_path / "p.png")
    assert (read(tmp_path / "p.png") == RED).all()
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path / "a.gif") == RED).all()


def test_the_middle_is_cut_out_and_averaged(tmp_path: Path) -> None:
    """A checkerboard reduced without antialiasing would stay black and white."""
    board = np.indices((40, 80)).sum(0) % 2 * 255
    board[:, :20] = board[:, 60:] = 0  # beyond the square in the middle
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    small = read(tmp_path / "a.png", 1, 5, 5)
    assert small.shape == (5, 5, 1)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 2
    assert small.min() > 100
    assert read(tmp_path / "a.png", 1, 80, 160).shape == (80, 160, 1)


def png_of(width: int, height: int) -> bytes:
    """The header of a huge picture, with pixels for none of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (8001, 8000, "8001 x 8000 pixels are more than 64,000,000"),
        (10000, 10000, "decompression bomb"),
        (60000, 60000, "decompression bomb"),
    ],
)
def test_bombs_are_refused(width: int, height: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(width, height))
    for reader in (read, looks_of):
        with pytest.raises(ValueError, match=said):
            reader(tmp_path / "a.png")


def test_a_format_that_starts_a_program_is_refused(tmp_path: Path) -> None:
    eps = io.BytesIO()
    Image.fromarray(RGB).save(eps, "EPS")
    (tmp_path / "a.png").write_bytes(eps.getvalue())
    with pytest.raises(ValueError, match="it is none of PNG"):
        read(tmp_path / "a.png")


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels must be 1 or 3, not 4"):
        read(tmp_path / "a.png", 4)
    with pytest.raises(ValueError, match="height must be an integer >= 1, not 0"):
        read(tmp_path / "a.png", 3, 0)
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        read(tmp_path / "a.png")
    with pytest.raises(ValueError, match="must be a picture file"):
        read(tmp_path)
