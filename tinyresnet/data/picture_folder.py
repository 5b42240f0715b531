"""A folder with a folder for each class, and pictures in those: how most people keep their own."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..backend import Array
from .checks import check_memory
from .dataset import Found, Pictures
from .picture_files import NOT_READ, SUFFIXES, Looks, looks_of, read_picture

# In small or large letters; of each the first that is there is used.
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")


class Labelled(NamedTuple):
    """Picture files and their classes, in the order of the sorted names."""

    paths: list[Path]
    labels: list[int]


def read_picture_folder(folder: Path, image_size: int | None, channels: int | None) -> Found:
    """FOLDER/cat/*.jpg, FOLDER/dog/*.jpg; or FOLDER/train/cat/*.jpg, FOLDER/test/cat/*.jpg (TRAIN_FOLDERS, TEST_FOLDERS).

    With a train and a test folder, what stands beside them is left out. Sorted names of the class folders are labels 0, 1, ...
    Folders within them count as theirs; hidden files and what has no suffix of a picture are left out.
    image_size None: as they are, if all are of one size; else squares whose side is the median of the shorter sides.
    channels None: 1 if all are stored in grey, else 3.
    Raises ValueError, OSError, MissingExtra; a picture that cannot be read is named.
    """
    folders = _parts(folder) or [folder]
    class_names = _class_names(folders[0])
    for different in sorted(set(class_names) ^ set(_class_names(folders[-1]))):
        raise ValueError(
            f"{folder}: {folders[0].name} and {folders[-1].name} must have folders for the same classes, "
            f"but {different!r} is in one only"
        )
    parts = [_listed(part, class_names) for part in folders]
    looks = [looks_of(path) for part in parts for path in part.paths]
    height, width = (image_size, image_size) if image_size else _common_size(looks)
    channels = channels or (1 if all(look.grey for look in looks) else 3)
    check_memory(folder, (len(looks), height, width, channels))
    pictures = [_read(part, height, width, channels) for part in parts]
    return Found(pictures[0], pictures[1] if len(pictures) == 2 else None, class_names)


def _parts(folder: Path) -> list[Path]:
    """The train and the test folder in it; none if one of them is missing."""
    below = {path.name.lower(): path for path in _visible(folder) if path.is_dir()}
    found = [next((below[name] for name in names if name in below), None) for names in (TRAIN_FOLDERS, TEST_FOLDERS)]
    return [path for path in found if path is not None] if None not in found else []


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name whatever the file system says; nothing hidden, and not what macOS adds to a zip."""
    return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".") and name != "__MACOSX"]


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _visible(folder) if path.is_dir())
    if len(names) < 2:
        raise ValueError(
            f"{folder} must have two folders or more, one a class, but has {', '.join(map(repr, names)) or 'none'}"
        )
    return names


def _listed(folder: Path, class_names: Sequence[str]) -> Labelled:
    listed = Labelled([], [])
    for label, name in enumerate(class_names):
        paths = _picture_paths(folder / name)
        if not paths:
            raise ValueError(f"{folder / name} has no picture: a file whose name ends with {', '.join(SUFFIXES)}")
        listed.paths.extend(paths)
        listed.labels.extend([label] * len(paths))
    return listed


def _picture_paths(folder: Path) -> list[Path]:
    """All picture files below a folder. Links are followed, but no folder is entered twice: links can go in circles."""
    found, waiting = [], [folder]
    entered = {_identity(above) for above in (*folder.absolute().parents, *folder.resolve().parents)}
    while waiting:
        entry = waiting.pop()
        if entry.is_dir():
            if _identity(entry) not in entered:
                entered.add(_identity(entry))
                waiting += reversed(_visible(entry))
        elif entry.suffix.lower() in NOT_READ:
            raise ValueError(f"{entry} is a picture of a format that is not read: convert it, to PNG or JPEG")
        elif entry.suffix.lower() in SUFFIXES:
            found.append(entry)
    return found


def _identity(folder: Path) -> tuple[int, int]:
    """The same for every path that leads there."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _common_size(looks: Sequence[Looks]) -> tuple[int, int]:
    sizes = {(look.height, look.width) for look in looks}
    if len(sizes) == 1:
        return sizes.pop()
    side = statistics.median_low(min(look.height, look.width) for look in looks)
    return side, side


def _read(part: Labelled, height: int, width: int, channels: int) -> Pictures:
    images: Array = np.empty((len(part.paths), height, width, channels), np.uint8)
    for i, path in enumerate(part.paths):
        images[i] = read_picture(path, height=height, width=width, channels=channels)
    return Pictures(images, np.array(part.labels, np.int64))
