"""Files cut off or changed anywhere: the same pictures come out, or one ValueError. Never another error, never half of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.small_sources import cifar_files, pictures, python2_batch, tar_gz, write_idx_folder, write_npz
from tinyresnet.data import load, read_picture
from tinyresnet.data.cifar10 import _from_pickle

KINDS = ["idx", "idx.gz", "npz", "npz stored", "cifar binary", "cifar python"]


@st.composite
def damages(draw: st.DrawFn) -> Any:
    """A function of bytes: what is left of them."""
    kind = draw(st.sampled_from(["cut", "changed", "inserted", "removed", "noise"]))
    place, length = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 8))
    new = draw(st.binary(min_size=length, max_size=length))
    early = draw(st.booleans())  # headers are short, and most is in them

    def damaged(whole: bytes) -> bytes:
        at = int(place * (min(len(whole), 200) if early else len(whole)))
        if kind == "cut":
            return whole[:at]
        if kind == "noise":
            return new * 20
        return whole[:at] + (b"" if kind == "removed" else new) + whole[at + (0 if kind == "inserted" else length) :]

    return damaged


def source(kind: str, folder: Path) -> tuple[Path, Path]:
    """(what is loaded, the file that is damaged)."""
    if kind.startswith("idx"):
        write_idx_folder(folder, packed=kind == "idx.gz")
        return folder, folder / ("train-images-idx3-ubyte" + kind.removeprefix("idx"))
    path = folder / ("a.npz" if "npz" in kind else "a.tar.gz")
    if kind == "npz":
        write_npz(path, class_names=np.array(["a", "b", "c"]))
    elif kind == "npz stored":
        np.savez(path, images=pictures(12), labels=np.arange(12) % 3)
    else:
        path.write_bytes(tar_gz(cifar_files(kind.removeprefix("cifar "))))
    return path, path


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_or_a_value_error(kind: str, tmp_path: Path) -> None:
    loaded, file = source(kind, tmp_path)
    whole, before = file.read_bytes(), load(loaded)
    refused = 0

    @settings(max_examples=150)
    @given(damages())
    def check(damage: Any) -> None:
        nonlocal refused
        file.write_bytes(damage(whole))
        try:
            after = load(loaded)
        except ValueError as error:
            refused += 1
            assert str(tmp_path) in str(error)
            return
        if kind == "idx":  # no checksum: a changed pixel is a pixel
            assert after.train.images.size == before.train.images.size
        else:
            assert after.train.images.tobytes() == before.train.images.tobytes()
            assert after.train.labels.tolist() == before.train.labels.tolist()

    check()
    assert refused > 50


@settings(max_examples=300)
@given(damages())
def test_pickles(damage: Any) -> None:
    try:
        images, labels = _from_pickle(damage(python2_batch(0)))
    except ValueError:
        return
    assert images.shape == (len(labels), 32, 32, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_pictures(kind: str, tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    whole = io.BytesIO()
    image_module.fromarray(pictures(1, 12, 3)[0]).save(whole, kind)
    path = tmp_path / "a.png"

    @settings(max_examples=100)
    @given(damages())
    def check(damage: Any) -> None:
        path.write_bytes(damage(whole.getvalue()))
        try:
            image = read_picture(path, height=4, width=5, channels=3)
        except ValueError as error:
            assert str(path) in str(error)
            return
        assert (image.shape, image.dtype) == ((4, 5, 3), np.uint8)

    check()
