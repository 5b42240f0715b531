"""A case: training the net of `tinyresnet demo`, compiled kernels against plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..backend import Array, BackendUnavailable, use_backend
from ..data.augment import normalisation_of
from ..extras import MissingExtra, require
from ..optimizers import SGD
from ..slim import Variables
from ..training import Config, Net, dataset_of, recipe
from ..training.step import train_step
from . import ours
from .compare import Outputs, by_norm
from .options import Options
from .results import OURS
from .rounds import Side
from .timed import Offer, Timed

STEPS = 4  # a call
NUMPY = "NumPy"


def demo_case() -> Timed:
    """Steps as the demo takes them: forward, loss, backward, SGD; batches of real pictures, without the thread that prepares them."""
    config = recipe("fashion")
    size = config.training.batch_size
    return Timed(
        "demo/training",
        f"training the demo's net, Fashion-MNIST, batch {size}: a step",
        "ms/step",
        STEPS,
        None,
        partial(_batches, config),
        partial(_offer, config),
        lambda: _side(config, "numpy", config.training.threads),
        by_norm(0.05, 1e-4),
    )


def _batches(config: Config, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """STEPS batches of pictures, normalised."""
    pictures = _dataset(config).train
    normalise = normalisation_of(pictures.images)
    chosen = rng.permutation(len(pictures.images))[: STEPS * config.training.batch_size].reshape(STEPS, -1)
    return [(normalise(pictures.images[rows]), pictures.labels[rows]) for rows in chosen]


_datasets: list[Any] = []


def _dataset(config: Config) -> Any:
    if not _datasets:
        _datasets.append(dataset_of(config.data, 0))
    return _datasets[0]


def _offer(config: Config, options: Options) -> Offer:
    """NumPy with the one BLAS thread that the demo gives it, and with as many as everybody."""
    counts = sorted({config.training.threads, options.threads})
    try:
        sides = [_side(config, "numpy", count) for count in counts]
    except MissingExtra as why:
        return Offer([], {NUMPY: str(why)})
    try:
        with use_backend(ours.BACKEND):
            return Offer([_side(config, ours.BACKEND, config.training.threads), *sides], {})
    except BackendUnavailable as why:
        return Offer(sides, {OURS: str(why)})


def _side(config: Config, backend: str, blas_threads: int) -> Side:
    limits = require("threadpoolctl", "bench").threadpool_limits
    net = Net(config, 10)
    with use_backend("numpy"):
        variables = net.create_variables((28, 28, 1), config.training.seed)
    optimizer = SGD(config.training.momentum, config.training.nesterov)
    first: dict[str, Any] = {}

    @contextmanager
    def computing() -> Iterator[None]:
        with use_backend(backend), limits(limits=blas_threads, user_api="blas"):
            yield

    def run(batches: list[tuple[Array, Array]]) -> None:
        with computing():
            for images, labels in batches:
                result = train_step(net, images, labels, variables, optimizer, config.training.learning_rate)
                if not first:  # later steps drift apart, as training does
                    first.update(loss=np.asarray(result.loss), **_copied(variables))

    def outputs(_: object) -> Outputs:
        return first

    name = (
        f"{OURS}, {backend}" if backend != "numpy" else f"{NUMPY}, {blas_threads} BLAS thread{'s' * (blas_threads > 1)}"
    )
    return Side(name, lambda batches: batches, run, outputs, OURS if backend != "numpy" else NUMPY)


def _copied(variables: Variables) -> dict[str, Array]:
    return {name: gradient.copy() for name, gradient in variables.gradients.items()}
