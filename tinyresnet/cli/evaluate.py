"""`tinyresnet evaluate RUN [SOURCE]`: how good a trained net is, class by class."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ..backend import use_backend
from ..data import Dataset, Pictures, load
from ..metrics import intersection_over_union
from ..training import Evaluation, Run, evaluate, open_run


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate", help="test a trained net on the pictures it has not learnt from, or on others"
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run")
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="another data set of the same classes")
    parser.add_argument(
        "--part",
        choices=("test", "train", "all"),
        default="test",
        help="which pictures of it; what has no test part is divided as for the run, by its share and seed (default: %(default)s)",
    )
    parser.add_argument(
        "--which", choices=("best", "last"), default="best", help="which checkpoint (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the confusion matrix")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prints loss, accuracy and a line a class; 0."""
    opened = open_run(arguments.run_folder, arguments.which)
    pictures = part_of(dataset_for(opened, arguments.source), arguments.part)
    with use_backend(opened.config.training.backend):
        found = evaluate(opened.predictor, pictures)
    print(json.dumps(as_json(opened, found)) if arguments.json else as_text(opened, found))
    return 0


def dataset_for(opened: Run, source: str | None) -> Dataset:
    """The run's own data set, or `source` brought to the size and channels that the net takes. Raises ValueError."""
    if source is None:
        return opened.dataset()
    if opened.config.task == "segment":
        raise ValueError(f"SOURCE is for runs that name whole pictures, and {opened.folder} names pixels")
    height, width, channels = opened.image_shape
    found = load(
        source,
        image_size=height if height == width else None,  # what is no square was never resized
        channels=channels,
        test_share=opened.config.data.test_share,
        seed=opened.config.training.seed,  # the run's own pictures are divided as they were: none of the test part was learnt
    )
    if found.train.images.shape[1:] != opened.image_shape:
        raise ValueError(
            f"the pictures of {source} are {list(found.train.images.shape[1:])}, "
            f"but {opened.folder} was trained on {[height, width, channels]}"
        )
    if found.class_names != opened.class_names:
        raise ValueError(
            f"the classes of {source} are {', '.join(found.class_names)}, "
            f"but {opened.folder} was trained on {', '.join(opened.class_names)}"
        )
    return found


def part_of(dataset: Dataset, part: str) -> Pictures:
    """The training part, the test part, or both together."""
    if part == "all":
        return Pictures(*(np.concatenate(pair) for pair in zip(dataset.train, dataset.test, strict=True)))
    return dataset.train if part == "train" else dataset.test


def _of_classes(opened: Run, found: Evaluation) -> tuple[str, Any]:
    """What is said of each class: the share of its pictures named right, or its intersection over union. NaN: does not occur."""
    if opened.config.task == "segment":
        return "IoU", intersection_over_union(found.confusion)
    counts = found.confusion.sum(1)
    return "accuracy", np.where(counts > 0, found.confusion.diagonal() / np.maximum(counts, 1), np.nan)


def as_json(opened: Run, found: Evaluation) -> dict[str, Any]:
    """Numbers as JSON has them; null where a class does not occur."""
    measure, values = _of_classes(opened, found)
    of_classes = [None if np.isnan(value) else float(value) for value in values]
    overall = {"mean_iou": found.mean_iou} if opened.config.task == "segment" else {}
    return {
        "folder": str(opened.folder),
        "checkpoint": str(opened.checkpoint.path),
        "step": opened.progress.step,
        "loss": found.loss,
        "accuracy": found.accuracy,
        **overall,
        "class_names": list(opened.class_names),
        f"{measure.lower()}_of_classes": of_classes,
        "confusion": found.confusion.tolist(),
    }


def as_text(opened: Run, found: Evaluation) -> str:
    """A line a class, the numbers of them all last."""
    measure, values = _of_classes(opened, found)
    width = max(map(len, (*opened.class_names, "class")))
    counts = found.confusion.sum(1)
    what = "pixels" if opened.config.task == "segment" else "pictures"
    rows = [f"{'class':<{width}}  {what:>9}  {measure:>8}"]
    rows += [
        f"{name:<{width}}  {count:>9}  " + ("       -" if np.isnan(value) else f"{value:>8.4f}")
        for name, count, value in zip(opened.class_names, counts, values, strict=True)
    ]
    total = f"loss {found.loss:.4f}   accuracy {found.accuracy:.4f}"
    return "\n".join([*rows, total + (f"   mean IoU {found.mean_iou:.4f}" if measure == "IoU" else "")])
