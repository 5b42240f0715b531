"""Small runs for the tests of tests/training: 120 digits, a net of two units, three epochs of four steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinyresnet.data import Dataset, Pictures
from tinyresnet.training import Config, Listener, Trainer, changed
from tinyresnet.training.run import read_metrics

TINY = {
    "source": "digits",
    "root_channels": 4,
    "base_depths": (2, 3),
    "units": (1, 1),
    "strides": (2, 1),
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.1,
    "shift": 1,
    "nesterov": True,
    "ema_decay": 0.9,
}


def tiny_config(**changes: Any) -> Config:
    return changed(Config(), {**TINY, **changes})


def tiny_dataset(seed: int = 0, number: int = 120, classes: int = 4) -> Dataset:
    """Squares of noise, brighter in another corner for each class: learnt in a few steps, but not at once."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, number)
    images = rng.integers(0, 150, (number, 8, 8, 1))
    for i, label in enumerate(labels):
        images[i, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 100
    half = 2 * number // 3
    images = images.astype(np.uint8)
    return Dataset(
        "corners",
        Pictures(images[:half], labels[:half]),
        Pictures(images[half:], labels[half:]),
        tuple("abcd"[:classes]),
    )


def start(folder: Path, listener: Listener | None = None, **changes: Any) -> Trainer:
    return Trainer.start(tiny_config(**changes), folder, listener, dataset=tiny_dataset())


def resume(folder: Path, listener: Listener | None = None) -> Trainer:
    return Trainer.resume(folder, listener, dataset=tiny_dataset())


def numbers_of(trainer: Trainer) -> dict[str, bytes]:
    """Everything that a run is made of, bit for bit: variables, momentum, averages."""
    state = trainer.state
    kinds = {"variable": state.variables, "momentum": state.optimizer.slots}
    if state.averages:
        kinds["average"] = state.averages.averages
    return {f"{kind} {name}": array.tobytes() for kind, arrays in kinds.items() for name, array in arrays.items()}


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock and on breaks."""
    kept = []
    for line in read_metrics(folder / "metrics.jsonl"):
        if line["kind"] != "resume":
            kept.append({name: value for name, value in line.items() if name not in ("seconds", "versions")})
    return kept
