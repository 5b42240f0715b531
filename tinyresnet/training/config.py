"""What a run is: data, net, training. A file `config.toml` that a person can read, and the dataclasses it is read into.

Each field says what it does, once: the command line makes its options of these lines, and the saved file its comments.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..backend import BACKENDS

NETS = ("resnet_v2_small", "resnet_v2_50", "resnet_v2_101", "resnet_v2_152", "resnet_v2_200")
TASKS = ("classify", "segment")
SCHEDULES = ("cosine", "piecewise")
DTYPES = ("float32", "float64")
RECIPES = ("fashion", "digits", "scenes")
Check = Callable[[Any], bool]


def _setting(default: Any, about: str, allowed: str, fits: Check) -> Any:
    """A field: its default, what it does, and which values it takes (`allowed` in words, `fits` in code)."""
    return field(default=default, metadata={"about": about, "allowed": allowed, "fits": fits})


def _count(default: int, about: str, least: int = 1) -> Any:
    return _setting(default, about, f"an integer >= {least}", lambda value: value >= least)


def _share(default: float, about: str) -> Any:
    return _number(default, about, "from 0 to less than 1", lambda value: 0 <= value < 1)


def _number(default: float, about: str, allowed: str, fits: Check) -> Any:
    return _setting(float(default), about, f"a number {allowed}", lambda value: math.isfinite(value) and fits(value))


def _choice(default: str, about: str, choices: tuple[str, ...]) -> Any:
    return _setting(default, about, "one of " + ", ".join(choices), lambda value: value in choices)


def _switch(default: bool, about: str) -> Any:
    return _setting(default, about, "true or false", lambda value: True)


def _counts(default: tuple[int, ...], about: str) -> Any:
    return _setting(
        default, about, "integers >= 1, at least one", lambda value: bool(value) and all(item >= 1 for item in value)
    )


def _numbers(default: tuple[float, ...], about: str) -> Any:
    return _setting(
        default,
        about,
        "a list of numbers >= 0",
        lambda value: all(math.isfinite(item) and item >= 0 for item in value),
    )


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and what is done to them before the net sees them."""

    source: str = _setting(
        "fashion", "'fashion', 'digits', 'scenes', or the path of a data set", "not empty", lambda value: bool(value)
    )
    test_share: float = _number(
        0.2, "share of the pictures kept for testing, where the data set has no test part", "between 0 and 1", lambda v: 0 < v < 1
    )  # fmt: skip
    image_size: int = _count(0, "pixels a side that pictures are brought to; 0: as they are", least=0)
    channels: int = _setting(0, "1 grey, 3 colour, 0 as they are", "0, 1 or 3", lambda value: value in (0, 1, 3))
    limit: int = _count(0, "train on so many pictures, drawn at random; 0: on all", least=0)
    shift: int = _count(0, "move each picture by up to so many pixels, another way each time", least=0)
    flip: bool = _switch(False, "mirror half of the pictures, others each time")
    crop: float = _number(
        1.0, "cut out a square of at least this share of the side and enlarge it; 1: none", "above 0, up to 1", lambda v: 0 < v <= 1
    )  # fmt: skip
    mirror_test: bool = _switch(False, "judge a picture by the mean over itself and its mirror image")


