"""A run to look at, made once; and `call`, which runs a command in an empty folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.outcome import TINY, Call, Outcome
from tinyresnet import cli

NAMES = ("包", "运动鞋")  # no ASCII in them
COMPILING = "tinyresnet: compiling kernels"  # whichever test comes first in a process with an empty cache is told


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own, so that "runs/..." is made there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """call("train", "digits", ...) -> Outcome."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        said = [line for line in err.splitlines(keepends=True) if not line.startswith(COMPILING)]
        return Outcome(code, out, "".join(said))

    return call


def _trained(folder: Path, *arguments: object) -> Path:
    for package in ("tqdm", "threadpoolctl", "safetensors"):
        pytest.importorskip(package)
    assert cli.main(["train", *map(str, arguments), "--out", str(folder), "--no-report"]) == 0
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on digits that has come to its end, with a seed that is not the default. Not to be changed."""
    return _trained(tmp_path_factory.mktemp("made") / "it's a run", *TINY, "--seed", 3)


@pytest.fixture(scope="session")
def chinese_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve grey pictures, 8x8: dark ones of 包, bright ones of 运动鞋."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("made") / "数据 集"
    rng = np.random.default_rng(0)
    for k, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            pixels: Any = rng.integers(0, 100, (8, 8), np.uint8) + np.uint8(150 * k)
            image.fromarray(pixels).save(folder / name / f"图{i}.png")
    return folder


@pytest.fixture(scope="session")
def chinese_run(chinese_pictures: Path) -> Path:
    """A run on them."""
    small = [*TINY[3:], "--batch-size", 4, "--epochs", 8]
    return _trained(chinese_pictures.with_name("运行"), chinese_pictures, *small)
