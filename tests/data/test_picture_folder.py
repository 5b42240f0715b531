"""A folder for each class: what counts as a picture and a class, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sources import pictures
from tinyresnet.data import load, picture_folder, read_picture
from tinyresnet.data.checks import MAX_BYTES

Image = pytest.importorskip("PIL.Image")


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.squeeze(pixels)).save(path)


def make_folder(
    folder: Path, names: Sequence[str] = ("cat", "dog"), each: int = 5, side: int = 8, channels: int = 3
) -> Path:
    """PNGs 0.png, 1.png, ... in a folder a class; each picture is another one."""
    for k, name in enumerate(names):
        for i, image in enumerate(pictures(each, side, channels, seed=k)):
            save(folder / name / f"{i}.png", image)
    return folder


def test_folders_become_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    make_folder(tmp_path / "pets", ["zebra", "Ameise", "猫 1"])
    dataset = load(tmp_path / "pets", test_share=0.2)
    assert dataset.name == "pets"
    assert dataset.class_names == ("Ameise", "zebra", "猫 1")
    assert np.bincount(dataset.train.labels).tolist() == [4, 4, 4]
    assert np.bincount(dataset.test.labels).tolist() == [1, 1, 1]
    label_of = {image.tobytes(): k for k, seed in enumerate([1, 0, 2]) for image in pictures(5, 8, 3, seed)}
    for images, labels in (dataset.train, dataset.test):
        assert [label_of[image.tobytes()] for image in images] == labels.tolist()


def test_the_file_systems_order_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, each=7)
    before = load(tmp_path).fingerprint()
    listdir = os.listdir
    monkeypatch.setattr(picture_folder.os, "listdir", lambda path: sorted(listdir(path), reverse=True))
    assert load(tmp_path).fingerprint() == before
    assert load(tmp_path, seed=1).fingerprint() != before


@pytest.mark.parametrize(
    ("train", "tested"), [("train", "test"), ("train", "val"), ("Train", "Validation"), ("training", "testing")]
)
def test_train_and_test_folders(train: str, tested: str, tmp_path: Path) -> None:
    make_folder(tmp_path / train, each=3)
    make_folder(tmp_path / "beside" / "them")
    make_folder(tmp_path / tested, each=2)
    (tmp_path / "README.txt").write_text("mine")
    dataset = load(tmp_path)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    make_folder(tmp_path / tested, ["owl"])
    with pytest.raises(ValueError, match=f"{train} and {tested} must have folders for the same classes, but 'owl'"):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load(make_folder(tmp_path, ["bus", "train"])).class_names == ("bus", "train")


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    make_folder(tmp_path)
    before = load(tmp_path).fingerprint()
    for name in ("Thumbs.db", ".DS_Store", "README.txt", ".hidden.png", "._0.png", "labels.csv", "noending"):
        (tmp_path / "cat" / name).write_bytes(b"no picture")
    for name in (".git", "__MACOSX"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"no picture")
    assert load(tmp_path).fingerprint() == before


def test_nested_folders_and_links_in_circles(tmp_path: Path) -> None:
    make_folder(tmp_path, each=2)
    save(tmp_path / "cat" / "young" / "x.PNG", pictures(1, 8, 3, 9)[0])
    (tmp_path / "cat" / "young" / "up").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog")
    (tmp_path / "dog" / "all").symlink_to(tmp_path)  # the cats in it are no dogs
    dataset = load(tmp_path)
    assert np.bincount([*dataset.train.labels, *dataset.test.labels]).tolist() == [3, 2]


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no data set in it"):
        load(tmp_path)
    make_folder(tmp_path, ["cat"])
    with pytest.raises(ValueError, match="must have two folders or more, one a class, but has 'cat'"):
        load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"dog has no picture: a file whose name ends with \.png"):
        load(tmp_path)
    make_folder(tmp_path, ["dog"], each=1)
    with pytest.raises(ValueError, match="class 'dog' has 1 picture, but needs 2"):
        load(tmp_path)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path)
    bad = tmp_path / "dog" / "bad.jpg"
    bad.write_bytes(b"hello")
    with pytest.raises(ValueError, match=rf"{bad} cannot be read as a picture: it is none of PNG"):
        load(tmp_path)
    bad.write_bytes((tmp_path / "dog" / "0.png").read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{bad} cannot be read as a picture"):
        load(tmp_path)
    bad.unlink()
    bad.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="bad.jpg"):
        load(tmp_path)
    bad.unlink()
    os.mkfifo(bad)
    with pytest.raises(ValueError, match=rf"{bad} must be a picture file"):
        load(tmp_path)


def test_sizes_and_channels(tmp_path: Path) -> None:
    make_folder(tmp_path, channels=1)
    assert load(tmp_path).train.images.shape == (8, 8, 8, 1)
    assert load(tmp_path, channels=3, image_size=5).train.images.shape == (8, 5, 5, 3)
    save(tmp_path / "cat" / "wide.png", pictures(1, 20, 3)[0][:10])  # 10 x 20, in colour: the median side is still 8
    dataset = load(tmp_path)
    assert dataset.train.images.shape[1:] == (8, 8, 3)
    wide = read_picture(tmp_path / "cat" / "wide.png", height=8, width=8, channels=3)
    assert any((image == wide).all() for part in (dataset.train, dataset.test) for image in part.images)
    for path in (tmp_path / "cat").iterdir():
        save(path, pictures(1, 20, 3)[0][:10])
    for path in (tmp_path / "dog").iterdir():
        save(path, pictures(1, 20, 3)[0][:10])
    assert load(tmp_path).train.images.shape[1:] == (10, 20, 3)


def test_too_much_for_the_memory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    monkeypatch.setattr(picture_folder, "read_picture", lambda *a, **k: pytest.fail("a picture was decoded"))
    side = int((MAX_BYTES / 30) ** 0.5) + 1
    with pytest.raises(ValueError, match="are 4.0 GiB, but at most 4 GiB are held in memory: a smaller image_size"):
        load(tmp_path, image_size=side)
