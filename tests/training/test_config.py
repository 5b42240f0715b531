"""Settings: each is checked, by itself and against the others, and a file says the same as what it was written from."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyresnet.training import Config, changed, read_config, recipe
from tinyresnet.training.config import SECTIONS, from_toml, settings

BAD: dict[str, list[Any]] = {
    "task": ["paint", 3],
    "source": ["", 3],
    "test_share": [0, 1, -0.1, "half", float("nan")],
    "image_size": [-1, 2.5, True],
    "channels": [2, "1"],
    "limit": [-1, None],
    "shift": [-1, "one"],
    "flip": [1, "yes"],
    "crop": [0, 1.1],
    "mirror_test": [0],
    "name": ["resnet_v1_50", 50],
    "root_channels": [0],
    "root_stride": [0],
    "base_depths": [(), (0,), 16, (16, "32"), (True,)],
    "units": [(1.5, 1, 1)],
    "strides": [(0, 1, 1)],
    "output_stride": [-8],
    "epochs": [0, 1.5, True, "3"],
    "batch_size": [0],
    "micro_batch_size": [-1],
    "learning_rate": [0, -1, float("inf"), "fast"],
    "schedule": ["linear"],
    "warmup_epochs": [-1],
    "boundaries": [(-1,), 3],
    "factors": [("a",)],
    "momentum": [1, -0.1],
    "nesterov": ["true"],
    "weight_decay": [-1],
    "label_smoothing": [1],
    "clip_norm": [-1],
    "ema_decay": [1],
    "batch_norm_decay": [1],
    "seed": [-1, 0.5],
    "dtype": ["float16", 32],
    "backend": ["torch"],
    "threads": [0],
    "checkpoint_seconds": [0],
}


def test_no_setting_is_without_bad_values() -> None:
    assert set(BAD) == set(settings())


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: Any) -> None:
    allowed = settings()[name][1].metadata["allowed"]
    shown = list(value) if isinstance(value, tuple) else value
    with pytest.raises(ValueError, match=re.escape(f"{name} must be {allowed}, not {shown!r}")):
        changed(Config(), {name: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epoch": 3}, "there is no setting 'epoch'; did you mean epochs"),
        ({"units": (1, 1)}, "base_depths, units and strides must have one number for each block, but have 3, 2 and 3"),
        ({"schedule": "piecewise"}, "schedule piecewise needs boundaries"),
        ({"schedule": "piecewise", "boundaries": (5,), "factors": (1,)}, "1 boundaries and 1 factors"),
        ({"schedule": "piecewise", "boundaries": (5, 5), "factors": (1, 1, 1)}, r"boundaries must rise, but are \[5.0, 5.0\]"),
        ({"boundaries": (5,)}, "boundaries and factors are for schedule piecewise"),
        ({"warmup_epochs": 30}, "warmup_epochs must be less than epochs, 30, not 30.0"),
        ({"task": "segment"}, "task segment and source 'fashion' do not go together"),
        ({"source": "scenes"}, "task classify and source 'scenes' do not go together"),
        ({"output_stride": 8}, "output_stride 8 is for task segment"),
        ({"task": "segment", "source": "scenes", "crop": 0.5}, "crop enlarges pictures"),
        ({"task": "segment", "source": "scenes", "output_stride": 8}, "output_stride must be 0 or one of 1, 2, 4, the strides"),
        ({"task": "segment", "source": "scenes", "name": "resnet_v2_50", "output_stride": 2}, "one of 4, 8, 16, 32, the"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        changed(Config(), changes)


def test_the_defaults_pass_their_own_checks() -> None:
    config = Config()
    values = {
        name: getattr(getattr(config, section) if section else config, name)
        for name, (section, _) in settings().items()
    }
    assert changed(config, values) == config


@pytest.mark.parametrize("name", ["fashion", "digits", "scenes"])
def test_a_recipe_is_read_back_from_its_own_text(name: str) -> None:
    config = recipe(name)
    assert config.data.source == name and config != Config()
    assert from_toml(config.to_toml()) == config


@given(
    source=st.text(min_size=1).filter(lambda text: "\r" not in text),
    rate=st.floats(1e-9, 1e9),
    depths=st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    flip=st.booleans(),
)
def test_any_config_is_read_back_from_its_own_text(source: str, rate: float, depths: list[int], flip: bool) -> None:
    task = "segment" if source == "scenes" else "classify"
    blocks = {"base_depths": depths, "units": depths, "strides": depths}
    config = changed(Config(), {"task": task, "source": source, "learning_rate": rate, "flip": flip, **blocks})
    assert from_toml(config.to_toml()) == config


def test_every_line_of_a_file_says_what_it_does() -> None:
    lines = [line for line in Config().to_toml().splitlines() if "=" in line]
    assert len(lines) == len(settings()) and all(" # " in line for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nepoch = 3", "there is no setting 'epoch'; did you mean epochs"),
        ("[trainig]\nepochs = 3", r"there is no section \[trainig\]; did you mean training"),
        ("epochs = 3", r"epochs belongs into section \[training\]"),
        ("[net]\nepochs = 3", r"epochs belongs into section \[training\]"),
        ("[data]\ntask = 'classify'", "task belongs into no section"),
        ("[training]\nepochs = ", "Invalid value"),
        ("[training]\nepochs = '3'", "epochs must be an integer >= 1, not '3'"),
    ],
)
def test_a_bad_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"mine\.toml: .*{said}"):
        read_config(path)


def test_what_a_file_leaves_out_is_as_in_the_recipe_of_its_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[data]\nsource = 'digits'\n[training]\nepochs = 2\n", encoding="utf-8")
    assert read_config(path) == changed(recipe("digits"), {"epochs": 2})


def test_a_path_is_no_recipe() -> None:
    assert recipe("some/fashion") == recipe("fashion.toml") == recipe("../fashion") == Config()


def test_no_name_is_in_two_sections() -> None:
    names = [option.name for kind in SECTIONS.values() for option in dataclasses.fields(kind)]
    assert len(names) == len(set(names)) and not set(names) & set(SECTIONS)
