"""A run that was really trained, for a moment, and its report: the page says what the trainer logged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.report.checks import anchors, problems
from tests.report.html_page import read
from tinyresnet.report import write_report
from tinyresnet.report.words import percent
from tinyresnet.training import Trainer, changed, open_run, recipe

for package in ("matplotlib", "PIL", "safetensors", "threadpoolctl"):
    pytest.importorskip(package)

pytestmark = pytest.mark.host_only
QUICK = {"epochs": 2, "warmup_epochs": 0.0, "batch_size": 16}


def trained(folder: Path, source: str, stop_after: int | None = None, **settings: Any) -> Path:
    config = changed(recipe(source), {**QUICK, "source": source, **settings})
    trainer = Trainer.start(config, folder)
    trainer.run(lambda: stop_after is not None and trainer.progress.step >= stop_after)
    return folder


def report_of(folder: Path) -> tuple[str, dict[str, bytes]]:
    with tinyresnet.use_backend("numpy"):
        page = write_report(folder)
    assert page == folder / "index.html"
    files = {f"pictures/{path.name}": path.read_bytes() for path in (folder / "pictures").iterdir()}
    return page.read_text(encoding="utf-8"), files


def test_the_page_says_what_the_trainer_measured(tmp_path: Path) -> None:
    folder = trained(tmp_path / "digits", "digits", limit=320)
    text, files = report_of(folder)
    assert problems(text, files) == []
    page = read(text)
    epochs = [line for line in open_run(folder).metrics if line["kind"] == "epoch"]
    best = max(line["test_accuracy"] for line in epochs)
    assert 0.2 < best < 1, "a net that has learnt something, and not all"
    assert percent(best, 2) in page.text("en")
    (table,) = page.all("table", class_="counts")
    counts = np.array([[int(cell.text()) for cell in row.all("td")] for row in table.all("tr")[1:]])
    assert np.trace(counts) / counts.sum() == best, "predicted again, by the weights that tested best"
    assert page.all("pre")[0].text() == (folder / "config.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_of_a_net_that_names_pixels_it_says_the_mean_iou(tmp_path: Path) -> None:
    folder = trained(tmp_path / "scenes", "scenes", limit=48)
    text, files = report_of(folder)
    assert problems(text, files) == []
    page = read(text)
    best = max(line["test_mean_iou"] for line in open_run(folder).metrics if line["kind"] == "epoch")
    (section,) = page.all("section", aria_labelledby="en-iou")
    said = re.search(r"The mean over the classes is ([0-9.]+);", section.text("en"))
    assert said is not None
    assert float(said[1]) == round(best, 3)


def test_before_the_first_epoch_has_ended_there_is_a_report_as_well(tmp_path: Path) -> None:
    text, files = report_of(trained(tmp_path / "digits", "digits", stop_after=3, limit=64, dtype="float64"))
    assert problems(text, files) == []
    assert "not finished: 3 steps so far" in read(text).text("en")
    assert "No epoch has ended yet" in read(text).text("en")


def test_a_data_set_that_has_changed_is_not_used(tmp_path: Path) -> None:
    rng, file = np.random.default_rng(0), tmp_path / "mine.npz"
    np.savez(file, images=rng.integers(0, 256, (40, 8, 8, 1), np.uint8), labels=np.arange(40) % 2)
    folder = trained(tmp_path / "mine", str(file), root_channels=4, base_depths=[2], units=[1], strides=[2])
    assert "confusion" in anchors(read(report_of(folder)[0]))
    np.savez(file, images=rng.integers(0, 256, (40, 8, 8, 1), np.uint8), labels=np.arange(40) % 2)
    changed_text = report_of(folder)[0]
    assert "confusion" not in anchors(read(changed_text))
    assert "have changed since" in read(changed_text).text("zh")
    file.unlink()
    assert "mine.npz" in read(report_of(folder)[0]).text("en")


def test_a_folder_without_a_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of a training run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
