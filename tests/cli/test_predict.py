"""`tinyresnet predict`: a line a picture, as the net sees it; a picture that cannot be read stops it before the first line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import NAMES
from tests.cli.outcome import TINY, Call, assert_refused
from tinyresnet.data import load
from tinyresnet.training import open_run

image_module = pytest.importorskip("PIL.Image")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")


def as_json(call: Call, *arguments: object) -> list[dict[str, Any]]:
    code, out, err = call("predict", *arguments, "--json")
    assert code == 0 and err == ""
    told = json.loads(out)
    assert isinstance(told, list)
    return told


def test_dark_and_bright(call: Call, chinese_run: Path, chinese_pictures: Path) -> None:
    """A run that has learnt its two classes: they are named, in Chinese, with probabilities that fall."""
    paths = [chinese_pictures / name / "图0.png" for name in NAMES]
    code, out, err = call("predict", chinese_run, *paths)
    assert code == 0 and err == "" and len(out.splitlines()) == 2
    for path, name, line in zip(paths, NAMES, out.splitlines(), strict=True):
        file, _, told = line.partition(": ")
        (first, high), (second, low) = (entry.rsplit(" ", 1) for entry in told.split(", "))
        assert file == str(path) and first == name and {first, second} == set(NAMES)
        assert float(high) > float(low) and float(high) + float(low) == pytest.approx(1, abs=0.002)


def test_json_has_every_class_and_is_what_the_run_predicts(call: Call, tiny_run: Path) -> None:
    images = load("digits").test.images[:3]
    for i, image in enumerate(images):
        image_module.fromarray(image[..., 0]).save(f"{i}.png")
    told = as_json(call, tiny_run, "0.png", "1.png", "2.png")
    expected = open_run(tiny_run).predict(images)
    assert [one["picture"] for one in told] == ["0.png", "1.png", "2.png"]
    for one, row in zip(told, expected, strict=True):
        assert list(one["probabilities"]) == list("0123456789")
        np.testing.assert_allclose(list(one["probabilities"].values()), row, rtol=1e-5, atol=1e-7)
        assert one["class"] == str(int(row.argmax())) and sum(one["probabilities"].values()) == pytest.approx(
            1, abs=1e-5
        )
    assert len({one["probabilities"]["0"] for one in told}) == 3, "three pictures, three answers"


def test_pictures_of_any_size_and_colour(call: Call, tiny_run: Path) -> None:
    rng = np.random.default_rng(0)
    image_module.fromarray(rng.integers(0, 256, (30, 50, 4), np.uint8)).save("a b.webp", lossless=True)
    image_module.fromarray(rng.integers(0, 256, (3, 2), np.uint8)).save("-c.bmp")
    assert [len(one["probabilities"]) for one in as_json(call, tiny_run, "a b.webp", "./-c.bmp")] == [10, 10]


@pytest.mark.parametrize(("top", "named"), [(1, 1), (4, 4), (99, 10)])
def test_top(top: int, named: int, call: Call, tiny_run: Path) -> None:
    image_module.fromarray(load("digits").test.images[0, ..., 0]).save("x.png")
    _, out, _ = call("predict", tiny_run, "x.png", "--top", top)
    numbers = [float(entry.split()[-1]) for entry in out.partition(": ")[2].split(", ")]
    assert len(numbers) == named and numbers == sorted(numbers, reverse=True)


def test_top_0(call: Call, tiny_run: Path) -> None:
    assert_refused(call("predict", tiny_run, "x.png", "--top", "0"), "--top must be an integer >= 1, not 0")


def test_the_last_checkpoint_can_be_asked(call: Call) -> None:
    """Of a run that was tested best in its first epoch, the last one says something else."""
    assert call("train", *TINY, "--ema-decay", "0.9", "--no-report", "--out", "run").code == 0
    image_module.fromarray(load("digits").test.images[0, ..., 0]).save("x.png")
    told = as_json(call, "run", "x.png", "--which", "last")[0]["probabilities"]
    expected = open_run("run", "last").predict(load("digits").test.images[:1])[0]
    np.testing.assert_allclose(list(told.values()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.png", "missing.png: No such file or directory"),
        ("text.png", "text.png cannot be read as a picture"),
        ("half.png", "half.png cannot be read as a picture"),
        ("empty.png", "empty.png cannot be read as a picture"),
        ("folder.png", "folder.png must be a picture file"),
    ],
)
def test_a_picture_that_cannot_be_read_stops_it_before_the_first_line(
    name: str, said: str, call: Call, tiny_run: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    image_module.fromarray(noise).save("good.png")
    Path("text.png").write_text("this is no picture")
    Path("half.png").write_bytes(Path("good.png").read_bytes()[:700])
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    assert_refused(call("predict", tiny_run, "good.png", name), said)
    assert_refused(call("predict", tiny_run, "good.png", name, "--json"), said)


def test_what_is_no_run(call: Call) -> None:
    assert_refused(call("predict", "nowhere", "x.png"), "nowhere is not the folder of a training run")


@pytest.mark.parametrize(("module", "package"), [("PIL", "pillow"), ("safetensors", "safetensors")])
def test_a_missing_package_is_named(
    module: str, package: str, call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_module.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    monkeypatch.setitem(sys.modules, module, None)
    said = f'this needs {package}, which is not installed: pip install "tinyresnet[train]"'
    assert_refused(call("predict", tiny_run, "x.png"), said)