@dataclass(frozen=True)
class NetConfig:
    """Which ResNet v2. All but `name` and `output_stride` are for resnet_v2_small; the others are as published."""

    name: str = _choice("resnet_v2_small", "the net", NETS)
    root_channels: int = _count(16, "channels of the 3x3 convolution that begins resnet_v2_small")
    root_stride: int = _count(1, "its stride")
    base_depths: tuple[int, ...] = _counts(
        (16, 32, 64), "for each block, channels of its 3x3 convolutions; its units put out 4 times as many"
    )
    units: tuple[int, ...] = _counts((1, 1, 2), "for each block, how many bottleneck units")
    strides: tuple[int, ...] = _counts((2, 2, 1), "for each block, the stride of its last unit")
    output_stride: int = _count(
        0, "for segmenting: one feature pixel for so many pixels of the picture; 0: as the strides say", least=0
    )


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found."""

    epochs: int = _count(30, "passes through the pictures")
    batch_size: int = _count(64, "pictures a step")
    micro_batch_size: int = _count(
        0, "pictures in memory at a time; gradients add up to the batch's, batch norm sees only these; 0: the whole batch", least=0
    )  # fmt: skip
    learning_rate: float = _number(0.1, "the highest learning rate", "> 0", lambda v: v > 0)
    schedule: str = _choice("cosine", "how the learning rate falls: along a cosine, or in steps", SCHEDULES)
    warmup_epochs: float = _number(
        0.0, "epochs in which the learning rate rises to the highest", ">= 0", lambda v: v >= 0
    )
    boundaries: tuple[float, ...] = _numbers(
        (), "piecewise: the epochs after which the learning rate changes, as 15 and 25"
    )
    factors: tuple[float, ...] = _numbers(
        (), "piecewise: what the highest is multiplied by, one more than boundaries, as 1, 0.1 and 0.01"
    )
    momentum: float = _share(0.9, "of SGD")
    nesterov: bool = _switch(False, "Nesterov's momentum")
    weight_decay: float = _number(1e-4, "L2 on `weights`, never on biases, gamma and beta", ">= 0", lambda v: v >= 0)
    label_smoothing: float = _share(0.0, "share of certainty taken from the true class")
    clip_norm: float = _number(0.0, "longest the gradient may be; 0: any length", ">= 0", lambda v: v >= 0)
    ema_decay: float = _share(0.0, "decay of the averages of the weights that are tested in their place; 0: none")
    batch_norm_decay: float = _share(0.9, "decay of batch norm's moving averages")
    seed: int = _count(0, "of weights, split, order and augmentation", least=0)
    dtype: str = _choice(
        "float32", "of all numbers; float64 takes twice the time and agrees with PyTorch to 12 digits", DTYPES
    )
    backend: str = _choice("numpy", "what computes", BACKENDS)
    threads: int = _count(1, "threads of the BLAS that multiplies matrices")
    checkpoint_seconds: float = _number(
        60.0, "longest time between two checkpoints; each epoch ends with one", "> 0", lambda v: v > 0
    )


SECTIONS: dict[str, Any] = {"data": DataConfig, "net": NetConfig, "training": TrainingConfig}


@dataclass(frozen=True)
class Config:
    """The whole of it. `task` "classify" names a picture, "segment" names each of its pixels."""

    task: str = _choice("classify", "name a picture, or each of its pixels", TASKS)
    data: DataConfig = DataConfig()
    net: NetConfig = NetConfig()
    training: TrainingConfig = TrainingConfig()

    def to_toml(self) -> str:
        """A TOML text that `read_config` reads back to an equal Config; each line with what it does."""
        lines = [_line(self, option) for option in fields(self) if option.name not in SECTIONS]
        for section in SECTIONS:
            values = getattr(self, section)
            lines += ["", f"[{section}]", *(_line(values, option) for option in fields(values))]
        return "\n".join(lines) + "\n"


def _line(values: Any, option: Any) -> str:
    setting = f"{option.name} = {_toml(getattr(values, option.name))}"
    return f"{setting:<32} # {option.metadata['about']}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):  # JSON's strings are TOML's, but for one character that TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


# ---- reading -----------------------------------------------------------------------------------------------------------
def settings() -> dict[str, tuple[str, Any]]:
    """Every setting's name -> (section, field); section "" for `task`. No name is in two sections."""
    found = {option.name: ("", option) for option in fields(Config) if option.name not in SECTIONS}
    for section, kind in SECTIONS.items():
        found |= {option.name: (section, option) for option in fields(kind)}
    return found


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """`config` with some settings replaced, given by name alone: {"epochs": 3, "units": [2, 2]}. Raises ValueError."""
    parts: dict[str, dict[str, Any]] = {name: {} for name in ("", *SECTIONS)}
    for name, value in changes.items():
        section, converted = _checked_by_name(name, value)
        parts[section][name] = converted
    sections = {name: dataclasses.replace(getattr(config, name), **parts[name]) for name in SECTIONS}
    return consistent(dataclasses.replace(config, **parts[""], **sections))


def _checked_by_name(name: str, value: Any) -> tuple[str, Any]:
    """(the section of this setting, `value` as it stores it)."""
    known = settings()
    if name not in known:
        raise ValueError(f"there is no setting {name!r}{_did_you_mean(name, known)}")
    section, option = known[name]
    return section, checked(name, value, option)


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(known)}"


def checked(name: str, value: Any, option: Any) -> Any:
    """`value` as the type of the setting's default. Raises ValueError that names it and what it may be."""
    try:
        converted = _as(type(option.default), value, float if name in ("boundaries", "factors") else int)
        if option.metadata["fits"](converted):
            return converted
    except (TypeError, ValueError, OverflowError):
        pass
    shown = list(value) if isinstance(value, tuple) else value
    raise ValueError(f"{name} must be {option.metadata['allowed']}, not {shown!r}")


