"""`tinyresnet demo`: the gradient table, a net trained on real pictures, and its report. What `make demo` shows first."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..backend import use_backend
from ..extras import require
from ..gradcheck_table import gradient_table
from ..training import Config, Trainer, dataset_of
from ..training.config import on_recipe
from . import train
from .exits import WrongGradient
from .folders import free_folder, new_folder
from .progress import Bar

EPOCHS = 15  # the recipe's 40 are better by two percent, and take three times as long


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo", help="check every gradient, train a small ResNet on Fashion-MNIST, write its report"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", default=EPOCHS, help="passes through the pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of weights, order and augmentation (default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", default=0, help="train on so many pictures only (default: on all 6000)"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        default="runs/demo",
        help="the run's folder; if a run is there, the next free name (default: %(default)s)",
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """0; 1 if a gradient is wrong; 130 when it was interrupted and has saved itself. The last line is the test accuracy."""
    require("matplotlib", "plot")  # before anything is printed or made
    for package in train.PACKAGES:
        require(package, "train")
    given = {"epochs": arguments.epochs, "seed": arguments.seed, "limit": arguments.limit}
    config = on_recipe({"source": "fashion", **given})
    folder = new_folder(arguments.out and free_folder(Path(arguments.out)))
    dataset = dataset_of(config.data, config.training.seed)
    _check_gradients(config)
    print("\nA ResNet v2 learns to tell clothes apart:", flush=True)
    bar = Bar()
    return train.train(Trainer.start(config, folder, bar, dataset), bar, report=True, as_json=False)


def _check_gradients(config: Config) -> None:
    """Prints the table, of the back end and with the threads that the net is trained with. Raises WrongGradient."""
    limited = require("threadpoolctl", "train").threadpool_limits
    print("Every op's backward against finite differences:", flush=True)
    with use_backend(config.training.backend), limited(limits=config.training.threads, user_api="blas"):
        table = gradient_table()
    print(table, flush=True)
    if not table.passed:
        raise WrongGradient("a gradient check failed (see the table): the net is not trained on a wrong gradient")
