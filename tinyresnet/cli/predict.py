"""`tinyresnet predict RUN PICTURE...`: what is in a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, use_backend
from ..data import read_picture
from ..training import Run, open_run


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict", help="name the classes in pictures, with probabilities"
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture file: PNG, JPEG, ...")
    parser.add_argument(
        "--top", type=int, metavar="N", default=3, help="how many classes are named (default: %(default)s)"
    )
    parser.add_argument(
        "--which", choices=("best", "last"), default="best", help="which checkpoint (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array, with all classes")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """A line a picture; 0. All pictures are read before the first is named."""
    if arguments.top < 1:
        raise ValueError(f"--top must be an integer >= 1, not {arguments.top}")
    opened = open_run(arguments.run_folder, arguments.which)
    height, width, channels = opened.image_shape
    images = [read_picture(Path(path), height=height, width=width, channels=channels) for path in arguments.pictures]
    with use_backend(opened.config.training.backend):
        shares = shares_of(opened, np.stack(images))
    if arguments.json:
        print(json.dumps([as_json(opened, path, row) for path, row in zip(arguments.pictures, shares, strict=True)]))
        return 0
    for path, row in zip(arguments.pictures, shares, strict=True):
        print(f"{path}: {as_text(opened, row, arguments.top)}")
    return 0


def shares_of(opened: Run, images: Array) -> Array:
    """[N, K]: the probability of each class; for task segment, its share of the pixels."""
    probabilities = opened.predict(images)
    if opened.config.task == "classify":
        return probabilities
    k = len(opened.class_names)
    return np.stack(
        [np.bincount(pixels.argmax(-1).ravel(), minlength=k) / pixels[..., 0].size for pixels in probabilities]
    )


def as_text(opened: Run, row: Array, top: int) -> str:
    """'Sneaker 0.981, Sandal 0.012, Ankle boot 0.006'."""
    best = np.argsort(-row, kind="stable")[:top]
    return ", ".join(f"{opened.class_names[k]} {row[k]:.3f}" for k in best)


def as_json(opened: Run, path: str, row: Array) -> dict[str, Any]:
    """The most likely class, and all with their numbers, in the order of the labels."""
    what = "share_of_pixels" if opened.config.task == "segment" else "probabilities"
    return {
        "picture": path,
        "class": opened.class_names[int(row.argmax())],
        what: dict(zip(opened.class_names, map(float, row), strict=True)),
    }