def _as(kind: type, value: Any, item: type) -> Any:
    """`value` if it is of this kind; an integer may stand for a float, a list for a tuple. Raises TypeError."""
    if kind is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return tuple(_as(item, each, item) for each in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError
    return value


def consistent(config: Config) -> Config:
    """The config itself, if its settings go together. Raises ValueError."""
    net, training = config.net, config.training
    if not len(net.base_depths) == len(net.units) == len(net.strides):
        raise ValueError(
            "base_depths, units and strides must have one number for each block, "
            f"but have {len(net.base_depths)}, {len(net.units)} and {len(net.strides)}"
        )
    if training.schedule == "piecewise":
        if len(training.factors) != len(training.boundaries) + 1 or not training.boundaries:
            raise ValueError(
                "schedule piecewise needs boundaries and one more factors than boundaries, "
                f"but has {len(training.boundaries)} boundaries and {len(training.factors)} factors"
            )
        if list(training.boundaries) != sorted(set(training.boundaries)):
            raise ValueError(f"boundaries must rise, but are {list(training.boundaries)}")
    elif training.boundaries or training.factors:
        raise ValueError("boundaries and factors are for schedule piecewise, but schedule is cosine")
    if training.warmup_epochs >= training.epochs:
        raise ValueError(f"warmup_epochs must be less than epochs, {training.epochs}, not {training.warmup_epochs}")
    if (config.task == "segment") != (config.data.source == "scenes"):
        raise ValueError(
            f"task {config.task} and source {config.data.source!r} do not go together: "
            "task segment learns from source scenes, task classify from any other"
        )
    if config.task == "classify" and net.output_stride:
        raise ValueError(
            f"output_stride {net.output_stride} is for task segment: a class for the whole picture needs none"
        )
    if config.task == "segment" and net.output_stride and net.output_stride not in (allowed := output_strides(net)):
        raise ValueError(
            f"output_stride must be 0 or one of {', '.join(map(str, allowed))}, the strides that this net comes to on its way, "
            f"not {net.output_stride}"
        )
    if config.task == "segment" and config.data.crop < 1:
        raise ValueError("crop enlarges pictures, which task segment's labels cannot follow: leave it at 1")
    return config


def output_strides(net: NetConfig) -> list[int]:
    """The strides at which this net can stop to become coarser: root_stride, and that times the blocks' strides, one by one."""
    root, strides = (net.root_stride, net.strides) if net.name == "resnet_v2_small" else (4, (2, 2, 2, 1))
    reached = [root]
    for stride in strides:
        reached.append(reached[-1] * stride)
    return sorted(set(reached))


def read_config(path: str | Path, given: Mapping[str, Any] | None = None) -> Config:
    """The Config of a TOML file, in which the settings of `given` win over the file's. Raises ValueError, OSError."""
    try:
        told = _flat(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        for name, value in told.items():
            _checked_by_name(name, value)
    except ValueError as error:  # a UnicodeDecodeError and a TOMLDecodeError are ValueErrors, too
        raise ValueError(f"{path}: {error}") from error
    return on_recipe(told, given or {})


def from_toml(text: str) -> Config:
    """As `read_config`, from the text itself."""
    return on_recipe(_flat(tomllib.loads(text)))


def on_recipe(*layers: Mapping[str, Any]) -> Config:
    """The recipe of the source that the layers name, with their settings on it, those of later layers on earlier ones.

    A layer that makes the run shorter than its warm-up, and says nothing of that, gets a warm-up of half the epochs.
    """
    merged: dict[str, Any] = {name: value for layer in layers for name, value in layer.items()}
    base = recipe(merged.get("source"), merged.get("task"))
    warmup = base.training.warmup_epochs
    for layer in layers:
        warmup, epochs = layer.get("warmup_epochs", warmup), layer.get("epochs")
        if (
            isinstance(epochs, int)
            and "warmup_epochs" not in layer
            and isinstance(warmup, (int, float))
            and warmup >= epochs
        ):
            merged["warmup_epochs"] = warmup = max(epochs, 0) / 2
    return changed(base, merged)


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    """{"training": {"epochs": 3}} -> {"epochs": 3}; refuses a setting in a section that is not its own."""
    known, flat = settings(), dict[str, Any]()
    for key, value in tables.items():
        if isinstance(value, dict) and key not in SECTIONS:
            raise ValueError(f"there is no section [{key}]{_did_you_mean(key, SECTIONS)}")
        for name, item in value.items() if isinstance(value, dict) else [(key, value)]:
            section = key if isinstance(value, dict) else ""
            if name in known and known[name][0] != section:
                raise ValueError(
                    f"{name} belongs into {f'section [{known[name][0]}]' if known[name][0] else 'no section'}"
                )
            flat[name] = item
    return flat


def recipe(source: Any = None, task: Any = None) -> Config:
    """What is known to work for a source: recipes/<source>.toml, else the defaults. A task without a source has its own."""
    name = source or ("scenes" if task == "segment" else "fashion")
    if name not in RECIPES:
        return Config()
    text = files(__package__).joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    return changed(Config(), _flat(tomllib.loads(text)))
