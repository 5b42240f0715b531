"""`tinyresnet train`: a data set becomes a run; `--resume` goes on with one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..extras import MissingExtra, require
from ..report import write_report
from ..training import Trainer, stopping_by_signal
from ..training.config import read_config, settings
from ..training.run import BEST, CONFIG, LAST, METRICS
from .exits import INTERRUPTED, said
from .folders import default_folder, new_folder
from .options import add_settings, config_of, flag_of
from .progress import Bar
from .shell import reporting, resuming

PACKAGES = ("tqdm", "threadpoolctl", "safetensors")
NOT_TO_RESUME = {"source": "SOURCE", "out": "--out", "config": "--config"}


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a net on pictures, into a folder of its own",
        description="Trains a net. What is not said is as the recipe of the source has it (fashion, digits, scenes), "
        "or as the defaults below; of fewer epochs than the recipe's warm-up, half are warm-up. The effective config is saved with "
        "the run.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="fashion, digits, scenes, or a path: a folder with a folder of pictures for each class, IDX files, CIFAR-10, "
        "an .npz file (default: fashion)",
    )
    parser.add_argument("--out", metavar="FOLDER", help="the run's folder (default: runs/ and the name of the source)")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings, as a run's config.toml")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with the run in this folder, with its own config")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, and the rest on stderr"
    )
    add_settings(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """0 when the last epoch is done; 130 when it was interrupted and has saved itself."""
    for package in PACKAGES:  # before anything is made
        require(package, "train")
    bar = Bar(sys.stderr if arguments.json else sys.stdout)
    trainer = _resumed(arguments, bar) if arguments.resume is not None else _started(arguments, bar)
    return train(trainer, bar, report=not arguments.no_report, as_json=arguments.json)


def _resumed(arguments: argparse.Namespace, bar: Bar) -> Trainer:
    given = [flag_of(name) for name in vars(arguments) if name in settings() and name != "source"]
    given += [flag for name, flag in NOT_TO_RESUME.items() if getattr(arguments, name) is not None]
    if given:
        raise ValueError(
            f"--resume goes on with the run's own config, so it does not go with {', '.join(sorted(given))}: "
            "to change something, begin a new run"
        )
    folder = Path(arguments.resume)
    if arguments.resume and (folder / LAST).exists():
        return Trainer.resume(folder, bar)
    begun = any((folder / name).exists() for name in (BEST, METRICS))
    if arguments.resume and (folder / CONFIG).exists() and not begun:  # it was ended before its first checkpoint
        return Trainer.start(read_config(folder / CONFIG), folder, bar)
    raise FileNotFoundError(
        f"--resume: {arguments.resume!r} has no {LAST}, "
        + ("so it cannot go on" if begun else f"and no {CONFIG}: it is no run's folder")
    )


def _started(arguments: argparse.Namespace, bar: Bar) -> Trainer:
    config = config_of(arguments)
    folder = new_folder(default_folder(config.data.source) if arguments.out is None else arguments.out)
    return Trainer.start(config, folder, bar)


def train(trainer: Trainer, bar: Bar, *, report: bool, as_json: bool) -> int:
    """Runs it to its end or to a signal, and says what came of it. Returns the exit code."""
    if trainer.progress.step == 0:
        bar.write(f"{_about(trainer)}\nrun: {trainer.folder}")
    elif not trainer.progress.finished:
        bar.write(f"going on with {trainer.folder} at step {trainer.progress.step}, epoch {trainer.progress.epoch}")
    with stopping_by_signal() as stop:
        try:
            finished = trainer.run(stop)
        except KeyboardInterrupt:  # the second signal
            bar.close()
            bar.noticed(f"stopped at once; what was saved last is kept. To go on:\n  {resuming(trainer.folder)}")
            raise
        except OSError as error:  # a full disk, say
            bar.close()
            if not isinstance(error, BlockingIOError):  # another process is at it
                bar.noticed(f"what was saved last is kept. To go on:\n  {resuming(trainer.folder)}")
            raise
        finally:
            bar.close()
        page = _report(trainer, bar) if finished and report else None
    if as_json:
        print(json.dumps(_result(trainer, finished, page)), flush=True)
    if not finished:
        bar.write(
            f"interrupted ({stop.signal}) after step {trainer.progress.step}; everything is saved. To go on:\n"
            f"  {resuming(trainer.folder)}"
        )
        return INTERRUPTED
    _say_result(trainer, bar, page)
    return 0


def _about(trainer: Trainer) -> str:
    train, test = trainer.dataset.train, trainer.dataset.test
    variables = trainer.state.variables
    weights = sum(variables[name].size for name in variables.trainable)
    shape = "x".join(map(str, train.images.shape[1:]))
    return (
        f"{trainer.net.scope}, {weights:,} weights, learns {len(trainer.dataset.class_names)} classes "
        f"from {len(train.images)} pictures of {shape}; {len(test.images)} are kept for testing"
    )


def _report(trainer: Trainer, bar: Bar) -> Path | None:
    try:
        return write_report(trainer.folder)
    except MissingExtra as missing:
        bar.noticed(f"no report was written: {missing}; then: {reporting(trainer.folder)}")
    except (ValueError, OSError) as error:  # the run is whole without it
        bar.noticed(f"no report was written: {said(error)}. To try again: {reporting(trainer.folder)}")
    return None


def _measure(trainer: Trainer) -> str:
    return "test mean IoU" if trainer.config.task == "segment" else "test accuracy"


def _say_result(trainer: Trainer, bar: Bar, page: Path | None) -> None:
    progress = trainer.progress
    if page is not None:
        bar.write(f"report: {page}")
    bar.write(
        f"best {_measure(trainer)} {progress.best_value:.4f}, in epoch {progress.best_epoch}; "
        f"{progress.step} steps in {progress.seconds:.0f} s"
    )
    bar.write(f"{_measure(trainer)} {progress.value:.4f}")


def _result(trainer: Trainer, finished: bool, page: Path | None) -> dict[str, Any]:
    progress = trainer.progress
    return {
        "folder": str(trainer.folder),
        "finished": finished,
        "epoch": progress.epoch,
        "step": progress.step,
        "measure": _measure(trainer),
        "value": progress.value,
        "best_value": progress.best_value,
        "best_epoch": progress.best_epoch,
        "seconds": round(progress.seconds, 3),
        "report": None if page is None else str(page),
    }
