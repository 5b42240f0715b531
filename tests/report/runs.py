"""Runs to report on, without the minutes of training: a real net with random weights, pictures at random, a log as it would be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyresnet import Variables
from tinyresnet.data import Dataset, Pictures
from tinyresnet.data.augment import normalisation_of
from tinyresnet.training import Config, Net, changed
from tinyresnet.training.evaluation import Predictor

ODD = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'so'",
    "运动鞋",
    "a name that goes on and on " * 6,
    "`code` $x_1$ {k}",
)
SMALL = {"root_channels": 4, "base_depths": [2, 3], "units": [1, 1], "strides": [2, 1]}
DENSE = {"root_channels": 4, "root_stride": 2, "base_depths": [2, 2, 2], "units": [1, 1, 1], "strides": [2, 2, 1]}


@dataclass
class FakeRun:
    """What the report asks of a run."""

    folder: Path
    config: Config
    class_names: tuple[str, ...]
    data: Dataset | Exception
    metrics: list[dict[str, Any]]
    image_shape: tuple[int, int, int]
    environment: dict[str, Any] = field(
        default_factory=lambda: {"python": "3.11", "packages": {"numpy": "2.4.6"}, "blas": {"name": "<blas>"}}
    )

    def __post_init__(self) -> None:
        self.net = Net(self.config, len(self.class_names))
        self.variables: Variables = self.net.create_variables(self.image_shape, seed=0)
        self.normalisation = normalisation_of(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
        if self.image_shape[2] == 3:
            self.normalisation = normalisation_of(np.arange(768).astype(np.uint8).reshape(1, 16, 16, 3))

    def dataset(self) -> Dataset:
        if isinstance(self.data, Exception):
            raise self.data
        return self.data

    def normalised(self, images: np.ndarray) -> np.ndarray:
        return self.normalisation(images)

    def predict(self, images: np.ndarray) -> np.ndarray:
        return Predictor(self.net, self.variables, self.normalisation, False)(images)


def log(steps: int, epochs: int, *, segmenting: bool = False, ended: bool = True) -> list[dict[str, Any]]:
    """A metrics.jsonl of that many steps, the epochs spread evenly over them."""
    rng = np.random.default_rng(0)
    lines: list[dict[str, Any]] = [{"kind": "start", "versions": {}, "backend": "numpy", "threads": 1}]
    every = max(1, steps // max(epochs, 1))
    for step in range(1, steps + 1):
        epoch = 1 + (step - 1) // every
        common = {"epoch": epoch, "step": step, "learning_rate": 0.1 * (1 - step / (steps + 1)), "seconds": step / 8}
        loss, share = 2 / step**0.5 + 0.1 * rng.random(), 1 - 1 / (1 + step**0.5)
        lines.append({"kind": "step", "loss": loss, "accuracy": share, "gradient_norm": 1 + loss, **common})
        if step % every == 0 and epoch <= epochs:
            more = {"test_mean_iou": share / 2} if segmenting else {}
            tested = {"test_loss": loss + 0.1, "test_accuracy": 0.9 * share, **more}
            lines.append({"kind": "epoch", "loss": loss, "accuracy": share, **tested, **common})
    return lines + ([{"kind": "end", "step": steps, "seconds": steps / 8}] if ended else [])


def pictures(count: int, shape: tuple[int, int, int], classes: int, rng: np.random.Generator, dense: bool) -> Pictures:
    labels = rng.integers(0, classes, (count, *shape[:2]) if dense else count)
    return Pictures(rng.integers(0, 256, (count, *shape), np.uint8), labels)


def fake_run(
    folder: Path,
    *,
    names: tuple[str, ...] = ("cat", "dog", "bird"),
    shape: tuple[int, int, int] = (8, 8, 1),
    task: str = "classify",
    metrics: list[dict[str, Any]] | None = None,
    missing: Exception | None = None,
    **settings: Any,
) -> FakeRun:
    """A run in any state; missing: what reading its data set raises."""
    dense, rng = task == "segment", np.random.default_rng(1)
    settings = {**(DENSE if dense else SMALL), **({"output_stride": 4} if dense else {}), **settings}
    config = changed(Config(), {"task": task, "source": "scenes" if dense else "mine", "epochs": 4, **settings})
    train, test = (pictures(n, shape, len(names), rng, dense) for n in (20, 7 if dense else 60))
    found = log(40, 4, segmenting=dense) if metrics is None else metrics
    return FakeRun(folder, config, names, missing or Dataset("mine", train, test, names), found, shape)
